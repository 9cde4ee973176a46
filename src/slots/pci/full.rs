//! A guest whose slots have run out, where the next boot is to make room.

use crate::ids::{BusName, PciAddress, Slot};
use crate::slots::occupancy::SlotUser;

use super::bus::BusKind;
use super::rules::{NewDevice, WhenFull};
use super::slots::{Access, BusSlots, SlotMap};

/// What the next boot makes, so that there are free slots again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// A PCI bridge, in the last slot of `pci.0`.
    Bridge,
    /// A root port.
    RootPort,
}

/// A PCI bridge, as far as choosing a slot for it goes.
const BRIDGE: NewDevice<'static> = NewDevice { kind: None, model: "pci-bridge" };

impl SlotMap {
    /// The slot for a further PCI bridge: the last one of `pci.0`, where those are that the boot command
    /// makes.
    pub fn slot_for_bridge(&self) -> Option<PciAddress> {
        self.root()?.free_for(&BRIDGE).last()
    }

    /// The next boot puts a bridge into this slot of `pci.0`.
    pub fn occupy_by_bridge(&mut self, slot: Slot, id: &BusName) {
        let Some(root) = self.buses.iter_mut().find(|bus| bus.kind == BusKind::ConventionalRoot) else {
            return;
        };
        let user = SlotUser { id: Some(id.to_string()), description: String::new(), pending: false };
        root.occupancy.add(slot, user);
    }

    /// What the next boot has to make for this device, if no slot is left that it can have unasked and the
    /// rules say that it is to wait.
    pub fn room_to_make(&self, device: &NewDevice<'_>) -> Option<Room> {
        if self.rules.when_full() == WhenFull::Refuse || self.free_unasked(device).next().is_some() {
            return None;
        }
        let has_root_ports = || self.buses.iter().any(|bus| bus.kind == BusKind::PcieRoot);
        match self.slot_for_bridge() {
            Some(_) => Some(Room::Bridge),
            None => has_root_ports().then_some(Room::RootPort),
        }
    }

    /// How many free slots there are that such a device gets unasked.
    pub fn left_for(&self, device: &NewDevice<'_>) -> usize {
        self.free_unasked(device).count()
    }

    /// Root and downstream ports, taken or free.
    pub fn ports(&self) -> impl Iterator<Item = &BusName> {
        self.buses.iter().filter(|bus| bus.kind.is_port()).map(|bus| &bus.name)
    }

    /// The free slots that a device can have unasked, in the order of the buses.
    pub(super) fn free_unasked<'a>(
        &'a self,
        device: &'a NewDevice<'a>,
    ) -> impl Iterator<Item = PciAddress> + use<'a> {
        let kept = self.kept_for_bridge();
        let free = self.buses.iter().flat_map(|bus| bus.free_for(device));
        free.filter(move |address| kept.as_ref() != Some(address))
    }

    /// The last slot of `pci.0`, where devices are to wait for a bridge: it would have no other.
    pub(super) fn kept_for_bridge(&self) -> Option<PciAddress> {
        if self.rules.when_full() == WhenFull::Refuse {
            return None;
        }
        self.slot_for_bridge()
    }

    fn root(&self) -> Option<&BusSlots> {
        self.buses
            .iter()
            .find(|bus| bus.kind == BusKind::ConventionalRoot && bus.access != Access::NotHotpluggable)
    }
}
