//! New NICs and disks of a Ganeti list: everything that Ganeti's own code needs of them and QEMU does not.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Number;

use super::entry::{connection, hvinfo};
use super::json::{Json, Object};
use super::list::{List, Raw};
use super::uuid;
use crate::disk::{self, DiskSpec};
use crate::model::{Device, Record, Spec};
use crate::net::spec::NicSpec;

/// Ganeti counts in these.
const MIB: u64 = 1 << 20;

impl List {
    /// The list of the record that comes after `old`.
    pub(crate) fn following(&self, old: &Record, next: &Record) -> Self {
        let mut list = self.clone();
        list.forget_gone(old, next);
        next.devices.iter().for_each(|device| list.introduce(device));
        list
    }

    /// Notes down what the list will say of a new device.
    pub(super) fn introduce(&mut self, device: &Device) {
        if self.raw(&device.id).is_none() {
            let json = json(device, self);
            self.raws.push(Raw { id: device.id.clone(), json });
        }
    }
}

/// The entry of a new device.
pub(super) fn json(device: &Device, list: &List) -> Json {
    // Without random numbers, moments after boot, one that follows from the id serves as well.
    let uuid = uuid::for_id(device.kind(), &device.id).unwrap_or_else(|_| uuid::derived(device.id.as_str()));
    match &device.spec {
        Spec::Nic(spec) => completed(device, nic(device, spec, uuid)).into(),
        Spec::Disk(spec) => {
            let link = spec.path.to_string_lossy().into_owned();
            let taken = |name: &str| list.raws.iter().any(|raw| iv_name(&raw.json) == Some(name));
            let name = (0..=list.raws.len()).map(|number| format!("disk/{number}")).find(|name| !taken(name));
            let own = disk(device, spec, uuid, (name.unwrap_or_default(), list.dev_type_of(spec)));
            vec![completed(device, own).into(), link.into(), Json::Null].into()
        }
        Spec::Controller(_) => Json::Null,
    }
}

/// The name by which Ganeti's own commands know a disk: its number in the guest.
fn iv_name(entry: &Json) -> Option<&str> {
    let Json::List(parts) = entry else { return None };
    match parts.first() {
        Some(Json::Object(object)) => match object.get("iv_name") {
            Some(Json::Text(name)) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

fn nic(device: &Device, spec: &NicSpec, uuid: String) -> Object {
    let (mode, link) = connection(spec);
    Object::from([
        ("mac", spec.mac.to_string().into()),
        (
            "nicparams",
            Object::from([("link", link.into()), ("mode", mode.into()), ("vlan", "".into())]).into(),
        ),
        ("hvinfo", hvinfo(device).into()),
        ("uuid", uuid.into()),
    ])
}

/// What Ganeti itself has of the device counts; where it sits in the guest, Ganeti does not know yet.
fn completed(device: &Device, mut own: Object) -> Object {
    let Some(entry) = &device.ganeti else { return own };
    for (key, value) in entry.members() {
        own.set(key, Json::from(value));
    }
    own.remove("pci");
    own.set("hvinfo", hvinfo(device));
    own
}

fn disk(device: &Device, spec: &DiskSpec, uuid: String, (name, dev_type): (String, &str)) -> Object {
    let storage = Storage::of(&spec.path);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
    let now = || Number::from_f64(now).map_or(Json::Null, Json::Number);
    Object::from([
        ("dev_type", dev_type.into()),
        ("logical_id", storage.logical_id(&spec.path)),
        ("children", Vec::new().into()),
        ("nodes", Vec::new().into()),
        ("iv_name", name.into()),
        ("size", size(spec).div_ceil(MIB).into()),
        ("mode", "rw".into()),
        ("params", Object::default().into()),
        ("hvinfo", hvinfo(device).into()),
        ("serial_no", 1u64.into()),
        ("uuid", uuid.into()),
        ("ctime", now()),
        ("mtime", now()),
    ])
}

/// What a path leads to, in Ganeti's words.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Storage {
    /// `file`: a file of this host.
    File,
    /// `plain`: a logical volume, by group and name.
    Plain(String, String),
    /// `blockdev`: any other block device, which Ganeti finds by its path.
    Block,
}

impl Storage {
    pub(super) fn of(path: &Path) -> Self {
        let is_block = std::fs::metadata(path)
            .map_or_else(|_| path.starts_with("/dev"), |found| found.file_type().is_block_device());
        match (is_block, volume(path)) {
            (false, _) => Self::File,
            (true, Some((group, name))) => Self::Plain(group, name),
            (true, None) => Self::Block,
        }
    }

    /// The value of `dev_type`.
    pub(super) fn dev_type(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Plain(..) => "plain",
            Self::Block => "blockdev",
        }
    }

    fn logical_id(&self, path: &Path) -> Json {
        let path = path.to_string_lossy().into_owned();
        let (first, second) = match self {
            Self::File => ("loop".to_owned(), path),
            Self::Plain(group, name) => (group.clone(), name.clone()),
            Self::Block => ("manual".to_owned(), path),
        };
        vec![first.into(), second.into()].into()
    }
}

/// `/dev/<group>/<name>` is a logical volume if it is a link to a device-mapper device.
fn volume(path: &Path) -> Option<(String, String)> {
    let mut parts = path.strip_prefix("/dev").ok()?.iter().map(|part| part.to_str());
    let (group, name) = (parts.next()??, parts.next()??);
    let target = std::fs::read_link(path).ok()?;
    let is_mapped = target.file_name()?.to_str()?.starts_with("dm-");
    let is_volume = parts.next().is_none() && group != "mapper" && is_mapped;
    is_volume.then(|| (group.to_owned(), name.to_owned()))
}

/// Bytes; 0 for what cannot be opened.
fn size(spec: &DiskSpec) -> u64 {
    disk::image::open(spec).ok().and_then(|image| image.size).unwrap_or_default()
}
