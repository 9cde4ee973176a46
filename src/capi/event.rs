//! Events, fetched one by one.

use std::ffi::{c_char, c_int};

use super::args::{self, Plain, check_size};
use super::error::kvm_hotplug_error;
use super::give::{self, fill, write_struct};
use super::guard;
use super::guest::kvm_hotplug;
use crate::guest::{Event, EventKind};
use crate::sanitize::escaped;

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
    /// Of a NIC: its tap on the host; empty if it has none or the event is about another device.
    pub ifname: [c_char; 16],
}

// SAFETY: repr(C), integers and arrays of them only.
unsafe impl Plain for kvm_hotplug_event {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_event, error_number);
}

impl From<&Event> for kvm_hotplug_event {
    fn from(event: &Event) -> Self {
        let lost = match event.kind {
            EventKind::Lost(count) => count,
            _ => 0,
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
            event_type: event.kind.number(),
            device_type: device.map_or(0, |device| device.kind as u32),
            times: event.count,
            action: io_error.map_or(0, |error| error.action as u32),
            write: io_error.map_or(0, |error| error.write.into()),
            no_space: io_error.map_or(0, |error| error.no_space.into()),
            by_guest: by_guest.into(),
            error_kind: failure.map_or(0, |failure| (failure.kind as i32).unsigned_abs()),
            error_number: failure.map_or(0, |failure| failure.errno.unsigned_abs()),
            ifname: fill(device.and_then(|device| device.tap.as_ref()).map_or("", |tap| tap.as_str())),
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
