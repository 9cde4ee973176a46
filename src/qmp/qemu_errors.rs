//! What QEMU's refusals mean. QEMU has an error class for a few of them, and for the others only words, which
//! differ by version: this table is the one place that knows them. `tests/qemu_errors.rs` brings each row
//! about with real QEMUs of the versions that it names.

use super::wire::Version;
use crate::error::{Error, ErrorKind};

/// What a refusal means to the one who sent the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The guest has a device of this id, or QEMU has not forgotten an earlier one.
    DuplicateDevice,
    /// A netdev, block node or object of this name is there.
    DuplicateBackend,
    /// What the command is about is not there.
    Absent,
    /// Something still uses the block node.
    InUse,
    /// The guest has been asked for the device before, and has not answered.
    AlreadyUnplugging,
    /// The guest has not finished an earlier plug or unplug at this place.
    GuestBusy,
    /// The device, or its bus, takes no part in hotplug.
    NotHotpluggable,
    /// Another device has this place.
    PlaceTaken,
    /// Another process has the image open in a way that does not go together with this one.
    ImageLocked,
    /// The image's size does not go with the unit that it is written in.
    UnalignedSize,
    /// The kernel has the block device read-only.
    ReadOnlyDevice,
    /// The guest is on its way to another host.
    Migrating,
    /// The tray of the CD drive is not open: the guest has locked it.
    TrayShut,
    /// The monitor's capabilities were negotiated before.
    AlreadyNegotiated,
    /// QEMU does not have the block driver, or the type of netdev.
    NoDriver,
    /// The name is none that a block node can have.
    NodeName,
}

impl Refusal {
    /// The kind that the error of a call gets. None for what the library deals with itself, so that it is the
    /// error of no call.
    pub fn kind(self) -> Option<ErrorKind> {
        match self {
            Self::DuplicateDevice | Self::DuplicateBackend => Some(ErrorKind::Conflict),
            Self::GuestBusy => Some(ErrorKind::GuestBusy),
            Self::NotHotpluggable => Some(ErrorKind::NotHotpluggable),
            Self::PlaceTaken => Some(ErrorKind::AddressTaken),
            Self::ImageLocked => Some(ErrorKind::ImageLocked),
            Self::UnalignedSize => Some(ErrorKind::Invalid),
            Self::ReadOnlyDevice => Some(ErrorKind::Host),
            Self::Migrating => Some(ErrorKind::Migrating),
            Self::Absent | Self::InUse | Self::AlreadyUnplugging => None,
            Self::TrayShut | Self::AlreadyNegotiated => None,
            // The one who asks for a driver says which.
            Self::NoDriver | Self::NodeName => None,
        }
    }

    /// What is put before QEMU's words: what was wrong in ours, and what to do. None where QEMU says enough.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::GuestBusy => Some("the guest was busy with an earlier plug or unplug until the deadline"),
            Self::ImageLocked => Some("the image is in use by another QEMU or process"),
            Self::UnalignedSize => Some(
                "the image's size is no multiple of the unit that it is written in with O_DIRECT, 512 to 4096 bytes; make it a \
                 multiple of 4096 (truncate -s %4096 FILE), or use cache writeback, writethrough or unsafe",
            ),
            Self::ReadOnlyDevice => Some(
                "the kernel has the block device read-only; make it writable with blockdev --setrw, or set read_only",
            ),
            Self::Migrating => Some(MIGRATING),
            _ => None,
        }
    }
}

/// What is said of a guest that must not be changed now; the library says so before QEMU does.
pub const MIGRATING: &str = "the guest is being migrated; try again where it runs afterwards";

/// By what a refusal is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// An error class that means nothing else.
    Class(&'static str),
    /// These words somewhere in the text; a `*` is anything between two of them.
    Words(&'static str),
}

/// The versions in which QEMU was seen to refuse like this, of those that are tested: 5.2, 7.2, 10.0 and
/// 11.1. A row counts for every version, since nobody has asked those between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// In this version and up to the last.
    pub first: (u32, u32),
    /// None for all that came after the first.
    pub last: Option<(u32, u32)>,
}

const ALL: Seen = Seen { first: (5, 2), last: None };
const ONLY_5_2: Seen = Seen { first: (5, 2), last: Some((5, 2)) };
const UNTIL_7_2: Seen = Seen { first: (5, 2), last: Some((7, 2)) };
const SINCE_7_2: Seen = Seen { first: (7, 2), last: None };
const UNTIL_10_0: Seen = Seen { first: (5, 2), last: Some((10, 0)) };
const SINCE_11_1: Seen = Seen { first: (11, 1), last: None };
const SINCE_10_0: Seen = Seen { first: (10, 0), last: None };

impl Seen {
    /// Whether it was seen in this version, or in one before and since.
    pub fn has(self, qemu: Version) -> bool {
        let version = (qemu.major, qemu.minor);
        version >= self.first && self.last.is_none_or(|last| version <= last)
    }
}

/// One way to refuse.
#[derive(Debug)]
pub struct Row {
    /// The commands that are refused like this.
    pub commands: &'static [&'static str],
    /// How it is known.
    pub says: Says,
    /// Where it was seen.
    pub seen: Seen,
    /// What it means.
    pub refusal: Refusal,
    /// The test that has a real QEMU say so.
    pub shown_by: &'static str,
}

/// Shows what needs no guest.
const RAW: &str = "tests/qemu_errors.rs";

const fn row(commands: &'static [&'static str], words: &'static str, seen: Seen, refusal: Refusal) -> Row {
    Row { commands, says: Says::Words(words), seen, refusal, shown_by: RAW }
}

/// The first row that fits counts.
pub static ROWS: &[Row] = &[
    row(&["device_add"], "Duplicate ID '*' for device", ONLY_5_2, Refusal::DuplicateDevice),
    row(&["device_add"], "Duplicate device ID '*'", SINCE_7_2, Refusal::DuplicateDevice),
    // 5.2 takes a second netdev of the same id.
    row(&["netdev_add"], "Duplicate ID '*'", SINCE_7_2, Refusal::DuplicateBackend),
    row(&["blockdev-add"], "Duplicate node name", ONLY_5_2, Refusal::DuplicateBackend),
    row(&["blockdev-add"], "Duplicate nodes with node-name='*'", SINCE_7_2, Refusal::DuplicateBackend),
    Row {
        commands: &[
            "device_del",
            "netdev_del",
            "set_link",
            "qom-get",
            "qom-set",
            "block_set_io_throttle",
            "device-list-properties",
        ],
        says: Says::Class("DeviceNotFound"),
        seen: ALL,
        refusal: Refusal::Absent,
        shown_by: RAW,
    },
    row(&["qom-get"], "Property '*' not found", ALL, Refusal::Absent),
    row(&["closefd", "remove-fd"], "File descriptor named '*' not found", ALL, Refusal::Absent),
    row(&["blockdev-add"], "Invalid node name", ONLY_5_2, Refusal::NodeName),
    row(&["blockdev-add"], "Invalid node-name: '*'", SINCE_7_2, Refusal::NodeName),
    // Of a module that is not installed; the others are not in the schema.
    row(&["blockdev-add"], "Unknown driver '*'", ALL, Refusal::NoDriver),
    row(&["netdev_add"], "Parameter 'type' does not accept value '*'", SINCE_7_2, Refusal::NoDriver),
    row(&["netdev_add"], "Invalid parameter '*'", ONLY_5_2, Refusal::NoDriver),
    row(&["blockdev-add"], "Parameter 'driver' does not accept value '*'", SINCE_7_2, Refusal::NoDriver),
    row(&["blockdev-add"], "Invalid parameter '*'", ONLY_5_2, Refusal::NoDriver),
    row(&["blockdev-del"], "Cannot find node ", ONLY_5_2, Refusal::Absent),
    row(&["blockdev-del"], "Failed to find node with node-name='*'", SINCE_7_2, Refusal::Absent),
    row(&["blockdev-remove-medium"], "Tray of device '*' is not open", ALL, Refusal::TrayShut),
    // A device uses it; QEMU lets go of a node some 55 ms after its device has left the bus. Or an export.
    row(&["blockdev-del"], "Node * is in use", ALL, Refusal::InUse),
    // A node above it is made of it.
    row(&["blockdev-del"], "Block device * is in use", ALL, Refusal::InUse),
    // A job ("block device is in use by block job: mirror"), or a node above ("node is used as backing hd of
    // 'y'").
    row(&["blockdev-del"], "Node '*' is busy: ", ALL, Refusal::InUse),
    row(&["object-add"], "attempt to add duplicate property '*' to object", ALL, Refusal::DuplicateBackend),
    row(
        &["chardev-add"],
        "attempt to add duplicate property '*' to object",
        ONLY_5_2,
        Refusal::DuplicateBackend,
    ),
    row(&["chardev-add"], "Chardev with id '*' already exists", SINCE_7_2, Refusal::DuplicateBackend),
    row(&["chardev-remove"], "Chardev '*' not found", ALL, Refusal::Absent),
    row(&["chardev-remove"], "Chardev '*' is busy", ALL, Refusal::InUse),
    row(&["object-del"], "object '*' not found", ALL, Refusal::Absent),
    row(&["object-del"], "object '*' is in use, can not be deleted", UNTIL_10_0, Refusal::InUse),
    row(
        &["object-del"],
        "Cannot delete throttle group '*' with active references",
        SINCE_11_1,
        Refusal::InUse,
    ),
    row(&["device_del"], "Device * is already in the process of unplug", ALL, Refusal::AlreadyUnplugging),
    // PCI Express's own hotplug.
    Row {
        commands: &["device_del"],
        says: Says::Words("Hot-unplug failed: guest is busy (power indicator blinking)"),
        seen: SINCE_7_2,
        refusal: Refusal::GuestBusy,
        shown_by: "tests/c/guest-busy.c",
    },
    row(&["device_add", "device_del"], "Bus '*' does not support hotplugging", ALL, Refusal::NotHotpluggable),
    row(&["device_del"], "Device '*' does not support hotplugging", ALL, Refusal::NotHotpluggable),
    row(&["device_add"], "Device '*' does not support hotplugging", SINCE_10_0, Refusal::NotHotpluggable),
    row(
        &["device_add"],
        "Hot-plug failed: unsupported by the port device '*'",
        UNTIL_7_2,
        Refusal::NotHotpluggable,
    ),
    row(
        &["device_del"],
        "Hot-unplug failed: unsupported by the port device '*'",
        UNTIL_7_2,
        Refusal::NotHotpluggable,
    ),
    // Slot 0 of a bridge with SHPC.
    row(
        &["device_add"],
        "Unsupported PCI slot * for standard hotplug controller",
        ALL,
        Refusal::NotHotpluggable,
    ),
    row(&["device_add"], "PCI: slot * not available for *, in use by ", ALL, Refusal::PlaceTaken),
    row(&["device_add"], "lun already used by '*'", ALL, Refusal::PlaceTaken),
    row(&["blockdev-add", "device_add"], "Failed to get \"*\" lock", ALL, Refusal::ImageLocked),
    row(&["blockdev-add", "device_add"], "Failed to get shared \"*\" lock", ALL, Refusal::ImageLocked),
    row(&["device_add"], "Image size is not a multiple of request alignment", ALL, Refusal::UnalignedSize),
    row(&["blockdev-add"], "The device is not writable", ALL, Refusal::ReadOnlyDevice),
    row(&["device_add", "device_del"], "not allowed while migrating", ALL, Refusal::Migrating),
    // The same command of a client that died right after it was sent may be carried out when the next client
    // is there already, and ends the negotiation of that one (11.1, once in some thousand kills).
    row(
        &["qmp_capabilities"],
        "Capabilities negotiation is already complete",
        ALL,
        Refusal::AlreadyNegotiated,
    ),
];

impl Row {
    fn fits(&self, command: &str, error: &Error) -> bool {
        let says = match self.says {
            Says::Class(class) => error.qmp_class() == Some(class),
            Says::Words(words) => error.qmp_desc().is_some_and(|text| has_words(text, words)),
        };
        says && self.commands.contains(&command)
    }
}

/// Whether the parts between the `*` come one after the other.
fn has_words(text: &str, words: &str) -> bool {
    let mut rest = Some(text);
    for part in words.split('*') {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
    }
    rest.is_some()
}

/// The row for QEMU's answer to this command; none for an error that is not QEMU's, or whose words are not
/// known.
pub fn find(command: &str, error: &Error) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.fits(command, error))
}

/// What QEMU's answer to this command means.
pub fn refusal(command: &str, error: &Error) -> Option<Refusal> {
    find(command, error).map(|row| row.refusal)
}

/// Whether QEMU says that what the command is about is not there.
pub fn is_absence(command: &str, error: &Error) -> bool {
    refusal(command, error) == Some(Refusal::Absent)
}

/// QEMU's answer to this command with a kind that a caller can act on, and with advice before QEMU's words.
#[must_use]
pub fn explain(command: &str, error: Error) -> Error {
    let Some(refusal) = refusal(command, &error) else { return error };
    let error = match refusal.kind() {
        Some(kind) => error.with_kind(kind),
        None => error,
    };
    match refusal.advice() {
        Some(advice) => error.context(advice),
        None => error,
    }
}

#[cfg(test)]
#[path = "qemu_errors/tests.rs"]
mod tests;
