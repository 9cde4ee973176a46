//! Waiting for what QEMU says, and ending what waits.

use std::ffi::c_int;

use super::args::timeout;
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, kvm_hotplug};
use crate::guest::ThreadNumber;

/// Ends all calls that other threads are in on this handle, as soon as it can, also those that wait for another call; they fail
/// with -ECANCELED, and the error of each says what became of its device. Later calls are not ended, nor adds that were not
/// waited for. Does not wait for those calls itself.
///
/// Blocks: no. May be called while other calls are running.
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

/// Ends the call that one thread is in on this handle, and no other, as kvm_hotplug_cancel() does. A thread that makes a call
/// that another one is to end asks for its number before: a cancel that comes before the call has begun ends nothing.
///
/// `thread`: what kvm_hotplug_thread() returned there.
///
/// Blocks: no. May be called while other calls are running.
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

/// The number of the calling thread, for kvm_hotplug_cancel_thread(). No other thread that lives has it; one that begins
/// when this one has ended may get it.
///
/// Returns the number, never 0.
#[unsafe(no_mangle)]
pub extern "C" fn kvm_hotplug_thread() -> u64 {
    guard::quiet(0, || u64::try_from(ThreadNumber::this().0).unwrap_or(0))
}

/// A descriptor for poll, epoll or select: readable when kvm_hotplug_process() has something to do or an event can be
/// fetched. It belongs to the handle, stays the same for its life (also when the monitor is reconnected), and must be
/// neither read nor closed.
///
/// Blocks: no.
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

/// Takes in what QEMU has said: finishes adds that were not waited for, and removals that the guest granted late (backend down,
/// record updated), clears up behind devices that the guest gave up by itself, and reconnects if the connection was lost. While
/// QEMU is still at an add, this takes in what is there, and leaves everything else for later. Removals that have been
/// pending for over 10 s are asked for again, since a guest that was booting did not hear it; an agent that waits for one
/// therefore calls this every few seconds as well. It does not wait for news, only for the answers to the commands that
/// this takes.
///
/// `timeout_ms`: for those commands; 0 means 5000.
///
/// Blocks: normally under a millisecond.
///
/// Returns the number of events that kvm_hotplug_next_event() can fetch, or fails like any call to QEMU, and
/// with the errno of writing journal or runtime file. What is not finished then is tried again by the next
/// call.
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
