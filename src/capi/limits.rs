//! `kvm_hotplug_set_disk_limits`.

use std::ffi::{c_char, c_int};
use std::ptr;

use super::args::{optional_str, required_str, timeout};
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, give_answer, kvm_hotplug};
use crate::disk::Limits;

/// Sets how much I/O a disk may do while the guest uses it, and with it all disks of its group. Recorded, and
/// there after the next boot and a migration. Also for a disk that was added without limits. What is not
/// named is not limited from then on. A repeated call sets the limits again, since another program may have
/// changed them.
///
/// `limits`: as in struct kvm_hotplug_disk; NULL for none. A disk stays in the group that it was added with:
/// "group" may be left out, and is no other.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the disk itself comes with the next
/// boot), or fails like any change of a device, and with -EINVAL (contradicting limits, another group, an id
/// of more than 25 characters, scsi-block), -E2BIG (a text of more than 2 KiB). After a failure that
/// kvm_hotplug_error_undo() calls incomplete, the next call sets the limits back.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_set_disk_limits(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    limits: *const c_char,
    timeout_ms: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and strings.
        let (guest, id, limits) =
            unsafe { (kvm_hotplug::get(guest)?, required_str(id, "id")?, optional_str(limits, "limits")?) };
        let limits = limits.map(Limits::parse).transpose()?.unwrap_or_default();
        let timeout = timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS);
        let outcome = guest.set_disk_limits(id, limits, timeout)?;
        // SAFETY: NULL is no struct to write to.
        Ok(unsafe { give_answer(&outcome, ptr::null_mut(), 0) })
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
