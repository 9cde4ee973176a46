//! Who has which place in a guest, on whatever kind of bus.

pub mod occupancy;
pub mod pci;
pub mod scsi;

use crate::ids::Address;
use crate::model::{Device, DeviceKind};
use pci::SlotMap;
use scsi::ScsiMap;

/// The slots of the PCI buses and the targets of the SCSI buses.
#[derive(Clone, Debug)]
pub struct Slots {
    /// The slots.
    pub pci: SlotMap,
    /// The targets.
    pub scsi: ScsiMap,
}

impl Slots {
    /// The own record has the device, whether or not the guest shows it. A controller brings its bus.
    pub fn occupy(&mut self, device: &Device) {
        if device.kind() == DeviceKind::Controller {
            self.scsi.add_controller(device.id.as_str(), device.model(), true);
        }
        match &device.address {
            Some(Address::Pci(address)) => self.pci.occupy(address, &device.id),
            Some(Address::Scsi(address)) => self.scsi.occupy(address, &device.id),
            None => {}
        }
    }

    /// The removal of the device has been asked for and not granted: its place stays taken until it is released.
    pub fn quarantine(&mut self, device: &Device) {
        match &device.address {
            Some(Address::Pci(address)) => self.pci.quarantine(address, &device.id),
            Some(Address::Scsi(address)) => self.scsi.quarantine(address, &device.id),
            None => {}
        }
    }

    /// The device stays after all: its place is taken as any other is.
    pub fn end_quarantine(&mut self, device: &Device) {
        self.free(device);
        self.occupy(device);
    }

    /// The device is gone, and with a controller its bus.
    pub fn release(&mut self, device: &Device) {
        self.free(device);
        if device.kind() == DeviceKind::Controller {
            self.scsi.remove_controller(device.id.as_str());
        }
    }

    fn free(&mut self, device: &Device) {
        match &device.address {
            Some(Address::Pci(address)) => drop(self.pci.release(address, &device.id)),
            Some(Address::Scsi(address)) => drop(self.scsi.release(address, &device.id)),
            None => {}
        }
    }
}
