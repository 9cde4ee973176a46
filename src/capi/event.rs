//! Events, fetched one by one.

use std::ffi::{c_char, c_int};

use super::args::{self, Plain, check_result_size, fill, write_struct};
use super::device::type_number;
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::kvm_hotplug;
use crate::hotplug::{Event, What};

/// Kinds of events. Callers skip kinds they do not know: newer versions may add some.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_event_type {
    /// A device of an interrupted add is in the guest, and recorded now.
    KVM_HOTPLUG_EVENT_ADDED = 1,
    /// A removal that was pending has finished: storage or tap may be torn down.
    KVM_HOTPLUG_EVENT_REMOVED = 2,
    /// The guest gave a device up by itself: storage or tap may be torn down.
    KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST = 3,
    /// The guest refused to let go of a device; it stays.
    KVM_HOTPLUG_EVENT_REFUSED = 4,
    /// A removal that an earlier agent had begun is waiting for the guest.
    KVM_HOTPLUG_EVENT_PENDING = 5,
    /// An interrupted add was taken back.
    KVM_HOTPLUG_EVENT_UNDONE = 6,
    /// The connection to the monitor is gone; the next call makes a new one.
    KVM_HOTPLUG_EVENT_MONITOR_LOST = 7,
    /// Events were dropped because nobody fetched them (more than 1024).
    KVM_HOTPLUG_EVENT_LOST = 8,
}

/// One event. What a call answers itself is no event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_event {
    /// Id of the device; empty for events about the guest.
    pub id: [c_char; 32],
    /// Details in words, UTF-8.
    pub text: [c_char; 256],
    /// Which attachment of that id.
    pub generation: u64,
    /// KVM_HOTPLUG_EVENT_LOST: how many were dropped.
    pub lost: u64,
    /// One of enum kvm_hotplug_event_type.
    pub event_type: u32,
    /// One of enum kvm_hotplug_device_type; 0 for events about the guest.
    pub device_type: u32,
}

// SAFETY: repr(C), integers and arrays of them only.
unsafe impl Plain for kvm_hotplug_event {}

impl From<&Event> for kvm_hotplug_event {
    fn from(event: &Event) -> Self {
        let (event_type, lost) = match event.what {
            What::Added => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_ADDED, 0),
            What::Removed => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_REMOVED, 0),
            What::RemovedByGuest => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST, 0),
            What::Refused => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_REFUSED, 0),
            What::Pending => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_PENDING, 0),
            What::Undone => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_UNDONE, 0),
            What::MonitorLost => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_MONITOR_LOST, 0),
            What::Lost(count) => (kvm_hotplug_event_type::KVM_HOTPLUG_EVENT_LOST, count),
        };
        let device = event.device.as_ref();
        Self {
            id: fill(device.map_or("", |device| &device.id)),
            text: fill(&event.text),
            generation: device.map_or(0, |device| device.generation),
            lost,
            event_type: event_type as u32,
            device_type: device.map_or(0, |device| type_number(device.kind)),
        }
    }
}

/// Fetches the oldest event. Call kvm_hotplug_process() before, to have news taken in.
///
/// `guest`: the handle.
/// `ret_event`, `event_size`: where to put the event, and its sizeof. Written only when there is one.
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: while another call is running; nothing is asked of QEMU. Threads: any.
///
/// Returns 1 if there was an event, 0 if not, or -EFAULT (guest or ret_event is NULL), -EBADF (no open handle), -EINVAL
/// (size 0), -ENOTRECOVERABLE.
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
        check_result_size(event_size, "ret_event")?;
        let Some(event) = guest.next_event()? else { return Ok(0) };
        // SAFETY: the caller vouches for the struct.
        unsafe { write_struct(ret_event, event_size, &kvm_hotplug_event::from(&event)) };
        Ok(1)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
