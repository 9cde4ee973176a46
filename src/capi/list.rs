//! The devices of a guest and of a record.

use std::ffi::{c_char, c_int};

use super::args::required_str;
use super::device::{kvm_hotplug_device, kvm_hotplug_state};
use super::error::kvm_hotplug_error;
use super::give::{give_list, write_struct};
use super::guard;
use super::guest::{check_device_out, kvm_hotplug};
use super::runtime::kvm_runtime;

/// Lists the devices of a guest: those of the record, and those that are only being removed.
///
/// Blocks: while another call asks QEMU, but not while it connects; QEMU is not asked.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_list(
    guest: *const kvm_hotplug,
    ret_devices: *mut kvm_hotplug_device,
    device_size: usize,
    capacity: usize,
    ret_count: *mut usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        let known = guest.list()?;
        let list = known.iter().map(kvm_hotplug_device::device_info);
        // SAFETY: the caller vouches for the array and the counter.
        unsafe { give_list(list, ret_devices, device_size, capacity, ret_count) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Looks up one device by its id.
///
/// `ret_device`: where to put the device if it exists; or NULL, and 0 as its size.
///
/// Blocks: as kvm_hotplug_list().
///
/// Returns one of enum kvm_hotplug_state; KVM_HOTPLUG_STATE_ABSENT if there is no such device.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_get_device(
    guest: *const kvm_hotplug,
    id: *const c_char,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (guest, id) = unsafe { (kvm_hotplug::get(guest)?, required_str(id, "id")?) };
        check_device_out(ret_device, device_size)?;
        let Some(device_info) = guest.find(id)? else {
            return Ok(kvm_hotplug_state::KVM_HOTPLUG_STATE_ABSENT as c_int);
        };
        let device = kvm_hotplug_device::device_info(&device_info);
        // SAFETY: the caller vouches for the struct.
        unsafe { write_struct(ret_device, device_size, &device) };
        Ok(c_int::try_from(device.state).unwrap_or(0))
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Lists the devices of a record. If the journal has an unfinished operation on a device, its reason says so;
/// see kvm_runtime_unfinished().
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_list(
    runtime: *const kvm_runtime,
    ret_devices: *mut kvm_hotplug_device,
    device_size: usize,
    capacity: usize,
    ret_count: *mut usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        let runtime = handle.lock();
        let (record, journal) = (runtime.record(), runtime.journal());
        let list = record.devices.iter().map(|device| kvm_hotplug_device::recorded_with(device, journal));
        // SAFETY: the caller vouches for the array and the counter.
        unsafe { give_list(list, ret_devices, device_size, capacity, ret_count) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Lists the devices with an unfinished operation in the journal beside a record: begun, with no recorded
/// end. The reasons say which operation. A device that was being added is not in the record yet. The next
/// kvm_hotplug_open() settles them, as kvm_hotplug_settle() does; kvm_runtime_settle() does it for a guest
/// that is known to be off. Before you copy the runtime file or read it by other means, for a migration for
/// instance, see that only removals are unfinished. This works without the lock, with a record from
/// kvm_runtime_load_readonly(); the list then has what a running agent does at the moment.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_unfinished(
    runtime: *const kvm_runtime,
    ret_devices: *mut kvm_hotplug_device,
    device_size: usize,
    capacity: usize,
    ret_count: *mut usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        let runtime = handle.lock();
        let list = runtime.journal().intents.iter().map(kvm_hotplug_device::intended);
        // SAFETY: the caller vouches for the array and the counter.
        unsafe { give_list(list, ret_devices, device_size, capacity, ret_count) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
