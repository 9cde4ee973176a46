//! Everything that is known of the devices, as JSON.

use std::ffi::{c_char, c_int};

use super::args::{optional_str, timeout};
use super::device::kvm_hotplug_answer;
use super::error::kvm_hotplug_error;
use super::give::{self};
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, give_json_of, kvm_hotplug};
use crate::guest::Guest;

/// Describes devices as JSON text: what struct kvm_hotplug_device has, and what only guest and host know.
/// docs/json.md lists the members. QEMU gets one query, if there are disks; and several, as long as the guest
/// has not numbered its PCI buses.
///
/// `id`: the device's id; or NULL for all of them, in an array.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_ABSENT (no such device, and no text), or fails like
/// any call to QEMU.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_describe(
    guest: *mut kvm_hotplug,
    id: *const c_char,
    timeout_ms: u32,
    ret_json: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (guest, id) = unsafe { (kvm_hotplug::get(guest)?, optional_str(id, "id")?) };
        give::check_out(ret_json, "ret_json")?;
        let timeout = timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS);
        let Some(described) = guest.describe(id, timeout)? else {
            return Ok(kvm_hotplug_answer::KVM_HOTPLUG_ANSWER_ABSENT as c_int);
        };
        // SAFETY: the caller vouches for the pointer.
        unsafe { give::give_json(&described, ret_json) }?;
        Ok(kvm_hotplug_answer::KVM_HOTPLUG_ANSWER_DONE as c_int)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Describes the NICs, disks and SCSI controllers that the guest has and the record has not, as a JSON array:
/// those of another program, and those without an id, as -nic and -drive if=virtio make them. Each has its
/// path in QOM. docs/json.md lists the members.
///
/// kvm_hotplug_del() takes the path of a device without an id. The library leaves devices alone that have an
/// id and are not recorded: kvm_runtime_adopt() records them.
///
/// Fails like any call to QEMU.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_describe_unrecorded(
    guest: *mut kvm_hotplug,
    timeout_ms: u32,
    ret_json: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for handle and pointer.
    let work = || unsafe { give_json_of(guest, timeout_ms, ret_json, Guest::describe_unrecorded) };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
