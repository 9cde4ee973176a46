//! Which files are opened for an image besides itself: the caller's choice.

use std::ffi::{c_char, c_int};
use std::path::PathBuf;

use super::args::{self, required_path, required_str};
use super::error::kvm_hotplug_error;
use super::guard;
use super::runtime::kvm_runtime;
use crate::disk::BackingRule;
use crate::disk::rule::MAX_PATHS;
use crate::error::{Error, Result};

/// Where the backing files of an image may be.
///
/// A qcow2 image names its backing file in its header. Whoever can write to the image can change that name,
/// such as a guest that has taken over QEMU. So the library opens no file for its name alone: it records the
/// files of an image (path, format, and which file it is) when the disk is added, and opens no others for it
/// later. This enum says which may be recorded, for all disks of a record (kvm_runtime_set_backing()) or for
/// one (struct kvm_hotplug_disk), which takes precedence.
///
/// Links are followed before a path is compared with a directory. The library never opens, as the image
/// itself either, files that are neither regular nor block devices, files that the kernel makes up (procfs,
/// sysfs and the like), and files that only a magic link of /proc leads to, such as a process's descriptors.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_backing {
    /// For a disk, the record's rule. For a record, KVM_HOTPLUG_BACKING_OWN_DIRECTORY.
    KVM_HOTPLUG_BACKING_DEFAULT = 0,
    /// Regular files beneath the image's directory, the image's links followed. A block device, or an image
    /// in the root directory, has no such directory. Files that are recorded already are not checked again.
    KVM_HOTPLUG_BACKING_OWN_DIRECTORY = 1,
    /// Nowhere: an image with a backing file is refused.
    KVM_HOTPLUG_BACKING_FORBIDDEN = 2,
    /// Exactly backing_paths, from the image down; block devices too.
    KVM_HOTPLUG_BACKING_FILES = 3,
    /// Beneath one of the directories in backing_paths.
    KVM_HOTPLUG_BACKING_DIRECTORIES = 4,
}

/// The rule that the arguments say; none for the default.
///
/// # Safety
/// `paths` is NULL or has `count` strings, each NULL or NUL-terminated.
pub(super) unsafe fn read_rule(
    backing: u32,
    paths: *const *const c_char,
    count: u32,
) -> Result<Option<BackingRule>> {
    if backing > kvm_hotplug_backing::KVM_HOTPLUG_BACKING_DIRECTORIES as u32 {
        return Err(Error::invalid(format!("backing {backing} does not exist; 0 to 4 do")));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > MAX_PATHS {
        return Err(Error::invalid(format!("backing_count {count}: at most {MAX_PATHS} paths")));
    }
    if count > 0 && paths.is_null() {
        return Err(args::null("backing_paths"));
    }
    let path = |index| {
        // SAFETY: index is below the count that the caller vouches for.
        let path = unsafe { required_path(*paths.add(index), &format!("backing_paths[{index}]")) };
        path.map(PathBuf::from)
    };
    let paths: Vec<PathBuf> = (0..count).map(path).collect::<Result<_>>()?;
    if !paths.is_empty() && !matches!(backing, 3 | 4) {
        return Err(Error::invalid(
            "backing_paths are given, but backing names neither files nor directories",
        ));
    }
    let rule = match backing {
        0 => return Ok(None),
        1 => BackingRule::OwnDirectory,
        2 => BackingRule::Forbidden,
        3 => BackingRule::Files(paths),
        _ => BackingRule::Directories(paths),
    };
    rule.validate()?;
    Ok(Some(rule))
}

/// Sets where the backing files of a record's disks may be, except for disks with a rule of their own. It is
/// recorded and applies whenever an image is opened from then on, also for disks that are recorded already.
/// Nothing is opened now.
///
/// `backing`: one of enum kvm_hotplug_backing.
/// `backing_paths`, `backing_count`: the absolute paths of files or directories, at most 64, if backing takes
/// any; else NULL and 0.
///
/// Fails like any change of a record, and with -EINVAL (paths that are not absolute, none or too many).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_set_backing(
    runtime: *mut kvm_runtime,
    backing: u32,
    backing_paths: *const *const c_char,
    backing_count: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and paths.
        let (handle, rule) =
            unsafe { (kvm_runtime::get(runtime)?, read_rule(backing, backing_paths, backing_count)?) };
        let mut runtime = handle.lock();
        runtime.check_closed()?;
        runtime.set_backing(rule)?;
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Records the present files of a disk's image in place of the recorded ones, after its chain was changed on
/// purpose, by `qemu-img rebase` for instance, or its image was replaced. The rule for the disk must allow
/// them. Check the chain first (`qemu-img info --backing-chain`): accepted files are opened from then on.
/// While a guest is open with the record, call kvm_hotplug_add_disk() with KVM_HOTPLUG_DISK_ACCEPT_CHAIN
/// instead.
///
/// `backing`: the disk's rule from then on; KVM_HOTPLUG_BACKING_DEFAULT keeps the rule that it has.
/// `backing_paths`, `backing_count`: as for kvm_runtime_set_backing().
///
/// Fails like any change of a record, like any call that opens an image, and with -EINVAL (not a disk),
/// -ENOENT (no such disk).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_accept_chain(
    runtime: *mut kvm_runtime,
    id: *const c_char,
    backing: u32,
    backing_paths: *const *const c_char,
    backing_count: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle, string and paths.
        let (handle, id, rule) = unsafe {
            let handle = kvm_runtime::get(runtime)?;
            (handle, required_str(id, "id")?, read_rule(backing, backing_paths, backing_count)?)
        };
        let mut runtime = handle.lock();
        runtime.check_closed()?;
        runtime.accept_chain(id, rule)?;
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
