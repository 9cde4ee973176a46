//! News about a guest and its devices, kept until the caller fetches them.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::error::ErrorKind;
use crate::ids::IfName;
use crate::model::{Device, DeviceKind, Spec};
use crate::qmp;
use crate::sanitize::readable;

/// Events kept before the oldest are dropped and counted.
const MAX_KEPT: usize = 1024;

/// The same for QMP events that are passed on as they are, and the bytes that they may take: a guest can
/// cause many, and they must not push out what only this library knows.
const MAX_RAW: usize = 512;
const MAX_RAW_BYTES: usize = 2 << 20;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// To which device; `None` for an event about the guest as a whole.
    pub device: Option<DeviceRef>,
    /// Details for people; the whole event as JSON for [`EventKind::Qmp`].
    pub text: String,
    /// How often it has happened since it was last fetched.
    pub count: u64,
}

/// The device an event is about, as it was then.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceRef {
    /// Its id.
    pub id: String,
    /// NIC or disk.
    pub kind: DeviceKind,
    /// Which attachment of that id.
    pub generation: u64,
    /// Of a NIC: its tap on the host, if it has a name.
    pub tap: Option<IfName>,
}

c_enum! {
    /// Types of events. Newer versions may add some: skip those.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum EventKind = kvm_hotplug_event_type, KVM_HOTPLUG_EVENT, with data {
        /// An add with KVM_HOTPLUG_NO_WAIT, or an interrupted one, is done.
        Added = 1,
        /// A pending removal is done: storage or tap may be torn down.
        Removed = 2,
        /// The guest gave up a device by itself: storage or tap may be torn down.
        RemovedByGuest = 3,
        /// The guest refused a removal; the device stays. See KVM_HOTPLUG_ERROR_GUEST_REFUSED.
        Refused = 4,
        /// An earlier agent's removal is waiting for the guest.
        Pending = 5,
        /// An interrupted add was undone.
        Undone = 6,
        /// The monitor connection is lost; the next call reconnects.
        MonitorLost = 7,
        /// Unfetched events were dropped (over 1024, or over 512 QMP events).
        Lost(u64) = 8,
        /// The monitor is connected again.
        MonitorRestored = 9,
        /// A disk request failed; see action, write and no_space.
        IoError(IoError) = 10,
        /// The guest shut down; by_guest says by whom, text why. QEMU exits, unless started with
        /// -no-shutdown.
        Shutdown { /** It did so by itself. */ by_guest: bool } = 11,
        /// The guest was reset; by_guest says by whom, text why.
        Reset { /** It did so by itself. */ by_guest: bool } = 12,
        /// The guest's system crashed and reports it (pvpanic device).
        Panicked = 13,
        /// A QMP event, after kvm_hotplug_forward_qmp_events(); fetch it with kvm_hotplug_next_event_json().
        Qmp = 14,
        /// An add with KVM_HOTPLUG_NO_WAIT failed: error_kind, error_number and text say why. It was undone,
        /// except for what text says is left behind.
        AddFailed(AddFailure) = 15,
        /// The guest opened the tray of a CD drive, as for an eject. Recorded: the next boot finds no medium
        /// in the drive.
        TrayOpened = 16,
        /// The tray of a CD drive that the guest had opened is closed again, by the guest or a reset.
        TrayClosed = 17,
    }
}

/// The numbers of the error that the add would have failed with if it had been waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddFailure {
    /// Its kind.
    pub kind: ErrorKind,
    /// Its errno, positive.
    pub errno: i32,
}

/// What QEMU says about a failed request of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError {
    /// It was a write.
    pub write: bool,
    /// There was no space left.
    pub no_space: bool,
    /// What QEMU did about it.
    pub action: IoAction,
}

c_enum! {
    /// What QEMU did about a failed request to a disk.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum IoAction = kvm_hotplug_io_action, KVM_HOTPLUG_IO_ACTION {
        /// The guest was told.
        Report = 1,
        /// Nothing.
        Ignore = 2,
        /// QEMU stopped the guest, and repeats the request after "cont".
        Stop = 3,
    }
}

impl EventKind {
    fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::RemovedByGuest => "removed-by-guest",
            Self::Refused => "refused",
            Self::Pending => "pending",
            Self::Undone => "undone",
            Self::MonitorLost => "monitor-lost",
            Self::Lost(_) => "lost",
            Self::MonitorRestored => "monitor-restored",
            Self::IoError(_) => "io-error",
            Self::Shutdown { .. } => "shutdown",
            Self::Reset { .. } => "reset",
            Self::Panicked => "panicked",
            Self::Qmp => "qmp",
            Self::AddFailed(_) => "add-failed",
            Self::TrayOpened => "tray-opened",
            Self::TrayClosed => "tray-closed",
        }
    }
}

impl IoAction {
    fn word(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Ignore => "ignore",
            Self::Stop => "stop",
        }
    }
}

impl Event {
    fn of_guest(kind: EventKind, text: String) -> Self {
        Self { kind, device: None, text, count: 1 }
    }

    /// As JSON, for machines.
    pub fn to_json(&self) -> Value {
        let device = self.device.as_ref();
        let mut text = json!({
            "event": self.kind.word(),
            "id": device.map(|device| device.id.as_str()),
            "type": device.map(|device| device.kind.name()),
            "generation": device.map(|device| device.generation),
            "ifname": device.and_then(|device| device.tap.as_ref()).map(IfName::as_str),
            "text": self.text,
            "times": self.count,
        });
        let more = match self.kind {
            EventKind::Qmp => {
                json!({ "qmp": serde_json::from_slice::<Value>(self.text.as_bytes()).unwrap_or_default(), "text": "" })
            }
            EventKind::Lost(count) => json!({ "lost": count }),
            EventKind::Shutdown { by_guest } | EventKind::Reset { by_guest } => {
                json!({ "by_guest": by_guest })
            }
            EventKind::AddFailed(failure) => {
                json!({ "error_kind": failure.kind, "error_number": failure.errno })
            }
            EventKind::IoError(error) => json!({
                "operation": if error.write { "write" } else { "read" },
                "action": error.action.word(),
                "no_space": error.no_space,
            }),
            _ => json!({}),
        };
        if let (Value::Object(text), Value::Object(more)) = (&mut text, more) {
            text.extend(more);
        }
        text
    }
}

/// Two bounded queues in one order: of events for the caller, and of QMP events.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    kept: VecDeque<Event>,
    raw: usize,
    raw_bytes: usize,
    dropped: u64,
}

impl EventLog {
    /// Adds an event about one device.
    pub(super) fn device(&mut self, kind: EventKind, device: &Device, text: impl Into<String>) {
        self.push(Event { device: Some(device_ref(device)), ..Event::of_guest(kind, text.into()) });
    }

    /// The removal of a device is waited for by a call from now on: that it is pending, which nobody has
    /// fetched, is for that one.
    pub(super) fn take_over_pending(&mut self, device: &Device) {
        let is_it = |other: &DeviceRef| {
            other.id == device.id.as_str()
                && other.generation == device.generation
                && other.kind == device.kind()
        };
        self.kept
            .retain(|event| event.kind != EventKind::Pending || !event.device.as_ref().is_some_and(is_it));
    }

    /// Adds an event about the guest.
    pub(super) fn guest(&mut self, kind: EventKind, text: impl Into<String>) {
        self.push(Event::of_guest(kind, text.into()));
    }

    /// Adds an event that a guest can cause as often as it likes: one that waits to be fetched is only
    /// counted.
    pub(super) fn push_coalesced(
        &mut self,
        kind: EventKind,
        device: Option<&Device>,
        text: impl Into<String>,
    ) {
        let device = device.map(device_ref);
        match self.kept.iter_mut().find(|event| event.kind == kind && event.device == device) {
            Some(event) => event.count = event.count.saturating_add(1),
            None => self.push(Event { device, ..Event::of_guest(kind, text.into()) }),
        }
    }

    /// Adds a QMP event as it came.
    pub(super) fn push_qmp(&mut self, event: &qmp::Event) {
        let event = Event::of_guest(EventKind::Qmp, event.to_json().to_string());
        let size = event.text.len();
        while self.raw > 0 && (self.raw >= MAX_RAW || self.raw_bytes.saturating_add(size) > MAX_RAW_BYTES) {
            self.drop_oldest(|kind| kind == EventKind::Qmp);
        }
        if size > MAX_RAW_BYTES {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.raw += 1;
        self.raw_bytes += size;
        self.kept.push_back(event);
    }

    /// The text may quote what QEMU says, and QEMU may say a lot.
    fn push(&mut self, mut event: Event) {
        event.text = readable(&event.text);
        if self.kept.len() - self.raw >= MAX_KEPT {
            self.drop_oldest(|kind| kind != EventKind::Qmp);
        }
        self.kept.push_back(event);
    }

    fn drop_oldest(&mut self, of: impl Fn(EventKind) -> bool) {
        if let Some(index) = self.kept.iter().position(|event| of(event.kind)) {
            self.take(index);
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn take(&mut self, index: usize) -> Option<Event> {
        let event = self.kept.remove(index)?;
        if event.kind == EventKind::Qmp {
            self.raw -= 1;
            self.raw_bytes -= event.text.len();
        }
        Some(event)
    }

    /// The oldest event; a notice about dropped ones comes first, since they were older.
    pub(super) fn pop(&mut self) -> Option<Event> {
        match std::mem::take(&mut self.dropped) {
            0 => self.take(0),
            dropped => Some(Event::of_guest(
                EventKind::Lost(dropped),
                format!("{dropped} events were dropped because they were not fetched"),
            )),
        }
    }

    /// How many [`EventLog::pop`] would yield.
    pub(super) fn len(&self) -> usize {
        self.kept.len() + usize::from(self.dropped > 0)
    }

    /// Whether there is nothing to fetch.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn device_ref(device: &Device) -> DeviceRef {
    let tap = match &device.spec {
        Spec::Nic(spec) => spec.ifname.clone(),
        Spec::Disk(_) | Spec::Controller(_) => None,
    };
    DeviceRef { id: device.id.to_string(), kind: device.kind(), generation: device.generation, tap }
}

#[cfg(test)]
mod tests;
