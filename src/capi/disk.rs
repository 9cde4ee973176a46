//! `kvm_hotplug_add_disk`.

use std::ffi::{c_char, c_int};
use std::num::NonZeroU64;

use super::args::{Plain, check_flags, optional_str, read_struct, required_path, timeout};
use super::backing::read_rule;
use super::device::kvm_hotplug_device;
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, check_device_out, give_answer, kvm_hotplug};
use super::nic::{
    KVM_HOTPLUG_BOOT_INDEX, KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, boot_index, narrow, placement,
};
use super::numbers::{AIOS, CACHES, DETECT_ZEROES, DISCARDS, choose};
use crate::disk::{DiskSpec, Format, FormatRequest};
use crate::error::{Error, Result};
use crate::guest::{DiskRequest, Placement};
use crate::ids::{BusName, Lun, ScsiAddress};

/// Flag of struct kvm_hotplug_disk: the guest cannot write; the image is opened read-only.
pub const KVM_HOTPLUG_DISK_READ_ONLY: u32 = 1 << 5;
/// Flag of struct kvm_hotplug_disk: others may write to the image at the same time (share-rw); the guests must know.
pub const KVM_HOTPLUG_DISK_SHARE_RW: u32 = 1 << 6;

/// Flag of struct kvm_hotplug_disk: target and lun are given, also when they are 0; bus names the SCSI bus.
pub const KVM_HOTPLUG_DISK_SCSI_ADDRESS: u32 = 1 << 7;

/// Flag of struct kvm_hotplug_disk: if the disk is there already, the files that its image is made of now are recorded in place
/// of those that were, and its rule for backing files in place of the one that it had; see kvm_runtime_accept_chain().
pub const KVM_HOTPLUG_DISK_ACCEPT_CHAIN: u32 = 1 << 8;

/// Format of an image.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_format {
    /// The bytes of the file are the bytes of the disk.
    KVM_HOTPLUG_FORMAT_RAW = 0,
    /// QEMU's copy-on-write format, with its backing files; each is opened by the library. The format of a backing file
    /// must be recorded in the image above it.
    KVM_HOTPLUG_FORMAT_QCOW2 = 1,
    /// Look at the content, also of backing files. Only for images that no guest has ever written as raw: a guest could
    /// make a raw image look like a qcow2 with a backing file of its choice. What it turns out to be is recorded, and not looked
    /// for again. A file with the signature of any other format, such as vmdk, vdi, vhdx, luks or iso9660, is refused, not
    /// taken for raw.
    KVM_HOTPLUG_FORMAT_PROBE = 2,
}

/// Host page cache and flushes, with QEMU's names.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_cache {
    /// Through the page cache; the guest sees a write cache and flushes it.
    KVM_HOTPLUG_CACHE_WRITEBACK = 0,
    /// O_DIRECT; the guest sees a write cache and flushes it.
    KVM_HOTPLUG_CACHE_NONE = 1,
    /// Through the page cache; every write is flushed.
    KVM_HOTPLUG_CACHE_WRITETHROUGH = 2,
    /// O_DIRECT; every write is flushed.
    KVM_HOTPLUG_CACHE_DIRECTSYNC = 3,
    /// Through the page cache; flushes are ignored: data is lost if the host dies.
    KVM_HOTPLUG_CACHE_UNSAFE = 4,
}

/// How QEMU submits I/O.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_aio {
    /// A pool of threads.
    KVM_HOTPLUG_AIO_THREADS = 0,
    /// Linux AIO; needs cache NONE or DIRECTSYNC.
    KVM_HOTPLUG_AIO_NATIVE = 1,
    /// io_uring.
    KVM_HOTPLUG_AIO_IO_URING = 2,
}

/// What becomes of the guest's discard requests.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_discard {
    /// Ignored.
    KVM_HOTPLUG_DISCARD_IGNORE = 0,
    /// Storage is given back.
    KVM_HOTPLUG_DISCARD_UNMAP = 1,
}

/// What becomes of writes of zeros.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_detect_zeroes {
    /// Written.
    KVM_HOTPLUG_DETECT_ZEROES_OFF = 0,
    /// Turned into an efficient write of zeros.
    KVM_HOTPLUG_DETECT_ZEROES_ON = 1,
    /// Turned into a discard; needs discard UNMAP.
    KVM_HOTPLUG_DETECT_ZEROES_UNMAP = 2,
}

/// A disk to add. Zero everywhere but in path is the default: a writable raw image as virtio-blk-pci. Strings are borrowed
/// for the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_disk {
    /// Absolute path of an image file or block device. Required.
    pub path: *const c_char,
    /// Id of device and block node: a letter, then up to 30 letters, digits, '-', '.' or '_'. NULL for "disk-pci-<slot>",
    /// or "disk-pci-<bus>" on a root port; for a SCSI disk, "disk-<controller>-<target>", as in "disk-scsi-pci-7-0".
    pub id: *const c_char,
    /// Serial number the guest sees, printable ASCII; NULL for none. 1 to 20 characters; 1 to 36 with "scsi-hd", which has an id of the
    /// first 20 besides. Not with "scsi-block".
    pub serial: *const c_char,
    /// QEMU device model; NULL for "virtio-blk-pci". "scsi-hd" is a disk, and "scsi-block" a SCSI device of the host handed
    /// through (a block device that takes SG_IO; format raw; without serial, block sizes, wwn, cache WRITETHROUGH and
    /// DIRECTSYNC), on the bus of a SCSI controller. Any other that is not of the virtio-blk-pci family is recorded for
    /// the next boot.
    pub model: *const c_char,
    /// Bus to sit on; NULL for the first free slot. With it, slot counts.
    ///
    /// For a SCSI disk, the bus of a controller: for one with the id c it is called "c.0". With it and
    /// KVM_HOTPLUG_DISK_SCSI_ADDRESS, target and lun count; without that flag, it is unit 0 of the first free target there. NULL
    /// for the first virtio-scsi controller with a free target; if the guest has no such controller, one is plugged in with
    /// the disk, in the first free slot.
    pub bus: *const c_char,
    /// One of enum kvm_hotplug_format.
    pub format: u32,
    /// One of enum kvm_hotplug_cache.
    pub cache: u32,
    /// One of enum kvm_hotplug_aio.
    pub aio: u32,
    /// One of enum kvm_hotplug_discard.
    pub discard: u32,
    /// One of enum kvm_hotplug_detect_zeroes.
    pub detect_zeroes: u32,
    /// Smallest unit of I/O in bytes, a power of two from 512 to 2097152; 0 means 512.
    pub logical_block_size: u32,
    /// Unit the guest should align to in bytes, likewise, not below the logical one; 0 means the same.
    pub physical_block_size: u32,
    /// Virtqueues, 1 to 1024; 0 for QEMU's default. Not for SCSI disks, whose controller has the queues.
    pub queues: u32,
    /// Slot on bus, 0 to 31; 0 means any that is free there, where the bus has others. Not for SCSI disks.
    pub slot: u32,
    /// Place in the firmware's boot order, 0 to 2147483647, with KVM_HOTPLUG_BOOT_INDEX.
    pub boot_index: u32,
    /// Milliseconds for all of it; 0 means 5000.
    pub timeout_ms: u32,
    /// KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_BOOT_INDEX, KVM_HOTPLUG_DISK_READ_ONLY, KVM_HOTPLUG_DISK_SHARE_RW,
    /// KVM_HOTPLUG_DISK_SCSI_ADDRESS, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_DISK_ACCEPT_CHAIN.
    pub flags: u32,
    /// World wide name the guest sees, for "scsi-hd"; 0 for none.
    pub wwn: u64,
    /// SCSI target on bus, 0 to 255 (QEMU's scsi-id), with KVM_HOTPLUG_DISK_SCSI_ADDRESS.
    pub target: u32,
    /// Unit of the target, 0 to 16383, with KVM_HOTPLUG_DISK_SCSI_ADDRESS.
    pub lun: u32,
    /// With a backing that names files or directories: their absolute paths, backing_count of them.
    pub backing_paths: *const *const c_char,
    /// Where the image's backing files may be: one of enum kvm_hotplug_backing.
    pub backing: u32,
    /// Number of strings in backing_paths, at most 64.
    pub backing_count: u32,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_hotplug_disk {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_disk, lun);
}

/// Plugs a disk into the guest and records it: the image and its backing files are opened with the caller's rights, in
/// the mode QEMU will ask for; QEMU gets the descriptors, a block node and a device; the runtime file is replaced. All of
/// it or nothing. QEMU itself opens no file, so it works when QEMU is in a chroot, runs as another user or under seccomp.
///
/// The caller chooses the image, and, with enum kvm_hotplug_backing, which backing files it may have; the names in an image choose
/// nothing. Each file is looked at before it is opened, and all of them are recorded: later calls open these files for this disk,
/// and refuse it when its image names others. External data files and encryption are refused.
///
/// A SCSI disk needs a controller: if the guest has none, a virtio-scsi-pci is plugged in with it, is recorded as a device of
/// its own ("scsi-pci-<slot>"), and stays when the disk goes. If the disk cannot be added, the controller is taken out again.
///
/// QEMU locks images against use by another QEMU; in a chroot without /dev/null it does not (seen on QEMU 7.2).
///
/// The call may be repeated: with an id that exists and the same settings it succeeds and does nothing, if its image is still made
/// of the files that were recorded.
///
/// Blocks: on opening the image as well.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE (in the guest), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded; the device's
/// reason says why), KVM_HOTPLUG_ANSWER_PENDING (with KVM_HOTPLUG_NO_WAIT), or fails like any change of a
/// guest, and with
/// - -EINVAL (contradicting fields, a setting that the model does not have; the path is a directory or the
///   like; a backing file's format is not recorded; scsi-block over what takes no SCSI commands);
/// - -EPERM or -ELOOP (kind IMAGE_REFUSED: the image or a backing file is not one to open, or not what was
///   recorded: the message names it);
/// - -ENOENT (no such image, backing file or bus), -EACCES, -EROFS or another errno of open;
/// - -EBADMSG (declared as qcow2 and is none, or marked corrupt), -EMSGSIZE (over 16 layers), -EOPNOTSUPP
///   (encrypted or external data; a format that is neither raw nor qcow2; the pinned bus takes no devices;
///   KVM_HOTPLUG_LIVE_ONLY);
/// - -EEXIST (image, serial or wwn used in this guest; the image is below another disk's, or another disk's
///   is below it; the id exists with other settings: the message names the field), -EBUSY (kind IMAGE_LOCKED:
///   the image is in use by another QEMU);
/// - -ENOSPC (no free slot or SCSI target: counts per bus), -EADDRINUSE (the pinned one is taken).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_add_disk(
    guest: *mut kvm_hotplug,
    disk: *const kvm_hotplug_disk,
    disk_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (guest, disk) = unsafe { (kvm_hotplug::get(guest)?, read_struct(disk, disk_size, "disk")?) };
        check_device_out(ret_device, device_size)?;
        // SAFETY: the caller vouches for the strings.
        let request = unsafe { request(&disk) }?;
        let outcome = guest.add_disk(&request, timeout(disk.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        // SAFETY: the caller vouches for the struct.
        Ok(unsafe { give_answer(&outcome, ret_device, device_size) })
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// The request inside the struct.
///
/// # Safety
/// Its strings are NULL or valid as described.
pub(super) unsafe fn request(disk: &kvm_hotplug_disk) -> Result<DiskRequest> {
    let known = KVM_HOTPLUG_LIVE_ONLY
        | KVM_HOTPLUG_BOOT_INDEX
        | KVM_HOTPLUG_DISK_READ_ONLY
        | KVM_HOTPLUG_DISK_SHARE_RW
        | KVM_HOTPLUG_DISK_SCSI_ADDRESS
        | KVM_HOTPLUG_NO_WAIT
        | KVM_HOTPLUG_DISK_ACCEPT_CHAIN;
    check_flags(disk.flags, known, "disk flags")?;
    // SAFETY: passed on.
    let path = unsafe { required_path(disk.path, "path") }?;
    // SAFETY: passed on.
    let (serial, model) =
        unsafe { (optional_str(disk.serial, "serial")?, optional_str(disk.model, "model")?) };
    let format =
        choose(disk.format, "format", &[FormatRequest::Raw, FormatRequest::Qcow2, FormatRequest::Probe])?;
    let optional = |number: u32| (number != 0).then_some(number);
    let mut spec = DiskSpec::new(path, Format::Raw);
    spec.read_only = disk.flags & KVM_HOTPLUG_DISK_READ_ONLY != 0;
    spec.share_rw = disk.flags & KVM_HOTPLUG_DISK_SHARE_RW != 0;
    spec.serial = serial.map(str::to_owned);
    spec.cache = choose(disk.cache, "cache", &CACHES)?;
    spec.aio = choose(disk.aio, "aio", &AIOS)?;
    spec.discard = choose(disk.discard, "discard", &DISCARDS)?;
    spec.detect_zeroes = choose(disk.detect_zeroes, "detect_zeroes", &DETECT_ZEROES)?;
    spec.boot_index = boot_index(disk.flags, disk.boot_index);
    spec.logical_block_size = optional(disk.logical_block_size);
    spec.physical_block_size = optional(disk.physical_block_size);
    spec.queues = optional(disk.queues).map(|queues| narrow(queues, "queues")).transpose()?;
    spec.wwn = NonZeroU64::new(disk.wwn);
    // SAFETY: the caller vouches for the paths.
    spec.backing = unsafe { read_rule(disk.backing, disk.backing_paths, disk.backing_count) }?;
    if let Some(model) = model {
        spec.model = model.to_owned();
    }
    // SAFETY: passed on.
    let mut placement = unsafe { if spec.is_scsi() { scsi_placement(disk)? } else { pci_placement(disk)? } };
    placement.accept_chain = disk.flags & KVM_HOTPLUG_DISK_ACCEPT_CHAIN != 0;
    Ok(DiskRequest { placement, spec, format })
}

/// # Safety
/// The strings are NULL or NUL-terminated.
unsafe fn pci_placement(disk: &kvm_hotplug_disk) -> Result<Placement> {
    if disk.flags & KVM_HOTPLUG_DISK_SCSI_ADDRESS != 0 || disk.target != 0 || disk.lun != 0 {
        return Err(Error::invalid(
            "target and lun are for SCSI disks: take model scsi-hd, or ask for no SCSI address",
        ));
    }
    // SAFETY: passed on.
    unsafe { placement(disk.id, disk.bus, disk.slot, disk.flags) }
}

/// # Safety
/// The strings are NULL or NUL-terminated.
unsafe fn scsi_placement(disk: &kvm_hotplug_disk) -> Result<Placement> {
    let given = disk.flags & KVM_HOTPLUG_DISK_SCSI_ADDRESS != 0;
    if disk.slot != 0 {
        return Err(Error::invalid("slot is given for a SCSI disk, which has target and lun instead"));
    }
    if !given && (disk.target != 0 || disk.lun != 0) {
        return Err(Error::invalid("target and lun count only with KVM_HOTPLUG_DISK_SCSI_ADDRESS; set it"));
    }
    // SAFETY: passed on.
    let (mut placement, bus) =
        unsafe { (placement(disk.id, std::ptr::null(), 0, disk.flags)?, optional_str(disk.bus, "bus")?) };
    let bus = bus.map(BusName::parse).transpose()?;
    match (bus, given) {
        (Some(bus), true) => {
            let target = narrow(disk.target, "SCSI target")?;
            let lun = Lun::try_from(u64::from(disk.lun))?;
            placement.address = Some(ScsiAddress { lun, ..ScsiAddress::of_target(bus, target) }.into());
        }
        (bus, false) => placement.scsi_bus = bus,
        (None, true) => {
            return Err(Error::invalid(
                "target and lun are given without a bus; name that of the controller, such as scsi-pci-7.0",
            ));
        }
    }
    Ok(placement)
}
