//! Settling what is unfinished of a guest.

use std::ffi::c_int;

use super::args::timeout;
use super::device::kvm_hotplug_device;
use super::error::kvm_hotplug_error;
use super::give::give_list;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, kvm_hotplug};
use super::runtime::kvm_runtime;
use crate::error::{Error, ErrorKind};

/// Settles the unfinished operations of a guest that is known to be off by its record: removals are done,
/// adds that are not in the record are dropped, and of a change the record says how far it came.
/// kvm_runtime_boot() does the same if the QEMU that the journal names is seen to have ended. Where that
/// cannot be seen (a journal of an older version, another PID namespace, a socket that another process made
/// for QEMU), it refuses, and the caller says by this call that the guest is off. For a guest that runs this
/// would lose devices: open it instead.
///
/// Returns how many operations were settled, or fails like any change of a record, and with -EBUSY (QEMU is
/// seen to run).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_settle(
    runtime: *mut kvm_runtime,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        let count = handle.lock().settle_ended()?;
        c_int::try_from(count).map_err(|_| Error::new(ErrorKind::Limit, "more than a number can say"))
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Finishes or undoes the unfinished operations of a running guest, as kvm_hotplug_open() does, and changes
/// nothing else. Lists the devices that the guest was asked to release and has not released. If there are
/// none, record and guest agree about every operation, and the runtime file can be taken to another host.
/// Waits for adds with KVM_HOTPLUG_NO_WAIT, but not for the guest.
///
/// Fails like any call to QEMU, and with -EBUSY (also for a monitor that an earlier agent used), or the errno
/// of writing journal or runtime file.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_settle(
    guest: *mut kvm_hotplug,
    timeout_ms: u32,
    ret_devices: *mut kvm_hotplug_device,
    device_size: usize,
    capacity: usize,
    ret_count: *mut usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        super::args::check_list(ret_devices, device_size)?;
        let pending = guest.settle(timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        let list = pending.iter().map(kvm_hotplug_device::device_info);
        // SAFETY: the caller vouches for the array and the counter.
        unsafe { give_list(list, ret_devices, device_size, capacity, ret_count) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
