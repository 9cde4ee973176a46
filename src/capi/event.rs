//! Events, fetched one by one.

use std::ffi::{c_char, c_int};

use super::args::{self, Plain, check_size};
use super::error::kvm_hotplug_error;
use super::give::{self, fill, write_struct};
use super::guard;
use super::guest::kvm_hotplug;
use crate::guest::{Event, EventKind};
use crate::sanitize::escaped;

/// Types of events. Newer versions may add some: skip those.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_event_type {
    /// An add with KVM_HOTPLUG_NO_WAIT, or an interrupted one, is done.
    KVM_HOTPLUG_EVENT_ADDED = 1,
    /// A pending removal is done: storage or tap may be torn down.
    KVM_HOTPLUG_EVENT_REMOVED = 2,
    /// The guest gave up a device by itself: storage or tap may be torn down.
    KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST = 3,
    /// The guest refused a removal; the device stays. See KVM_HOTPLUG_ERROR_GUEST_REFUSED.
    KVM_HOTPLUG_EVENT_REFUSED = 4,
    /// An earlier agent's removal is waiting for the guest.
    KVM_HOTPLUG_EVENT_PENDING = 5,
    /// An interrupted add was undone.
    KVM_HOTPLUG_EVENT_UNDONE = 6,
    /// The monitor connection is lost; the next call reconnects.
    KVM_HOTPLUG_EVENT_MONITOR_LOST = 7,
    /// Unfetched events were dropped (over 1024, or over 512 QMP events).
    KVM_HOTPLUG_EVENT_LOST = 8,
    /// The monitor is connected again.
    KVM_HOTPLUG_EVENT_MONITOR_RESTORED = 9,
    /// A disk request failed; see action, write and no_space.
    KVM_HOTPLUG_EVENT_IO_ERROR = 10,
    /// The guest shut down; by_guest says by whom, text why. QEMU exits, unless started with -no-shutdown.
    KVM_HOTPLUG_EVENT_SHUTDOWN = 11,
    /// The guest was reset; by_guest says by whom, text why.
    KVM_HOTPLUG_EVENT_RESET = 12,
    /// The guest's system crashed and reports it (pvpanic device).
    KVM_HOTPLUG_EVENT_PANICKED = 13,
    /// A QMP event, after kvm_hotplug_forward_qmp_events(); fetch it with kvm_hotplug_next_event_json().
    KVM_HOTPLUG_EVENT_QMP = 14,
    /// An add with KVM_HOTPLUG_NO_WAIT failed: error_kind, error_number and text say why. It was undone,
    /// except for what text says is left behind.
    KVM_HOTPLUG_EVENT_ADD_FAILED = 15,
}

/// One event. What a call itself answers is no event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_event {
    /// Id of the device; empty for events about the guest.
    pub id: [c_char; 32],
    /// Details in words; of KVM_HOTPLUG_EVENT_QMP the beginning of its JSON text.
    pub text: [c_char; 256],
    /// Which attachment of that id.
    pub generation: u64,
    /// KVM_HOTPLUG_EVENT_LOST: how many were dropped.
    pub lost: u64,
    /// One of enum kvm_hotplug_event_type.
    pub event_type: u32,
    /// One of enum kvm_hotplug_device_type; 0 for events about the guest.
    pub device_type: u32,
    /// How often it has happened since it was last fetched: I/O errors, resets and the like, which a guest
    /// can cause without end, are kept once.
    pub times: u64,
    /// KVM_HOTPLUG_EVENT_IO_ERROR: one of enum kvm_hotplug_io_action.
    pub action: u32,
    /// KVM_HOTPLUG_EVENT_IO_ERROR: 1 if it was a write.
    pub write: u32,
    /// KVM_HOTPLUG_EVENT_IO_ERROR: 1 if there was no space left.
    pub no_space: u32,
    /// SHUTDOWN and RESET events: 1 if the guest did it by itself.
    pub by_guest: u32,
    /// KVM_HOTPLUG_EVENT_ADD_FAILED: as of kvm_hotplug_error_kind().
    pub error_kind: u32,
    /// KVM_HOTPLUG_EVENT_ADD_FAILED: the errno, positive.
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
            device_type: device.map_or(0, |device| device.kind as u32),
            times: event.count,
            action: io_error.map_or(0, |error| error.action as u32),
            write: io_error.map_or(0, |error| error.write.into()),
            no_space: io_error.map_or(0, |error| error.no_space.into()),
            by_guest: by_guest.into(),
            error_kind: failure.map_or(0, |failure| (failure.kind as i32).unsigned_abs()),
            error_number: failure.map_or(0, |failure| failure.errno.unsigned_abs()),
        }
    }
}

/// Fetches the oldest event. Call kvm_hotplug_process() first, so that QEMU's events are processed.
///
/// `ret_event`: where to put the event, if there is one.
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

/// Fetches the oldest event as JSON text with all its details; docs/json.md lists the members. Both functions
/// fetch from one queue.
///
/// Blocks: as kvm_hotplug_list().
///
/// Returns 1 if there was an event, 0 if not (and no text).
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

/// Turns events of type KVM_HOTPLUG_EVENT_QMP on or off: QMP events as QEMU sent them, besides the events
/// made from them. At most 512 of them, and 2 MiB, are kept. Beyond that the oldest of them are dropped and
/// counted, never other events. Turning it off leaves those that are kept.
///
/// `on`: 1 or 0. A new handle begins with 0.
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
        guest.forward_qmp_events(args::boolean(on, "on")?)?;
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
