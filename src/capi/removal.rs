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

/// Timeout of removals that get 0, in milliseconds. Guests take 30 to 190 ms when they are idle, and over 15 s with
/// native PCIe hotplug (QEMU 5.2 on q35).
pub const KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS: u32 = 20000;

/// Flag of removals: also a disk whose data is in an image that the record does not have, such as a snapshot that somebody else
/// made. That image stays as it is, and nothing but the caller knows of it then.
pub const KVM_HOTPLUG_DEL_LEAVE_OVERLAY: u32 = 1 << 9;

/// What a removal from a running guest may have.
pub(super) const REMOVAL_FLAGS: u32 =
    KVM_HOTPLUG_LIVE_ONLY | KVM_HOTPLUG_NO_WAIT | KVM_HOTPLUG_DEL_LEAVE_OVERLAY;

/// A removal.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_del_options {
    /// Id of the device. Required; borrowed for the call.
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

/// Takes a device out of the guest and its record: asks the guest, waits until QEMU says that this very device is gone,
/// takes down what stood behind it, and replaces the runtime file. Nothing behind a device is touched before that.
///
/// The call may be repeated: a device that is gone is answered KVM_HOTPLUG_ANSWER_ABSENT; one whose removal is pending is waited
/// for again, and the guest is asked again only after 10 s. Until the guest lets go, the device keeps its slot and id,
/// and a later kvm_hotplug_process(), also in another process, finishes the removal.
///
/// A SCSI disk leaves without the guest's consent: QEMU takes it from its controller, whatever the guest is doing (paused and
/// asleep included), and tells the guest afterwards. Unmount it first; the call takes some 60 ms (QEMU 7.2). A SCSI controller
/// goes only when there is no disk on it.
///
/// A disk that somebody else has given another image in the guest, by a snapshot or the end of a mirror, is not removed unless
/// KVM_HOTPLUG_DEL_LEAVE_OVERLAY says so: its data is in that image.
///
/// `ret_device`, `device_size`: where to put the device, with the reason if it is pending, and its sizeof; or NULL and 0.
/// Not written for KVM_HOTPLUG_ANSWER_ABSENT and errors.
///
/// Blocks: up to the timeout, for the guest.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE (gone: its storage or tap may be torn down), KVM_HOTPLUG_ANSWER_PENDING
/// (the guest has not let go: at the deadline, or at once if it is paused, asleep, stopped or not started;
/// the device's reason says which), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded: it goes with the next boot),
/// KVM_HOTPLUG_ANSWER_ABSENT, or fails like any change of a guest, and with
/// - -EBUSY (kind CONFLICT: there are disks on the SCSI controller; or the disk's data is in an image that
///   the record does not have);
/// - -EPERM (kind GUEST_REFUSED: the guest said no; the device stays), -EBUSY (kind GUEST_BUSY: busy with an
///   earlier plug or unplug until the deadline; the device stays);
/// - -EACCES (kind FOREIGN: in the guest, not in the record), -EOPNOTSUPP (it shares its slot with other
///   functions; the bus takes no removals; KVM_HOTPLUG_LIVE_ONLY).
///
/// After -ETIMEDOUT (QEMU did not answer) and other failures on the way kvm_hotplug_error_residue() says
/// whether the guest may have been asked.
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

/// Takes a NIC out of the guest: kvm_hotplug_del() in short, for NICs only.
///
/// `timeout_ms`: for all of it; 0 means 20000.
///
/// Answers and fails like kvm_hotplug_del(); -EINVAL also if the device is no NIC. kvm_hotplug_get_device()
/// says why a removal is pending.
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

/// Takes a disk out of the guest: kvm_hotplug_del() in short, for disks only.
///
/// `timeout_ms`: for all of it; 0 means 20000.
///
/// Answers and fails like kvm_hotplug_del(); -EINVAL also if the device is no disk. kvm_hotplug_get_device()
/// says why a removal is pending.
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

/// Takes a SCSI controller out of the guest: kvm_hotplug_del() in short, for controllers only.
///
/// `timeout_ms`: for all of it; 0 means 20000.
///
/// Answers and fails like kvm_hotplug_del(); -EINVAL also if the device is no controller, and -EBUSY (kind
/// CONFLICT) while there are disks on it, recorded or only in the guest. kvm_hotplug_get_device() says why a
/// removal is pending.
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
