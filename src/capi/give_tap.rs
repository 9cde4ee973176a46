//! `kvm_runtime_give_tap`.

use std::ffi::{c_char, c_int};

use super::args::{duplicate_fds, null, required_str};
use super::error::kvm_hotplug_error;
use super::guard;
use super::runtime::kvm_runtime;
use crate::net::MAX_QUEUES;

/// Gives a NIC of the caller's own tap, one that was added with tap_fds, its tap for the next start of this
/// record: kvm_runtime_boot(), also for a migration target. Without it that call fails with -EBADFD, and
/// kvm_runtime_check() says so before. It may be another tap than before, on another host for instance;
/// everything about it is the caller's. A start takes what was given for it; the next one needs its taps
/// again. So does a record that is loaded anew.
///
/// `id`: the NIC.
/// `tap_fds`: open queues of one tap or macvtap, as many as the NIC has, each by its own open(). They are
/// duplicated.
/// `tap_fd_count`: how many there are, 1 to 256.
///
/// Fails with -ENOENT (no such device), -EINVAL (no NIC; no tap; another number of queues; a queue twice),
/// -EBADF (a closed descriptor), -EBADFD (kind STATE: the NIC's tap is made by each start), -EEXIST (the tap
/// is another NIC's), or the errno of looking at the tap.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_give_tap(
    runtime: *mut kvm_runtime,
    id: *const c_char,
    tap_fds: *const i32,
    tap_fd_count: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (handle, id) = unsafe { (kvm_runtime::get(runtime)?, required_str(id, "id")?) };
        if tap_fds.is_null() {
            return Err(null("tap_fds"));
        }
        // SAFETY: the caller vouches for the array.
        let queues = unsafe { duplicate_fds(tap_fds, tap_fd_count, usize::from(MAX_QUEUES), "tap_fds") }?;
        handle.lock().give_tap(id, queues).map(|()| 0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
