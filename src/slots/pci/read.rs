//! Reads a `query-pci` reply. QEMU may be in the hands of its guest, so everything is checked and counted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BusName, Slot};
use crate::sanitize;

use super::bus::{Bus, BusKind, Occupant};

/// PCI has 256 bus numbers.
pub(super) const MAX_BUSES: usize = 256;
/// Far above what a guest with working hardware has; a reply that claims more is not worth the memory.
pub(super) const MAX_DEVICES: usize = 4096;
/// Bridges behind bridges. Real guests stay below 6; the limit bounds our recursion.
pub(super) const MAX_DEPTH: usize = 32;

/// All buses of a reply, in no particular order.
pub(super) fn query_pci(reply: &Value) -> Result<Vec<Bus>> {
    let mut roots = BTreeMap::new();
    for entry in as_list(reply, "the reply")? {
        let number: u8 = number(entry, "bus")?;
        roots.entry(number).or_insert(as_list(field(entry, "devices")?, "\"devices\"")?);
    }
    let mut on_roots = Numbers::default();
    for (number, devices) in &roots {
        on_roots.add(*number, *number);
        on_roots.add_bridges(devices)?;
    }
    let mut reader = Reader::default();
    // Bus 0 comes first, wherever QEMU lists it (a pxb comes before it), so that no bridge can take its name.
    for (number, devices) in roots {
        let root =
            if number == 0 { main_root(devices)? } else { Bus::root(number, BusKind::OtherRoot, None) };
        reader.names.extend(root.name.clone());
        reader.bus(root, devices, &on_roots, 0)?;
    }
    Ok(reader.buses)
}

/// Bus 0, identified by the host bridge at 0:0.0. An unknown one leaves the bus without a name: the ports
/// behind it can still be used, the bus itself cannot.
fn main_root(devices: &[Value]) -> Result<Bus> {
    for device in devices {
        let place: (u8, u8) = (number(device, "slot")?, number(device, "function")?);
        if place == (0, 0) {
            let (vendor, device) = pci_id(device)?;
            if let Some((kind, name)) = BusKind::of_host_bridge(vendor, device) {
                return Ok(Bus::root(0, kind, BusName::parse(name).ok()));
            }
        }
    }
    Ok(Bus::root(0, BusKind::OtherRoot, None))
}

#[derive(Default)]
struct Reader {
    buses: Vec<Bus>,
    names: BTreeSet<BusName>,
    devices: usize,
}

impl Reader {
    /// `numbers` are those among which QEMU has looked for the buses behind the bridges on this one.
    fn bus(&mut self, mut bus: Bus, devices: &[Value], numbers: &Numbers, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(bad(format!("bridges are nested more than {MAX_DEPTH} deep")));
        }
        for value in devices {
            self.devices += 1;
            if self.devices > MAX_DEVICES {
                return Err(bad(format!("more than {MAX_DEVICES} devices")));
            }
            let device = Device::read(value)?;
            if let Some(bridge) = device.bridge {
                self.bridge(&bus, &device, bridge, numbers, depth)?;
            }
            bus.functions.entry((device.slot, device.function)).or_insert(device.occupant);
        }
        self.push(bus)
    }

    fn bridge(
        &mut self,
        parent: &Bus,
        device: &Device<'_>,
        bridge: &Value,
        numbers: &Numbers,
        depth: usize,
    ) -> Result<()> {
        let kind = device.occupant.pci_id.map_or(BusKind::OtherBridge, |(v, d)| BusKind::of_bridge(v, d));
        let name = device.occupant.id.as_deref().and_then(|id| BusName::parse(id).ok());
        let name = name.filter(|name| self.names.insert(name.clone()));
        let mut bus = parent.child(kind, name, device.slot, device.function);
        let (secondary, _) = range(bridge)?;
        let list = bridge.get("devices").map(|list| as_list(list, "\"devices\" of a bridge")).transpose()?;
        match list {
            // A number without a list means that QEMU found no bus by that number: the guest has it wrong.
            Some(list) if numbers.is_of_one(secondary) => {
                bus.number = Some(secondary);
                let mut behind = Numbers::default();
                behind.add(secondary, secondary);
                behind.add_bridges(list)?;
                self.bus(bus, list, &behind, depth + 1)
            }
            _ => self.push(bus),
        }
    }

    fn push(&mut self, bus: Bus) -> Result<()> {
        if self.buses.len() >= MAX_BUSES {
            return Err(bad(format!("more than {MAX_BUSES} buses")));
        }
        self.buses.push(bus);
        Ok(())
    }
}

/// How many bridges claim each bus number.
///
/// QEMU looks for the bus behind a bridge by the number that the guest has given it, and shows what is on the
/// first bus that it finds. While a firmware is at it, all bridges have one number (SeaBIOS: 255) or one has
/// a range with the numbers of others, and QEMU shows the devices of one bus behind all, or none.
struct Numbers([u16; 256]);

impl Default for Numbers {
    fn default() -> Self {
        Self([0; 256])
    }
}

impl Numbers {
    fn add(&mut self, secondary: u8, subordinate: u8) {
        // The own number is looked at before any range is.
        for number in secondary..=subordinate.max(secondary) {
            if let Some(claims) = self.0.get_mut(usize::from(number)) {
                *claims = claims.saturating_add(1);
            }
        }
    }

    fn add_bridges(&mut self, devices: &[Value]) -> Result<()> {
        for bridge in devices.iter().filter_map(|device| device.get("pci_bridge")) {
            let (secondary, subordinate) = range(bridge)?;
            self.add(secondary, subordinate);
        }
        Ok(())
    }

    /// What QEMU shows behind a bridge with this number is behind that bridge. Nothing is behind number 0.
    fn is_of_one(&self, number: u8) -> bool {
        number != 0 && self.0.get(usize::from(number)) == Some(&1)
    }
}

/// The numbers of a bridge: of the bus behind it, and the last one of those further behind.
fn range(bridge: &Value) -> Result<(u8, u8)> {
    let bus = field(bridge, "bus")?;
    Ok((number(bus, "secondary")?, number(bus, "subordinate")?))
}

struct Device<'a> {
    slot: Slot,
    function: u8,
    occupant: Occupant,
    bridge: Option<&'a Value>,
}

impl<'a> Device<'a> {
    fn read(value: &'a Value) -> Result<Self> {
        let slot = number(value, "slot")?;
        let slot = Slot::new(slot).ok_or_else(|| bad(format!("\"slot\" is {slot}, more than 31")))?;
        let function = number(value, "function")?;
        if function > 7 {
            return Err(bad(format!("\"function\" is {function}, more than 7")));
        }
        let (vendor, device) = pci_id(value)?;
        let description = match value.get("class_info").and_then(|class| class.get("desc")) {
            None => format!("PCI device {vendor:04x}:{device:04x}"),
            Some(desc) => sanitize::name(as_text(desc, "\"desc\"")?),
        };
        let id = value.get("qdev_id").map(|id| as_text(id, "\"qdev_id\"")).transpose()?;
        let occupant = Occupant {
            id: id.and_then(sanitize::id).map(str::to_owned),
            description,
            pci_id: Some((vendor, device)),
            configured: configured(value)?,
            confirmed: false,
        };
        Ok(Self { slot, function, occupant, bridge: value.get("pci_bridge") })
    }
}

/// QEMU reports -1 for a BAR that is not mapped, which is every BAR until the guest sets it and enables
/// decoding.
fn configured(device: &Value) -> Result<bool> {
    let Some(regions) = device.get("regions") else { return Ok(true) };
    let regions = as_list(regions, "\"regions\"")?;
    let mut mapped = regions.is_empty();
    for region in regions {
        let address = field(region, "address")?;
        if !address.is_i64() && !address.is_u64() {
            return Err(bad("\"address\" of a region is not an integer"));
        }
        mapped |= address.as_i64() != Some(-1);
    }
    Ok(mapped)
}

fn pci_id(device: &Value) -> Result<(u16, u16)> {
    let id = field(device, "id")?;
    Ok((number(id, "vendor")?, number(id, "device")?))
}

pub(super) fn bad(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Protocol, format!("query-pci: {what}"))
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a Value> {
    value.get(name).ok_or_else(|| bad(format!("{name:?} is missing")))
}

fn number<T: TryFrom<u64>>(value: &Value, name: &str) -> Result<T> {
    let number = field(value, name)?.as_u64().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| bad(format!("{name:?} is not a number in range")))
}

fn as_list<'a>(value: &'a Value, what: &str) -> Result<&'a [Value]> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| bad(format!("{what} is not a list")))
}

fn as_text<'a>(value: &'a Value, what: &str) -> Result<&'a str> {
    value.as_str().ok_or_else(|| bad(format!("{what} is not a string")))
}
