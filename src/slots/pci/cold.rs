//! The buses of a guest that does not run, put together from what it will be started with.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BusName, PciAddress, SLOTS, Slot};
use crate::sanitize;

use super::bus::{Bus, BusKind, Occupant};
use super::slots::{Access, SlotMap, SlotState};
use super::topology::Topology;

impl Topology {
    /// A machine with nothing on its root bus.
    pub fn cold(kind: BusKind, name: BusName) -> Self {
        Self::from_buses(vec![Bus::root(0, kind, Some(name))])
    }

    /// Puts something on a bus; nothing happens when there is no such bus, or somebody is there.
    pub fn put(&mut self, bus: &str, slot: Slot, function: u8, id: Option<&str>, what: &str) {
        if let Some(bus) = self.bus_mut(bus) {
            bus.functions.entry((slot, function)).or_insert_with(|| Occupant {
                id: id.map(str::to_owned),
                description: sanitize::name(what),
                pci_id: None,
                configured: false,
                confirmed: true,
            });
        }
    }

    /// Puts something where QEMU puts what says no slot: at the first free one. Only behind ports and
    /// bridges: on a root bus there is more than a command line names.
    pub fn put_anywhere(&mut self, bus: &str, id: Option<&str>, what: &str) {
        let Some(found) = self.bus_mut(bus).filter(|bus| !bus.kind.is_root()) else { return };
        let last = if found.kind.is_port() { 0 } else { SLOTS - 1 };
        let is_free = |slot: &Slot| !found.functions.contains_key(&(*slot, 0));
        let slot = (0..=last).filter_map(Slot::new).find(is_free);
        if let Some(slot) = slot {
            self.put(bus, slot, 0, id, what);
        }
    }

    /// Adds the bus behind a bridge or port. One on the root bus is `at` a slot and function, if that is
    /// known.
    pub fn put_bridge(&mut self, kind: BusKind, name: BusName, at: Option<(Slot, u8)>, hotplug: bool) {
        let behind = self.buses().count();
        let Some(root) = self.buses().next() else { return };
        let (slot, function) = at.or_else(|| Slot::new(0).map(|slot| (slot, 0))).unzip();
        let (Some(slot), Some(function)) = (slot, function) else { return };
        let mut bus = root.child(kind, Some(name), slot, function);
        if at.is_none() {
            // Behind all that have a place, in the order in which they are given.
            bus.path = vec![0, u8::MAX, u8::try_from(behind).unwrap_or(u8::MAX)];
        }
        bus.hotplug &= hotplug;
        bus.confirmed = true;
        self.insert(bus);
    }
}

impl SlotMap {
    /// Whether a device can be started at this address: unlike a running guest, a cold one takes devices on
    /// every bus. A bus that is not known may be one that the command line makes where this library cannot
    /// read it.
    pub fn check_cold(&self, address: &PciAddress, model: &str) -> Result<()> {
        let Some(bus) = self.buses.iter().find(|bus| bus.name == address.bus) else { return Ok(()) };
        if bus.access != Access::NotHotpluggable && !bus.kind.slots().contains(&address.slot.get()) {
            return Err(Error::invalid(format!("{address}: a {} has no such slot", bus.kind)));
        }
        match bus.state(address.slot) {
            SlotState::Taken { by } | SlotState::Quarantined { id: by } => Err(Error::new(
                ErrorKind::AddressTaken,
                format!("{address} is taken by {by}; pin another or none"),
            )),
            _ => match bus.in_the_way(address.slot, model) {
                Some(why) => {
                    Err(Error::new(ErrorKind::AddressTaken, format!("{address}: {why}; pin another or none")))
                }
                None => Ok(()),
            },
        }
    }

    /// How many devices can still be plugged in while the guest runs.
    pub fn free(&self) -> usize {
        let open = self.buses.iter().filter(|bus| bus.access == Access::Open);
        let free: usize = open.map(|bus| bus.count()).map(|count| count.total - count.taken).sum();
        free.saturating_sub(usize::from(self.kept_for_bridge().is_some()))
    }
}
