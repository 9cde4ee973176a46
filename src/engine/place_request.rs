//! Where a caller wants a device, in the names and numbers that it says it with.

use super::add_plan::Placement;
use crate::error::{Error, Result};
use crate::ids::{Address, BusName, DeviceId, Lun, PciAddress, ScsiAddress, Slot};

/// The id and the place of a device that is to be added. What is left out is chosen by the library.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlaceRequest<'a> {
    /// The device's id.
    pub id: Option<&'a str>,
    /// The bus.
    pub bus: Option<&'a str>,
    /// The slot on that bus; 0 is any of a bus that has others.
    pub slot: u32,
    /// Target and unit of a SCSI disk.
    pub unit: Option<(u32, u32)>,
}

impl PlaceRequest<'_> {
    /// The place of a device on a PCI bus.
    pub fn on_pci(&self) -> Result<Placement> {
        if self.unit.is_some() {
            return Err(Error::invalid(
                "target and lun are for SCSI disks: take model scsi-hd, or ask for no SCSI address",
            ));
        }
        let address = match (self.bus, self.slot) {
            (None, 0) => None,
            (None, slot) => {
                return Err(Error::invalid(format!(
                    "slot {slot} is given without a bus; name the bus, such as pci.0"
                )));
            }
            (Some(bus), slot) => {
                let slot = Slot::try_from(u64::from(slot))?;
                Some(Address::Pci(PciAddress { bus: BusName::parse(bus)?, slot }))
            }
        };
        Ok(Placement { id: self.id()?, address, ..Placement::default() })
    }

    /// The place of a disk on the bus of a SCSI controller.
    pub fn on_scsi(&self) -> Result<Placement> {
        if self.slot != 0 {
            return Err(Error::invalid("slot is given for a SCSI disk, which has target and lun instead"));
        }
        let mut placement = Placement { id: self.id()?, ..Placement::default() };
        match (self.bus.map(BusName::parse).transpose()?, self.unit) {
            (bus, None) => placement.scsi_bus = bus,
            (Some(bus), Some((target, lun))) => {
                let target = u8::try_from(target)
                    .map_err(|_| Error::invalid(format!("SCSI target {target} is out of range")))?;
                let lun = Lun::try_from(u64::from(lun))?;
                placement.address = Some(ScsiAddress { lun, ..ScsiAddress::of_target(bus, target) }.into());
            }
            (None, Some(_)) => {
                return Err(Error::invalid(
                    "target and lun are given without a bus; name that of the controller, such as scsi-pci-7.0",
                ));
            }
        }
        Ok(placement)
    }

    fn id(&self) -> Result<Option<DeviceId>> {
        self.id.map(DeviceId::parse).transpose()
    }
}
