//! Removals.

use std::ffi::{c_char, c_int};

use super::args::{Plain, check_flags, read_struct, required_str, timeout};
use super::device::kvm_hotplug_device;
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{check_device_out, give_answer, kvm_hotplug};
use super::nic::{KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT};
use crate::error::Result;
use crate::guest::{Outcome, Removal};
use crate::model::DeviceKind;

/// Timeout of removals that get 0, in milliseconds. An idle guest takes 30 to 190 ms, one with native PCIe
/// hotplug over 15 s (QEMU 5.2 on q35).
pub const KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS: u32 = 20000;

/// Flag of removals: also remove a disk whose data is in an image outside of the record, such as another
/// program's snapshot. That image stays, and only the caller knows of it then.
pub const KVM_HOTPLUG_DEL_LEAVE_OVERLAY: u32 = 1 << 9;

/// What a removal from a running guest may have.
pub(super) const REMOVAL_FLAGS: u32 =
    KVM_HOTPLUG_LIVE_ONLY | KVM_HOTPLUG_NO_WAIT | KVM_HOTPLUG_DEL_LEAVE_OVERLAY;

/// A removal.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_del_options {
    /// Id of the device; of a device without one, its path in QOM. Required.
    pub id: *const c_char,
    /// Milliseconds for all of it; 0 means 20000.
    pub timeout_ms: u32,
    /// KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_DEL_LEAVE_OVERLAY.
    pub flags: u32,
}

// SAFETY: repr(C), a pointer and integers.
unsafe impl Plain for kvm_hotplug_del_options {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_del_options, flags);
}

/// Removes a device from the guest and its record: asks the guest, waits until QEMU reports that this very
/// device is gone, tears down its backend, and replaces the runtime file. The backend is not touched before
/// that.
///
/// The call may be repeated. A device that is gone is answered KVM_HOTPLUG_ANSWER_ABSENT. A pending removal
/// is waited for again, and the guest is asked again only after 10 s. Until the guest releases the device,
/// its slot and id stay taken. A later kvm_hotplug_process(), also in another process, finishes the removal.
///
/// QEMU removes a SCSI disk without the guest's consent, also while the guest is paused or asleep, and tells
/// the guest afterwards: unmount it first. The call takes some 60 ms (QEMU 7.2). A SCSI controller is removed
/// only if it has no disks. If another program gave a disk another image, by a snapshot or the end of a
/// mirror, its data is there, and it is removed only with KVM_HOTPLUG_DEL_LEAVE_OVERLAY.
///
/// A device without an id, which no record has, is removed by its path in QOM, such as
/// /machine/peripheral-anon/device[0] (see kvm_hotplug_describe_unrecorded()). The recorded command makes it
/// again at the next boot, and QEMU keeps its netdev. While such a removal is pending, no event follows: the
/// call is to be repeated.
///
/// `ret_device`: where to put the device, unless it is absent; or NULL, and 0 as its size. Of a device
/// without an id, state and reason alone.
///
/// Blocks: up to the timeout, for the guest.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE (gone: its storage or tap may be torn down), KVM_HOTPLUG_ANSWER_PENDING
/// (at the deadline, or at once if the guest is paused, asleep, stopped or not started: see the reason),
/// KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded: the next boot removes it), KVM_HOTPLUG_ANSWER_ABSENT, or fails
/// like any change of a guest, and with
/// - -EBUSY (kind CONFLICT: the controller has disks, or the disk's data is in an image outside of the
///   record; kind GUEST_BUSY: the guest was busy with an earlier plug or unplug until the deadline, and the
///   device stays);
/// - -EPERM (kind GUEST_REFUSED: the guest refused; the device stays), -EACCES (kind FOREIGN: it is in the
///   guest, but not in the record), -EOPNOTSUPP (it shares its slot with other functions; the bus takes
///   no removals; KVM_HOTPLUG_LIVE_ONLY).
///
/// After -ETIMEDOUT (QEMU did not reply) and other late failures kvm_hotplug_error_residue() says whether the
/// guest may have been asked.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_del(
    guest: *mut kvm_hotplug,
    options: *const kvm_hotplug_del_options,
    options_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the struct.
        let request = unsafe { read_struct(options, options_size, "options") }?;
        check_flags(request.flags, REMOVAL_FLAGS, "options: flags")?;
        check_device_out(ret_device, device_size)?;
        // SAFETY: the caller vouches for handle and string.
        let outcome = unsafe { unplug(guest, request.id, None, request.flags, request.timeout_ms) }?;
        // SAFETY: the caller vouches for the struct.
        Ok(unsafe { give_answer(&outcome, ret_device, device_size) })
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Removes a NIC, as kvm_hotplug_del() without flags. kvm_hotplug_get_device() says why a removal is pending.
///
/// Answers and fails like kvm_hotplug_del(), and with -EINVAL (it is no NIC).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_del_nic(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    timeout_ms: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for all pointers.
    unsafe { guard::call(reterr, || del(guest, id, DeviceKind::Nic, timeout_ms)) }
}

/// Removes a disk, as kvm_hotplug_del() without flags. kvm_hotplug_get_device() says why a removal is
/// pending.
///
/// Answers and fails like kvm_hotplug_del(), and with -EINVAL (it is no disk).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_del_disk(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    timeout_ms: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for all pointers.
    unsafe { guard::call(reterr, || del(guest, id, DeviceKind::Disk, timeout_ms)) }
}

/// Removes a SCSI controller, as kvm_hotplug_del() without flags. kvm_hotplug_get_device() says why a removal
/// is pending.
///
/// Answers and fails like kvm_hotplug_del(), and with -EINVAL (it is no controller), -EBUSY (kind CONFLICT:
/// it has disks, recorded or only in the guest).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_del_controller(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    timeout_ms: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for all pointers.
    unsafe { guard::call(reterr, || del(guest, id, DeviceKind::Controller, timeout_ms)) }
}

unsafe fn del(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    kind: DeviceKind,
    timeout_ms: u32,
) -> Result<c_int> {
    // SAFETY: passed on.
    let outcome = unsafe { unplug(guest, id, Some(kind), 0, timeout_ms) }?;
    // SAFETY: NULL is no struct to write to.
    Ok(unsafe { give_answer(&outcome, std::ptr::null_mut(), 0) })
}

unsafe fn unplug(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    kind: Option<DeviceKind>,
    flags: u32,
    timeout_ms: u32,
) -> Result<Outcome> {
    // SAFETY: passed on.
    let (guest, id) = unsafe { (kvm_hotplug::get(guest)?, required_str(id, "id")?) };
    let removal = Removal {
        id: id.to_owned(),
        kind,
        live_only: flags & KVM_HOTPLUG_LIVE_ONLY != 0,
        wait: flags & KVM_HOTPLUG_NO_WAIT == 0,
        leave_overlay: flags & KVM_HOTPLUG_DEL_LEAVE_OVERLAY != 0,
    };
    guest.unplug(&removal, timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS))
}
