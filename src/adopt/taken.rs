//! What becomes of one device: it is recorded, or it stays in the command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::argument::Argument;
use crate::disk::DiskSpec;
use crate::engine::shown::{Shown, ShownDevice, as_flag};
use crate::ids::{Address, BackendName, IfName};
use crate::model::{BackendNames, Spec};
use crate::net::identity::{GivenTap, TapIdentity};
use crate::sorted;

/// A device that is recorded.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) spec: Spec,
    pub(super) address: Address,
    /// What QEMU calls its backend, if that is not the device's id.
    pub(super) names: Option<BackendNames>,
    /// What else its `-device` says, with QOM's values.
    pub(super) properties: Map<String, Value>,
    /// Options that are recorded with it, by where they stand in the command.
    pub(super) goes: Vec<usize>,
    /// What the record does not keep.
    pub(super) notes: Vec<String>,
}

/// Why a device stays where it is.
pub(super) type Why = String;

/// A tap that QEMU has, as its host shows it.
#[derive(Clone, Debug)]
pub(super) struct SeenTap {
    pub(super) bridge: Option<IfName>,
    /// It goes with QEMU, and is in this network namespace.
    pub(super) own: Option<TapIdentity>,
    pub(super) given: GivenTap,
    pub(super) vnet_hdr: bool,
}

/// What is asked of the host.
pub(super) trait HostView {
    /// The tap behind one of QEMU's descriptors.
    fn tap_of(&self, descriptor: i32) -> Option<IfName>;
    /// The names of all taps that QEMU has open.
    fn taps(&self) -> Vec<IfName>;
    /// What is known of one.
    fn tap(&self, name: &IfName) -> Result<SeenTap, Why>;
    /// How many descriptors of vhost-net QEMU has; none where that cannot be seen.
    fn vhosts(&self) -> Option<usize>;
    /// The file behind one of QEMU's descriptors.
    fn file_of(&self, descriptor: i32) -> Option<PathBuf>;
    /// Whether both paths lead to one file.
    fn is_same_file(&self, one: &Path, other: &Path) -> bool;
    /// Where a path leads that QEMU was given.
    fn absolute(&self, path: &Path) -> Result<PathBuf, Why>;
    /// Completes the settings of a disk by its image, which has these files below it.
    fn look_at(&self, spec: &mut DiskSpec, below: &[PathBuf]) -> Result<(), Why>;
}

/// What a guest and its host show, and the command that it was started with.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) shown: &'a Shown,
    pub(super) arguments: &'a [Argument],
    pub(super) host: &'a dyn HostView,
    /// Whether vhost moves the packets of NICs that are recorded already, by their netdevs.
    pub(super) vhosts: &'a BTreeMap<String, bool>,
    /// The image that is expected, if it is known.
    pub(super) image: Option<&'a Path>,
}

impl<'a> Sight<'a> {
    /// The `-device` that made a device with an id.
    pub(super) fn argument_of(&self, device: &ShownDevice) -> Option<&'a Argument> {
        let id = device.id.as_deref()?;
        self.arguments.iter().find(|argument| argument.is("device", id))
    }
}

/// Members of `-device` that say which device it is and where it sits, for which a record has places.
const PLACES: [&str; 7] = ["driver", "id", "bus", "addr", "channel", "scsi-id", "lun"];

/// What `-device` says beyond what the record has places for, which are `known` and [`PLACES`]. QOM has the
/// value with its type, but of a link to another object, such as an I/O thread, it has the path.
pub(super) fn further(
    device: &ShownDevice,
    argument: Option<&Argument>,
    known: &[&str],
) -> Map<String, Value> {
    let Some(argument) = argument else { return Map::new() };
    let value = |name: &str| {
        let own = argument.member(name).unwrap_or_default();
        match device.property(name) {
            Value::String(link) if link.starts_with("/objects/") || link.starts_with("/machine/") => {
                own.into()
            }
            Value::Null => {
                argument.json.as_ref().and_then(|json| json.get(name).cloned()).unwrap_or_else(|| own.into())
            }
            shown => shown.clone(),
        }
    };
    let names = argument.names().filter(|name| !known.contains(name) && !PLACES.contains(name));
    sorted::object(names.map(|name| (name, value(name))))
}

/// A backend's name, as far as the record can have it.
pub(super) fn backend_name(name: &str) -> Result<BackendName, Why> {
    BackendName::parse(name).map_err(|error| error.to_string())
}

/// A property that has to be switched on or off.
pub(super) fn flag(device: &ShownDevice, name: &str) -> bool {
    as_flag(device.property(name)).unwrap_or(false)
}

/// Place in the boot order, where there is one.
pub(super) fn boot_index(device: &ShownDevice) -> Option<u32> {
    device.property("bootindex").as_i64().and_then(|index| u32::try_from(index).ok())
}
