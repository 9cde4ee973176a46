//! What a call answers when it did not fail: five different things, never mixed up.

use crate::runtime::Device;

/// How an add or a removal ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done in the running guest: added, or gone so that its storage or tap may be torn down.
    Done(Device),
    /// Recorded; takes effect with the next boot.
    AfterReboot(Device, AfterReboot),
    /// Removal asked for and not granted yet; an event will follow.
    Pending(Device, Waiting),
    /// There is no such device, neither recorded nor in the guest.
    Absent,
}

/// Why a change waits for the next boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterReboot {
    /// QEMU is older than what this library can hot-plug into.
    QemuTooOld(String),
    /// The model is not a paravirtual one.
    Model(String),
    /// The record does not say where the device sits.
    NoAddress,
    /// The SCSI controller takes no disks while the guest runs; why.
    Controller(String),
    /// Nothing any more: it was recorded for the next boot when something was in its way, or the guest did not run.
    Recorded,
}

impl std::fmt::Display for AfterReboot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::QemuTooOld(version) => write!(f, "QEMU {version} is older than {}", super::OLDEST_QEMU),
            Self::Model(model) => write!(f, "model {model} is not paravirtual"),
            Self::Controller(why) => write!(f, "its controller takes no disks now: {why}"),
            Self::NoAddress => f.write_str("the record has no address for the device"),
            Self::Recorded => {
                f.write_str("it was recorded for the next boot; nothing would be in its way now")
            }
        }
    }
}

/// Why a removal is still pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The guest runs and has not answered yet.
    Deadline,
    /// The guest runs but has never set the device up: it has not booted, or its kernel does not handle hotplug.
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
}

impl Waiting {
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

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Deadline => "the guest has not answered yet",
            Self::NotBooted => "the guest has never set the device up: not booted, or no hotplug support",
            Self::NotStarted => "the guest has not been started",
            Self::Paused => "the guest is paused",
            Self::Asleep => "the guest is asleep",
            Self::Stopped => "the guest has crashed or stopped",
            Self::NotAwaited => "not waited for",
            Self::Migrating => "the guest is being migrated",
        })
    }
}
