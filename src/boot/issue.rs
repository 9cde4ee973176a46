//! What keeps a guest from being started on this host.

use crate::model::Device;

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum IssueKind {
    /// An image or backing file cannot be opened as the guest needs it, or the guest's data is in another one.
    Image = 1,
    /// A bridge is missing, or is none.
    Bridge = 2,
    /// Taps cannot be made, one of that name exists, or the NIC had one that the caller opened.
    Tap = 3,
    /// A NIC has vhost, and this host does not.
    Vhost = 4,
    /// QEMU is older than what is supported.
    QemuTooOld = 5,
    /// QEMU does not know the machine type.
    Machine = 6,
    /// The machine type is another one in every version of QEMU: nothing can be migrated to another version.
    MachineNotPinned = 7,
    /// QEMU does not know the device model.
    Model = 8,
    /// A device of the running guest has no address, so that nobody can say where it goes.
    NoAddress = 9,
    /// The guest cannot be put together: two want one place, or there is none left.
    Place = 10,
    /// The guest runs already, or somebody listens where it would.
    Running = 11,
    /// Another QEMU uses the image, or another disk of the guest.
    ImageInUse = 12,
    /// There is no command, or QEMU would not start with it: it does not go together with the devices, or lacks something on
    /// this host.
    Command = 13,
    /// An operation is unfinished, and the record does not say how it ends.
    Unfinished = 14,
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
