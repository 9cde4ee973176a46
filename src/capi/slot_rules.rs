//! Which slots new devices get.

use std::ffi::{c_char, c_int};

use super::args::{known_value, optional_str, required_str};
use super::error::kvm_hotplug_error;
use super::guard;
use super::nic::narrow;
use super::runtime::kvm_runtime;
use crate::error::{Error, Result};
use crate::ids::{BusName, SLOTS, Slot};
use crate::model::DeviceKind;
use crate::slots::pci::{SlotKind, SlotPolicy, SlotRange, WhenFull};

/// Says which of the free slots of a guest's PCI buses a new device gets that asks for none. It is recorded.
/// With KVM_RUNTIME_SLOT_POLICY_LONGEST_FREE the record also remembers which slots devices have given up,
/// from now on.
///
/// `policy`: one of enum kvm_runtime_slot_policy.
///
/// Fails like any change of a record, and with -EINVAL (policy is none of the enum).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_set_slot_policy(
    runtime: *mut kvm_runtime,
    policy: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        let policy = known_value(SlotPolicy::of_number, SlotPolicy::LAST, policy, "policy")?;
        let mut runtime = handle.lock();
        runtime.check_closed()?;
        runtime.set_slot_policy(policy)?;
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Says what an add does that finds no free slot and asks for none. It is recorded. With
/// KVM_RUNTIME_WHEN_FULL_NEXT_BOOT the add answers KVM_HOTPLUG_ANSWER_AFTER_REBOOT, and the last free slot of
/// pci.0 is kept for the PCI bridge that the next boot makes. Nothing is added to the running guest to make
/// room: docs/decisions.md says why. Bridges that are recorded stay; with KVM_RUNTIME_WHEN_FULL_REFUSE the
/// next boot leaves out those that no device is behind.
///
/// `when_full`: one of enum kvm_runtime_when_full.
///
/// Fails like any change of a record, and with -EINVAL (when_full is none of the enum, or the record is a
/// Ganeti list).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_set_when_full(
    runtime: *mut kvm_runtime,
    when_full: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        let when_full = known_value(WhenFull::of_number, WhenFull::LAST, when_full, "when_full")?;
        let mut runtime = handle.lock();
        runtime.check_closed()?;
        runtime.set_when_full(when_full)?;
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Reserves slots of a PCI bus: a device gets one of them only if its request names it, or if the slots are
/// reserved for its type. It is recorded, and replaces what was said of the same slots before. A record has
/// at most 64 such ranges. Devices that are there already stay.
///
/// `bus`: name of the bus, such as "pci.0" or the id of a bridge.
/// `first`, `last`: the slots, 0 to 31; last is not below first.
/// `types`: the device types that may have them unasked: the sum of 1 << enum kvm_hotplug_device_type for
/// each, such as (1 << KVM_HOTPLUG_DEVICE_NIC); 0 for none. A slot in several ranges is for the types
/// that all of them have.
///
/// Fails like any change of a record, and with -EINVAL (a slot or type that there is not), -EBADMSG (last is
/// below first, or too many ranges).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_reserve_slots(
    runtime: *mut kvm_runtime,
    bus: *const c_char,
    first: u32,
    last: u32,
    types: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (handle, bus) = unsafe { (kvm_runtime::get(runtime)?, required_str(bus, "bus")?) };
        let range = SlotRange {
            bus: BusName::parse(bus)?,
            first: slot(first, "first")?,
            last: slot(last, "last")?,
            kinds: kinds(types)?,
        };
        let mut runtime = handle.lock();
        runtime.check_closed()?;
        runtime.reserve_slots(range)?;
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Takes back what kvm_runtime_reserve_slots() has reserved.
///
/// `bus`: name of the bus; NULL for all buses.
///
/// Fails like any change of a record.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_release_slots(
    runtime: *mut kvm_runtime,
    bus: *const c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (handle, bus) = unsafe { (kvm_runtime::get(runtime)?, optional_str(bus, "bus")?) };
        let bus = bus.map(BusName::parse).transpose()?;
        let mut runtime = handle.lock();
        runtime.check_closed()?;
        runtime.release_slots(bus.as_ref())?;
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

fn slot(number: u32, what: &str) -> Result<Slot> {
    let slot = Slot::new(narrow(number, what)?);
    slot.ok_or_else(|| Error::invalid(format!("{what} is {number}; slots are 0 to {}", SLOTS - 1)))
}

fn kinds(types: u32) -> Result<Vec<SlotKind>> {
    let bit = |kind: &DeviceKind| 1u32 << (*kind as u32);
    let known = DeviceKind::ALL.iter().map(bit).fold(0, |all, bit| all | bit);
    if types & !known != 0 {
        return Err(Error::invalid(format!("types {types:#x} has bits of no device type")));
    }
    let wanted = DeviceKind::ALL.into_iter().filter(|kind| types & bit(kind) != 0);
    Ok(wanted.map(DeviceKind::slot_kind).collect())
}
