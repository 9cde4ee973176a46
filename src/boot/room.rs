//! Room for devices in the guest that is started next: the root ports and PCI bridges that its command makes.

use super::cold_slots;
use crate::error::Result;
use crate::ids::{BusName, PciAddress};
use crate::model::command_line::{CommandLine, Machine};
use crate::model::root_port::{Occupied, RootPort};
use crate::model::{Device, PciBridge, Record, Spec};
use crate::slots::pci::{Room, SlotMap, Want, WhenFull};
use crate::sorted;

/// The next free slot, on a new port or behind a new bridge if there is no other.
pub(super) fn next_slot(
    record: &mut Record,
    command_line: &CommandLine,
    slots: &mut SlotMap,
    spec: &Spec,
) -> Result<PciAddress> {
    let device = spec.new_device();
    if command_line.machine == Machine::Express && slots.free() == 0 {
        add_port(record, command_line)?;
        *slots = cold_slots::of(record, command_line)?;
    } else if slots.room_to_make(&device) == Some(Room::Bridge) && add_bridge(record, command_line, slots)? {
        *slots = cold_slots::of(record, command_line)?;
    }
    slots.choose_for(&Want::Auto, &device)
}

/// As many ports that `spare` are left over; or as many bridges, where the record wants any and `pci.0` has
/// slots for them.
pub(super) fn make(
    record: &mut Record,
    command_line: &CommandLine,
    slots: &SlotMap,
    spare: usize,
) -> Result<()> {
    if command_line.machine == Machine::Express {
        for _ in slots.free()..spare {
            add_port(record, command_line)?;
        }
        return Ok(());
    }
    if record.slot_rules.when_full == WhenFull::Refuse {
        return Ok(());
    }
    let mut slots = slots.clone();
    while slots.free() < spare && add_bridge(record, command_line, &slots)? {
        slots = cold_slots::of(record, command_line)?;
    }
    Ok(())
}

/// A record that wants no bridges any more loses those that nothing is behind.
pub(super) fn drop_empty_bridges(record: &mut Record, command_line: &CommandLine) {
    if record.slot_rules.when_full != WhenFull::Refuse {
        return;
    }
    let of_devices = record.devices.iter().filter_map(Device::bus).map(BusName::as_str);
    let of_command = command_line.pinned.iter().map(|pinned| pinned.bus.as_str());
    let of_command = of_command.chain(command_line.on_buses.iter().map(|device| device.bus.as_str()));
    let used = sorted::set(of_devices.chain(of_command));
    record.bridges.retain(|bridge| used.contains(bridge.id.as_str()));
}

fn add_port(record: &mut Record, command_line: &CommandLine) -> Result<()> {
    let mut occupied = occupied(record, command_line);
    let on_root = command_line.pinned.iter().filter(|pinned| pinned.bus == "pcie.0");
    occupied.slots.extend(on_root.map(|pinned| pinned.slot));
    let ours = record.devices.iter().filter_map(|device| device.address.as_ref()?.pci());
    occupied
        .slots
        .extend(ours.filter(|address| address.bus.as_str() == "pcie.0").map(|address| address.slot));
    let port = RootPort::further(&record.ports, &occupied)?;
    record.ports.push(port);
    Ok(())
}

/// False if `pci.0` has no slot for one.
fn add_bridge(record: &mut Record, command_line: &CommandLine, slots: &SlotMap) -> Result<bool> {
    let Some(address) = slots.slot_for_bridge() else { return Ok(false) };
    let bridge = PciBridge::further(&record.bridges, address.slot, &occupied(record, command_line))?;
    record.bridges.push(bridge);
    Ok(true)
}

/// Chassis numbers and ids of what is not a port or bridge of the record.
fn occupied(record: &Record, command_line: &CommandLine) -> Occupied {
    let mut occupied = Occupied { chassis: command_line.chassis.clone(), ..Occupied::default() };
    occupied.ids.extend(command_line.ids.keys().cloned());
    occupied.ids.extend(record.devices.iter().map(|device| device.id.to_string()));
    occupied
}
