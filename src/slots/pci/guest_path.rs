//! Where a guest finds a device: the way from the root bus, which no guest can change, and the number that
//! the guest has given the bus.

use super::bus::{Bus, BusKind};
use super::topology::Topology;
use crate::ids::PciAddress;

/// A function of a bus, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPath {
    /// Slot and function of each bridge on the way, and of the device at its end: `10.0/00.0`. Behind another
    /// root bus than 0, the number of that bus is in front: `80:00.0/01.0`.
    pub way: String,
    /// The number of the bus, once the guest has given it one.
    pub bus: Option<u8>,
    /// The slot.
    pub slot: u8,
    /// The function.
    pub function: u8,
    /// The slot has other functions too.
    pub shared: bool,
    /// On the bus whose slots ACPI numbers for the guest.
    pub on_acpi_bus: bool,
}

impl Topology {
    /// The device with this id, which is recorded at this address; `None` if the guest does not show its bus.
    pub fn guest_path(&self, id: &str, address: &PciAddress) -> Option<GuestPath> {
        let bus = self.bus(address.bus.as_str())?;
        let slot = address.slot.get();
        let found = self.find(id).filter(|found| found.address().as_ref() == Some(address));
        let function = found.map_or(0, |found| found.function);
        let shared = bus.in_slot(address.slot).any(|(other, _)| other != function);
        let on_acpi_bus = bus.kind() == BusKind::ConventionalRoot && bus.is_hotpluggable();
        Some(GuestPath {
            way: way(bus, slot, function),
            bus: bus.number(),
            slot,
            function,
            shared,
            on_acpi_bus,
        })
    }
}

fn way(bus: &Bus, slot: u8, function: u8) -> String {
    let (root, bridges) = bus.path.split_first().map_or((0, &[][..]), |(root, bridges)| (*root, bridges));
    let mut way = if root == 0 { String::new() } else { format!("{root:02x}:") };
    for devfn in bridges {
        way += &format!("{:02x}.{}/", devfn >> 3, devfn & 7);
    }
    way + &format!("{slot:02x}.{function}")
}
