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

/// What record and guest disagree about, and what kvm_hotplug_repair() does about it. Newer versions may add
/// kinds: treat those as "something".
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_difference_kind {
    /// Recorded, not in the guest. Repair drops it from the record.
    KVM_HOTPLUG_DIFFERENCE_MISSING = 1,
    /// In the guest, but neither in the record nor in its command: another program's, and left alone. Also
    /// PCI and SCSI devices without an id; bridges and ports count as the machine's.
    KVM_HOTPLUG_DIFFERENCE_FOREIGN = 2,
    /// At another address than recorded. Repair records it.
    KVM_HOTPLUG_DIFFERENCE_ADDRESS = 3,
    /// Is another device model.
    KVM_HOTPLUG_DIFFERENCE_MODEL = 4,
    /// Has another netdev or block node as backend, or none.
    KVM_HOTPLUG_DIFFERENCE_BACKEND = 5,
    /// Has another MAC address.
    KVM_HOTPLUG_DIFFERENCE_MAC = 6,
    /// Has another number of queues or interrupt vectors.
    KVM_HOTPLUG_DIFFERENCE_QUEUES = 7,
    /// Announces another MTU.
    KVM_HOTPLUG_DIFFERENCE_MTU = 8,
    /// Loads another option ROM.
    KVM_HOTPLUG_DIFFERENCE_ROM = 9,
    /// Has another serial.
    KVM_HOTPLUG_DIFFERENCE_SERIAL = 10,
    /// Writable where the record says read-only, or the reverse.
    KVM_HOTPLUG_DIFFERENCE_READ_ONLY = 11,
    /// The guest sees another size than the image has.
    KVM_HOTPLUG_DIFFERENCE_SIZE = 12,
    /// Another setting; the texts say which.
    KVM_HOTPLUG_DIFFERENCE_SETTING = 13,
    /// A block node of ours without a device. Repair removes it.
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_NODE = 14,
    /// An fdset of ours without a device. Repair removes it.
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_FDSET = 15,
    /// The tap is on another host bridge than recorded, or on none.
    KVM_HOTPLUG_DIFFERENCE_BRIDGE = 16,
    /// A root port of the boot command is absent or elsewhere.
    KVM_HOTPLUG_DIFFERENCE_PORT = 17,
    /// The files of its image on this host are not the recorded ones, or may not be opened.
    KVM_HOTPLUG_DIFFERENCE_CHAIN = 18,
    /// A netdev without a NIC that neither the record nor its command has; id is the netdev's. Not repaired:
    /// another program may be about to use it.
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_NETDEV = 19,
}

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
