//! Comparing record and guest.

use std::ffi::{c_char, c_int};

use super::args::{Plain, timeout};
use super::error::kvm_hotplug_error;
use super::give::{fill, give_list};

use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, kvm_hotplug};
use crate::error::Result;
use crate::guest::{Difference, Guest};
use crate::sanitize::escaped;

/// One disagreement between record and guest. Strings that do not fit are cut.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_difference {
    /// Id of the device, node or netdev, or of an fdset's device; empty without one.
    pub id: [c_char; 64],
    /// What the record says.
    pub recorded: [c_char; 128],
    /// What the guest shows.
    pub found: [c_char; 128],
    /// All of it in one sentence.
    pub text: [c_char; 384],
    /// One of enum kvm_hotplug_difference_kind.
    pub kind: u32,
    /// 1 if kvm_hotplug_repair() repairs it.
    pub repairable: u32,
}

// SAFETY: repr(C), integers and arrays of them only.
unsafe impl Plain for kvm_hotplug_difference {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_difference, repairable);
}

impl From<&Difference> for kvm_hotplug_difference {
    fn from(difference: &Difference) -> Self {
        Self {
            id: fill(&difference.id),
            recorded: fill(&difference.recorded),
            found: fill(&difference.found),
            text: fill(&escaped(&difference.to_string())),
            kind: difference.what as u32,
            repairable: difference.what.is_repairable().into(),
        }
    }
}

/// Compares record and guest both ways: devices, addresses, models, backends, MAC, queues, MTU, option ROM,
/// serial, size, read-only, a disk's format, cache, detect-zeroes and open files, taps (deleted, on another
/// bridge), and devices, netdevs, nodes and fdsets that the record does not have. Links, which QEMU does not
/// report, and throttles (block_set_io_throttle), which no record has, are not compared.
///
/// Whether a NIC uses vhost-net is compared as far as it is certain. A QEMU without a vhost-net descriptor
/// has no such NIC; this is seen if this process may inspect QEMU. QEMU 7.2 reports it for each NIC whose
/// driver is at work. Other versions do not report it, or end when asked (11.1), and the kernel does not say
/// which NIC a descriptor is for.
///
/// Devices that wait for a reboot or are being removed are no difference. Nothing is changed, except that
/// unfinished operations are settled as by every call on a guest that was not opened with
/// KVM_HOTPLUG_OPEN_LOOK_ONLY.
///
/// Fails like any call to QEMU.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_verify(
    guest: *mut kvm_hotplug,
    timeout_ms: u32,
    ret_differences: *mut kvm_hotplug_difference,
    difference_size: usize,
    capacity: usize,
    ret_count: *mut usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            compare(guest, timeout_ms, Guest::verify, ret_differences, difference_size, capacity, ret_count)
        }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Repairs the differences that need no decision: drops a device that the guest no longer has from the record
/// and tears down its backend, records the address of one that is elsewhere, and removes block nodes and
/// fdsets with our tag that belong to no device. Foreign devices are not touched. Events report what was
/// done.
///
/// Fails like kvm_hotplug_verify(), and with the errno of writing journal or runtime file. What was repaired
/// before a failure stays so.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_repair(
    guest: *mut kvm_hotplug,
    timeout_ms: u32,
    ret_differences: *mut kvm_hotplug_difference,
    difference_size: usize,
    capacity: usize,
    ret_count: *mut usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            compare(guest, timeout_ms, Guest::repair, ret_differences, difference_size, capacity, ret_count)
        }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

unsafe fn compare(
    guest: *mut kvm_hotplug,
    timeout_ms: u32,
    how: fn(&Guest, std::time::Duration) -> Result<Vec<Difference>>,
    differences: *mut kvm_hotplug_difference,
    size: usize,
    capacity: usize,
    ret_count: *mut usize,
) -> Result<c_int> {
    // SAFETY: passed on.
    let guest = unsafe { kvm_hotplug::get(guest) }?;
    super::args::check_list(differences, size)?;
    let found = how(guest, timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
    let list = found.iter().map(kvm_hotplug_difference::from);
    // SAFETY: passed on.
    unsafe { give_list(list, differences, size, capacity, ret_count) }
}
