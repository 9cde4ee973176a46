//! `kvm_hotplug_resize_disk`.

use std::ffi::{c_char, c_int};

use super::args::{check_flags, required_str, timeout};
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, kvm_hotplug};
use crate::guest::NewSize;

/// Flag of kvm_hotplug_resize_disk(): the disk may shrink. Data beyond its new end is lost.
pub const KVM_HOTPLUG_RESIZE_SHRINK: u32 = 1 << 10;

/// Resizes a disk while the guest uses it. The guest sees the new size at once, on a SCSI disk after a rescan
/// (Linux: echo 1 >/sys/block/sda/device/rescan). QEMU resizes a raw or qcow2 image, and stands still
/// meanwhile. A block device must be resized first; QEMU then reads its size again. The size is the image's
/// own and is not recorded. The call may be repeated.
///
/// `bytes`: the new size, a multiple of 512; or 0 for what the image or block device has now, after it was
/// grown from outside.
/// `ret_bytes`: where to put the size it has now, or NULL.
///
/// Fails like any change of a device, like any call that opens an image, and with -EINVAL (no multiple of
/// 512; it would shrink without KVM_HOTPLUG_RESIZE_SHRINK; a block device has another size), -EOPNOTSUPP (it
/// is read-only, or comes with the next boot), -EREMOTEIO (also: no space, or qcow2 with internal snapshots).
/// After -ETIMEDOUT and -ECANCELED QEMU may or may not have done it: repeat the call to find out.
/// kvm_hotplug_error_residue() names the size then.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_resize_disk(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    bytes: u64,
    flags: u32,
    timeout_ms: u32,
    ret_bytes: *mut u64,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (guest, id) = unsafe { (kvm_hotplug::get(guest)?, required_str(id, "id")?) };
        check_flags(flags, KVM_HOTPLUG_RESIZE_SHRINK, "resize flags")?;
        let size = NewSize {
            bytes: (bytes != 0).then_some(bytes),
            may_shrink: flags & KVM_HOTPLUG_RESIZE_SHRINK != 0,
        };
        let (_, now) = guest.resize_disk(id, size, timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        if !ret_bytes.is_null() {
            // SAFETY: not NULL, and the caller vouches for the rest.
            unsafe { ret_bytes.write(now) };
        }
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
