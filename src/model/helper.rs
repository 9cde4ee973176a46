//! QOM objects that a device needs besides its netdev or block node, such as an iothread: made before its
//! block node and its device, deleted after both. Which those are follows from the settings of the device, so
//! that plug, boot, recovery and removal cannot differ.
//!
//! Several devices may have one together. It is made with the first of them, and deleted after the last.

use serde_json::{Map, Value};

use super::device::{Device, Presence, Spec};
use crate::disk::objects::{SECRET, TLS_CREDS};
use crate::ids::{BackendName, DeviceId, IoThread};
use crate::sorted::object;

/// The type of the object that disks are limited by, and the property that has the limits.
pub const THROTTLE_GROUP: &str = "throttle-group";
/// See [`THROTTLE_GROUP`].
pub const LIMITS: &str = "limits";

/// A QOM object of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Helper {
    /// Its id in QEMU, among all objects that `object-add` makes.
    pub id: BackendName,
    /// Its type and properties, as `object-add` and `-object` take them.
    pub arguments: Map<String, Value>,
}

impl Helper {
    fn new<const N: usize>(id: BackendName, kind: &str, more: [(&'static str, Value); N]) -> Self {
        let mut arguments = object([("qom-type", kind.into())]);
        arguments.extend(object(more));
        Self::with(id, arguments)
    }

    fn with(id: BackendName, mut arguments: Map<String, Value>) -> Self {
        arguments.insert("id".into(), id.as_str().into());
        Self { id, arguments }
    }

    /// Whether it is never of two devices: nobody can tell whether two secrets of one name are the same.
    fn is_of_one_device(&self) -> bool {
        self.kind() == SECRET || self.kind().starts_with(TLS_CREDS)
    }

    /// QEMU's name of what it is.
    pub fn kind(&self) -> &str {
        self.arguments.get("qom-type").and_then(Value::as_str).unwrap_or_default()
    }
}

/// The objects of a device, in the order in which they are made.
pub fn helpers(id: &DeviceId, spec: &Spec) -> Vec<Helper> {
    let limits = match spec {
        Spec::Disk(disk) => disk.limits.as_ref(),
        Spec::Nic(_) | Spec::Controller(_) => None,
    };
    let group = limits.map(|limits| {
        let values = Value::from(limits.values().clone());
        Helper::new(limits.group_id(id), THROTTLE_GROUP, [(LIMITS, values)])
    });
    let objects = match spec {
        Spec::Disk(disk) => disk.objects.as_ref(),
        Spec::Nic(_) | Spec::Controller(_) => None,
    };
    let of_source = objects.map(|objects| objects.made(id)).unwrap_or_default();
    let of_source = of_source.into_iter().map(|(id, arguments)| Helper::with(id, arguments));
    let made = iothread_of(spec).filter(|iothread| iothread.is_made());
    let names = made.map(|iothread| iothread.names(id)).unwrap_or_default();
    let iothreads = names.into_iter().map(|name| Helper::new(name, "iothread", []));
    of_source.chain(group).chain(iothreads).collect()
}

impl Device {
    /// The objects that are made for it.
    pub fn helpers(&self) -> Vec<Helper> {
        helpers(&self.id, &self.spec)
    }

    /// The iothreads that QEMU has to have already.
    pub fn existing_iothreads(&self) -> Vec<BackendName> {
        existing_iothreads(&self.spec)
    }

    /// What does its I/O, as far as its own settings say.
    pub fn iothread(&self) -> Option<&IoThread> {
        iothread_of(&self.spec)
    }

    /// Whether an iothread does its I/O, as far as its own settings say.
    pub fn has_iothread(&self) -> bool {
        iothread_of(&self.spec).is_some() || self.properties.contains_key("iothread")
    }

    /// Whether this object of another device is one of its own, while it is in the guest.
    pub fn shares(&self, helper: &BackendName) -> bool {
        self.presence != Presence::AddAfterReboot && self.helpers().iter().any(|own| own.id == *helper)
    }

    /// The object that both have under one id, and each with other settings or for itself alone: one of them
    /// cannot be.
    pub fn differs_in_helper(&self, other: &Self) -> Option<BackendName> {
        let (own, others) = (self.helpers(), other.helpers());
        let differs = |helper: &&Helper| {
            others.iter().any(|one| one.id == helper.id && (one != *helper || helper.is_of_one_device()))
        };
        own.iter().find(differs).map(|helper| helper.id.clone())
    }
}

/// The iothreads that QEMU has to have already for a device with these settings.
pub fn existing_iothreads(spec: &Spec) -> Vec<BackendName> {
    iothread_of(spec).map(IoThread::existing_names).unwrap_or_default()
}

/// What does the I/O of a device, if its settings say that.
fn iothread_of(spec: &Spec) -> Option<&IoThread> {
    match spec {
        Spec::Nic(_) => None,
        Spec::Disk(disk) => disk.iothread.as_ref(),
        Spec::Controller(controller) => controller.iothread.as_ref(),
    }
}
