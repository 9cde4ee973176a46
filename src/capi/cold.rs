//! NICs and disks in the record of a guest that does not run.

use std::ffi::c_int;

use super::args::{check_flags, read_struct, required_str};
use super::device::kvm_hotplug_device;
use super::disk::{self, kvm_hotplug_disk};
use super::error::kvm_hotplug_error;
use super::give::write_struct;
use super::guard;
use super::guest::{check_device_out, give_answer};
use super::nic::{self, KVM_HOTPLUG_ADOPT, KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, kvm_hotplug_nic};
use super::removal::kvm_hotplug_del_options;
use super::runtime::kvm_runtime;
use crate::guest::{Removal, coldplug};

/// Flags that are about a guest that runs.
const LIVE: u32 = KVM_HOTPLUG_LIVE_ONLY | KVM_HOTPLUG_NO_WAIT | KVM_HOTPLUG_ADOPT;

/// Adds a NIC to the record of a guest that does not run; kvm_runtime_boot() starts the guest with it. Any
/// device model will do. The slot is chosen now. The boot opens the tap, with the name or pattern in ifname.
/// The device's state is KVM_HOTPLUG_STATE_AFTER_REBOOT until then.
///
/// `nic`: as for kvm_hotplug_add_nic(); tap_fds, KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT and
/// KVM_HOTPLUG_ADOPT are refused, timeout_ms does not count.
///
/// Returns 0, or fails like any change of a record, and like kvm_hotplug_add_nic() where that asks neither
/// QEMU nor the guest.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_add_nic(
    runtime: *mut kvm_runtime,
    nic: *const kvm_hotplug_nic,
    nic_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (handle, nic) = unsafe { (kvm_runtime::get(runtime)?, read_struct(nic, nic_size, "nic")?) };
        check_device_out(ret_device, device_size)?;
        check_flags(nic.flags & LIVE, 0, "nic flags")?;
        // SAFETY: the caller vouches for strings and array.
        let request = unsafe { nic::request(&nic) }?;
        let device = coldplug::add_nic(&mut handle.lock(), &request)?;
        // SAFETY: the caller vouches for the struct.
        unsafe { write_struct(ret_device, device_size, &kvm_hotplug_device::recorded(&device)) };
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Adds a disk to the record of a guest that does not run; kvm_runtime_boot() starts the guest with it. Any
/// device model on a PCI or SCSI bus will do. The address is chosen now, with a SCSI controller if it needs
/// one. The image is opened and closed again, to see whether it can be opened and what it is. The device's
/// state is KVM_HOTPLUG_STATE_AFTER_REBOOT until the boot.
///
/// `disk`: as for kvm_hotplug_add_disk(); KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT and
/// KVM_HOTPLUG_ADOPT are refused, timeout_ms does not count.
///
/// Returns 0, or fails like any change of a record, and like kvm_hotplug_add_disk() where that asks neither
/// QEMU nor the guest.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_add_disk(
    runtime: *mut kvm_runtime,
    disk: *const kvm_hotplug_disk,
    disk_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (handle, disk) = unsafe { (kvm_runtime::get(runtime)?, read_struct(disk, disk_size, "disk")?) };
        check_device_out(ret_device, device_size)?;
        check_flags(disk.flags & LIVE, 0, "disk flags")?;
        // SAFETY: the caller vouches for the strings.
        let request = unsafe { disk::request(&disk) }?;
        let device = coldplug::add_disk(&mut handle.lock(), &request)?;
        // SAFETY: the caller vouches for the struct.
        unsafe { write_struct(ret_device, device_size, &kvm_hotplug_device::recorded(&device)) };
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Removes a NIC, a disk or a SCSI controller without disks from the record of a guest that does not run. It
/// is gone at once if it has never been in the guest, otherwise with the next kvm_runtime_boot(); until then
/// it is listed with removed_after_reboot. Its MAC address, serial and image are free at once.
///
/// `options`: the id; timeout_ms does not count, and there are no flags.
/// `ret_device`: where to put the device, unless it is absent; or NULL, and 0 as its size.
///
/// Returns 0, KVM_HOTPLUG_ANSWER_ABSENT (no such device), or fails like any change of a record, and with
/// -EBUSY (disks on the controller: the message names one).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_del(
    runtime: *mut kvm_runtime,
    options: *const kvm_hotplug_del_options,
    options_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (handle, removal) =
            unsafe { (kvm_runtime::get(runtime)?, read_struct(options, options_size, "options")?) };
        check_flags(removal.flags, 0, "options: flags")?;
        check_device_out(ret_device, device_size)?;
        // SAFETY: the caller vouches for the string.
        let id = unsafe { required_str(removal.id, "id") }?.to_owned();
        let request = Removal { id, kind: None, live_only: false, wait: false, leave_overlay: true };
        let outcome = coldplug::remove(&mut handle.lock(), &request)?;
        // SAFETY: the caller vouches for the struct.
        Ok(unsafe { give_answer(&outcome, ret_device, device_size) })
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
