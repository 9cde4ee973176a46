//! By what QEMU limits a disk that it has: a throttle group with a node above the image, or, of a disk that
//! was plugged in without limits, its device.

use serde_json::{Map, Value};

use crate::disk::{DiskSpec, Limits};
use crate::ids::{BackendName, DeviceId};
use crate::model::helper::LIMITS;
use crate::sorted::object;

/// What limits a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Throttle {
    /// A throttle group, by its id.
    Group(BackendName),
    /// The disk's device, by its path in QOM.
    Device(String),
}

impl Throttle {
    /// That of the device itself. QEMU knows a virtio disk by the half of it that has the drive.
    pub(super) fn of_device(id: &DeviceId, spec: &DiskSpec) -> Self {
        let half = if spec.model.starts_with("virtio-blk-") { "/virtio-backend" } else { "" };
        Self::Device(format!("/machine/peripheral/{id}{half}"))
    }

    /// The command that sets limits.
    pub(super) fn command(&self) -> &'static str {
        match self {
            Self::Group(_) => "qom-set",
            Self::Device(_) => "block_set_io_throttle",
        }
    }

    /// Its arguments. All limits are named: those that a group is not told stay as they are.
    pub(super) fn arguments(&self, limits: &Limits) -> Map<String, Value> {
        match self {
            Self::Group(group) => object([
                ("path", format!("/objects/{group}").into()),
                ("property", LIMITS.into()),
                ("value", limits.all_values().into()),
            ]),
            Self::Device(path) => {
                let mut arguments = limits.throttle_arguments();
                arguments.insert("id".to_owned(), path.as_str().into());
                arguments
            }
        }
    }

    /// Whether what QEMU shows of the group, or of the image in the device, are these limits.
    pub(super) fn agrees(&self, limits: &Limits, shown: &Value) -> bool {
        let expected = match self {
            Self::Group(_) => limits.all_values(),
            Self::Device(_) => limits.throttle_arguments(),
        };
        expected.iter().all(|(name, value)| shown.get(name) == Some(value))
    }
}

impl std::fmt::Display for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Group(group) => write!(f, "throttle group {group}"),
            Self::Device(path) => write!(f, "device {path}"),
        }
    }
}
