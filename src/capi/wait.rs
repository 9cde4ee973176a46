//! Waiting for what QEMU says, and ending what waits.

use std::ffi::c_int;

use super::args::timeout;
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, kvm_hotplug};
use crate::guest::ThreadNumber;

/// Ends all calls of other threads on this handle as soon as possible, also those that wait for another call,
/// but does not wait for them. They fail with -ECANCELED, and each error says what became of its device.
/// Later calls are not ended, nor adds with KVM_HOTPLUG_NO_WAIT.
///
/// Returns 1 if a call was running, 0 if not.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_cancel(
    guest: *const kvm_hotplug,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for the handle.
    let work = || Ok(c_int::from(unsafe { kvm_hotplug::get(guest) }?.cancel()));
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Ends the call of one thread on this handle, as kvm_hotplug_cancel() does. That thread asks for its number
/// before its call; a cancel that comes before the call has begun ends nothing.
///
/// `thread`: what kvm_hotplug_thread() returned there.
///
/// Returns 1 if that thread was in a call, 0 if not.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_cancel_thread(
    guest: *const kvm_hotplug,
    thread: u64,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        let thread = usize::try_from(thread).map(ThreadNumber);
        Ok(c_int::from(thread.is_ok_and(|thread| guest.cancel_thread(thread))))
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// The number of the calling thread, for kvm_hotplug_cancel_thread(); never 0. A thread that begins after
/// this one has ended may get the same number.
#[unsafe(no_mangle)]
pub extern "C" fn kvm_hotplug_thread() -> u64 {
    guard::quiet(0, || u64::try_from(ThreadNumber::this().0).unwrap_or(0))
}

/// A descriptor for poll, epoll or select: readable when kvm_hotplug_process() has something to do or an
/// event can be fetched. It belongs to the handle, stays the same also after a reconnect, and must be neither
/// read nor closed.
///
/// Returns the descriptor.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_get_fd(
    guest: *const kvm_hotplug,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for the handle.
    let work = || Ok(unsafe { kvm_hotplug::get(guest) }?.fd());
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Processes what QEMU has sent: finishes adds with KVM_HOTPLUG_NO_WAIT and removals that the guest granted
/// late (tears down the backend, updates the record), cleans up after devices that the guest gave up by
/// itself, and reconnects if the connection was lost. While QEMU is still busy with an add, it only processes
/// what has arrived, and leaves the rest for later. It asks again for removals that have been pending for
/// over 10 s, since a booting guest misses the request; so call it every few seconds as well while one is
/// pending. It does not wait for events, only for the replies to its own commands.
///
/// `timeout_ms`: milliseconds for those commands; 0 means 5000.
///
/// Blocks: normally under a millisecond.
///
/// Returns the number of events that kvm_hotplug_next_event() can fetch, or fails like any call to QEMU, and
/// with the errno of writing journal or runtime file. The next call tries again what is not finished.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_process(
    guest: *mut kvm_hotplug,
    timeout_ms: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        let count = guest.process(timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        Ok(c_int::try_from(count).unwrap_or(c_int::MAX))
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
