//! The runtime files of Ganeti: a list of command line, NICs, hypervisor parameters and, since 2.10, disks.
//!
//! | entries | Ganeti | NICs and disks |
//! |---|---|---|
//! | 2 | 2.0.0beta1 | refused |
//! | 3 | 2.0 to 2.9 | NICs without a place; disks in the command line, where they cannot be managed |
//! | 4 | 2.10 to 2.15 | a slot number `pci` each |
//! | 4 | 2.16 and later | an object `hvinfo` each: driver, id, bus and address |
//!
//! A list is kept as it was read, with all that is unknown here. Saved unchanged it is written as it was, but for what no
//! Ganeti of today can read: a missing list of disks is added, and NICs of 2.0 are rewritten. With the first change it is
//! written the way Ganeti itself does: in today's form (see [`upgrade`]), with everything else as it was.
//!
//! What stands in further entries is kept. Two devices of a list may have one place: Ganeti forgets devices that QEMU no longer
//! has, and gives their places away (2.10 to 2.15). Such a list is loaded, since its guest runs: verifying says which of them is
//! missing, and no boot is made of it.
//!
//! How NICs and disks were started, queues and cache mode for instance, stands in the hypervisor parameters, and is the same
//! for all of them. A device that differs has no place in the list and is refused.

mod convert;
mod device;
mod element;
mod json;
mod params;
mod seed;
mod settings;
mod sidecar;
mod upgrade;
mod uuid;
mod write;

use element::{Element, malformed};
use json::{Json, Object};
use params::Params;

pub(crate) use convert::{to_ganeti, to_native, was_made_of_a_list};
pub use settings::NicSettings;
pub(crate) use sidecar::Sidecar;
pub(crate) use write::encode;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::DeviceId;
use crate::model::{Device, DeviceKind, MAX_DEVICES, Record};

/// What a record keeps of the list it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    command: Vec<Json>,
    hvparams: Object,
    /// The NICs and disks as they stand in the list; those that were added since, as they will.
    raws: Vec<Raw>,
    /// The devices of the list as it was read, in their order.
    loaded: Vec<DeviceId>,
    /// What a later Ganeti has behind the disks; kept as it is.
    more: Vec<Json>,
}

/// A NIC or disk as it stands in the list.
#[derive(Clone, Debug, PartialEq)]
struct Raw {
    id: DeviceId,
    json: Json,
}

const ENTRIES: &str = "a list of 4 (command, NICs, hypervisor parameters, disks), or of 3 without the disks";

/// Reads a list.
pub fn decode(bytes: &[u8]) -> Result<Record> {
    let json: Json =
        serde_json::from_slice(bytes).map_err(|error| malformed(format!("is not JSON: {error}")))?;
    let Json::List(entries) = &json else { return Err(malformed(format!("expected {ENTRIES}"))) };
    let (command, nics, hvparams, disks, more) = match entries.as_slice() {
        [_, _] => {
            return Err(Error::new(
                ErrorKind::Version,
                format!(
                    "is a list of 2, as only Ganeti 2.0.0beta1 wrote it, which no release can read; expected {ENTRIES}"
                ),
            ));
        }
        [command, nics, hvparams] => (command, nics, hvparams, None, Vec::new()),
        [command, nics, hvparams, disks, more @ ..] => (command, nics, hvparams, Some(disks), more.to_vec()),
        other => return Err(malformed(format!("expected {ENTRIES}, found {} entries", other.len()))),
    };
    let command = Element::new("entry 0, command", command).list("a list of arguments")?;
    let hvparams = Element::new("entry 2, hvparams", hvparams);
    let params = Params::read(&hvparams)?;
    let upgraded =
        upgrade::command(&command.iter().map(|argument| argument.json().clone()).collect::<Vec<_>>());
    let mut list = List {
        command: command.iter().map(|argument| argument.json().clone()).collect(),
        hvparams: hvparams.object()?.clone(),
        raws: Vec::new(),
        loaded: Vec::new(),
        more,
    };
    for argument in &command {
        argument.argument()?;
    }
    let arguments = arguments(&upgraded)?;
    let guest = guest_name(&arguments).to_owned();
    let mut record = Record::new(&guest, arguments, params.reservations)?;
    let nics = Element::new("entry 1, nics", nics).list("a list of NICs")?;
    let disks = match disks {
        Some(disks) => Element::new("entry 3, disks", disks).list("a list of disks")?,
        None => Vec::new(),
    };
    if nics.len() + disks.len() > MAX_DEVICES {
        let count = nics.len() + disks.len();
        return Err(malformed(format!("{count} NICs and disks, at most {MAX_DEVICES} are supported")));
    }
    let kinds = [(nics, DeviceKind::Nic), (disks, DeviceKind::Disk)];
    for (element, kind) in kinds.iter().flat_map(|(list, kind)| list.iter().map(|element| (element, *kind))) {
        let mut device = read(element, kind, &params, &guest)?;
        device.generation = record.next_generation;
        list.loaded.push(device.id.clone());
        list.raws.push(Raw { id: device.id.clone(), json: element.json().clone() });
        record.add(device);
    }
    record.ganeti = Some(Box::new(list));
    record.check()?;
    Ok(record)
}

/// The id of a new device, from a uuid nobody else has.
pub(crate) fn new_id(kind: DeviceKind) -> Result<DeviceId> {
    uuid::device_id(kind, &uuid::random()?)
}

fn read(element: &Element<'_>, kind: DeviceKind, params: &Params, guest: &str) -> Result<Device> {
    match kind {
        DeviceKind::Nic => device::nic(element, params, guest),
        DeviceKind::Disk => device::disk(element, params, guest),
        DeviceKind::Controller => Err(element.expected("a NIC or disk")),
    }
}

/// The command line as text.
fn arguments(command: &[Json]) -> Result<Vec<String>> {
    let argument = |(index, json)| Element::new(format!("command[{index}]"), json).argument();
    command.iter().enumerate().map(argument).collect()
}

/// What follows `-name`, without the options behind it.
fn guest_name(arguments: &[String]) -> &str {
    let value = arguments.iter().skip_while(|argument| *argument != "-name").nth(1);
    let name = value.map_or("", |value| value.split(',').next().unwrap_or(value));
    name.strip_prefix("guest=").unwrap_or(name)
}

impl List {
    fn params(&self) -> Result<Params> {
        let hvparams = Json::Object(self.hvparams.clone());
        Params::read(&Element::new("hvparams", &hvparams))
    }

    fn raw(&self, id: &DeviceId) -> Option<&Json> {
        self.raws.iter().rev().find_map(|raw| (raw.id == *id).then_some(&raw.json))
    }

    /// Whether both stood in the list as it was read.
    pub(crate) fn has_loaded(&self, one: &DeviceId, other: &DeviceId) -> bool {
        [one, other].into_iter().all(|id| self.loaded.contains(id))
    }

    /// A device has left: one that comes later under its id is another one.
    pub(crate) fn forget(&mut self, id: &DeviceId) {
        self.raws.retain(|raw| raw.id != *id);
    }
}
