//! Who has which place in a guest, on whatever kind of bus.

use crate::ids::{Address, DeviceId};
use crate::pci::SlotMap;

/// The slots of the PCI buses.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) pci: SlotMap,
}

impl Places {
    /// The own record has `id` at `address`, whether or not the guest shows it.
    pub(super) fn occupy(&mut self, address: &Address, id: &DeviceId) {
        match address {
            Address::Pci(address) => self.pci.occupy(address, id),
            Address::Scsi(_) => {}
        }
    }

    /// The removal of `id` at `address` has been asked for and not granted: the place stays taken until it is released.
    pub(super) fn quarantine(&mut self, address: &Address, id: &DeviceId) {
        match address {
            Address::Pci(address) => self.pci.quarantine(address, id),
            Address::Scsi(_) => {}
        }
    }

    /// `id` is gone from `address`.
    pub(super) fn release(&mut self, address: &Address, id: &DeviceId) {
        match address {
            Address::Pci(address) => drop(self.pci.release(address, id)),
            Address::Scsi(_) => {}
        }
    }
}
