//! Our own file format, version 1: one JSON object.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::versioned::{self, field, malformed, object, take};
use crate::disk::BackingRule;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, DeviceId, is_model_name};
use crate::json;
use crate::model::{
    BackendNames, DEFAULT_RESERVED, Device, DeviceKind, GanetiEntry, MAX_DEVICES, PciBridge, Presence,
    Record, RootPort, Spec,
};
use crate::slots::pci::SlotRules;

/// The value of the `format` member.
pub const FORMAT: &str = "kvm-hotplug-runtime";

/// The newest version this library reads, and the one it writes.
pub const VERSION: u64 = 1;

/// One device as it is written.
#[derive(Debug, Serialize)]
pub(crate) struct Written<'a> {
    id: &'a DeviceId,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a Address>,
    #[serde(skip_serializing_if = "Presence::is_live")]
    presence: Presence,
    #[serde(flatten)]
    spec: &'a Spec,
    /// Only of devices that another program has started.
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'a BackendNames>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    properties: &'a Map<String, Value>,
    /// Only of devices that Ganeti knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    ganeti: Option<&'a GanetiEntry>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

impl<'a> From<&'a Device> for Written<'a> {
    fn from(device: &'a Device) -> Self {
        Self {
            id: &device.id,
            generation: device.generation,
            address: device.address.as_ref(),
            presence: device.presence,
            spec: &device.spec,
            backend: device.backend.as_ref(),
            properties: &device.properties,
            ganeti: device.ganeti.as_deref(),
            extra: &device.extra,
        }
    }
}

/// What devices of all kinds have in common, as it is read.
#[derive(Debug, Deserialize)]
struct Common {
    id: DeviceId,
    generation: u64,
    #[serde(default)]
    address: Option<Address>,
    #[serde(default)]
    presence: Presence,
    #[serde(default)]
    backend: Option<BackendNames>,
    #[serde(default)]
    properties: Map<String, Value>,
    #[serde(default)]
    ganeti: Option<Box<GanetiEntry>>,
}

/// The device as a JSON object, whatever its kind.
pub(crate) fn device_to_value(device: &Device) -> Result<Value> {
    serde_json::to_value(Written::from(device))
        .map_err(|error| Error::invalid(format!("device {} cannot be written: {error}", device.id)))
}

/// A device of a kind from its JSON object.
pub(crate) fn device_from_value(kind: DeviceKind, value: Value) -> Result<Device> {
    let mut members = object(value)?;
    let Common { id, generation, address, presence, backend, properties, ganeti } = take(&mut members)?;
    let spec = match kind {
        DeviceKind::Nic => Spec::Nic(take(&mut members)?),
        DeviceKind::Disk => Spec::Disk(take(&mut members)?),
        DeviceKind::Controller => Spec::Controller(take(&mut members)?),
    };
    spec.validate()?;
    if let Some(names) = &backend {
        kind.check_backend(names)?;
        if presence == Presence::AddAfterReboot {
            return Err(malformed("has a \"backend\", but comes with the next boot, which makes its own"));
        }
    }
    check_properties(&properties)?;
    Ok(Device { id, generation, address, presence, spec, backend, properties, ganeti, extra: members })
}

/// Properties have to be such as QEMU's options can say.
fn check_properties(properties: &Map<String, Value>) -> Result<()> {
    // What the record itself says of a device is said once.
    const OWN: &[&str] = &["driver", "id", "bus", "addr", "netdev", "drive"];
    let is_bad = |name: &&String| !is_model_name(name) || OWN.contains(&name.as_str());
    match properties.keys().find(is_bad) {
        Some(name) => Err(malformed(format!("has {name:?} among its \"properties\""))),
        None => Ok(()),
    }
}

/// A port from its JSON object.
fn port_from_value(value: Value) -> Result<RootPort> {
    let mut members = object(value)?;
    let port: RootPort = take(&mut members)?;
    Ok(RootPort { extra: members, ..port })
}

/// A bridge from its JSON object.
fn bridge_from_value(value: Value) -> Result<PciBridge> {
    let mut members = object(value)?;
    let bridge: PciBridge = take(&mut members)?;
    Ok(PciBridge { extra: members, ..bridge })
}

/// The lists of a file, in the order in which they are read: a controller comes before its disks.
const LISTS: [(&str, DeviceKind); 3] =
    [("controllers", DeviceKind::Controller), ("nics", DeviceKind::Nic), ("disks", DeviceKind::Disk)];

/// Bytes that most records and most devices in them do with, so that they need not grow from 8 bytes on.
const ROOM: usize = 1024;
const ROOM_OF_ONE: usize = 512;

/// A record as it is written.
#[derive(Serialize)]
struct File<'a> {
    format: &'static str,
    version: u64,
    name: &'a str,
    command: &'a [String],
    reserved_slots: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<&'a SlotRules>,
    next_generation: u64,
    /// The caller's choice, where it made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    backing: Option<&'a BackingRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    monitor_user: Option<u32>,
    /// Made by the boot command, on machines that need them.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    root_ports: &'a [RootPort],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pci_bridges: &'a [PciBridge],
    /// Most guests have none, and files were written before there were any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    controllers: Vec<Written<'a>>,
    nics: Vec<Written<'a>>,
    disks: Vec<Written<'a>>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

/// Writes the record.
pub fn encode(record: &Record) -> Result<Vec<u8>> {
    let of_kind = |kind: DeviceKind| {
        record.devices.iter().filter(|device| device.kind() == kind).map(Written::from).collect()
    };
    let file = File {
        format: FORMAT,
        version: VERSION,
        name: &record.name,
        command: &record.command,
        reserved_slots: record.reserved_slots,
        slots: Some(&record.slot_rules).filter(|rules| **rules != SlotRules::default()),
        next_generation: record.next_generation,
        backing: record.backing.as_ref(),
        monitor_user: record.monitor_user,
        root_ports: &record.ports,
        pci_bridges: &record.bridges,
        controllers: of_kind(DeviceKind::Controller),
        nics: of_kind(DeviceKind::Nic),
        disks: of_kind(DeviceKind::Disk),
        extra: &record.extra,
    };
    let mut bytes = Vec::with_capacity(ROOM + record.devices.len() * ROOM_OF_ONE);
    json::append_pretty(&mut bytes, &file)
        .map_err(|error| Error::invalid(format!("the record cannot be written: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a record, naming the element that is wrong.
pub fn decode(bytes: &[u8]) -> Result<Record> {
    let mut file = versioned::open(bytes, FORMAT, VERSION)?;
    let name = field(&mut file, "name")?.unwrap_or_default();
    let command = field(&mut file, "command")?.ok_or_else(|| malformed("has no \"command\""))?;
    let reserved_slots = field(&mut file, "reserved_slots")?.unwrap_or(DEFAULT_RESERVED);
    let next_generation = field(&mut file, "next_generation")?.unwrap_or(1);
    let mut record = Record {
        name,
        command,
        reserved_slots,
        slot_rules: field(&mut file, "slots")?.unwrap_or_default(),
        next_generation,
        backing: field(&mut file, "backing")?,
        monitor_user: field(&mut file, "monitor_user")?,
        ports: elements(&mut file, "root_ports", port_from_value)?,
        bridges: elements(&mut file, "pci_bridges", bridge_from_value)?,
        devices: Vec::new(),
        extra: Map::new(),
    };
    for (key, kind) in LISTS {
        let devices = elements(&mut file, key, |value| device_from_value(kind, value))?;
        devices.into_iter().for_each(|device| record.add(device));
    }
    // Versions before this one noted ids there whose `DEVICE_DELETED` might come late. No event is believed
    // any more.
    file.remove("unheard");
    record.extra = file;
    record.check()?;
    Ok(record)
}

fn elements<T>(
    file: &mut Map<String, Value>,
    key: &str,
    read: impl Fn(Value) -> Result<T>,
) -> Result<Vec<T>> {
    let list: Vec<Value> = field(file, key)?.unwrap_or_default();
    if list.len() > MAX_DEVICES {
        return Err(malformed(format!(
            "{key:?} has {} elements, at most {MAX_DEVICES} are supported",
            list.len()
        )));
    }
    let read_one = |(index, value)| {
        read(value).map_err(|error| error.with_kind(ErrorKind::Format).context(format!("{key}[{index}]")))
    };
    list.into_iter().enumerate().map(read_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_numbers_survive_a_rewrite() {
        let numbers = "[21e+300,0.1,1e-7,1.7976931348623157e308,18446744073709551615,-9223372036854775808]";
        let text = format!(r#"{{"format":"{FORMAT}","version":1,"command":[],"newer":{numbers}}}"#);
        let record = decode(text.as_bytes()).unwrap();
        assert_eq!(decode(&encode(&record).unwrap()).unwrap(), record);
    }
}
