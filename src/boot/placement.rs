//! Where everything sits in the guest that is started next: the places that are settled, and those that are
//! still to be chosen, by the same allocator as in a running guest.

use serde_json::Map;

use super::{cold_slots, room, scsi};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, BusName, DeviceId, ScsiAddress};
use crate::model::command_line::CommandLine;
use crate::model::{Device, DeviceKind, Presence, Record, Spec};
use crate::slots::pci::SlotMap;
use crate::slots::scsi::ControllerSpec;
use crate::slots::scsi::spec::bus_of;

/// Gives every device a place, and makes the ports, the bridges and the SCSI controller that takes, and as
/// many ports or bridges that `spare` slots are left over.
pub(super) fn place_all(record: &mut Record, command_line: &CommandLine, spare: usize) -> Result<()> {
    let mut slots = cold_slots::of(record, command_line)?;
    let unplaced = record.devices.iter().enumerate().filter(|(_, device)| device.address.is_none());
    let (on_scsi, on_pci): (Vec<_>, Vec<_>) = unplaced.partition(|(_, device)| scsi::is_disk(device));
    let indices = |list: Vec<(usize, &Device)>| list.into_iter().map(|(index, _)| index).collect::<Vec<_>>();
    let (on_scsi, on_pci) = (indices(on_scsi), indices(on_pci));
    for index in on_pci {
        let Some(device) = record.devices.get(index).cloned() else { continue };
        let model = device.model();
        let address = refuse_other_buses(model)
            .and_then(|()| room::next_slot(record, command_line, &mut slots, &device.spec))
            .map_err(|error| error.context(&device.id))?;
        cold_slots::occupy(&mut slots, &address, &device);
        settle(record, index, address.into());
    }
    for index in on_scsi {
        let address = match scsi::choose(record, command_line)? {
            Some(address) => address,
            None => ScsiAddress::of_target(add_controller(record, command_line, &mut slots)?, 0),
        };
        settle(record, index, address.into());
    }
    room::make(record, command_line, &slots, spare)
}

/// The same for one device that is not in the record yet.
pub(super) fn place(
    record: &mut Record,
    command_line: &CommandLine,
    spec: &Spec,
    address: Option<&Address>,
    scsi_bus: Option<&BusName>,
) -> Result<Address> {
    let mut slots = cold_slots::of(record, command_line)?;
    let on_scsi = matches!(spec, Spec::Disk(disk) if disk.is_scsi());
    match (address, scsi_bus) {
        (Some(Address::Pci(pinned)), _) => match slots.any_on(pinned, &spec.new_device()) {
            Some(free) => free.map(Address::from),
            None => slots.check_cold(pinned, spec.model()).map(|()| pinned.clone().into()),
        },
        (Some(Address::Scsi(pinned)), _) => {
            let want = crate::slots::scsi::Want::Pinned(pinned.clone());
            scsi::buses(record, command_line)?.choose_cold(&want).map(|_| pinned.clone().into())
        }
        (None, Some(bus)) => {
            let found = scsi::buses(record, command_line)?
                .choose_cold(&crate::slots::scsi::Want::OnBus(bus.clone()))?;
            let missing = || Error::new(ErrorKind::NoSlot, format!("{bus} has no free target"));
            found.map(Address::from).ok_or_else(missing)
        }
        (None, None) if on_scsi => Ok(match scsi::choose(record, command_line)? {
            Some(address) => address.into(),
            None => ScsiAddress::of_target(add_controller(record, command_line, &mut slots)?, 0).into(),
        }),
        (None, None) => {
            refuse_other_buses(spec.model())?;
            room::next_slot(record, command_line, &mut slots, spec).map(Address::from)
        }
    }
}

fn settle(record: &mut Record, index: usize, address: Address) {
    if let Some(device) = record.devices.get_mut(index) {
        device.address = Some(address);
    }
}

/// A controller for disks that have none; answers its bus.
fn add_controller(record: &mut Record, command_line: &CommandLine, slots: &mut SlotMap) -> Result<BusName> {
    let spec = Spec::Controller(ControllerSpec::default());
    let slot = room::next_slot(record, command_line, slots, &spec)
        .map_err(|error| error.context("a SCSI controller"))?;
    let address = Address::from(slot.clone());
    let id = record.new_id(DeviceKind::Controller, Some(&address))?;
    if record.find(id.as_str()).is_some() || command_line.ids.contains_key(id.as_str()) {
        let text = format!("{id}, the id of a SCSI controller at {address}, belongs to another device");
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    slots.occupy(&slot, &id);
    let bus = bus_of(id.as_str())?;
    record.add(Device {
        id,
        generation: record.next_generation,
        address: Some(address),
        presence: Presence::AddAfterReboot,
        spec,
        backend: None,
        properties: Map::new(),
        ganeti: None,
        extra: Map::new(),
    });
    Ok(bus)
}

/// Models that sit on another bus than PCI cannot be given a place here.
fn refuse_other_buses(model: &str) -> Result<()> {
    const OTHERS: [&str; 4] = ["ide-", "usb-", "sd-", "floppy"];
    if OTHERS.iter().any(|start| model.starts_with(start)) || model.ends_with("-device") {
        return Err(Error::new(
            ErrorKind::NotHotpluggable,
            format!("model {model} is no PCI device, and has no address; put it into the command line"),
        ));
    }
    Ok(())
}

/// The record of a guest that this library has started: each backend has the id of its device.
pub(super) fn name_backends(record: &mut Record) {
    record.devices.iter_mut().for_each(|device| device.backend = None);
}

/// The record as the next boot makes it: what waits for it is there, and what was to go is gone.
pub(super) fn reboot(record: &mut Record) {
    let goes = |device: &&Device| device.presence == Presence::RemoveAfterReboot;
    let gone: Vec<DeviceId> = record.devices.iter().filter(goes).map(|device| device.id.clone()).collect();
    // Their slots are given up, which the record may have to remember.
    gone.iter().for_each(|id| drop(record.remove(id)));
    record.ports.retain(|port| port.presence != Presence::RemoveAfterReboot);
    record.bridges.retain(|bridge| bridge.presence != Presence::RemoveAfterReboot);
    for device in &mut record.devices {
        device.presence = Presence::Live;
        match &mut device.spec {
            // What the guest has ejected is not in the drive of a machine that is switched on.
            Spec::Disk(disk) if disk.tray_open => disk.take_medium_out(),
            _ => {}
        }
    }
    for port in &mut record.ports {
        port.presence = Presence::Live;
    }
    for bridge in &mut record.bridges {
        bridge.presence = Presence::Live;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{MacAddr, PciAddress, Slot};
    use crate::net::spec::NicSpec;
    use crate::slots::pci::SlotPolicy;

    #[test]
    fn a_boot_gives_up_the_slot_of_what_goes_with_it() {
        let mut record = Record::new("web1", vec!["qemu".into()], 4).unwrap();
        record.slot_rules.set_policy(SlotPolicy::LongestFree);
        let address = PciAddress { bus: BusName::parse("pci.0").unwrap(), slot: Slot::new(7).unwrap() };
        for (id, presence) in [("goes", Presence::RemoveAfterReboot), ("stays", Presence::AddAfterReboot)] {
            record.add(Device {
                id: DeviceId::parse(id).unwrap(),
                generation: 1,
                address: Some(address.clone().into()).filter(|_| id == "goes"),
                presence,
                spec: Spec::Nic(NicSpec::new(MacAddr::local([0, 0, 1]))),
                backend: None,
                properties: Map::new(),
                ganeti: None,
                extra: Map::new(),
            });
        }
        reboot(&mut record);
        assert_eq!(record.devices.iter().map(|device| device.id.as_str()).collect::<Vec<_>>(), ["stays"]);
        assert_eq!(record.slot_rules.freed, [address]);
    }
}
