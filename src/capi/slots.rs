//! The slot map.

use std::ffi::{c_char, c_int};

use super::args::{Plain, timeout};
use super::error::kvm_hotplug_error;
use super::give::{fill, give_list};

use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, kvm_hotplug};
use super::show::Numbers;
use crate::guest::SlotInfo;

/// One slot of one bus.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_slot {
    /// Name of the bus.
    pub bus: [c_char; 64],
    /// Id of the device there, or a description if it has no id; empty for none.
    pub occupant: [c_char; 64],
    /// PCI: slot on the bus, 0 to 31.
    pub slot: u32,
    /// One of enum kvm_hotplug_slot_state.
    pub state: u32,
    /// One of enum kvm_hotplug_address_type: which fields count.
    pub address_type: u32,
    /// SCSI: channel of the bus, 0.
    pub channel: u32,
    /// SCSI: target on the channel, 0 to 255.
    pub target: u32,
    /// SCSI: unit of the target, 0 to 16383.
    pub lun: u32,
}

// SAFETY: repr(C), integers and arrays of them only.
unsafe impl Plain for kvm_hotplug_slot {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_slot, lun);
}

impl From<&SlotInfo> for kvm_hotplug_slot {
    fn from(line: &SlotInfo) -> Self {
        let Numbers { address_type, slot, channel, target, lun } = Numbers::of(&line.address);
        let (bus, occupant) = (fill(line.address.bus().as_str()), fill(&line.occupant));
        Self { bus, occupant, slot, state: line.state as u32, address_type, channel, target, lun }
    }
}

/// Lists every slot of every PCI bus as the guest has it now, in the order in which free slots are chosen;
/// then the SCSI buses: of their 256 targets those in use, and the free one that is chosen next.
///
/// Fails like any call to QEMU.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_slot_map(
    guest: *mut kvm_hotplug,
    timeout_ms: u32,
    ret_slots: *mut kvm_hotplug_slot,
    slot_size: usize,
    capacity: usize,
    ret_count: *mut usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        super::args::check_list(ret_slots, slot_size)?;
        let lines = guest.slot_map(timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        let list = lines.iter().map(kvm_hotplug_slot::from);
        // SAFETY: the caller vouches for the array and the counter.
        unsafe { give_list(list, ret_slots, slot_size, capacity, ret_count) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
