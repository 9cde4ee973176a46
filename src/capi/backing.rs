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
/// The caller chooses the image itself by its path. A qcow2 image names its backing file in its header. Everybody who can
/// write to the image can change that name, and a guest that has taken QEMU over can. The library opens no file for its name alone. So the files
/// of an image (path, format, and which file it is) are recorded when the disk is added, and no others are opened for it later.
/// Which may be recorded is said here, for all disks of a record (kvm_runtime_set_backing()) or for one (struct
/// kvm_hotplug_disk); what is said for a disk counts instead of what is said for the record.
///
/// Links are followed before it is looked whether a file is beneath a directory. Whatever is said here, nothing is opened that
/// is neither a regular file nor a block device, that the kernel makes up (procfs, sysfs and the like), or that only a magic
/// link of /proc leads to, such as the descriptors of a process. It holds for the image itself as well.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_backing {
    /// For a disk, what its record says. For a record, KVM_HOTPLUG_BACKING_OWN_DIRECTORY.
    KVM_HOTPLUG_BACKING_DEFAULT = 0,
    /// Regular files beneath the directory that the image lies in, its links followed. An image that is a block device, or
    /// lies in the root directory, has no such directory. Nothing is asked of the files that are recorded already.
    KVM_HOTPLUG_BACKING_OWN_DIRECTORY = 1,
    /// Nowhere: an image that has a backing file is refused.
    KVM_HOTPLUG_BACKING_FORBIDDEN = 2,
    /// Exactly the files that backing_paths names, from the image down; at most 64. Block devices are fine.
    KVM_HOTPLUG_BACKING_FILES = 3,
    /// Beneath one of the directories that backing_paths names; at most 64.
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

/// Says where the backing files of all disks of a record may be, but for those that have a rule of their own. It stands in the
/// record, and counts whenever an image is opened from then on: for kvm_hotplug_add_disk(), kvm_runtime_boot() and all others,
/// also for disks that are recorded already. Nothing is opened now.
///
/// `backing`: one of enum kvm_hotplug_backing.
/// `backing_paths`, `backing_count`: the absolute paths of the files or directories, if it names any; else NULL and 0.
/// Borrowed for the call.
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

/// Records the files that a disk's image is made of now, in place of those that were recorded before: after its chain was
/// changed on purpose, by `qemu-img rebase` for instance, or its image was replaced. Look at the chain before (`qemu-img info
/// --backing-chain`): what is accepted is opened from then on. It has to be where the rule for the disk allows it.
///
/// While a guest is open with the record, kvm_hotplug_add_disk() with KVM_HOTPLUG_DISK_ACCEPT_CHAIN does the same.
///
/// `id`: the disk.
/// `backing`: the rule that the disk has from then on, one of enum kvm_hotplug_backing; KVM_HOTPLUG_BACKING_DEFAULT leaves it the
/// rule that it has.
/// `backing_paths`, `backing_count`: as for kvm_runtime_set_backing().
///
/// Blocks: on opening the image as well.
///
/// Fails like any change of a record, like kvm_hotplug_add_disk() for images, and with -EINVAL (not a disk),
/// -ENOENT (no such disk, image or backing file), -EPERM or -ELOOP (kind IMAGE_REFUSED: the rule does not
/// allow a file).
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
