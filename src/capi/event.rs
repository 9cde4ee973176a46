//! Events, fetched one by one.

use std::ffi::{c_char, c_int};

use super::args::{self, Plain, check_size};
use super::error::kvm_hotplug_error;
use super::give::{self, fill, write_struct};
use super::guard;
use super::guest::kvm_hotplug;
use super::show::type_number;
use crate::guest::{Event, EventKind, IoAction};
use crate::sanitize::escaped;

/// Kinds of events. Callers skip kinds they do not know: newer versions may add some.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_event_type {
    /// A device of an add with KVM_HOTPLUG_NO_WAIT, or of an interrupted one, is in the guest, and recorded now.
    KVM_HOTPLUG_EVENT_ADDED = 1,
    /// A removal that was pending has finished: storage or tap may be torn down.
    KVM_HOTPLUG_EVENT_REMOVED = 2,
    /// The guest gave a device up by itself: storage or tap may be torn down.
    KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST = 3,
    /// The guest refused to let go of a device; it stays. See KVM_HOTPLUG_ERROR_GUEST_REFUSED for when QEMU hears that.
    KVM_HOTPLUG_EVENT_REFUSED = 4,
    /// A removal that an earlier agent had begun is waiting for the guest.
    KVM_HOTPLUG_EVENT_PENDING = 5,
    /// An interrupted add was taken back.
    KVM_HOTPLUG_EVENT_UNDONE = 6,
    /// The connection to the monitor is gone; the next call makes a new one.
    KVM_HOTPLUG_EVENT_MONITOR_LOST = 7,
    /// Events were dropped because nobody fetched them (more than 1024, or 512 QMP events).
    KVM_HOTPLUG_EVENT_LOST = 8,
    /// There is a connection to the monitor again.
    KVM_HOTPLUG_EVENT_MONITOR_RESTORED = 9,
    /// A disk could not be read or written: operation, action and no_space say more.
    KVM_HOTPLUG_EVENT_IO_ERROR = 10,
    /// The guest shut down, or was made to; by_guest says which, text why. QEMU is about to exit unless it was started with
    /// -no-shutdown.
    KVM_HOTPLUG_EVENT_SHUTDOWN = 11,
    /// The guest was reset; by_guest says by whom, text why.
    KVM_HOTPLUG_EVENT_RESET = 12,
    /// The guest's system has crashed and says so (through a pvpanic device).
    KVM_HOTPLUG_EVENT_PANICKED = 13,
    /// A QMP event as it came, after kvm_hotplug_forward_qmp_events(); fetch it with kvm_hotplug_next_event_json().
    KVM_HOTPLUG_EVENT_QMP = 14,
    /// A device of an add with KVM_HOTPLUG_NO_WAIT could not be added: error_kind, error_number and text say why. What had
    /// been done is taken back, but for what the text says is left behind.
    KVM_HOTPLUG_EVENT_ADD_FAILED = 15,
}

/// What QEMU did about a failed request to a disk.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_io_action {
    /// The guest was told.
    KVM_HOTPLUG_IO_ACTION_REPORT = 1,
    /// Nothing.
    KVM_HOTPLUG_IO_ACTION_IGNORE = 2,
    /// The guest was stopped; QEMU repeats the request when it is let go on (QMP command cont).
    KVM_HOTPLUG_IO_ACTION_STOP = 3,
}

/// One event. What a call answers itself is no event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_event {
    /// Id of the device; empty for events about the guest.
    pub id: [c_char; 32],
    /// Details in words, UTF-8. KVM_HOTPLUG_EVENT_QMP: the beginning of the event's JSON text.
    pub text: [c_char; 256],
    /// Which attachment of that id.
    pub generation: u64,
    /// KVM_HOTPLUG_EVENT_LOST: how many were dropped.
    pub lost: u64,
    /// One of enum kvm_hotplug_event_type.
    pub event_type: u32,
    /// One of enum kvm_hotplug_device_type; 0 for events about the guest.
    pub device_type: u32,
    /// How often it has happened since it was last fetched: I/O errors, resets and the like, which a guest can cause
    /// without end, are not kept twice.
    pub times: u64,
    /// KVM_HOTPLUG_EVENT_IO_ERROR: one of enum kvm_hotplug_io_action.
    pub action: u32,
    /// KVM_HOTPLUG_EVENT_IO_ERROR: 1 if it was a write.
    pub write: u32,
    /// KVM_HOTPLUG_EVENT_IO_ERROR: 1 if there was no space left.
    pub no_space: u32,
    /// KVM_HOTPLUG_EVENT_SHUTDOWN, KVM_HOTPLUG_EVENT_RESET: 1 if the guest did it by itself.
    pub by_guest: u32,
    /// KVM_HOTPLUG_EVENT_ADD_FAILED: what kvm_hotplug_error_kind() would have returned for the call.
    pub error_kind: u32,
    /// KVM_HOTPLUG_EVENT_ADD_FAILED: the errno that the call would have returned, positive.
    pub error_number: u32,
}

// SAFETY: repr(C), integers and arrays of them only.
unsafe impl Plain for kvm_hotplug_event {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_event, error_number);
}

impl From<&Event> for kvm_hotplug_event {
    fn from(event: &Event) -> Self {
        let (event_type, lost) = match event.kind {
            EventKind::Added => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_ADDED, 0),
            EventKind::Removed => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_REMOVED, 0),
            EventKind::RemovedByGuest => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST, 0),
            EventKind::Refused => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_REFUSED, 0),
            EventKind::Pending => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_PENDING, 0),
            EventKind::Undone => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_UNDONE, 0),
            EventKind::MonitorLost => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_MONITOR_LOST, 0),
            EventKind::Lost(count) => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_LOST, count),
            EventKind::MonitorRestored => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_MONITOR_RESTORED, 0),
            EventKind::IoError(_) => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_IO_ERROR, 0),
            EventKind::Shutdown { .. } => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_SHUTDOWN, 0),
            EventKind::Reset { .. } => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_RESET, 0),
            EventKind::Panicked => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_PANICKED, 0),
            EventKind::Qmp => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_QMP, 0),
            EventKind::AddFailed(_) => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_ADD_FAILED, 0),
        };
        let io_error = match event.kind {
            EventKind::IoError(error) => Some(error),
            _ => None,
        };
        let failure = match event.kind {
            EventKind::AddFailed(failure) => Some(failure),
            _ => None,
        };
        let by_guest = matches!(
            event.kind,
            EventKind::Shutdown { by_guest: true } | EventKind::Reset { by_guest: true }
        );
        let device = event.device.as_ref();
        Self {
            id: fill(device.map_or("", |device| &device.id)),
            text: fill(&escaped(&event.text)),
            generation: device.map_or(0, |device| device.generation),
            lost,
            event_type: event_type as u32,
            device_type: device.map_or(0, |device| type_number(device.kind)),
            times: event.count,
            action: io_error.map_or(0, |error| action_number(error.action)),
            write: io_error.map_or(0, |error| error.write.into()),
            no_space: io_error.map_or(0, |error| error.no_space.into()),
            by_guest: by_guest.into(),
            error_kind: failure.map_or(0, |failure| (failure.kind as i32).unsigned_abs()),
            error_number: failure.map_or(0, |failure| failure.errno.unsigned_abs()),
        }
    }
}

fn action_number(action: IoAction) -> u32 {
    match action {
        IoAction::Report => kvm_hotplug_io_action::KVM_HOTPLUG_IO_ACTION_REPORT as u32,
        IoAction::Ignore => kvm_hotplug_io_action::KVM_HOTPLUG_IO_ACTION_IGNORE as u32,
        IoAction::Stop => kvm_hotplug_io_action::KVM_HOTPLUG_IO_ACTION_STOP as u32,
    }
}

/// Fetches the oldest event. Call kvm_hotplug_process() before, to have news taken in.
///
/// `ret_event`, `event_size`: where to put the event, and its sizeof. Written only when there is one.
///
/// Blocks: as kvm_hotplug_list().
///
/// Returns 1 if there was an event, 0 if not.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_next_event(
    guest: *mut kvm_hotplug,
    ret_event: *mut kvm_hotplug_event,
    event_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        if ret_event.is_null() {
            return Err(args::null("ret_event"));
        }
        check_size::<kvm_hotplug_event>(event_size, "ret_event")?;
        let Some(event) = guest.next_event()? else { return Ok(0) };
        // SAFETY: the caller vouches for the struct.
        unsafe { write_struct(ret_event, event_size, &kvm_hotplug_event::from(&event)) };
        Ok(1)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Fetches the oldest event as JSON text, with everything that is known of it. Events come in one order, whichever function
/// fetches them.
///
/// The text is an object: "event" (such as "removed" or "io-error": the names of enum kvm_hotplug_event_type in lower case, with
/// "-"), "id", "type" ("nic", "disk" or "scsi") and "generation" of the device (null for events about the guest), "text", "times";
/// "lost" for lost; "operation" ("read" or "write"), "action" ("report", "ignore" or "stop") and "no_space" for io-error;
/// "by_guest" for shutdown and reset; "qmp", with "event", "data" and "timestamp" as QEMU sent them, for qmp.
///
/// `ret_json`: where to put the text, UTF-8; freed with kvm_hotplug_text_free(). Written only when there is an event.
///
/// Blocks: as kvm_hotplug_list().
///
/// Returns 1 if there was an event, 0 if not.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_next_event_json(
    guest: *mut kvm_hotplug,
    ret_json: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        give::check_out(ret_json, "ret_json")?;
        let Some(event) = guest.next_event()? else { return Ok(0) };
        // SAFETY: the caller vouches for the pointer.
        unsafe { give::give_json(&event.to_json(), ret_json) }?;
        Ok(1)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Turns on or off that QMP events can be fetched as they are (KVM_HOTPLUG_EVENT_QMP), besides the events made from them. At
/// most 512 of them, and 2 MiB, are kept; the oldest are dropped and counted then, never other events.
///
/// `on`: 1 or 0. A new handle begins with 0. Turning it off leaves those that are kept.
///
/// Blocks: as kvm_hotplug_list().
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_forward_qmp_events(
    guest: *mut kvm_hotplug,
    on: c_int,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        guest.watch_qmp(args::boolean(on, "on")?)?;
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
