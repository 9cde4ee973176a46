//! What a build of QEMU knows of device models, for agents with many guests.

use std::ffi::{c_char, c_int};

use super::args::{required_str, timeout};
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, give_json_of, kvm_hotplug};
use crate::guest::Guest;

/// Says what the guest's QEMU knows of device models, as JSON text: its version and package, and the
/// properties of each NIC, disk and SCSI controller that the library plugs, with their types in QEMU's words;
/// null for a model that it does not have. docs/json.md lists the members. QEMU is asked once for each
/// connection, about all of them with one write, which takes it some milliseconds.
///
/// An agent keeps the text for all guests of one build of QEMU; see kvm_hotplug_give_capabilities().
///
/// Fails like any call to QEMU.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_get_capabilities(
    guest: *mut kvm_hotplug,
    timeout_ms: u32,
    ret_json: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for handle and pointer.
    let work = || unsafe { give_json_of(guest, timeout_ms, ret_json, Guest::capabilities) };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Gives the library what another guest has said of its QEMU, so that this one is not asked. QEMU is asked
/// for its version only. Builds are the same if version and package are: an agent that uses several builds
/// without a package name keeps a text for each.
///
/// `json`: the text of kvm_hotplug_get_capabilities(). It is used until the connection is lost.
///
/// Fails like any call to QEMU, and with -EINVAL (it is no such text), -ESTALE (the guest has another build).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_give_capabilities(
    guest: *mut kvm_hotplug,
    json: *const c_char,
    timeout_ms: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (guest, json) = unsafe { (kvm_hotplug::get(guest)?, required_str(json, "json")?) };
        guest.give_capabilities(json, timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS)).map(|()| 0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
