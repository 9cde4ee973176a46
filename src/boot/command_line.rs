//! What can be read out of an agent's own command line: machine, ids, and the places its devices are pinned to.
//!
//! Everything else in it is left alone. What hides in a configuration file, and where QEMU puts devices that are not
//! pinned, cannot be known; for those a record has its reserved slots.

use std::collections::{BTreeMap, BTreeSet};

use super::options::read;
use super::scsi::Unit;
use crate::ids::{BusName, Slot};
use crate::ordered;
use crate::slots::pci::BusKind;
use crate::slots::scsi;

/// What kind of machine it is, as far as its PCI root bus goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// `pc`, which is also the default: `pci.0`.
    Conventional,
    /// `q35` and, of other architectures, `virt`: `pcie.0`.
    Express,
    /// One that this library does not place devices in.
    Other,
}

/// A place on a root bus that the command line pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pinned {
    pub(super) bus: String,
    pub(super) slot: Slot,
    pub(super) function: u8,
    /// Id or driver.
    pub(super) what: String,
}

/// A device that the command line puts on a bus, and says no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OnBus {
    pub(super) bus: String,
    /// Id or driver.
    pub(super) what: String,
    /// QEMU makes those that are text first.
    json: bool,
}

/// A bridge or port with an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bridge {
    pub(super) name: BusName,
    pub(super) kind: BusKind,
    pub(super) hotplug: bool,
    /// On the root bus, if it is pinned there.
    pub(super) place: Option<(Slot, u8)>,
}

/// What was read.
#[derive(Clone, Debug)]
pub(super) struct CommandLine {
    pub(super) machine: Machine,
    /// The machine's name as it was given.
    pub(super) machine_type: String,
    pub(super) pinned: Vec<Pinned>,
    /// In the order in which QEMU makes them.
    pub(super) on_buses: Vec<OnBus>,
    pub(super) bridges: Vec<Bridge>,
    /// SCSI controllers with an id: that, and the model.
    pub(super) controllers: Vec<(String, String)>,
    /// What is on their buses.
    pub(super) units: Vec<Unit>,
    /// Drivers of devices without an id.
    pub(super) devices_without_id: Vec<String>,
    /// Each id with the option that has it.
    pub(super) ids: BTreeMap<String, String>,
    pub(super) chassis: BTreeSet<u8>,
    /// Each boot index with the device that has it, by id or driver.
    pub(super) boot_indices: BTreeMap<u32, String>,
    pub(super) fdsets: BTreeSet<u32>,
    pub(super) fds: BTreeSet<u32>,
    pub(super) incoming: bool,
    /// A device is written as JSON.
    pub(super) has_json_device: bool,
}

impl CommandLine {
    pub(super) fn read(command: &[String]) -> Self {
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
            chassis: BTreeSet::new(),
            boot_indices: BTreeMap::new(),
            fdsets: BTreeSet::new(),
            fds: BTreeSet::new(),
            incoming: false,
            has_json_device: false,
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
                Some("add-fd") => "fd",
                Some("watchdog") => "driver",
                Some("virtfs") => "fsdriver",
                _ => continue,
            };
            let text = arguments.next().map_or("", String::as_str);
            let json = text.starts_with('{');
            command_line.has_json_device |= json && option == Some("device");
            let members = ordered::map(read(text, implied));
            command_line.take(option.unwrap_or_default(), &members, json);
        }
        ordered::sort_by_key(&mut command_line.on_buses, |device| device.json);
        command_line.machine = machine(&command_line.machine_type);
        let root = command_line.root_bus();
        for pinned in &mut command_line.pinned {
            if pinned.bus.is_empty() {
                root.clone_into(&mut pinned.bus);
            }
        }
        command_line
    }

    /// The name of the machine's root bus.
    pub(super) fn root_bus(&self) -> &'static str {
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
            }
            "add-fd" => {
                self.fdsets.extend(number("set"));
                self.fds.extend(number("fd"));
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
pub(crate) fn names_device(command: &[String], id: &str) -> bool {
    CommandLine::read(command).ids.get(id).is_some_and(|option| option == "-device")
}

/// Drivers of the devices that the command makes without an id.
pub(crate) fn devices_without_id(command: &[String]) -> Vec<String> {
    CommandLine::read(command).devices_without_id
}

/// Whether the command has a netdev of this id.
pub(crate) fn names_netdev(command: &[String], id: &str) -> bool {
    CommandLine::read(command).ids.get(id).is_some_and(|option| option == "-netdev")
}

fn machine(name: &str) -> Machine {
    let is = |word: &str| name == word || name.strip_prefix(word).is_some_and(|rest| rest.starts_with('-'));
    if is("q35") || is("pc-q35") || is("virt") {
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
mod tests {
    use super::*;

    fn command_line(arguments: &[&str]) -> CommandLine {
        let program = std::iter::once("qemu").chain(arguments.iter().copied());
        CommandLine::read(&program.map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn devices_are_found_by_id() {
        let words =
            ["qemu", "-device", "virtio-scsi-pci,id=scsi,x=a,,id=b", "-netdev", "tap,id=net", "--device"];
        let json = r#"{"driver":"lsi","id":"hba"}"#;
        let command: Vec<String> = words.into_iter().chain([json, "-device"]).map(str::to_owned).collect();
        for (id, named) in [("scsi", true), ("hba", true), ("b", false), ("net", false), ("", false)] {
            assert_eq!(names_device(&command, id), named, "{id}");
        }
    }

    #[test]
    fn machines() {
        for (name, machine) in [
            ("pc", Machine::Conventional),
            ("pc-i440fx-7.2,accel=tcg", Machine::Conventional),
            ("type=q35,smm=off", Machine::Express),
            ("pc-q35-10.0", Machine::Express),
            ("accel=kvm,type=virt-9.2", Machine::Express),
            ("microvm", Machine::Other),
            ("isapc", Machine::Other),
        ] {
            for option in ["-machine", "-M", "--machine"] {
                assert_eq!(command_line(&[option, name]).machine, machine, "{name}");
            }
        }
        assert_eq!(command_line(&[]).machine, Machine::Conventional);
        let twice = command_line(&["-M", "q35", "-machine", "accel=tcg"]);
        assert_eq!((twice.machine, twice.machine_type.as_str()), (Machine::Express, "q35"));
    }

    #[test]
    fn places_and_ids() {
        let found = command_line(&[
            "-machine",
            "q35",
            "-device",
            "virtio-balloon-pci,id=balloon,addr=0x1b",
            "-device",
            "pcie-root-port,id=port,bus=pcie.0,chassis=7,addr=1c.2,hotplug=off",
            "-device",
            r#"{"driver":"pcie-root-port","id":"second","chassis":9}"#,
            "-device",
            "virtio-rng-pci,bus=second",
            "-device",
            r#"{"driver":"virtio-rng-pci","id":"far","bus":"port","addr":"0x0"}"#,
            "-device",
            "pcie-root-port,id=third,addr=0x1d.0x1",
            "-drive",
            "if=none,id=cd,file=/a,,b",
            "-netdev",
            "tap,id=lan,fds=7:8,vhostfds=9:x",
            "-add-fd",
            "fd=12,set=3",
            "-blockdev",
            r#"{"driver":"null-co","node-name":"null"}"#,
        ]);
        let slot = |number| Slot::new(number).unwrap();
        let pinned = |number, function, what: &str| Pinned {
            bus: "pcie.0".into(),
            slot: slot(number),
            function,
            what: what.into(),
        };
        let far = Pinned { bus: "port".into(), ..pinned(0, 0, "far") };
        assert_eq!(
            found.pinned,
            [pinned(0x1b, 0, "balloon"), pinned(0x1c, 2, "port"), far, pinned(0x1d, 1, "third")]
        );
        let on_bus = |bus: &str, what: &str, json| OnBus { bus: bus.into(), what: what.into(), json };
        assert_eq!(found.on_buses, [on_bus("second", "virtio-rng-pci", false)]);
        assert!(found.has_json_device && !command_line(&["-blockdev", "{}"]).has_json_device);
        let port = |name, hotplug, place| Bridge {
            name: BusName::parse(name).unwrap(),
            kind: BusKind::RootPort,
            hotplug,
            place,
        };
        assert_eq!(
            found.bridges,
            [
                port("port", false, Some((slot(0x1c), 2))),
                port("second", true, None),
                port("third", true, Some((slot(0x1d), 1)))
            ]
        );
        let ids: Vec<_> = found.ids.iter().map(|(id, option)| format!("{option} {id}")).collect();
        let expected = [
            "-device balloon",
            "-drive cd",
            "-device far",
            "-netdev lan",
            "-blockdev null",
            "-device port",
            "-device second",
            "-device third",
        ];
        assert_eq!(ids, expected);
        assert_eq!(found.chassis, BTreeSet::from([7, 9]));
        assert_eq!((found.fdsets, found.fds), (BTreeSet::from([3]), BTreeSet::from([7, 8, 9, 12])));
        assert!(!found.incoming && command_line(&["-incoming", "defer"]).incoming);
    }

    #[test]
    fn devices_without_an_id() {
        let found = command_line(&[
            "-device",
            "virtio-balloon",
            "-device",
            "virtio-rng-pci,id=rng",
            "-device",
            r#"{"driver":"qemu-xhci"}"#,
            "-drive",
            "file=/a,if=virtio",
            "-drive",
            "file=/b,if=none,id=b",
            "-watchdog",
            "i6300esb",
        ]);
        assert_eq!(found.devices_without_id, ["virtio-balloon", "qemu-xhci", "virtio-blk", "i6300esb"]);
    }

    #[test]
    fn what_cannot_be_read_pins_nothing() {
        for odd in ["x,addr=", "x,addr=20", "x,addr=5.8", "x,addr=g", "{\"driver\":", ""] {
            assert_eq!(command_line(&["-device", odd]).pinned, [], "{odd}");
        }
        assert_eq!(command_line(&["-device"]).pinned, []);
    }
}
