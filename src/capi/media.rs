//! `kvm_hotplug_change_media`.

use std::ffi::{c_char, c_int};

use super::args::{self, Plain, known_value, optional_str, read_struct, required_str, timeout};
use super::backing::read_rule;
use super::device::kvm_hotplug_device;
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, check_device_out, give_answer, kvm_hotplug};
use crate::disk::FormatRequest;
use crate::error::{Error, Result};
use crate::guest::{Lock, MediumImage, NewMedium};

/// The medium that a CD drive is to have.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_medium {
    /// Absolute path of an image file or block device; NULL takes out the medium that is in the drive.
    pub path: *const c_char,
    /// Absolute paths, if backing names files or directories.
    pub backing_paths: *const *const c_char,
    /// One of enum kvm_hotplug_format.
    pub format: u32,
    /// Where backing files may be: one of enum kvm_hotplug_backing.
    pub backing: u32,
    /// Number of strings in backing_paths, at most 64.
    pub backing_count: u32,
    /// Milliseconds for all of it; 0 means 5000.
    pub timeout_ms: u32,
    /// 1 to open the tray also if the guest has locked it; 0 not to.
    pub force: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_hotplug_medium {
    const FIRST: usize = args::end_of!(kvm_hotplug_medium, reserved);
}

/// Changes the medium of a CD drive ("scsi-cd") while the guest runs: puts one in, exchanges the one that is
/// there, or takes it out. The library opens the image with the caller's rights and gives QEMU the
/// descriptors, as for kvm_hotplug_add_disk(). It opens the tray, exchanges the medium and closes the tray;
/// the guest sees that its medium has changed. The drive has its old medium again if a step fails. The new
/// one is recorded, so that the next boot and a migration target have it.
///
/// A guest may lock the tray, as Linux does while the drive is mounted or open. It is asked to open the tray
/// then, once a second. If it has not done so at the deadline, the answer is KVM_HOTPLUG_ANSWER_PENDING with
/// KVM_HOTPLUG_REASON_TRAY_LOCKED: nothing is changed, and nothing happens later unless the call is repeated.
/// With force the tray is opened all the same.
///
/// A call for the medium that is in the drive already changes nothing. Other settings of the drive stay.
///
/// `id`: id of the drive.
/// `medium`: the medium that it is to have, and how long to wait for the guest.
/// `ret_device`: where to put the drive as it is then, or NULL.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_PENDING, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the drive
/// itself comes with the next boot), or fails like any change of a device, like any call that opens an image,
/// and with -EINVAL (no CD drive), -EEXIST (another disk of this guest writes to the image), -EBUSY (kind
/// CONFLICT: another program has put a medium into the drive), -EOPNOTSUPP (the guest was started with the
/// medium as -drive). After a failure that kvm_hotplug_error_undo() calls incomplete, the next call puts the
/// old medium back.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_change_media(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    medium: *const kvm_hotplug_medium,
    medium_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (guest, id) = unsafe { (kvm_hotplug::get(guest)?, required_str(id, "id")?) };
        // SAFETY: the caller vouches for the struct.
        let medium = unsafe { read_struct(medium, medium_size, "medium") }?;
        check_device_out(ret_device, device_size)?;
        // SAFETY: the caller vouches for the strings.
        let wanted = unsafe { request(&medium) }?;
        let outcome =
            guest.change_media(id, wanted, timeout(medium.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        // SAFETY: the caller vouches for the struct.
        Ok(unsafe { give_answer(&outcome, ret_device, device_size) })
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// # Safety
/// The strings are NULL or valid as described.
unsafe fn request(medium: &kvm_hotplug_medium) -> Result<NewMedium> {
    if medium.reserved != 0 {
        return Err(Error::invalid("reserved is not 0"));
    }
    let format = known_value(FormatRequest::of_number, FormatRequest::LAST, medium.format, "format")?;
    // SAFETY: passed on.
    let backing = unsafe { read_rule(medium.backing, medium.backing_paths, medium.backing_count) }?;
    // SAFETY: passed on.
    let path = unsafe { optional_str(medium.path, "path") }?;
    let image = path.map(|path| MediumImage { path: path.into(), format, backing });
    let lock = match medium.force {
        0 => Lock::Respected,
        1 => Lock::Broken,
        other => return Err(Error::invalid(format!("force is {other}; it is 0 or 1"))),
    };
    Ok(NewMedium { image, lock })
}
