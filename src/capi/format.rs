//! The formats of runtime files, and from one to the other.

use std::ffi::c_int;

use super::args;
use super::error::kvm_hotplug_error;
use super::guard;
use super::runtime::{give, kvm_runtime};
use crate::error::Error;
use crate::store::Format;

/// Format of a runtime file. A record is saved in the one it has.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_runtime_format {
    /// Our own: a JSON object.
    KVM_RUNTIME_FORMAT_NATIVE = 1,
    /// The list that Ganeti writes. Loaded are its lists of 4 entries (2.10 and later) and of 3 (2.0 to 2.9: what the guest
    /// has is listed without an address and can only go with the next boot or after a migration, and its disks stay in the command; new devices
    /// are plugged in as usual). Saved it is a list of 4 that Ganeti 3.0 and later load, with everything kept that is unknown
    /// here, further entries too; what it has no room for (generations, changes for the next boot, taps) is in "<path>.kvm-hotplug", if need be.
    ///
    /// A list with two devices at one place is loaded: kvm_hotplug_verify() says which of them the guest does not have, and
    /// kvm_runtime_check() that no boot can be made of it.
    ///
    /// All NICs and all disks of such a guest have the same queues, vhost, cache, aio and discard, which are hypervisor
    /// parameters there: requests get them unless they ask for something else, and then they fail with -EINVAL, as they do
    /// for what Ganeti does not know (MTU, boot order, serial number, qcow2, read-only and such).
    KVM_RUNTIME_FORMAT_GANETI = 2,
}

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

/// Makes a copy of a record in another format. The copy has no file until kvm_runtime_save() gives it one; the record stays
/// what it is, also while a guest is open with it.
///
/// A Ganeti list fits into our own format whole, and comes out of it again as it was, but for what was changed meanwhile. A
/// list holds less: a record is refused that has root ports, a SCSI controller outside of its command, a device without an
/// address or not on a bus that Ganeti uses, or one with a setting that has no place there or is not the same for all NICs
/// or all disks.
///
/// `format`: one of enum kvm_runtime_format; the one it has makes a plain copy.
///
/// Blocks: looks at the images of disks (type and size).
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
        let format = [Format::Native, Format::Ganeti].into_iter().find(|known| *known as u32 == format);
        let format = format.ok_or_else(|| Error::invalid("format is none of enum kvm_runtime_format"))?;
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
