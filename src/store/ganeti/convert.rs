//! From our own format to a Ganeti list and back.

use serde_json::Value;

use super::json::{Json, Object};
use super::list::{List, guest_name};
use super::read::decode;
use super::write::{Written, encode, refuse_room};
use crate::disk::{Aio, Cache, Discard};
use crate::error::{Error, Result};
use crate::ids::{Address, BusName, PciAddress, Slot};
use crate::model::{Device, Presence, Record, Spec};

/// Where a record in our own format keeps the list it was made of, as text: with everything in it that means
/// nothing here.
const KEPT: &str = "ganeti";

/// The record of a list in our own format, which holds all of it.
pub(crate) fn to_native(record: &Record, list: &List) -> Result<Record> {
    let mut native = record.clone();
    let text = String::from_utf8_lossy(&encode(record, list)?).trim_end().to_owned();
    native.extra.insert(KEPT.to_owned(), Value::String(text));
    Ok(native)
}

/// Whether a record in our own format was a list once.
pub(crate) fn was_made_of_a_list(record: &Record) -> bool {
    record.extra.contains_key(KEPT)
}

/// The record as a list, unless there is something in it that a list cannot hold.
pub(crate) fn to_list(record: &Record) -> Result<(Record, List)> {
    let mut converted = record.clone();
    let kept = match converted.extra.remove(KEPT) {
        Some(Value::String(text)) => Some(
            decode(text.as_bytes())
                .map_err(|error| error.context(format!("{KEPT:?}, the list that the record was made of")))?
                .1,
        ),
        _ => None,
    };
    if let Some(key) = converted.extra.keys().next() {
        return Err(Error::invalid(format!("{key:?} of the record cannot stand in a Ganeti list")));
    }
    refuse_room(&converted)?;
    name_the_guest(&mut converted)?;
    let mut list = kept.unwrap_or_else(|| List::of(&converted));
    list.raws.retain(|raw| converted.devices.iter().any(|device| device.id == raw.id));
    for device in &converted.devices {
        if let Some(key) = device.extra.keys().next() {
            return Err(Error::invalid(format!("{key:?} of {} cannot stand in a Ganeti list", device.id)));
        }
        list.introduce(device);
        check(device, &list, &converted.name)?;
    }
    Ok((converted, list))
}

/// Also of a device that only the next guest will have, wherever it is put then.
fn check(device: &Device, list: &List, guest: &str) -> Result<()> {
    let mut device = device.clone();
    if device.presence == Presence::AddAfterReboot && device.address.is_none() {
        let address = PciAddress { bus: BusName::parse("pci.0")?, slot: Slot::LAST };
        device.address = Some(Address::Pci(address));
    }
    Written::new(&device, list, &list.params()?, guest).map(drop)
}

/// A list has no name of its own: it is an argument of the command.
fn name_the_guest(record: &mut Record) -> Result<()> {
    let named = guest_name(&record.command).to_owned();
    if record.name == named {
        return Ok(());
    }
    if !named.is_empty() || record.command.is_empty() || record.name.contains(',') {
        let text =
            format!("the name {:?} cannot stand in a Ganeti list: its command says {named:?}", record.name);
        return Err(Error::invalid(text));
    }
    record.command.splice(1..1, ["-name".to_owned(), record.name.clone()]);
    Ok(())
}

impl List {
    /// A list for a record that never was one: what all NICs and all disks have in common becomes hypervisor
    /// parameters.
    fn of(record: &Record) -> Self {
        let specs = || record.devices.iter().map(|device| &device.spec);
        let nic = specs().find_map(|spec| if let Spec::Nic(nic) = spec { Some(nic) } else { None });
        let disk = specs().find_map(|spec| if let Spec::Disk(disk) = spec { Some(disk) } else { None });
        let cache = match disk.map(|disk| disk.cache) {
            Some(Cache::None | Cache::Directsync) => "none",
            Some(Cache::Writethrough) => "writethrough",
            Some(Cache::Writeback | Cache::Unsafe) | None => "default",
        };
        let discard = match disk.map(|disk| disk.discard) {
            Some(Discard::Unmap) => "unmap",
            Some(Discard::Ignore) | None => "ignore",
        };
        let program = record.command.first().map_or("", String::as_str);
        let hvparams = Object::from([
            ("acpi", true.into()),
            ("disk_aio", disk.map_or(Aio::Threads, |disk| disk.aio).as_str().into()),
            ("disk_cache", cache.into()),
            ("disk_discard", discard.into()),
            (
                "disk_type",
                disk.filter(|disk| disk.is_scsi()).map_or("paravirtual", |disk| &disk.model).into(),
            ),
            ("kvm_path", program.into()),
            ("kvm_pci_reservations", u64::from(record.reserved_slots).into()),
            ("nic_type", "paravirtual".into()),
            ("security_model", "none".into()),
            ("use_chroot", false.into()),
            ("vhost_net", nic.is_some_and(|nic| nic.vhost).into()),
            ("virtio_net_queues", nic.map_or(1, |nic| u64::from(nic.queues)).into()),
            ("vnet_hdr", true.into()),
        ]);
        let command = record.command.iter().map(|argument| Json::from(argument.as_str())).collect();
        Self { command, hvparams, raws: Vec::new(), loaded: Vec::new(), more: Vec::new() }
    }
}
