//! The formats of runtime files, and from one to the other.

use std::ffi::c_int;

use super::args;
use super::error::kvm_hotplug_error;
use super::guard;
use super::runtime::{give, kvm_runtime};
use crate::error::Error;
use crate::store::Format;

/// Says which format a record has: that of the file it was loaded from, or the one it was converted to.
///
/// `ret_format`: where to put one of enum kvm_runtime_format.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_get_format(
    runtime: *const kvm_runtime,
    ret_format: *mut u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        if ret_format.is_null() {
            return Err(args::null("ret_format"));
        }
        let format = handle.lock().dialect().format() as u32;
        // SAFETY: the caller vouches for it.
        unsafe { ret_format.write(format) };
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Copies a record, in the format that it has: for a file of another name, for a migration target, or to try
/// something with. The copy has no file until kvm_runtime_save() gives it one. The record itself is not
/// changed; a guest may be open with it. The journal is not copied: a device that is being removed is in the
/// copy, and one that is being added is not. So see that kvm_runtime_unfinished() lists no add and no change.
///
/// For a migration to a QEMU on the same host, give kvm_runtime_boot() the copy and KVM_BOOT_SET_MONITOR.
///
/// Fails like any call.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_copy(
    runtime: *const kvm_runtime,
    ret_runtime: *mut *mut kvm_runtime,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        if ret_runtime.is_null() {
            return Err(args::null("ret_runtime"));
        }
        let copy = handle.lock().copy()?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { give(copy, ret_runtime) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Copies a record in another format. The copy has no file until kvm_runtime_save() gives it one. The record
/// itself is not changed; a guest may be open with it. A Ganeti list fits into the native format whole, and
/// converts back unchanged, except for later changes. A list cannot hold root ports, a SCSI controller
/// outside of the command, a device without an address or on a bus that Ganeti does not use, nor a setting
/// that has no place there or differs between NICs or disks.
///
/// `format`: one of enum kvm_runtime_format; the one it has makes a plain copy, as kvm_runtime_copy() does.
///
/// Blocks: on reading type and size of the disks' images.
///
/// Fails with -EINVAL (the format cannot hold the record: the message names the device and its setting),
/// -EBADMSG (a list kept in the record is malformed).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_convert(
    runtime: *const kvm_runtime,
    format: u32,
    ret_runtime: *mut *mut kvm_runtime,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        if ret_runtime.is_null() {
            return Err(args::null("ret_runtime"));
        }
        let format = Format::of_number(format)
            .ok_or_else(|| Error::invalid("format is none of enum kvm_runtime_format"))?;
        let copy = {
            let runtime = handle.lock();
            runtime.convert(format)?
        };
        // SAFETY: the caller vouches for the pointer.
        unsafe { give(copy, ret_runtime) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
