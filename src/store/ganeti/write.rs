//! A record as a Ganeti list.

use super::device::read;
use super::element::Element;
use super::element::arguments;
use super::entry::{connection, hvinfo};
use super::json::{Json, Object};
use super::list::List;
use super::params::Params;
use super::{seed, upgrade};
use crate::error::{Error, Result};
use crate::ids::Address;
use crate::model::{Device, DeviceKind, Presence, Record, Spec};
use crate::slots::pci::WhenFull;

/// The buses whose places Ganeti counts; a device elsewhere is an error to it.
const BUSES: [&str; 2] = ["pci.0", "scsi.0"];

/// Ganeti's boot makes no root ports and no bridges.
pub(super) fn refuse_room(record: &Record) -> Result<()> {
    let refuse = |what: String| Err(Error::invalid(format!("{what} cannot stand in a Ganeti list")));
    match (record.ports.first(), record.bridges.first()) {
        (Some(port), _) => refuse(format!("root port {}", port.id)),
        (_, Some(bridge)) => refuse(format!("PCI bridge {}", bridge.id)),
        _ if record.slot_rules.when_full != WhenFull::Refuse => {
            refuse("room that the next boot makes when slots run out".to_owned())
        }
        _ => Ok(()),
    }
}

/// Writes the list: one line, as Ganeti does.
pub(crate) fn encode(record: &Record, list: &List) -> Result<Vec<u8>> {
    refuse_room(record)?;
    let params = list.params()?;
    let in_guest = || record.devices.iter().filter(|device| device.presence != Presence::AddAfterReboot);
    let written: Vec<Written<'_>> =
        in_guest().map(|device| Written::new(device, list, &params, &record.name)).collect::<Result<_>>()?;
    let same_command = record.command == arguments(&upgrade::command(&list.command))?;
    let is_as_loaded = same_command
        && record.reserved_slots == params.reservations
        && in_guest().map(|device| &device.id).eq(&list.loaded)
        && written.iter().all(|written| !written.patched);
    let (mut nics, mut disks) = (Vec::new(), Vec::new());
    for written in written {
        let (kind, json) = (written.device.kind(), written.finish(!is_as_loaded, &record.name));
        if kind == DeviceKind::Nic { nics.push(json) } else { disks.push(json) }
    }
    let mut entries = if is_as_loaded {
        vec![list.command.clone().into(), nics.into(), list.hvparams.clone().into(), disks.into()]
    } else {
        let command = if same_command {
            upgrade::written_command(&list.command)
        } else {
            record.command.iter().map(|argument| argument.as_str().into()).collect()
        };
        let mut hvparams = list.hvparams.clone();
        upgrade::hvparams(&mut hvparams);
        if record.reserved_slots != params.reservations {
            hvparams.set("kvm_pci_reservations", u64::from(record.reserved_slots));
        }
        vec![command.into(), nics.into(), hvparams.into(), disks.into()]
    };
    entries.extend(list.more.iter().cloned());
    Ok(format!("{}\n", Json::List(entries)).into_bytes())
}

/// A device and what the list will say of it.
pub(super) struct Written<'a> {
    device: &'a Device,
    json: Json,
    /// How it will be read.
    pub(super) read: Device,
    /// The list said something else before.
    patched: bool,
}

impl<'a> Written<'a> {
    pub(super) fn new(device: &'a Device, list: &List, params: &Params, guest: &str) -> Result<Self> {
        if device.kind() == DeviceKind::Controller {
            return Err(refused(device, "a SCSI controller is part of the command there"));
        }
        if !device.properties.is_empty() {
            return Err(refused(device, "its properties have no place in a Ganeti list"));
        }
        if device.backend.is_some() {
            return Err(refused(device, "its backend has names of its own, and Ganeti knows only its id"));
        }
        let seeded;
        let raw = match list.raw(&device.id) {
            Some(raw) => raw,
            None => {
                seeded = seed::json(device, list);
                &seeded
            }
        };
        let elsewhere =
            device.address.as_ref().map(Address::bus).filter(|bus| !BUSES.contains(&bus.as_str()));
        if let Some(bus) = elsewhere.filter(|_| !list.loaded.contains(&device.id)) {
            let text = format!("it sits on {bus}, and Ganeti knows only {}", BUSES.join(" and "));
            return Err(refused(device, &text));
        }
        let found = read(&Element::new(device.id.as_str(), raw), device.kind(), params, guest)?;
        if difference(&found, device).is_none() {
            return Ok(Self { device, json: raw.clone(), read: found, patched: false });
        }
        let json = patch(raw, &found, device);
        let found = read(&Element::new(device.id.as_str(), &json), device.kind(), params, guest)?;
        match difference(&found, device) {
            None => Ok(Self { device, json, read: found, patched: true }),
            Some("id" | "address") => {
                Err(refused(device, "it has no address, without which its id cannot be noted"))
            }
            Some(setting) => Err(refused(
                device,
                &format!(
                    "its setting {setting} has no place there, or differs from the hypervisor parameters of the guest"
                ),
            )),
        }
    }

    fn finish(mut self, upgrade: bool, guest: &str) -> Json {
        let seed = match &self.device.spec {
            Spec::Nic(spec) => spec.mac.to_string(),
            Spec::Disk(spec) => spec.path.to_string_lossy().into_owned(),
            Spec::Controller(_) => String::new(),
        };
        let seed = format!("{guest} {} {seed}", self.device.kind().word());
        if let Some(object) = object_mut(&mut self.json) {
            upgrade::legible(object);
            if upgrade {
                upgrade::device(object, self.device, &seed);
            }
        }
        self.json
    }
}

fn refused(device: &Device, why: &str) -> Error {
    Error::invalid(format!("{} {} cannot stand in a Ganeti list: {why}", device.kind().title(), device.id))
}

/// The first thing in which two devices differ, of what counts in a list. Boot ROMs do not: a target whose
/// NIC has one takes a NIC without (QEMU 7.2), which is what Ganeti adds to guests in a chroot. Neither does
/// the link, which is no property of the device, and migrates with the guest; nor does the owner of its tap,
/// which Ganeti makes by itself.
fn difference(found: &Device, device: &Device) -> Option<&'static str> {
    if found.id != device.id {
        return Some("id");
    }
    if found.address != device.address {
        return Some("address");
    }
    match (&found.spec, &device.spec) {
        (Spec::Nic(found), Spec::Nic(spec)) => {
            let mut spec = spec.clone();
            (spec.rom, spec.link_down, spec.tap_owner) = (found.rom, found.link_down, found.tap_owner);
            found.conflict_with(&spec)
        }
        (Spec::Disk(found), Spec::Disk(spec)) => found.conflict_with(spec),
        _ => Some("kind"),
    }
}

/// The object of a NIC, or the first of a disk's three parts.
fn object_mut(json: &mut Json) -> Option<&mut Object> {
    match json {
        Json::Object(object) => Some(object),
        Json::List(parts) => parts.first_mut().and_then(object_mut),
        _ => None,
    }
}

/// Brings what can be noted up to date.
fn patch(raw: &Json, found: &Device, device: &Device) -> Json {
    let mut json = raw.clone();
    if let Json::List(parts) = &mut json {
        if let (Some(link), Spec::Disk(spec)) = (parts.get_mut(1), &device.spec) {
            *link = spec.path.to_string_lossy().into_owned().into();
        }
    }
    let Some(object) = object_mut(&mut json) else { return json };
    if found.id != device.id || found.address != device.address || found.model() != device.model() {
        object.remove("pci");
        object.set("hvinfo", hvinfo(device));
    }
    if let (Spec::Nic(found), Spec::Nic(spec)) = (&found.spec, &device.spec) {
        if found.mac != spec.mac {
            object.set("mac", spec.mac.to_string());
        }
        if found.bridge != spec.bridge {
            let mut nicparams = match object.get("nicparams") {
                Some(Json::Object(nicparams)) => nicparams.clone(),
                _ => Object::default(),
            };
            let (mode, link) = connection(spec);
            nicparams.set("link", link);
            nicparams.set("mode", mode);
            object.set("nicparams", nicparams);
        }
    }
    json
}
