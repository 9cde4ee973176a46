//! The slots of the guest that is started next: what its record and its command put into them.

use crate::error::Result;
use crate::ids::{Address, BusName, PciAddress, Slot};
use crate::model::command_line::{CommandLine, Machine};
use crate::model::{Device, Record};
use crate::slots::pci::{BusKind, SlotMap, Topology};

/// The slots of the guest that `record` and its command line describe.
pub(super) fn of(record: &Record, command_line: &CommandLine) -> Result<SlotMap> {
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
    for bridge in &record.bridges {
        topology.put("pci.0", bridge.slot, 0, Some(bridge.id.as_str()), "pci-bridge");
        topology.put_bridge(BusKind::PciBridge, bridge.id.clone(), Some((bridge.slot, 0)), true);
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

pub(super) fn occupy(slots: &mut SlotMap, address: &PciAddress, device: &Device) {
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
