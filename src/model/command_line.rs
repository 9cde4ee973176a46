//! What can be read out of an agent's own command line: machine, ids, and the places its devices are pinned
//! to.
//!
//! Everything else in it is left alone. What hides in a configuration file, and where QEMU puts devices that
//! are not pinned, cannot be known; for those a record has its reserved slots.

use std::collections::{BTreeMap, BTreeSet};

use super::option::read;
use crate::ids::{BusName, Slot};
use crate::slots::pci::BusKind;
use crate::slots::scsi;
use crate::sorted;

/// What kind of machine it is, as far as its PCI root bus goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// `pc`, which is also the default: `pci.0`.
    Conventional,
    /// `q35`, `virt` of other architectures, and `microvm` with `pcie=on`: `pcie.0`.
    Express,
    /// One that this library does not place devices in.
    Other,
}

/// A place on a root bus that the command line pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The bus's name.
    pub bus: String,
    /// The slot.
    pub slot: Slot,
    /// The function.
    pub function: u8,
    /// Id or driver.
    pub what: String,
}

/// A device that the command line puts on a bus, and says no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnBus {
    /// The bus's name.
    pub bus: String,
    /// Id or driver.
    pub what: String,
    /// QEMU makes those that are text first.
    json: bool,
}

/// A SCSI device that the command line makes, with what it says of its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its bus.
    pub bus: Option<String>,
    /// Its target number.
    pub target: Option<u8>,
    /// Its LUN.
    pub lun: Option<u16>,
    /// Id or driver.
    pub what: String,
}

/// A bridge or port with an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The name of its bus.
    pub name: BusName,
    /// What kind of bus that is.
    pub kind: BusKind,
    /// Whether devices can be plugged into it while the guest runs.
    pub hotplug: bool,
    /// On the root bus, if it is pinned there.
    pub place: Option<(Slot, u8)>,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct CommandLine {
    /// What kind of machine it is.
    pub machine: Machine,
    /// The machine's name as it was given.
    pub machine_type: String,
    /// Places that are pinned.
    pub pinned: Vec<Pinned>,
    /// In the order in which QEMU makes them.
    pub on_buses: Vec<OnBus>,
    /// Bridges and ports with an id.
    pub bridges: Vec<Bridge>,
    /// SCSI controllers with an id: that, and the model.
    pub controllers: Vec<(String, String)>,
    /// What is on their buses.
    pub units: Vec<Unit>,
    /// Drivers of devices without an id.
    pub devices_without_id: Vec<String>,
    /// Each id with the option that has it.
    pub ids: BTreeMap<String, String>,
    /// The type of each object by its id. Devices may have the same ids.
    pub objects: BTreeMap<String, String>,
    /// Chassis numbers that are taken.
    pub chassis: BTreeSet<u8>,
    /// Each boot index with the device that has it, by id or driver.
    pub boot_indices: BTreeMap<u32, String>,
    /// Numbers of fdsets.
    pub fdsets: BTreeSet<u32>,
    /// Numbers of descriptors that it passes.
    pub fds: BTreeSet<u32>,
    /// It waits for a migration.
    pub incoming: bool,
    /// A device is written as JSON.
    pub has_json_device: bool,
    /// The machine's property `pcie` is on, which `microvm` has.
    has_pcie: bool,
}

impl CommandLine {
    /// Reads one, of which the first element is the program.
    pub fn read(command: &[String]) -> Self {
        let mut command_line = Self {
            machine: Machine::Conventional,
            machine_type: String::new(),
            pinned: Vec::new(),
            on_buses: Vec::new(),
            bridges: Vec::new(),
            controllers: Vec::new(),
            units: Vec::new(),
            devices_without_id: Vec::new(),
            ids: BTreeMap::new(),
            objects: BTreeMap::new(),
            chassis: BTreeSet::new(),
            boot_indices: BTreeMap::new(),
            fdsets: BTreeSet::new(),
            fds: BTreeSet::new(),
            incoming: false,
            has_json_device: false,
            has_pcie: false,
        };
        let mut arguments = command.iter().skip(1);
        while let Some(argument) = arguments.next() {
            // QEMU takes one dash or two.
            let option = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
            let implied = match option {
                Some("incoming") => {
                    command_line.incoming = true;
                    continue;
                }
                Some("machine" | "M" | "netdev") => "type",
                Some("device" | "blockdev") => "driver",
                Some("drive") => "file",
                Some("object") => "qom-type",
                Some("add-fd") => "fd",
                Some("watchdog") => "driver",
                Some("virtfs") => "fsdriver",
                _ => continue,
            };
            let text = arguments.next().map_or("", String::as_str);
            let json = text.starts_with('{');
            command_line.has_json_device |= json && option == Some("device");
            let members = sorted::map(read(text, implied));
            command_line.take(option.unwrap_or_default(), &members, json);
        }
        command_line.on_buses = sorted::by_key(command_line.on_buses, |device| device.json);
        command_line.machine = machine(&command_line.machine_type, command_line.has_pcie);
        let root = command_line.root_bus();
        for pinned in &mut command_line.pinned {
            if pinned.bus.is_empty() {
                root.clone_into(&mut pinned.bus);
            }
        }
        command_line
    }

    /// The name of the machine's root bus.
    pub fn root_bus(&self) -> &'static str {
        if self.machine == Machine::Express { "pcie.0" } else { "pci.0" }
    }

    fn take(&mut self, option: &str, members: &BTreeMap<String, String>, json: bool) {
        let member = |name: &str| members.get(name).map(String::as_str);
        let number = |name: &str| member(name).and_then(|text| text.parse::<u32>().ok());
        match option {
            "machine" | "M" => {
                if let Some(name) = member("type") {
                    name.clone_into(&mut self.machine_type);
                }
                if let Some(pcie) = member("pcie") {
                    self.has_pcie = matches!(pcie, "on" | "yes" | "true" | "y");
                }
            }
            "add-fd" => {
                self.fdsets.extend(number("set"));
                self.fds.extend(number("fd"));
            }
            "object" => {
                let named = member("id").zip(member("qom-type"));
                self.objects.extend(named.map(|(id, kind)| (id.to_owned(), kind.to_owned())));
            }
            _ => {
                for key in ["id", "node-name"] {
                    if let Some(id) = member(key) {
                        self.ids.insert(id.to_owned(), format!("-{option}"));
                    }
                }
            }
        }
        match option {
            "netdev" => {
                let lists = ["fd", "fds", "vhostfd", "vhostfds"].map(member);
                let numbers = lists.iter().flatten().flat_map(|list| list.split(':'));
                self.fds.extend(numbers.filter_map(|text| text.parse::<u32>().ok()));
            }
            "device" => self.take_device(members, json),
            _ => {}
        }
        // What QEMU makes of these options has no id.
        let made = match (option, member("if")) {
            ("device", _) if member("id").is_none() => member("driver"),
            ("watchdog", _) => member("driver"),
            ("virtfs", _) => Some("virtio-9p"),
            ("drive", Some("virtio")) => Some("virtio-blk"),
            ("drive", Some("scsi")) => Some("scsi-"),
            _ => None,
        };
        self.devices_without_id.extend(made.map(str::to_owned));
    }

    fn take_device(&mut self, members: &BTreeMap<String, String>, json: bool) {
        let member = |name: &str| members.get(name).map(String::as_str);
        let driver = member("driver").unwrap_or_default();
        let place = member("addr").and_then(place);
        let bus = member("bus").unwrap_or_default();
        let what = member("id").unwrap_or(driver).to_owned();
        if let Some(index) = member("bootindex").and_then(|index| index.parse().ok()) {
            self.boot_indices.insert(index, what.clone());
        }
        match place {
            Some((slot, function)) => {
                self.pinned.push(Pinned { bus: bus.to_owned(), slot, function, what });
            }
            None if !bus.is_empty() => self.on_buses.push(OnBus { bus: bus.to_owned(), what, json }),
            None => {}
        }
        self.chassis
            .extend(["chassis", "chassis_nr"].iter().filter_map(|key| member(key)?.parse::<u8>().ok()));
        if scsi::spec::is_controller_model(driver) {
            self.controllers.extend(member("id").map(|id| (id.to_owned(), driver.to_owned())));
        }
        if scsi::qom::is_unit(driver) {
            self.units.push(Unit {
                bus: member("bus").map(str::to_owned),
                target: member("scsi-id").and_then(|text| text.parse().ok()),
                lun: member("lun").and_then(|text| text.parse().ok()),
                what: member("id").unwrap_or(driver).to_owned(),
            });
        }
        let name = member("id").and_then(|id| BusName::parse(id).ok());
        if let (Some(kind), Some(name)) = (BusKind::of_driver(driver), name) {
            let hotplug = !matches!(member("hotplug"), Some("off" | "false" | "no"));
            let place = place.filter(|_| matches!(bus, "" | "pcie.0" | "pci.0"));
            self.bridges.push(Bridge { name, kind, hotplug, place });
        }
    }
}

/// Whether the command has a device with this id.
pub fn names_device(command: &[String], id: &str) -> bool {
    CommandLine::read(command).ids.get(id).is_some_and(|option| option == "-device")
}

/// Drivers of the devices that the command makes without an id.
pub fn devices_without_id(command: &[String]) -> Vec<String> {
    CommandLine::read(command).devices_without_id
}

/// Whether the command has a netdev of this id.
pub fn names_netdev(command: &[String], id: &str) -> bool {
    CommandLine::read(command).ids.get(id).is_some_and(|option| option == "-netdev")
}

fn machine(name: &str, has_pcie: bool) -> Machine {
    let is = |word: &str| name == word || name.strip_prefix(word).is_some_and(|rest| rest.starts_with('-'));
    if is("q35") || is("pc-q35") || is("virt") || (is("microvm") && has_pcie) {
        Machine::Express
    } else if name.is_empty() || is("pc") {
        Machine::Conventional
    } else {
        Machine::Other
    }
}

/// `slot[.function]`, both hexadecimal with or without `0x`.
fn place(text: &str) -> Option<(Slot, u8)> {
    let (slot, function) = text.split_once('.').unwrap_or((text, "0"));
    let number = |text: &str| u8::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok();
    let function = number(function).filter(|function| *function < 8)?;
    Some((Slot::new(number(slot)?)?, function))
}

#[cfg(test)]
mod tests;
