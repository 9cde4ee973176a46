//! What a Ganeti list has no room for, in a file beside it: generations, what waits for a reboot, and taps.
//! Most guests need none, and then there is no such file.
//!
//! Entries about devices that the list does not have are passed over, so that Ganeti's own changes need not
//! know of this file: a device without an entry is in the guest. Hence two files can change as one: before
//! the list is replaced, this one is replaced by one that completes the old list and the new one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::element::malformed;
use super::list::List;
use super::write::Written;
use crate::disk::BackingRule;
use crate::error::{ErrorKind, Result};
use crate::ids::DeviceId;
use crate::model::{Device, DeviceKind, MAX_DEVICES, Presence, Record, Spec};
use crate::slots::pci::SlotRules;
use crate::sorted;
use crate::store::{native, versioned};

const FORMAT: &str = "kvm-hotplug-companion";
const VERSION: u64 = 1;

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sidecar {
    next_generation: u64,
    /// Where the backing files of its disks may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backing: Option<BackingRule>,
    /// The user that listens at its monitor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monitor_user: Option<u32>,
    /// What slots are chosen by.
    #[serde(default, skip_serializing_if = "is_default")]
    slots: SlotRules,
    /// About devices of the list.
    #[serde(default)]
    devices: Vec<Entry>,
    /// Devices that come with the next boot, by kind: Ganeti starts whatever is in its list, also as the
    /// target of a migration.
    #[serde(default)]
    later: Vec<Map<String, Value>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    id: DeviceId,
    generation: u64,
    #[serde(default, skip_serializing_if = "Presence::is_live")]
    presence: Presence,
    /// What the native format says of it and the list does not, such as its tap; null for what the native
    /// format leaves out.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    more: Map<String, Value>,
}

fn is_default(rules: &SlotRules) -> bool {
    *rules == SlotRules::default()
}

impl Sidecar {
    /// What has to be kept beside the record's list, if anything.
    pub(crate) fn encode(record: &Record, list: &List) -> Result<Option<Vec<u8>>> {
        let sidecar = Self::of(record, list)?;
        if sidecar.is_evident() { Ok(None) } else { sidecar.to_bytes().map(Some) }
    }

    /// What completes the one record's list as well as the other's, if anything has to.
    pub(crate) fn transitional(old: (&Record, &List), new: (&Record, &List)) -> Result<Option<Vec<u8>>> {
        let (old, new) = (Self::of(old.0, old.1)?, Self::of(new.0, new.1)?);
        if old.is_evident() && new.is_evident() { Ok(None) } else { new.and(old).to_bytes().map(Some) }
    }

    fn of(record: &Record, list: &List) -> Result<Self> {
        let (later, listed): (Vec<&Device>, Vec<&Device>) =
            record.devices.iter().partition(|device| device.presence == Presence::AddAfterReboot);
        let params = list.params()?;
        let entry = |device| Entry::of(device, &Written::new(device, list, &params, &record.name)?.read);
        let devices: Vec<Entry> = listed.into_iter().map(entry).collect::<Result<_>>()?;
        let by_kind = |device: &Device| {
            let value = native::device_to_value(device)?;
            Ok(sorted::object([(device.kind().word(), value)]))
        };
        let later = later.into_iter().map(by_kind).collect::<Result<_>>()?;
        let (next_generation, backing) = (record.next_generation, record.backing.clone());
        let (monitor_user, slots) = (record.monitor_user, record.slot_rules.clone());
        Ok(Self { next_generation, backing, monitor_user, slots, devices, later })
    }

    /// Whether the list alone says as much.
    fn is_evident(&self) -> bool {
        let counted = self.devices.iter().zip(1..).all(|(entry, number)| entry.is_evident(number));
        let next = u64::try_from(self.devices.len()).unwrap_or(u64::MAX).saturating_add(1);
        counted
            && self.later.is_empty()
            && self.backing.is_none()
            && self.monitor_user.is_none()
            && is_default(&self.slots)
            && self.next_generation == next
    }

    /// With what the other one knows besides.
    fn and(mut self, other: Self) -> Self {
        self.next_generation = self.next_generation.max(other.next_generation);
        let ids = sorted::set(self.devices.iter().map(|entry| entry.id.clone()));
        self.devices.extend(other.devices.into_iter().filter(|entry| !ids.contains(&entry.id)));
        let new = |map: &Map<String, Value>| !self.later.contains(map);
        let more: Vec<Map<String, Value>> = other.later.into_iter().filter(new).collect();
        self.later.extend(more);
        self
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        versioned::write(FORMAT, VERSION, self)
    }

    /// Reads the file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let file = versioned::open(bytes, FORMAT, VERSION)?;
        let sidecar: Self = versioned::parse(file.into())?;
        let counts = [sidecar.devices.len(), sidecar.later.len()];
        if counts.into_iter().any(|count| count > MAX_DEVICES) {
            return Err(malformed(format!("is about more than {MAX_DEVICES} devices")));
        }
        Ok(sidecar)
    }

    /// Completes the record of a list.
    pub(crate) fn apply(self, record: &mut Record, list: &List) -> Result<()> {
        let mut entries = sorted::map(self.devices.into_iter().map(|entry| (entry.id.clone(), entry)));
        let mut next = self.next_generation;
        for device in &mut record.devices {
            match entries.remove(&device.id) {
                Some(entry) => entry.complete(device)?,
                None => {
                    device.generation = next;
                    next = next.saturating_add(1);
                }
            }
        }
        record.next_generation = next;
        record.backing = self.backing;
        record.monitor_user = self.monitor_user;
        record.slot_rules = self.slots;
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
        record.check_sharing(|one, other| list.has_loaded(one, other))
    }
}

impl Entry {
    /// About a device of which the list says `listed`.
    fn of(device: &Device, listed: &Device) -> Result<Self> {
        let mut more = settings(device)?;
        for (key, value) in settings(listed)? {
            if more.get(&key) == Some(&value) {
                more.remove(&key);
            } else {
                more.entry(key).or_insert(Value::Null);
            }
        }
        let Device { id, generation, presence, .. } = device;
        Ok(Self { id: id.clone(), generation: *generation, presence: *presence, more })
    }

    /// Whether the list alone says as much.
    fn is_evident(&self, number: u64) -> bool {
        self.generation == number && self.presence.is_live() && self.more.is_empty()
    }

    fn complete(self, device: &mut Device) -> Result<()> {
        let mut whole = settings(device)?;
        for (key, value) in self.more {
            if value.is_null() { drop(whole.remove(&key)) } else { drop(whole.insert(key, value)) }
        }
        whole.insert("id".to_owned(), self.id.as_str().into());
        whole.insert("generation".to_owned(), self.generation.into());
        let complete = native::device_from_value(device.kind(), whole.into())
            .map_err(|error| error.with_kind(ErrorKind::Format).context(&self.id))?;
        (device.spec, device.generation) = (complete.spec, complete.generation);
        if let Spec::Disk(spec) = &mut device.spec {
            // Ganeti has put another image there, and its list is what counts.
            spec.chain = spec.chain.take().filter(|chain| chain.top() == Some(&spec.path));
        }
        // What is in the list is in the guest.
        if self.presence == Presence::RemoveAfterReboot {
            device.presence = self.presence;
        }
        Ok(())
    }
}

/// What the native format says of a device, but for what the list says or the entry has a place for.
fn settings(device: &Device) -> Result<Map<String, Value>> {
    let Value::Object(mut map) = native::device_to_value(device)? else { return Ok(Map::new()) };
    for key in ["id", "generation", "presence", "address", "ganeti"] {
        map.remove(key);
    }
    Ok(map)
}

fn later_device(map: Map<String, Value>) -> Result<Device> {
    let mut given: Vec<(DeviceKind, Value)> =
        DeviceKind::ALL.into_iter().filter_map(|kind| Some((kind, map.get(kind.word())?.clone()))).collect();
    match (given.pop(), given.is_empty()) {
        (Some((kind, value)), true) => native::device_from_value(kind, value),
        _ => Err(malformed("needs either \"nic\" or \"disk\"")),
    }
}
