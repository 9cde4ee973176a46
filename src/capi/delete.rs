//! Deleting what there is of a guest on this host.

use std::ffi::{c_char, c_int};

use super::args::required_path;
use super::error::kvm_hotplug_error;
use super::guard;
use crate::store::{self, Trust};

/// Deletes a runtime file and everything that the library keeps beside it: the journal, in Ganeti's format
/// the file `<path>.kvm-hotplug`, and what an interrupted write has left. For a guest that has ended, or has
/// left this host by a migration. What is not there is no error, so that the call may be repeated.
///
/// Fails like kvm_runtime_load(), except that the file need not exist, and with -EBUSY (the journal has
/// unfinished operations, and their QEMU is seen to run), or the errno of deleting a file.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_delete(
    path: *const c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the string.
        let path = unsafe { required_path(path, "path") }?;
        store::delete(path, Trust::Checked)?;
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
