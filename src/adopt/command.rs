//! The command of the next start: without what is recorded, with the places of what stays, and without what
//! was for one start only.

use std::collections::BTreeSet;

use serde_json::Value;

use super::argument::Argument;
use super::report::{Dropped, Pinned};
use crate::engine::shown::ShownDevice;
use crate::slots::scsi;
use crate::sorted;

/// The command, and what was done to it.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pub(super) command: Vec<String>,
    pub(super) pinned: Vec<Pinned>,
    pub(super) dropped: Vec<Dropped>,
    pub(super) warnings: Vec<String>,
}

/// Options that are about one start.
const ONCE: &[(&str, &str)] = &[
    ("S", "the guest had to wait for cont; a start has a flag for that"),
    ("incoming", "the guest came by migration; a target gets its own"),
    ("loadvm", "the guest began with a snapshot, which a start would go back to"),
];

/// Why an option was for one start only, if it was.
pub(super) fn why_once(argument: &Argument) -> Option<&'static str> {
    ONCE.iter().find(|(option, _)| *option == argument.option).map(|(_, why)| *why)
}

/// Names that QEMU has for models besides their own.
const ALIASES: &[(&str, &str)] = &[
    ("ahci", "ich9-ahci"),
    ("e1000-82540em", "e1000"),
    ("ES1370", "es1370"),
    ("lsi", "lsi53c895a"),
    ("virtio-keyboard", "virtio-keyboard-pci"),
    ("virtio-mouse", "virtio-mouse-pci"),
    ("virtio-tablet", "virtio-tablet-pci"),
];

/// Makes the command. `recorded`: the options that are recorded with a device, by where they stand.
pub(super) fn rest(
    command: &[String],
    arguments: &[Argument],
    recorded: &BTreeSet<usize>,
    devices: &[ShownDevice],
) -> Rest {
    let mut rest = Rest { command: command.iter().take(1).cloned().collect(), ..Rest::default() };
    let anonymous = match_anonymous(arguments, devices);
    for argument in arguments.iter().filter(|argument| !recorded.contains(&argument.at)) {
        if let Some(why) = why_once(argument) {
            rest.dropped.push(Dropped { option: argument.shown(), why: why.to_owned() });
            continue;
        }
        if names_descriptor(argument) {
            rest.warnings.push(format!(
                "{} names a descriptor of the process that runs, which the next start has to be given anew",
                argument.shown()
            ));
        }
        let from = argument.at;
        let words = command.get(from..from + argument.words()).unwrap_or_default();
        rest.command.extend(words.iter().cloned());
        if argument.option != "device" {
            continue;
        }
        let device = match argument.member("id") {
            Some(id) => devices.iter().find(|device| device.id.as_deref() == Some(id)),
            None => anonymous.iter().find(|(at, _)| *at == from).map(|(_, device)| *device),
        };
        match device {
            Some(device) => pin(argument, device, &mut rest),
            None if argument.member("addr").is_none() => rest.warnings.push(format!(
                "{}: which device of the guest it is cannot be told, so its place is not pinned",
                argument.shown()
            )),
            None => {}
        }
    }
    rest
}

/// QEMU gives what has no address the next free one, and there are others free now.
fn pin(argument: &Argument, device: &ShownDevice, rest: &mut Rest) {
    if scsi::qom::is_unit(&device.driver) {
        return pin_unit(argument, device, rest);
    }
    let Some(place) = device.place().filter(|_| argument.member("addr").is_none()) else { return };
    let Some(address) = place.address() else {
        // Behind a bridge without an id, or in a slot that the bus has no second of.
        if argument.member("bus").is_none() {
            rest.warnings.push(format!("{}: its bus has no name to pin it to", argument.shown()));
        }
        return;
    };
    let addr = format!("{:x}.{}", place.devfn >> 3, place.devfn & 7);
    let bus = address.bus.to_string();
    say(argument, &[("bus", bus.as_str().into()), ("addr", addr.as_str().into())], rest);
    rest.pinned.push(Pinned { what: device.title(), bus, addr });
}

/// The same on a SCSI bus.
fn pin_unit(argument: &Argument, device: &ShownDevice, rest: &mut Rest) {
    let bus = device.text("parent_bus").and_then(|bus| bus.rsplit('/').next()).map(str::to_owned);
    let (target, lun) = (device.number("scsi-id"), device.number("lun"));
    let (Some(bus), Some(target), Some(lun)) = (bus, target, lun) else { return };
    if argument.member("scsi-id").is_some() && argument.member("lun").is_some() {
        return;
    }
    say(argument, &[("bus", bus.as_str().into()), ("scsi-id", target.into()), ("lun", lun.into())], rest);
    rest.pinned.push(Pinned { what: device.title(), bus, addr: format!("{target}:{lun}") });
}

/// Adds what the option does not say yet.
fn say(argument: &Argument, members: &[(&str, Value)], rest: &mut Rest) {
    let Some(text) = rest.command.last_mut() else { return };
    let missing = || members.iter().filter(|(name, _)| argument.member(name).is_none());
    *text = match &argument.json {
        Some(json) => {
            let mut json = json.clone();
            json.extend(missing().map(|(name, value)| ((*name).to_owned(), value.clone())));
            Value::Object(json).to_string()
        }
        None => missing().fold(text.clone(), |text, (name, value)| match value {
            Value::String(value) => format!("{text},{name}={value}"),
            value => format!("{text},{name}={value}"),
        }),
    };
}

/// Which `-device` without an id made which device: by their order, where all of a model come from there.
pub(super) fn match_anonymous<'a>(
    arguments: &[Argument],
    devices: &'a [ShownDevice],
) -> Vec<(usize, &'a ShownDevice)> {
    let mut found = Vec::new();
    let nameless = |argument: &&Argument| argument.option == "device" && argument.member("id").is_none();
    let mut drivers: BTreeSet<&str> = BTreeSet::new();
    for device in devices.iter().filter(|device| device.id.is_none()) {
        if !drivers.insert(&device.driver) {
            continue;
        }
        let is_it =
            |argument: &&Argument| is_driver(argument.member("driver").unwrap_or_default(), &device.driver);
        // QEMU makes those of JSON last.
        let options = arguments.iter().filter(nameless).filter(is_it);
        let options = sorted::by_key(options, |argument| argument.json.is_some());
        let made = devices.iter().filter(|other| other.id.is_none() && other.driver == device.driver);
        let made = sorted::by_key(made, |device| number(&device.path));
        if options.len() == made.len() {
            found.extend(options.iter().map(|argument| argument.at).zip(made));
        }
    }
    found
}

/// The number in `device[3]`, in whose order QEMU has made them.
fn number(path: &str) -> Option<u32> {
    path.rsplit_once('[')?.1.strip_suffix(']')?.parse().ok()
}

fn is_driver(named: &str, driver: &str) -> bool {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == named).map(|(_, driver)| *driver);
    named == driver || alias == Some(driver) || driver.strip_suffix("-pci") == Some(named)
}

/// A number that means nothing to another process.
pub(super) fn names_descriptor(argument: &Argument) -> bool {
    const MEMBERS: &[&str] = &["fd", "fds", "vhostfd", "vhostfds", "vhostdev-fd", "sockfd"];
    let is_number = |text: &str| text.split(':').all(|part| part.parse::<u32>().is_ok());
    argument.option == "add-fd"
        || MEMBERS.iter().any(|name| argument.member(name).is_some_and(is_number))
        || argument.text.as_deref().is_some_and(|text| text.contains("/dev/fdset/"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn device(path: &str, driver: &str, addr: u64) -> ShownDevice {
        let id = path.strip_prefix("/machine/peripheral/").map(str::to_owned);
        let places = [("parent_bus", json!("/machine/i440fx/pci.0")), ("addr", json!(addr))];
        let properties = sorted::object(places);
        ShownDevice { path: path.to_owned(), id, driver: driver.to_owned(), properties }
    }

    #[test]
    fn what_stays_keeps_its_place() {
        let command = words(&[
            "qemu",
            "-S",
            "-device",
            "virtio-rng",
            "-device",
            "virtio-net-pci,id=lan",
            "-device",
            r#"{"driver":"usb-ehci","id":"usb"}"#,
            "-device",
            "virtio-rng-pci,bus=pci.0",
            "-device",
            "usb-tablet",
            "-chardev",
            "socket,id=c,fd=7",
        ]);
        let arguments = Argument::list(&command);
        let anon = |number: u32| format!("/machine/peripheral-anon/device[{number}]");
        let devices = [
            device(&anon(1), "virtio-rng-pci", 48),
            device(&anon(0), "virtio-rng-pci", 24),
            device("/machine/peripheral/lan", "virtio-net-pci", 32),
            device("/machine/peripheral/usb", "usb-ehci", 41),
            ShownDevice { properties: Map::new(), ..device(&anon(2), "usb-tablet", 0) },
        ];
        let rest = rest(&command, &arguments, &BTreeSet::from([4]), &devices);
        let expected = words(&[
            "qemu",
            "-device",
            "virtio-rng,bus=pci.0,addr=3.0",
            "-device",
            r#"{"addr":"5.1","bus":"pci.0","driver":"usb-ehci","id":"usb"}"#,
            "-device",
            "virtio-rng-pci,bus=pci.0,addr=6.0",
            "-device",
            "usb-tablet",
            "-chardev",
            "socket,id=c,fd=7",
        ]);
        assert_eq!(rest.command, expected);
        assert_eq!(rest.pinned.len(), 3);
        assert_eq!(rest.dropped.len(), 1);
        assert!(rest.warnings.len() == 1 && rest.warnings[0].contains("names a descriptor"));
    }

    #[test]
    fn what_cannot_be_told_apart_is_said() {
        let command = words(&["qemu", "-device", "virtio-rng-pci", "-device", "odd"]);
        let devices = [
            device("/machine/peripheral-anon/device[0]", "virtio-rng-pci", 24),
            device("/machine/peripheral-anon/device[1]", "virtio-rng-pci", 32),
        ];
        let rest = rest(&command, &Argument::list(&command), &BTreeSet::new(), &devices);
        assert_eq!(rest.command, command);
        assert_eq!(rest.warnings.len(), 2, "{:?}", rest.warnings);
    }
}
