//! `kvm_runtime_give_secret`.

use std::ffi::{c_char, c_int, c_void};

use super::args::required_str;
use super::error::kvm_hotplug_error;
use super::guard;
use super::runtime::kvm_runtime;
use super::secret::read_secret;

/// Gives a disk a secret of its source for the next start of this record: kvm_runtime_boot(), also for a
/// migration target. Without all of them that call fails with -EBADFD, and kvm_runtime_check() names before
/// which are missing. QEMU reads the secret from an inherited file in memory, as /proc/self/fd/N, so there
/// has to be a /proc where it starts. A start takes what was given for it; the next one needs it again. So
/// does a record that is loaded anew.
///
/// `id`: the disk.
/// `name`: the name that the source has for the secret; see kvm_hotplug_describe().
/// `data`: the bytes, which are copied.
/// `length`: how many they are, 1 to 16384.
///
/// Fails with -ENOENT (no such disk; the disk has no secret of this name), -EINVAL (the secret is empty),
/// -E2BIG (it is too long), -EFAULT.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_give_secret(
    runtime: *mut kvm_runtime,
    id: *const c_char,
    name: *const c_char,
    data: *const c_void,
    length: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        // SAFETY: the caller vouches for the strings.
        let (id, name) = unsafe { (required_str(id, "id")?, required_str(name, "name")?) };
        // SAFETY: the caller vouches for length bytes.
        let secret = unsafe { read_secret(data, length) }?;
        handle.lock().give_secret(id, name, secret).map(|()| 0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
