//! Where everything sits in the guest that is started next: the places that are settled, and those that are
//! still to be chosen, by the same allocator as in a running guest.

use serde_json::Map;

use super::scsi;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, BusName, DeviceId, PciAddress, ScsiAddress, Slot};
use crate::model::command_line::{CommandLine, Machine};
use crate::model::root_port::{Occupied, RootPort};
use crate::model::{Device, DeviceKind, Presence, Record, Spec};
use crate::slots::pci::{BusKind, SlotMap, Topology, Want};
use crate::slots::scsi::ControllerSpec;
use crate::slots::scsi::spec::bus_of;

/// The slots of the guest that `record` and its command line describe.
pub(super) fn slots(record: &Record, command_line: &CommandLine) -> Result<SlotMap> {
    let mut topology = machine(command_line)?;
    // The bridges first, since some of what is pinned sits behind them.
    for bridge in &command_line.bridges {
        topology.put_bridge(bridge.kind, bridge.name.clone(), bridge.place, bridge.hotplug);
    }
    for pinned in &command_line.pinned {
        topology.put(&pinned.bus, pinned.slot, pinned.function, Some(&pinned.what), "pinned by the command");
    }
    for device in &command_line.on_buses {
        topology.put_anywhere(&device.bus, Some(&device.what), "put there by the command");
    }
    for port in &record.ports {
        let id = port.id.as_str();
        topology.put("pcie.0", port.slot, port.function, Some(id), "pcie-root-port");
        topology.put_bridge(BusKind::RootPort, port.id.clone(), Some((port.slot, port.function)), true);
    }
    let mut slots = SlotMap::new(&topology, record.rules()?);
    for device in &record.devices {
        if let Some(address) = device.address.as_ref().and_then(Address::pci) {
            slots.check_cold(address, device.model()).map_err(|error| error.context(&device.id))?;
            occupy(&mut slots, address, device);
        }
    }
    Ok(slots)
}

fn occupy(slots: &mut SlotMap, address: &PciAddress, device: &Device) {
    slots.places(address, device.model()).iter().for_each(|place| slots.occupy(place, &device.id));
}

/// The root bus, with what the chipset has on it.
fn machine(command_line: &CommandLine) -> Result<Topology> {
    let (kind, chipset): (_, &[u8]) = match command_line.machine {
        Machine::Conventional => (BusKind::ConventionalRoot, &[0, 1]),
        Machine::Express => (BusKind::PcieRoot, &[0, 31]),
        Machine::Other => (BusKind::OtherRoot, &[]),
    };
    let mut topology = Topology::cold(kind, BusName::parse(command_line.root_bus())?);
    for slot in chipset.iter().copied().filter_map(Slot::new) {
        topology.put(command_line.root_bus(), slot, 0, None, "the chipset");
    }
    Ok(topology)
}

/// Gives every device a place, and makes the ports and the SCSI controller that takes, and as many ports that
/// `spare` are left over.
pub(super) fn place_all(record: &mut Record, command_line: &CommandLine, spare: usize) -> Result<()> {
    let mut slots = slots(record, command_line)?;
    let unplaced = record.devices.iter().enumerate().filter(|(_, device)| device.address.is_none());
    let (on_scsi, on_pci): (Vec<_>, Vec<_>) = unplaced.partition(|(_, device)| scsi::is_disk(device));
    let indices = |list: Vec<(usize, &Device)>| list.into_iter().map(|(index, _)| index).collect::<Vec<_>>();
    let (on_scsi, on_pci) = (indices(on_scsi), indices(on_pci));
    for index in on_pci {
        let Some(device) = record.devices.get(index).cloned() else { continue };
        let model = device.model();
        let address = refuse_other_buses(model)
            .and_then(|()| next_slot(record, command_line, &mut slots, &device.spec))
            .map_err(|error| error.context(&device.id))?;
        occupy(&mut slots, &address, &device);
        settle(record, index, address.into());
    }
    for index in on_scsi {
        let address = match scsi::choose(record, command_line)? {
            Some(address) => address,
            None => ScsiAddress::of_target(add_controller(record, command_line, &mut slots)?, 0),
        };
        settle(record, index, address.into());
    }
    if command_line.machine == Machine::Express {
        for _ in slots.free()..spare {
            add_port(record, command_line)?;
        }
    }
    Ok(())
}

/// The same for one device that is not in the record yet.
pub(super) fn place(
    record: &mut Record,
    command_line: &CommandLine,
    spec: &Spec,
    address: Option<&Address>,
    scsi_bus: Option<&BusName>,
) -> Result<Address> {
    let mut slots = slots(record, command_line)?;
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
            next_slot(record, command_line, &mut slots, spec).map(Address::from)
        }
    }
}

fn settle(record: &mut Record, index: usize, address: Address) {
    if let Some(device) = record.devices.get_mut(index) {
        device.address = Some(address);
    }
}

/// The next free slot, on a new port if there is no other.
fn next_slot(
    record: &mut Record,
    command_line: &CommandLine,
    slots: &mut SlotMap,
    spec: &Spec,
) -> Result<PciAddress> {
    if slots.free() == 0 && command_line.machine == Machine::Express {
        add_port(record, command_line)?;
        *slots = self::slots(record, command_line)?;
    }
    slots.choose_for(&Want::Auto, &spec.new_device())
}

/// A controller for disks that have none; answers its bus.
fn add_controller(record: &mut Record, command_line: &CommandLine, slots: &mut SlotMap) -> Result<BusName> {
    let spec = Spec::Controller(ControllerSpec::default());
    let slot =
        next_slot(record, command_line, slots, &spec).map_err(|error| error.context("a SCSI controller"))?;
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

fn add_port(record: &mut Record, command_line: &CommandLine) -> Result<()> {
    let mut occupied = Occupied { chassis: command_line.chassis.clone(), ..Occupied::default() };
    let on_root = command_line.pinned.iter().filter(|pinned| pinned.bus == "pcie.0");
    occupied.slots.extend(on_root.map(|pinned| pinned.slot));
    let ours = record.devices.iter().filter_map(|device| device.address.as_ref()?.pci());
    occupied
        .slots
        .extend(ours.filter(|address| address.bus.as_str() == "pcie.0").map(|address| address.slot));
    occupied.ids.extend(command_line.ids.keys().cloned());
    occupied.ids.extend(record.devices.iter().map(|device| device.id.to_string()));
    let port = RootPort::further(&record.ports, &occupied)?;
    record.ports.push(port);
    Ok(())
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MacAddr;
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
