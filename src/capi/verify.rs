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

/// What record and guest disagree about. Callers treat values they do not know as "something": newer versions may add
/// some.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_difference_kind {
    /// Recorded, but not in the guest. kvm_hotplug_repair() takes it out of the record.
    KVM_HOTPLUG_DIFFERENCE_MISSING = 1,
    /// In the guest, but not recorded and not in the recorded command: somebody else's, which is left alone. Also PCI and SCSI
    /// devices without an id; bridges and ports are taken for the machine's.
    KVM_HOTPLUG_DIFFERENCE_FOREIGN = 2,
    /// Sits elsewhere than recorded. kvm_hotplug_repair() records where it is.
    KVM_HOTPLUG_DIFFERENCE_ADDRESS = 3,
    /// Is another device model.
    KVM_HOTPLUG_DIFFERENCE_MODEL = 4,
    /// Has another netdev or block node behind it, or none.
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
    /// Is writable where the record says read-only, or the reverse.
    KVM_HOTPLUG_DIFFERENCE_READ_ONLY = 11,
    /// The guest sees another size than the image has.
    KVM_HOTPLUG_DIFFERENCE_SIZE = 12,
    /// Another setting; the texts say which.
    KVM_HOTPLUG_DIFFERENCE_SETTING = 13,
    /// A block node of ours that belongs to no device. kvm_hotplug_repair() removes it.
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_NODE = 14,
    /// An fdset with our tag that belongs to no device. kvm_hotplug_repair() removes it.
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_FDSET = 15,
    /// The tap is on another bridge of the host than recorded, or on none.
    KVM_HOTPLUG_DIFFERENCE_BRIDGE = 16,
    /// A root port that the boot command made is not there, or is elsewhere.
    KVM_HOTPLUG_DIFFERENCE_PORT = 17,
    /// The files that its image is made of on this host are not those that were recorded, or not to be opened.
    KVM_HOTPLUG_DIFFERENCE_CHAIN = 18,
    /// A netdev that no NIC has, and neither the record nor its command knows. id is that of the netdev. Not mended: it may be
    /// somebody else's, on its way.
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_NETDEV = 19,
}

/// One disagreement between record and guest. Strings are UTF-8, end in NUL, and are cut if they are longer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_difference {
    /// Id of the device or node, or of the device that an fdset was for; empty for a device without one.
    pub id: [c_char; 64],
    /// What the record says.
    pub recorded: [c_char; 128],
    /// What the guest shows.
    pub found: [c_char; 128],
    /// All of it in one sentence.
    pub text: [c_char; 384],
    /// One of enum kvm_hotplug_difference_kind.
    pub kind: u32,
    /// 1 if kvm_hotplug_repair() deals with it.
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

/// Compares record and guest both ways: devices, addresses, models, what stands behind them, MAC, queues, MTU, option ROM,
/// serial, size, read-only, a disk's format, cache, detect-zeroes and open files, the taps (deleted, on another bridge),
/// and devices, netdevs, nodes and fdsets that the record does not know.
///
/// Whether vhost-net moves a NIC's packets is compared as far as it is certain. A QEMU without a descriptor of vhost-net has no
/// NIC with vhost; that is seen where this process may look into QEMU. QEMU 7.2 tells it of each NIC, once the guest's driver
/// is at work. Other versions do not, or end when they are asked (11.1), and the kernel does not say which NIC a descriptor of
/// vhost-net is for.
///
/// Not compared are a link, which QEMU does not tell, and throttles (block_set_io_throttle), which no record has.
///
/// Devices that wait for a reboot and those on their way out are no difference. Nothing is changed, except that unfinished
/// operations are settled as by every call on a guest that was not opened with KVM_HOTPLUG_OPEN_LOOK_ONLY.
///
/// Returns 0 (see ret_count for how many differences there are), or fails like any call to QEMU.
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

/// Mends the differences that can be mended without a decision: a device that the guest no longer has leaves the record,
/// and what stood behind it is taken down; one that sits elsewhere is recorded where it is; block nodes and fdsets with our
/// tag that belong to no device are removed. Nothing foreign is touched. Events tell what was done.
///
/// Fails like kvm_hotplug_verify(), and with the errno of writing journal or runtime file. What was mended
/// before a failure stays mended.
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
