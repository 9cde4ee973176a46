//! Where a disk's image is, however long the path.

use std::ffi::{CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

use super::args::required_str;
use super::error::kvm_hotplug_error;
use super::give::check_out;
use super::guard;
use super::guest::kvm_hotplug;
use super::runtime::kvm_runtime;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Device, Spec};

/// The path of a disk's image or block device as it was given, or Ganeti's URI for one that QEMU opens; of a
/// disk with a source "json:" and the source, as QEMU writes it. If another program made a snapshot, the
/// guest writes to another file; kvm_hotplug_verify() reports that.
///
/// Blocks: as kvm_hotplug_list().
///
/// Fails with -EINVAL (it is no disk), -ENOENT (no such device).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_get_path(
    guest: *const kvm_hotplug,
    id: *const c_char,
    ret_path: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (guest, id) = unsafe { (kvm_hotplug::get(guest)?, required_str(id, "id")?) };
        check_out(ret_path, "ret_path")?;
        let found = guest.find(id)?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { give(id, found.as_ref().map(|found| &found.device), ret_path) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// The path of the image of a disk in a record or in the journal beside it, as kvm_hotplug_get_path()
/// returns it for a guest.
///
/// Fails with -EINVAL (it is no disk), -ENOENT (no such device).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_get_path(
    runtime: *const kvm_runtime,
    id: *const c_char,
    ret_path: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (handle, id) = unsafe { (kvm_runtime::get(runtime)?, required_str(id, "id")?) };
        check_out(ret_path, "ret_path")?;
        let runtime = handle.lock();
        let unfinished = || runtime.journal().find(id).map(|intent| &intent.device);
        let found = runtime.record().find(id).or_else(unfinished);
        // SAFETY: the caller vouches for the pointer.
        unsafe { give(id, found, ret_path) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// # Safety
/// `place` is valid for writes.
unsafe fn give(id: &str, device: Option<&Device>, place: *mut *mut c_char) -> Result<c_int> {
    let Some(device) = device else {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no device {id}")));
    };
    let Spec::Disk(disk) = &device.spec else {
        return Err(Error::invalid(format!("{id} is no disk, and has no path")));
    };
    let path = match (&disk.source, &disk.uri) {
        (None, None) => disk.path.as_os_str().as_bytes().to_vec(),
        _ => disk.title().into_owned().into_bytes(),
    };
    let text = CString::new(path).map_err(|_| Error::invalid(format!("the path of {id} has a NUL in it")))?;
    // SAFETY: the caller vouches for it.
    unsafe { place.write(text.into_raw()) };
    Ok(0)
}
