//! Slots that a device takes beside its own.

use crate::error::Error;
use crate::ids::{PciAddress, Slot};

use super::slots::{BusSlots, SlotMap, SlotState};
use super::virtual_functions::{offsets, words};

impl BusSlots {
    /// The slots that a device of this model in `slot` takes beside that; `None` if the bus ends before them.
    /// Behind a port the bus has no other device.
    pub(super) fn beside(&self, slot: Slot, model: &str) -> Option<Vec<Slot>> {
        if self.kind.is_port() {
            return Some(Vec::new());
        }
        offsets(model).iter().map(|offset| Slot::new(slot.get().checked_add(*offset)?)).collect()
    }

    /// Why a device of this model cannot be in `slot`, which is free itself.
    pub(super) fn in_the_way(&self, slot: Slot, model: &str) -> Option<String> {
        let Some(beside) = self.beside(slot, model) else {
            return Some(format!(
                "its virtual functions need {}, and the bus ends before them",
                words(model)
            ));
        };
        beside.into_iter().find_map(|slot| match self.state(slot) {
            SlotState::Taken { by } | SlotState::Quarantined { id: by } => {
                Some(format!("its virtual functions need slot {}, which is taken by {by}", slot.get()))
            }
            SlotState::Free | SlotState::Reserved | SlotState::NotHotpluggable | SlotState::Unknown => None,
        })
    }
}

impl SlotMap {
    /// The addresses that a device of this model takes: its own, and those beside it.
    pub fn places(&self, address: &PciAddress, model: &str) -> Vec<PciAddress> {
        let bus = self.buses.iter().find(|bus| bus.name == address.bus);
        let beside = bus.and_then(|bus| bus.beside(address.slot, model)).unwrap_or_default();
        let slots = [address.slot].into_iter().chain(beside);
        slots.map(|slot| PciAddress { bus: address.bus.clone(), slot }).collect()
    }
}

/// Says why slots that look free are of no use to a device of this model.
pub(super) fn explain(error: Error, model: &str) -> Error {
    match offsets(model) {
        [] => error,
        _ => error.context(format!("{model} needs {} too", words(model))),
    }
}
