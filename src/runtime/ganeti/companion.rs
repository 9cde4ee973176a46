//! What a Ganeti list has no room for, in a file beside it: generations, what waits for a reboot, and taps. Most guests need
//! none, and then there is no such file.
//!
//! The list is replaced first. Entries about devices that it does not have are passed over, so that Ganeti's own changes
//! need not know of this file: a device without an entry is in the guest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::element::malformed;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{DeviceId, IfName};
use crate::runtime::native;
use crate::runtime::record::{Device, DeviceKind, MAX_DEVICES, Presence, Record, Spec};

const FORMAT: &str = "kvm-hotplug-companion";
const VERSION: u64 = 1;

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::runtime) struct Companion {
    format: String,
    version: u64,
    next_generation: u64,
    /// About devices of the list.
    #[serde(default)]
    devices: Vec<Entry>,
    /// Devices that come with the next boot, by kind: Ganeti starts whatever is in its list, also as the target of a
    /// migration.
    #[serde(default)]
    later: Vec<Map<String, Value>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    id: DeviceId,
    generation: u64,
    #[serde(default, skip_serializing_if = "Presence::is_live")]
    presence: Presence,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ifname: Option<IfName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tap: Option<String>,
    /// A NIC that got no boot ROM, because QEMU is in a chroot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    without_rom: bool,
}

impl Companion {
    /// What has to be kept beside the record's list, if anything.
    pub(in crate::runtime) fn encode(record: &Record) -> Result<Option<Vec<u8>>> {
        let (later, listed): (Vec<&Device>, Vec<&Device>) =
            record.devices.iter().partition(|device| device.presence == Presence::AddAfterReboot);
        let devices: Vec<Entry> = listed.into_iter().map(Entry::of).collect();
        let counted = devices.iter().zip(1..).all(|(entry, number)| entry.is_evident(number));
        let next = u64::try_from(devices.len()).unwrap_or(u64::MAX).saturating_add(1);
        if counted && later.is_empty() && record.next_generation == next {
            return Ok(None);
        }
        let by_kind = |device: &Device| {
            let value = native::device_to_value(device)?;
            Ok(Map::from_iter([(device.kind().word().to_owned(), value)]))
        };
        let later = later.into_iter().map(by_kind).collect::<Result<_>>()?;
        let next_generation = record.next_generation;
        let companion = Self { format: FORMAT.to_owned(), version: VERSION, next_generation, devices, later };
        let mut bytes = serde_json::to_vec(&companion)
            .map_err(|error| Error::invalid(format!("the record cannot be written: {error}")))?;
        bytes.push(b'\n');
        Ok(Some(bytes))
    }

    /// Reads the file.
    pub(in crate::runtime) fn decode(bytes: &[u8]) -> Result<Self> {
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| malformed(format!("is not JSON: {error}")))?;
        if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(malformed(format!("has no \"format\" {FORMAT:?}")));
        }
        match value.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => {
                return Err(Error::new(
                    ErrorKind::Version,
                    format!(
                        "was written by a newer version: format version {newer}, this library reads up to {VERSION}"
                    ),
                ));
            }
            _ => return Err(malformed("has no usable \"version\"")),
        }
        let companion: Self = serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
        if companion.devices.len().max(companion.later.len()) > MAX_DEVICES {
            return Err(malformed(format!("is about more than {MAX_DEVICES} devices")));
        }
        Ok(companion)
    }

    /// Completes the record of a list.
    pub(in crate::runtime) fn apply(self, record: &mut Record) -> Result<()> {
        let mut entries: BTreeMap<DeviceId, Entry> =
            self.devices.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
        let mut next = self.next_generation;
        for device in &mut record.devices {
            match entries.remove(&device.id) {
                Some(entry) => entry.complete(device),
                None => {
                    device.generation = next;
                    next = next.saturating_add(1);
                }
            }
        }
        record.next_generation = next;
        for (index, map) in self.later.into_iter().enumerate() {
            let device = later_device(map)
                .map_err(|error| error.with_kind(ErrorKind::Format).context(format!("later[{index}]")))?;
            // In the list by now: the file was cut off from its list before it could be replaced.
            if record.find(device.id.as_str()).is_none() {
                record.add(Device { presence: Presence::AddAfterReboot, ..device });
            }
        }
        let highest = record.devices.iter().map(|device| device.generation).max().unwrap_or(0);
        record.next_generation = record.next_generation.max(highest.saturating_add(1));
        record.check()
    }
}

impl Entry {
    fn of(device: &Device) -> Self {
        let (ifname, tap, without_rom) = match &device.spec {
            Spec::Nic(spec) => (spec.ifname.clone(), spec.tap.clone(), !spec.rom),
            Spec::Disk(_) | Spec::Controller(_) => (None, None, false),
        };
        let Device { id, generation, presence, .. } = device;
        Self { id: id.clone(), generation: *generation, presence: *presence, ifname, tap, without_rom }
    }

    /// Whether the list alone says as much.
    fn is_evident(&self, number: u64) -> bool {
        let Self { id: _, generation, presence, ifname, tap, without_rom } = self;
        *generation == number && presence.is_live() && ifname.is_none() && tap.is_none() && !without_rom
    }

    fn complete(self, device: &mut Device) {
        device.generation = self.generation;
        // What is in the list is in the guest.
        if self.presence == Presence::RemoveAfterReboot {
            device.presence = self.presence;
        }
        if let Spec::Nic(spec) = &mut device.spec {
            (spec.ifname, spec.tap) = (self.ifname, self.tap);
            spec.rom = !self.without_rom;
        }
    }
}

fn later_device(map: Map<String, Value>) -> Result<Device> {
    let mut given: Vec<(DeviceKind, Value)> =
        DeviceKind::ALL.into_iter().filter_map(|kind| Some((kind, map.get(kind.word())?.clone()))).collect();
    match (given.pop(), given.is_empty()) {
        (Some((kind, value)), true) => native::device_from_value(kind, value),
        _ => Err(malformed("needs either \"nic\" or \"disk\"")),
    }
}
