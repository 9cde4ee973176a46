//! What a call answers when it did not fail: never mixed up.

use crate::model::Device;
use crate::slots::pci::Room;

/// How an add or a removal ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done in the running guest: added, or gone so that its storage or tap may be torn down.
    Done(Device),
    /// Recorded; takes effect with the next boot.
    AfterReboot(Device, DeferReason),
    /// Removal asked for and not granted yet; an event will follow. Or a change of medium, of which nothing
    /// is done yet.
    Pending(Device, PendingReason),
    /// A device without an id is gone from the running guest; no record has it.
    DoneByPath,
    /// The guest has been asked for a device without an id, or is to be asked later, and still has it. No
    /// event follows.
    PendingByPath(PendingReason),
    /// There is no such device, neither recorded nor in the guest.
    Absent,
}

/// Why a change waits for the next boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeferReason {
    /// QEMU is older than what this library can hot-plug into.
    QemuTooOld(String),
    /// The model is one that is not plugged into a running guest; why.
    Model(String),
    /// The record does not say where the device sits.
    NoAddress,
    /// The SCSI controller takes no disks while the guest runs; why.
    Controller(String),
    /// No slot is left that a device gets unasked; what the next boot makes, so that there is one.
    Full(Room),
    /// Nothing any more: it was recorded for the next boot when something was in its way, or the guest did
    /// not run.
    Recorded,
}

impl std::fmt::Display for DeferReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::QemuTooOld(version) => {
                write!(f, "QEMU {version} is older than {}", crate::qmp::OLDEST_QEMU)
            }
            Self::Model(why) => f.write_str(why),
            Self::Controller(why) => write!(f, "its controller takes no disks now: {why}"),
            Self::Full(Room::Bridge) => f.write_str(
                "no slot is free but the last of pci.0, where the next boot makes a PCI bridge for more devices",
            ),
            Self::Full(Room::RootPort) => {
                f.write_str("no root port is free; the next boot makes one for the device")
            }
            Self::NoAddress => f.write_str("the record has no address for the device"),
            Self::Recorded => {
                f.write_str("it was recorded for the next boot; nothing would be in its way now")
            }
        }
    }
}

/// Why a removal is still pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingReason {
    /// The guest runs and has not answered yet.
    Deadline,
    /// The guest runs but has never set the device up: it has not booted, or its kernel does not handle
    /// hotplug.
    NotBooted,
    /// The guest has not been started (`prelaunch`).
    NotStarted,
    /// The guest is paused.
    Paused,
    /// The guest is asleep (ACPI S3).
    Asleep,
    /// The guest has crashed or is stopped by an error.
    Stopped,
    /// The caller asked not to wait.
    NotAwaited,
    /// The guest is being migrated, or has been, or waits for a migration to come in.
    Migrating,
    /// The guest has let go; somebody in QEMU, these in words, still uses the disk's block node.
    InUse(ShortText),
    /// The guest has locked the tray of the CD drive.
    TrayLocked,
}

impl PendingReason {
    /// The same for the answer to `query-status`.
    pub(super) fn of_status(answer: &serde_json::Value) -> Option<Self> {
        let state = answer.get("status").and_then(serde_json::Value::as_str);
        Self::from_run_state(state.unwrap_or("running"))
    }

    /// What QEMU's run state says about a guest's ability to let go of a device; `None` if it can.
    pub fn from_run_state(state: &str) -> Option<Self> {
        match state {
            "running" => None,
            "prelaunch" | "preconfig" => Some(Self::NotStarted),
            "suspended" => Some(Self::Asleep),
            "inmigrate" | "finish-migrate" | "postmigrate" | "colo" => Some(Self::Migrating),
            "paused" | "debug" | "save-vm" | "restore-vm" => Some(Self::Paused),
            _ => Some(Self::Stopped),
        }
    }
}

impl std::fmt::Display for PendingReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InUse(by) => return write!(f, "the guest has let go, but QEMU still uses the image: {by}"),
            Self::Deadline => "the guest has not answered yet",
            Self::NotBooted => "the guest has never set the device up: not booted, or no hotplug support",
            Self::NotStarted => "the guest has not been started",
            Self::Paused => "the guest is paused",
            Self::Asleep => "the guest is asleep",
            Self::Stopped => "the guest has crashed or stopped",
            Self::NotAwaited => "not waited for",
            Self::Migrating => "the guest is being migrated",
            Self::TrayLocked => "the guest has locked the tray of the drive, and was asked to open it",
        })
    }
}

/// A text that is kept where many are copied; a longer one is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShortText {
    bytes: [u8; Self::ROOM],
    length: usize,
}

impl ShortText {
    /// What the C interface has room for behind the words before it.
    const ROOM: usize = 104;

    /// The text, or as much of it as there is room for.
    pub fn new(text: &str) -> Self {
        let mut length = text.len().min(Self::ROOM);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        let mut bytes = [0; Self::ROOM];
        bytes.iter_mut().zip(text.bytes().take(length)).for_each(|(place, byte)| *place = byte);
        Self { bytes, length }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl std::fmt::Display for ShortText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for ShortText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_cut_between_characters() {
        assert_eq!(ShortText::new("NBD export e").as_str(), "NBD export e");
        assert_eq!(ShortText::new("").as_str(), "");
        let long = "é".repeat(60);
        assert_eq!(ShortText::new(&long).as_str(), "é".repeat(52));
        assert_eq!(ShortText::new(&format!("x{long}")).as_str(), format!("x{}", "é".repeat(51)));
    }
}
