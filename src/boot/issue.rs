//! What keeps a guest from being started on this host.

use serde::Serialize;

use crate::model::Device;

c_enum! {
    /// What prevents a start. Newer versions may add kinds: treat those as "something".
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum IssueKind = kvm_runtime_problem_kind, KVM_RUNTIME_PROBLEM {
        /// An image or backing file cannot be opened as the guest needs it; or the guest was seen to write to
        /// an image outside of the record, such as another program's snapshot, which has its data.
        Image = 1,
        /// A bridge is missing, or is none.
        Bridge = 2,
        /// Taps cannot be made, or the name of one is taken; or the NIC was added with tap_fds and has
        /// not been given its tap for this start.
        Tap = 3,
        /// A NIC has vhost, and this host has none.
        Vhost = 4,
        /// QEMU is older than 5.2.
        QemuTooOld = 5,
        /// QEMU does not know the machine type.
        Machine = 6,
        /// For a migration: the machine type has no version, and differs with each version of QEMU. Harmless
        /// between hosts with the same QEMU.
        MachineNotPinned = 7,
        /// QEMU does not know the device model.
        Model = 8,
        /// For a migration: a device has no address in the record.
        NoAddress = 9,
        /// Two devices want one address, or none is left.
        Place = 10,
        /// The guest runs: a process listens at a Unix socket of its command (-qmp, -monitor, -chardev and
        /// others), or has its pid file locked. Another QEMU would take over that socket.
        Running = 11,
        /// For a boot: another QEMU uses the image or a backing file in a conflicting way. Or another disk of
        /// the record, or of its command, has the same image.
        ImageInUse = 12,
        /// The record has no command, or QEMU would not start with it: it has ids or boot indices of recorded
        /// devices, or names missing files or directories.
        Command = 13,
        /// An unfinished add or change; see kvm_runtime_unfinished().
        Unfinished = 14,
        /// A disk has secrets that have not been given for this start; see kvm_runtime_give_secret().
        Secret = 15,
    }
}

/// One thing that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightIssue {
    /// What kind it is.
    pub kind: IssueKind,
    /// The device that it is about; empty for the guest as a whole.
    pub id: String,
    /// What is wrong and what to do, in one sentence.
    pub text: String,
}

impl PreflightIssue {
    pub(super) fn of_guest(kind: IssueKind, text: String) -> Self {
        Self { kind, id: String::new(), text }
    }

    pub(super) fn of(device: &Device, kind: IssueKind, text: impl ToString) -> Self {
        Self { kind, id: device.id.to_string(), text: text.to_string() }
    }
}
