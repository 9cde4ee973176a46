//! Which devices are recorded, and the record that comes of it. Pure but for what the host is asked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Map;

use super::argument::Argument;
use super::report::{Left, Recorded, Report};
use super::request::{AdoptRequest, Adopted};
use super::taken::{Sight, Taken, Why};
use super::{command, controller, defaults, disk, nic};
use crate::engine::shown::ShownDevice;
use crate::error::Result;
use crate::ids::{Address, DeviceId};
use crate::model::{DEFAULT_RESERVED, Device, Presence, Record, Spec};
use crate::slots::pci::BusKind;
use crate::sorted;

/// Options that make NICs and disks which the record has no place for, with what is said of them.
const MAKE_DEVICES: &[(&str, &str)] = &[
    ("nic", "QEMU makes its NIC without an id; -netdev and -device with an id can be recorded"),
    ("net", "QEMU makes its NIC without an id; -netdev and -device with an id can be recorded"),
    ("hda", "it is an IDE disk, which QEMU cannot take out"),
    ("hdb", "it is an IDE disk, which QEMU cannot take out"),
    ("hdc", "it is an IDE disk, which QEMU cannot take out"),
    ("hdd", "it is an IDE disk, which QEMU cannot take out"),
    ("cdrom", "it is an IDE drive, which QEMU cannot take out"),
    ("fda", "it is a floppy disk, which QEMU cannot take out"),
    ("fdb", "it is a floppy disk, which QEMU cannot take out"),
    ("sd", "it is an SD card, which QEMU cannot take out"),
    ("pflash", "it is the firmware's memory"),
    ("virtfs", "it is a folder that is shared, which the record has no place for"),
    ("", "it is an IDE disk, which QEMU cannot take out"),
];

/// Decides. `elsewhere` has the ids that a file of `-readconfig` names, with the kind of their sections.
pub(super) fn decide(
    sight: &Sight<'_>,
    words: &[String],
    elsewhere: &BTreeMap<String, String>,
    request: &AdoptRequest,
) -> Result<Adopted> {
    let mut report = Report::default();
    let mut taken = take_all(sight, elsewhere, &mut report);
    leave_busy_controllers(sight, &mut taken, &mut report);
    let recorded = sorted::set(taken.iter().flat_map(|(_, taken)| taken.goes.iter().copied()));
    let mut rest = command::rest(words, sight.arguments, &recorded, &sight.shown.devices);
    report.left.extend(defaults::keep(sight.arguments, &recorded, sight.shown, &mut rest));
    report.pinned = rest.pinned;
    report.dropped = rest.dropped;
    report.warnings = rest.warnings;
    left_options(sight, &mut report);
    let reserved = request.reserved_slots.unwrap_or_else(|| reserved_slots(sight, &taken));
    let name = request.name.clone().or_else(|| name_of(sight.arguments)).unwrap_or_default();
    let mut record = Record::new(&name, rest.command, reserved)?;
    for (id, taken) in taken {
        let device = device(id, record.next_generation, &taken);
        report.recorded.push(Recorded::of(&device, taken.notes));
        record.add(device);
    }
    record.check()?;
    Ok(Adopted { record, report })
}

fn device(id: DeviceId, generation: u64, taken: &Taken) -> Device {
    Device {
        id,
        generation,
        address: Some(taken.address.clone()),
        presence: Presence::Live,
        spec: taken.spec.clone(),
        backend: taken.names.clone(),
        properties: taken.properties.clone(),
        ganeti: None,
        extra: Map::new(),
    }
}

/// Devices that can be recorded; what is said of the others goes into the report.
fn take_all(
    sight: &Sight<'_>,
    elsewhere: &BTreeMap<String, String>,
    report: &mut Report,
) -> Vec<(DeviceId, Taken)> {
    let mut all: Vec<(DeviceId, Taken)> = Vec::new();
    for device in &sight.shown.devices {
        if BusKind::of_driver(&device.driver).is_some() {
            continue;
        }
        match take(sight, elsewhere, device).and_then(|taken| refuse_twice(&all, taken)) {
            Ok(taken) => all.push(taken),
            Err(why) => report.left.push(left(device, why)),
        }
    }
    // A controller comes before its disks, the rest in the order of their places.
    sorted::by_key(all, |(id, taken)| {
        let after_controllers = !matches!(taken.spec, Spec::Controller(_));
        (after_controllers, taken.address.bus().clone(), place(&taken.address), id.clone())
    })
}

fn place(address: &Address) -> (u16, u16) {
    match address {
        Address::Pci(address) => (address.slot.get().into(), 0),
        Address::Scsi(address) => (address.target.into(), address.lun.get()),
    }
}

pub(super) fn take(
    sight: &Sight<'_>,
    elsewhere: &BTreeMap<String, String>,
    device: &ShownDevice,
) -> std::result::Result<(DeviceId, Taken), Why> {
    let Some(id) = &device.id else {
        return Err("it has no id, which the record needs".to_owned());
    };
    let backend = ["netdev", "drive"].iter().filter_map(|name| device.text(name));
    if let Some(named) =
        std::iter::once(id.as_str()).chain(backend).find(|name| elsewhere.contains_key(*name))
    {
        return Err(format!("{named} is in the file of -readconfig"));
    }
    let taken = match () {
        () if device.is_nic() => nic::take(sight, device)?,
        () if device.is_disk() => disk::take(sight, device)?,
        () if device.is_controller() => controller::take(sight, device)?,
        () => return Err(format!("the record has no place for a {}", device.driver)),
    };
    let id = DeviceId::parse(id).map_err(|error| error.to_string())?;
    Ok((id, taken))
}

fn refuse_twice(
    all: &[(DeviceId, Taken)],
    (id, taken): (DeviceId, Taken),
) -> std::result::Result<(DeviceId, Taken), Why> {
    let mac = |taken: &Taken| match &taken.spec {
        Spec::Nic(spec) => Some(spec.mac),
        Spec::Disk(_) | Spec::Controller(_) => None,
    };
    let same_mac = |other: &&(DeviceId, Taken)| mac(&taken).is_some() && mac(&other.1) == mac(&taken);
    if let Some((other, _)) = all.iter().find(same_mac) {
        return Err(format!("{other} has the same MAC address"));
    }
    let overlaps = |other: &&(DeviceId, Taken)| other.1.goes.iter().any(|at| taken.goes.contains(at));
    if let Some((other, _)) = all.iter().find(overlaps) {
        return Err(format!("it shares an option with {other}"));
    }
    Ok((id, taken))
}

/// What stays in the command is made first, so its controller has to be there.
fn leave_busy_controllers(sight: &Sight<'_>, taken: &mut Vec<(DeviceId, Taken)>, report: &mut Report) {
    let recorded: BTreeSet<String> = taken.iter().map(|(id, _)| id.to_string()).collect();
    let stays = |device: &&ShownDevice| device.id.as_ref().is_none_or(|id| !recorded.contains(id));
    taken.retain(|(id, taken)| {
        let on_it = |device: &&ShownDevice| controller::carries(id.as_str(), device);
        let busy = match taken.spec {
            Spec::Controller(_) => sight.shown.devices.iter().filter(stays).find(on_it),
            Spec::Nic(_) | Spec::Disk(_) => None,
        };
        let shown = sight.shown.devices.iter().find(|device| device.id.as_deref() == Some(id.as_str()));
        if let (Some(busy), Some(shown)) = (busy, shown) {
            report.left.push(left(shown, format!("{} sits on it, which is not recorded", busy.title())));
        }
        busy.is_none()
    });
}

fn left(device: &ShownDevice, why: Why) -> Left {
    Left {
        id: device.id.clone(),
        model: device.driver.clone(),
        path: Some(device.path.clone()),
        hotpluggable: device.property("hotpluggable").as_bool(),
        why,
    }
}

/// Options whose devices QOM keeps elsewhere.
fn left_options(sight: &Sight<'_>, report: &mut Report) {
    for argument in sight.arguments {
        let made = MAKE_DEVICES.iter().find(|(option, _)| *option == argument.option);
        let why = match made {
            // A hub's other end is no device.
            Some(("net", _)) if argument.member("type") != Some("nic") => continue,
            Some(("nic", _)) if argument.member("type") == Some("none") => continue,
            Some((_, why)) => (*why).to_owned(),
            None if argument.option == "drive" => match argument.member("if") {
                Some("none") => continue,
                Some("virtio") => continue,
                Some(bus) => format!("it is a disk of if={bus}, which has no id"),
                None => "it is an IDE disk, which QEMU cannot take out".to_owned(),
            },
            None => continue,
        };
        report.left.push(Left { id: None, model: argument.shown(), path: None, hotpluggable: None, why });
    }
}

/// Slots of the root bus up to the last one that neither the record nor the command pins: QEMU finds them for
/// what it makes by itself, in the order of its making.
fn reserved_slots(sight: &Sight<'_>, taken: &[(DeviceId, Taken)]) -> u8 {
    let pinned: BTreeSet<u8> = taken
        .iter()
        .filter_map(|(_, taken)| taken.address.pci())
        .filter(|address| matches!(address.bus.as_str(), "pci.0" | "pcie.0"))
        .map(|address| address.slot.get())
        .collect();
    // Those whose options say where they are, as recorded.
    let told = command::match_anonymous(sight.arguments, &sight.shown.devices);
    let is_told = |device: &&ShownDevice| {
        device.id.is_some() || told.iter().any(|(_, other)| other.path == device.path)
    };
    let places = sight.shown.devices.iter().filter(is_told).filter_map(ShownDevice::place);
    let on_root = places.filter(|place| !place.parent_bus.starts_with("/machine/peripheral"));
    let shown: BTreeSet<u8> = on_root.map(|place| place.devfn >> 3).collect();
    let is_express = sight
        .shown
        .devices
        .iter()
        .any(|device| device.text("parent_bus").is_some_and(|bus| bus.ends_with("/pcie.0")));
    let own =
        sight.shown.root_slots().into_iter().filter(|slot| !pinned.contains(slot) && !shown.contains(slot));
    match own.max() {
        // Nothing is ever placed on the root bus of such a machine.
        _ if is_express => DEFAULT_RESERVED,
        Some(last) => DEFAULT_RESERVED.max(last.saturating_add(1)),
        None => DEFAULT_RESERVED,
    }
}

/// What `-name` says.
pub(super) fn name_of(arguments: &[Argument]) -> Option<String> {
    let option = arguments.iter().rev().find(|argument| argument.option == "name")?;
    let text = option.text.as_deref()?;
    let name = option.member("guest").or_else(|| option.member("value"))?;
    (!text.is_empty()).then(|| name.to_owned())
}
