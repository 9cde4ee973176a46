//! Where the SCSI disks of the guest sit that is started next, and on which controllers.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, BusName, Channel, Lun, ScsiAddress};
use crate::model::command_line::{CommandLine, Unit};
use crate::model::{Device, DeviceKind, Record, Spec};
use crate::slots::scsi::spec::bus_of;
use crate::slots::scsi::{ScsiMap, Want};

/// The SCSI buses of the guest that `record` and its command line describe.
///
/// A disk has to have its controller in either of them: QEMU would not start without.
pub(super) fn buses(record: &Record, command_line: &CommandLine) -> Result<ScsiMap> {
    let mut map = ScsiMap::default();
    for device in record.devices.iter().filter(|device| device.kind() == DeviceKind::Controller) {
        map.add_controller(device.id.as_str(), device.model(), true);
    }
    for (id, model) in &command_line.controllers {
        map.add_controller(id, model, false);
    }
    // The command's devices come first, so that QEMU has placed them when it comes to those of the record.
    for unit in &command_line.units {
        if let Some(address) = address_of(unit, command_line, &map) {
            map.see(&address, None, &unit.what);
        }
    }
    for device in &record.devices {
        let Some(Address::Scsi(address)) = &device.address else { continue };
        if map.model_on(&address.bus).is_none() && !has_controller(record, command_line, address) {
            let text = format!(
                "{} sits at {address}, but its controller is neither recorded nor in the command; remove the disk, or add \
                 -device virtio-scsi-pci with its id to the command",
                device.id
            );
            return Err(Error::new(ErrorKind::State, text));
        }
        map.choose_cold(&Want::Pinned(address.clone())).map_err(|error| error.context(&device.id))?;
        map.occupy(address, &device.id);
    }
    Ok(map)
}

/// A controller of a kind that is not known here may have any bus, and what is in a configuration file is not
/// known at all.
fn has_controller(record: &Record, command_line: &CommandLine, address: &ScsiAddress) -> bool {
    let elsewhere = record.command.iter().any(|word| word.ends_with("-readconfig"));
    elsewhere || address.controller().is_none_or(|id| command_line.ids.contains_key(id))
}

/// Where QEMU puts a device of the command: on the first bus, and there at the first free target, if it does
/// not say.
fn address_of(unit: &Unit, command_line: &CommandLine, map: &ScsiMap) -> Option<ScsiAddress> {
    let bus = match &unit.bus {
        Some(bus) => BusName::parse(bus).ok()?,
        None => bus_of(&command_line.controllers.first()?.0).ok()?,
    };
    let free = map.choose_cold(&Want::OnBus(bus.clone())).ok()??;
    let target = unit.target.unwrap_or(free.target);
    Some(ScsiAddress { bus, channel: Channel::default(), target, lun: Lun::new(unit.lun.unwrap_or(0))? })
}

/// The place of a SCSI disk that has none yet; `None` if there is no controller, so that one has to be added.
pub(super) fn choose(record: &Record, command_line: &CommandLine) -> Result<Option<ScsiAddress>> {
    buses(record, command_line)?.choose(&Want::Auto, |_| None)
}

/// Whether it is a disk that sits on a controller.
pub(super) fn is_disk(device: &Device) -> bool {
    matches!(&device.spec, Spec::Disk(spec) if spec.is_scsi())
}
