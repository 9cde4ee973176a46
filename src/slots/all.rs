//! The places of all buses, PCI and SCSI.

use super::pci::SlotMap;
use super::scsi::ScsiMap;
use crate::ids::{Address, DeviceId};

/// A device, as far as its place goes.
pub trait Placed {
    /// Its id.
    fn id(&self) -> &DeviceId;
    /// Where it sits, if it has been given a place.
    fn address(&self) -> Option<&Address>;
    /// Its model.
    fn model(&self) -> &str;
    /// Its model, if it is a SCSI controller, which brings a bus.
    fn controller_model(&self) -> Option<&str>;
}

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
    pub fn occupy(&mut self, device: &impl Placed) {
        if let Some(model) = device.controller_model() {
            self.scsi.add_controller(device.id().as_str(), model, true);
        }
        match device.address() {
            Some(Address::Pci(address)) => {
                for place in self.pci.places(address, device.model()) {
                    self.pci.occupy(&place, device.id());
                }
            }
            Some(Address::Scsi(address)) => self.scsi.occupy(address, device.id()),
            None => {}
        }
    }

    /// The removal of the device has been asked for and not granted: its place stays taken until it is
    /// released.
    pub fn quarantine(&mut self, device: &impl Placed) {
        match device.address() {
            Some(Address::Pci(address)) => {
                for place in self.pci.places(address, device.model()) {
                    self.pci.quarantine(&place, device.id());
                }
            }
            Some(Address::Scsi(address)) => self.scsi.quarantine(address, device.id()),
            None => {}
        }
    }

    /// The device stays after all: its place is taken as any other is.
    pub fn end_quarantine(&mut self, device: &impl Placed) {
        self.free(device);
        self.occupy(device);
    }

    /// The device is gone, and with a controller its bus.
    pub fn release(&mut self, device: &impl Placed) {
        self.free(device);
        if device.controller_model().is_some() {
            self.scsi.remove_controller(device.id().as_str());
        }
    }

    fn free(&mut self, device: &impl Placed) {
        match device.address() {
            Some(Address::Pci(address)) => {
                for place in self.pci.places(address, device.model()) {
                    self.pci.release(&place, device.id());
                }
            }
            Some(Address::Scsi(address)) => drop(self.scsi.release(address, device.id())),
            None => {}
        }
    }
}
