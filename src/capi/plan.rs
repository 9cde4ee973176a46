//! Plans without doing.

use std::ffi::{CString, c_char, c_int};

use super::args::{check_flags, read_struct, required_str, timeout};
use super::controller::{self, kvm_hotplug_controller};
use super::device::kvm_hotplug_device;
use super::disk::{self, kvm_hotplug_disk};
use super::error::kvm_hotplug_error;
use super::give::{self};
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, check_device_out, give_answer, kvm_hotplug};
use super::nic::{self, KVM_HOTPLUG_LIVE_ONLY, kvm_hotplug_nic};
use super::removal::{KVM_HOTPLUG_DEL_LEAVE_OVERLAY, REMOVAL_FLAGS, kvm_hotplug_del_options};
use crate::error::Result;
use crate::guest::{DryRun, Removal};

/// Says what kvm_hotplug_add_nic() would do with the same request, without doing it: the address, the ids,
/// the commands, what would be opened on the host, and why it would wait for a reboot. docs/json.md lists the
/// members of the plan. Only vhost descriptors are opened, to see whether they work; nothing is recorded. A
/// generated MAC address is another one each time.
///
/// `ret_device`: where to put the device as it would be; or NULL, and 0 as its size.
///
/// Returns what the call would answer, or fails as it would before it sends anything.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_plan_nic(
    guest: *mut kvm_hotplug,
    nic: *const kvm_hotplug_nic,
    nic_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    ret_plan: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (guest, nic) = unsafe { (kvm_hotplug::get(guest)?, read_struct(nic, nic_size, "nic")?) };
        check_device_out(ret_device, device_size)?;
        // SAFETY: the caller vouches for strings and array.
        let request = unsafe { nic::request(&nic) }?;
        let preview = guest.plan_nic(request, timeout(nic.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        // SAFETY: the caller vouches for the outputs.
        unsafe { give(&preview, ret_device, device_size, ret_plan) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Says what kvm_hotplug_add_disk() would do with the same request, as kvm_hotplug_plan_nic() does. The image
/// and its backing files are opened and closed again, to see whether they can be opened and what they are.
///
/// Returns what the call would answer, or fails as it would before it sends anything.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_plan_disk(
    guest: *mut kvm_hotplug,
    disk: *const kvm_hotplug_disk,
    disk_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    ret_plan: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (guest, disk) = unsafe { (kvm_hotplug::get(guest)?, read_struct(disk, disk_size, "disk")?) };
        check_device_out(ret_device, device_size)?;
        // SAFETY: the caller vouches for the strings.
        let request = unsafe { disk::request(&disk) }?;
        let preview = guest.plan_disk(&request, timeout(disk.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        // SAFETY: the caller vouches for the outputs.
        unsafe { give(&preview, ret_device, device_size, ret_plan) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Says what kvm_hotplug_add_controller() would do with the same request, as kvm_hotplug_plan_nic() does.
///
/// Returns what the call would answer, or fails as it would before it sends anything.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_plan_controller(
    guest: *mut kvm_hotplug,
    controller: *const kvm_hotplug_controller,
    controller_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    ret_plan: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (guest, controller) =
            unsafe { (kvm_hotplug::get(guest)?, read_struct(controller, controller_size, "controller")?) };
        check_device_out(ret_device, device_size)?;
        // SAFETY: the caller vouches for the strings.
        let request = unsafe { controller::request(&controller) }?;
        let timeout = timeout(controller.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS);
        let preview = guest.plan_controller(&request, timeout)?;
        // SAFETY: the caller vouches for the outputs.
        unsafe { give(&preview, ret_device, device_size, ret_plan) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Says what kvm_hotplug_del() would do with the same request, if the guest releases the device, as
/// kvm_hotplug_plan_nic() does. There is no device for KVM_HOTPLUG_ANSWER_ABSENT.
///
/// Returns what the call would answer, or fails as it would before it sends anything.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_plan_del(
    guest: *mut kvm_hotplug,
    options: *const kvm_hotplug_del_options,
    options_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    ret_plan: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (guest, removal) =
            unsafe { (kvm_hotplug::get(guest)?, read_struct(options, options_size, "options")?) };
        check_flags(removal.flags, REMOVAL_FLAGS, "options: flags")?;
        check_device_out(ret_device, device_size)?;
        // SAFETY: the caller vouches for the string.
        let id = unsafe { required_str(removal.id, "id") }?.to_owned();
        let live_only = removal.flags & KVM_HOTPLUG_LIVE_ONLY != 0;
        let leave_overlay = removal.flags & KVM_HOTPLUG_DEL_LEAVE_OVERLAY != 0;
        let request = Removal { id, kind: None, live_only, wait: false, leave_overlay };
        let timeout = timeout(removal.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS);
        let preview = guest.plan_removal(&request, timeout)?;
        // SAFETY: the caller vouches for the outputs.
        unsafe { give(&preview, ret_device, device_size, ret_plan) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// # Safety
/// The outputs are NULL or valid for writes.
unsafe fn give(
    preview: &DryRun,
    device: *mut kvm_hotplug_device,
    size: usize,
    plan: *mut *mut c_char,
) -> Result<c_int> {
    // SAFETY: passed on.
    unsafe {
        give::give_json(&preview.to_json(), plan)?;
        Ok(give_answer(&preview.outcome, device, size))
    }
}

/// Frees a text that the library returned as a char *.
///
/// # Safety
/// `text` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_text_free(text: *mut c_char) {
    guard::quiet((), || {
        if !text.is_null() {
            // SAFETY: made by CString::into_raw, and the caller gives it up.
            drop(unsafe { CString::from_raw(text) });
        }
    });
}
