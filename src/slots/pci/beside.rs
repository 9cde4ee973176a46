//! Slots that a device takes beside its own: QEMU puts the virtual functions of an `igb` NIC behind it.

use crate::error::Error;
use crate::ids::{PciAddress, Slot};

use super::slots::{BusSlots, SlotMap, SlotState};

/// How many slots behind its own the virtual functions of an `igb` are.
///
/// It has eight of them. Their device numbers begin 128 behind its own and are two apart: of a NIC in slot 5
/// of `pci.0`, QEMU 10.0 and 11.1 refuse slots 21 and 22 to other devices. Of one in slot 15 there is no room
/// for the last ("VF addr overflows").
const IGB: &[u8] = &[16, 17];

/// Vendor and device of an `igb`, as `query-pci` shows it.
const IGB_ID: (u16, u16) = (0x8086, 0x10c9);

/// Which model's slots a device of the guest takes, if they are more than its own.
pub(super) fn model_with_more(pci_id: Option<(u16, u16)>, description: &str) -> &'static str {
    if pci_id == Some(IGB_ID) || description == "igb" { "igb" } else { "" }
}

fn offsets(model: &str) -> &'static [u8] {
    if model == "igb" { IGB } else { &[] }
}

impl BusSlots {
    /// The slots that a device of this model in `slot` takes beside that; `None` if the bus ends before them.
    /// Behind a port there is nobody to be in the way.
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

fn words(model: &str) -> String {
    let numbers: Vec<String> = offsets(model).iter().map(u8::to_string).collect();
    format!("the slots {} behind its own", numbers.join(" and "))
}
