//! Everything that is known of the devices, as JSON.

use std::ffi::{c_char, c_int};

use super::args::{optional_str, timeout};
use super::device::kvm_hotplug_answer;
use super::error::kvm_hotplug_error;
use super::give::{self};
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, kvm_hotplug};

/// Says everything that is known of the devices, as JSON text: what struct kvm_hotplug_device has, and what only the guest and
/// the host know.
///
/// A device is an object with "id", "type" ("nic", "disk" or "scsi"), "state" ("live", "pending" or "after-reboot"),
/// "reason", "generation", "model", "bus", "slot" (on a PCI bus), "channel", "target" and "lun" (on a SCSI bus), "in_guest". A
/// SCSI controller has "queues". A NIC has "mac", "queues", "vhost", "mtu",
/// "link" ("up" or "down", as recorded), "bridge" (as recorded), "boot_index", "tap_given" (whether the caller
/// opened the tap), "tap_owner" and "tap": "name", "here" (in this network
/// namespace), its "mtu" and "bridge" of the moment. A disk has "path", "format", "read_only", "share_rw", "serial", "cache",
/// "aio", "discard", "detect_zeroes", "boot_index", "logical_block_size", "physical_block_size", "queues", "node_name" (null if
/// QEMU has no such node), "size" (bytes, as the guest sees it), "allocated" (bytes of the image in use) and "fdsets". What is
/// not known or left to QEMU is null.
///
/// `id`: the device's id; or NULL for all of them, in an array.
/// `ret_json`: where to put the text, UTF-8; freed with kvm_hotplug_text_free(). Written only for KVM_HOTPLUG_ANSWER_DONE.
///
/// Blocks: for one question to QEMU if there are disks.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_ABSENT (no such device), or fails like any call to
/// QEMU.
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
