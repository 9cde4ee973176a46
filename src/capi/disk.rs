//! `kvm_hotplug_add_disk`.

use std::ffi::{c_char, c_int};
use std::num::NonZeroU64;
use std::path::Path;

use super::args::{Plain, check_flags, known_value, optional_str, read_struct, required_path, timeout};
use super::backing::read_rule;
use super::device::kvm_hotplug_device;
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, check_device_out, give_answer, kvm_hotplug};
use super::nic::{
    KVM_HOTPLUG_ADOPT, KVM_HOTPLUG_BOOT_INDEX, KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, boot_index,
    flagged, narrow, properties,
};
use super::secret::{kvm_hotplug_secret, read_secrets};
use crate::disk::{
    Aio, Cache, Description, DetectZeroes, Discard, DiskSpec, Format, FormatRequest, Limits, SCSI_CD,
    SourceObjects,
};
use crate::error::{Error, Result};
use crate::guest::{DiskRequest, PlaceRequest, Placement};
use crate::ids::IoThread;
use crate::model::GanetiEntry;

/// Flag of struct kvm_hotplug_disk: the guest cannot write; the image is opened read-only.
pub const KVM_HOTPLUG_DISK_READ_ONLY: u32 = 1 << 5;
/// Flag of struct kvm_hotplug_disk: others may write to the image at once (share-rw); the guests must know.
pub const KVM_HOTPLUG_DISK_SHARE_RW: u32 = 1 << 6;

/// Flag of struct kvm_hotplug_disk: target and lun are given, also when 0; bus names the SCSI bus.
pub const KVM_HOTPLUG_DISK_SCSI_ADDRESS: u32 = 1 << 7;

/// Flag of struct kvm_hotplug_disk: if the disk exists already, replace the recorded files of its image and
/// its rule for backing files by the present ones; see kvm_runtime_accept_chain().
pub const KVM_HOTPLUG_DISK_ACCEPT_CHAIN: u32 = 1 << 8;

/// Flag of struct kvm_hotplug_disk and struct kvm_hotplug_controller: the library makes the iothread. Without
/// a name it is the device's own, "<id>-iothread". One with a name is made with the first device that asks
/// for it with this flag, and deleted after the last. Of a mapping, each is such a one.
pub const KVM_HOTPLUG_MAKE_IOTHREAD: u32 = 1 << 30;

/// A disk to add. The default, besides path, is a writable raw image as virtio-blk-pci.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_disk {
    /// Absolute path of an image file or block device. Required without a source, but for "scsi-cd": NULL or
    /// empty for a CD drive without a medium.
    pub path: *const c_char,
    /// Id of device and block node, of the same form as a NIC's. NULL for "disk-pci-<slot>", or
    /// "disk-pci-<bus>" on a root port; for a SCSI disk "disk-<controller>-<target>", as in
    /// "disk-scsi-pci-7-0".
    pub id: *const c_char,
    /// Serial number the guest sees, printable ASCII; NULL for none. 1 to 20 characters; 1 to 36 with
    /// "scsi-hd" and "scsi-cd", which also have an id of the first 20. Not with "scsi-block"; "nvme" needs
    /// one.
    pub serial: *const c_char,
    /// QEMU device model; NULL for "virtio-blk-pci". "scsi-hd" is a disk on the bus of a SCSI controller.
    /// "scsi-block" passes a SCSI device of the host through, on such a bus (a block device that takes SG_IO;
    /// format raw; without serial, block sizes, wwn, cache WRITETHROUGH and DIRECTSYNC). "scsi-cd" is a CD
    /// drive on such a bus (with KVM_HOTPLUG_DISK_READ_ONLY; without block sizes). "nvme" is a disk of NVM
    /// Express in a slot of PCI (without wwn and queues; on QEMU 5.2 without boot_index). Other models
    /// outside of the virtio-blk-pci family are recorded for the next boot.
    pub model: *const c_char,
    /// Bus; NULL for the first free slot of any. With it, slot counts. For a SCSI disk it is the bus "<id>.0"
    /// of a controller: target and lun count with KVM_HOTPLUG_DISK_SCSI_ADDRESS, otherwise the disk is unit 0
    /// of the first free target. NULL for the first virtio-scsi controller with a free target; if there is
    /// none, one is plugged in with the disk, in the first free slot.
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
    /// Unit of I/O in bytes, a power of two, 512 to 2097152; 0 means 512.
    pub logical_block_size: u32,
    /// Unit to align to, likewise, at least the logical; 0: the same.
    pub physical_block_size: u32,
    /// Virtqueues, 1 to 1024; 0 for QEMU's default. Not for SCSI disks.
    pub queues: u32,
    /// PCI: slot on bus, 0 to 31; 0 means any free one, where the bus has others.
    pub slot: u32,
    /// Place in the boot order, 0 to 2147483647, with KVM_HOTPLUG_BOOT_INDEX.
    pub boot_index: u32,
    /// Milliseconds for all of it; 0 means 5000.
    pub timeout_ms: u32,
    /// KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_BOOT_INDEX, KVM_HOTPLUG_DISK_READ_ONLY, KVM_HOTPLUG_DISK_SHARE_RW,
    /// KVM_HOTPLUG_DISK_SCSI_ADDRESS, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_DISK_ACCEPT_CHAIN,
    /// KVM_HOTPLUG_ADOPT, KVM_HOTPLUG_MAKE_IOTHREAD.
    pub flags: u32,
    /// World wide name the guest sees, for "scsi-hd" and "scsi-cd"; 0 for none.
    pub wwn: u64,
    /// SCSI target on bus, 0 to 255, with KVM_HOTPLUG_DISK_SCSI_ADDRESS.
    pub target: u32,
    /// Unit of the target, 0 to 16383, with KVM_HOTPLUG_DISK_SCSI_ADDRESS.
    pub lun: u32,
    /// Absolute paths, if backing names files or directories.
    pub backing_paths: *const *const c_char,
    /// Where backing files may be: one of enum kvm_hotplug_backing.
    pub backing: u32,
    /// Number of strings in backing_paths, at most 64.
    pub backing_count: u32,
    /// As in struct kvm_hotplug_nic. In Ganeti's format the cache mode of the boot disks follows from
    /// its dev_type, and the disk gets it. Without an entry, a file with KVM_HOTPLUG_CACHE_NONE is listed as
    /// "sharedfile".
    pub ganeti_entry: *const c_char,
    /// Further properties of the device in QEMU, as in struct kvm_hotplug_nic: werror and rerror ("report",
    /// "ignore", "enospc", "stop"), discard_granularity, rotation_rate, queue-size and others.
    pub properties: *const c_char,
    /// The iothread that does the disk's I/O, by its id; NULL for QEMU's main thread, or for one of the
    /// disk's own with KVM_HOTPLUG_MAKE_IOTHREAD. Without that flag QEMU has to have it (-ENOENT), also with
    /// the next boot. For the virtio-blk-pci family: of SCSI disks the controller has it.
    ///
    /// Or several, among which the queues are divided, as QEMU's iothread-vq-mapping in JSON: a text that
    /// begins with "[", such as [{"iothread": "a", "vqs": [0, 2]}, {"iothread": "b", "vqs": [1]}]. Without
    /// vqs each gets a queue in turn. From QEMU 9.2 on; an older one would pass over it (-ENOTSUP).
    pub iothread: *const c_char,
    /// Instead of path and format: a block node as QEMU's blockdev-add takes it (BlockdevOptions), with the
    /// nodes below it, as a JSON object of at most 16384 bytes; kvm_hotplug_source_json() makes common ones.
    /// No node has a node-name or is named, and read-only, cache, discard and detect-zeroes of the first one
    /// come from this struct. The library opens the files and block devices in it ("file", "host_device",
    /// "host_cdrom", by absolute paths), and QEMU what is behind a network. A qcow2 without "backing" has
    /// none. While QEMU connects, it answers nothing and its guest may stand still.
    pub source: *const c_char,
    /// How much I/O the disk may do, as JSON text of an object with QEMU's names; NULL for no limits:
    /// bps-total, bps-read, bps-write (bytes each second), iops-total, iops-read, iops-write (operations);
    /// each with -max for bursts and -max-length for how many seconds a burst lasts; iops-size (bytes that
    /// count as one operation). A total goes with neither reads nor writes. "group" is the name of a group
    /// that has the limits together: each of its disks is added with the same ones. Not with "scsi-block" or
    /// a CD drive, and with an id of at most 25 characters. kvm_hotplug_set_disk_limits() changes them.
    pub limits: *const c_char,
    /// What the nodes of the source name as secrets (key-secret, password-secret and the like), at most 16;
    /// NULL for none. QEMU gets each as an object of the disk's own, which goes with the disk. The record has
    /// the names alone: kvm_runtime_boot() needs the secrets again, see kvm_runtime_give_secret(). A name
    /// that is not here is the id of an object that QEMU has already.
    pub secrets: *const kvm_hotplug_secret,
    /// Number of secrets.
    pub secret_count: usize,
    /// What the nodes of the source name as credentials for TLS (tls-creds), as JSON text of an object; NULL
    /// for none. By name each is an object with qom-type ("tls-creds-x509", "tls-creds-psk" or
    /// "tls-creds-anon"), dir (absolute path of the directory with the keys and certificates, which QEMU
    /// reads by itself), and where they apply verify-peer, priority, username, and passwordid (the name of a
    /// secret).
    pub tls_creds: *const c_char,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_hotplug_disk {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_disk, lun);
}

/// Plugs a disk into the guest and records it: opens the image and its backing files with the caller's rights
/// in the mode that QEMU needs, gives QEMU the descriptors, a block node and a device, and replaces the
/// runtime file. All of it or nothing. QEMU opens no file itself, so it may be in a chroot, run as another
/// user or under seccomp.
///
/// The caller chooses the image, and by enum kvm_hotplug_backing which backing files it may have. The names
/// in an image choose nothing. Each file is checked before it is opened, and all are recorded: later calls
/// open these files for this disk, and refuse it if its image names others. QEMU locks images against another
/// QEMU, except in a chroot without /dev/null (seen on QEMU 7.2).
///
/// If a SCSI disk finds no controller, a virtio-scsi-pci is plugged in with it and recorded as a device of
/// its own ("scsi-pci-<slot>"). It is removed again if the disk cannot be added. It stays when the disk is
/// removed.
///
/// Returns one of enum kvm_hotplug_answer, or fails like any add of a device, like any call that opens an
/// image, and with
/// - -EINVAL (contradicting fields, a setting that the model does not have; scsi-block on a device without
///   SCSI commands), -EBUSY (kind IMAGE_LOCKED: another QEMU uses the image);
/// - -EEXIST (image, serial or wwn used in this guest; the image is below another disk's, or another disk's
///   is below it). A disk that exists must still have the recorded files.
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
        | KVM_HOTPLUG_DISK_ACCEPT_CHAIN
        | KVM_HOTPLUG_ADOPT
        | KVM_HOTPLUG_MAKE_IOTHREAD;
    check_flags(disk.flags, known, "disk flags")?;
    // SAFETY: passed on.
    let source = unsafe { optional_str(disk.source, "source") }?.map(Description::parse).transpose()?;
    // SAFETY: passed on.
    let (serial, model) =
        unsafe { (optional_str(disk.serial, "serial")?, optional_str(disk.model, "model")?) };
    let path = match model {
        _ if disk.path.is_null() && source.is_some() => Path::new(""),
        // SAFETY: passed on.
        Some(SCSI_CD) => unsafe { optional_str(disk.path, "path") }?.map(Path::new).unwrap_or(Path::new("")),
        // SAFETY: passed on.
        _ => unsafe { required_path(disk.path, "path") }?,
    };
    let format = known_value(FormatRequest::of_number, FormatRequest::LAST, disk.format, "format")?;
    let optional = |number: u32| (number != 0).then_some(number);
    let mut spec = DiskSpec::new(path, Format::Raw);
    spec.source = source;
    // SAFETY: passed on.
    let secrets = unsafe { read_secrets(disk.secrets, disk.secret_count) }?;
    // SAFETY: passed on.
    let tls_creds = unsafe { optional_str(disk.tls_creds, "tls_creds") }?.map(SourceObjects::parse_tls);
    spec.objects = SourceObjects::new(&secrets, tls_creds.transpose()?.unwrap_or_default());
    spec.read_only = disk.flags & KVM_HOTPLUG_DISK_READ_ONLY != 0;
    spec.share_rw = disk.flags & KVM_HOTPLUG_DISK_SHARE_RW != 0;
    spec.serial = serial.map(str::to_owned);
    spec.cache = known_value(Cache::of_number, Cache::LAST, disk.cache, "cache")?;
    spec.aio = known_value(Aio::of_number, Aio::LAST, disk.aio, "aio")?;
    spec.discard = known_value(Discard::of_number, Discard::LAST, disk.discard, "discard")?;
    spec.detect_zeroes =
        known_value(DetectZeroes::of_number, DetectZeroes::LAST, disk.detect_zeroes, "detect_zeroes")?;
    spec.boot_index = boot_index(disk.flags, disk.boot_index);
    spec.logical_block_size = optional(disk.logical_block_size);
    spec.physical_block_size = optional(disk.physical_block_size);
    spec.queues = optional(disk.queues).map(|queues| narrow(queues, "queues")).transpose()?;
    spec.wwn = NonZeroU64::new(disk.wwn);
    // SAFETY: passed on.
    spec.iothread = unsafe { iothread(disk.iothread, disk.flags) }?;
    // SAFETY: passed on.
    spec.limits = unsafe { optional_str(disk.limits, "limits") }?.map(Limits::parse).transpose()?;
    spec.limits = spec.limits.filter(|limits| !limits.is_default());
    // SAFETY: the caller vouches for the paths.
    spec.backing = unsafe { read_rule(disk.backing, disk.backing_paths, disk.backing_count) }?;
    if let Some(model) = model {
        spec.model = model.to_owned();
    }
    // SAFETY: passed on.
    let mut placement = unsafe { place(disk, spec.is_scsi()) }?;
    // SAFETY: passed on.
    placement.properties = unsafe { properties(disk.properties) }?;
    placement.accept_chain = disk.flags & KVM_HOTPLUG_DISK_ACCEPT_CHAIN != 0;
    let request = DiskRequest { placement, spec, format, secrets };
    // SAFETY: passed on.
    match unsafe { optional_str(disk.ganeti_entry, "ganeti_entry") }? {
        Some(entry) => request.with_ganeti(GanetiEntry::parse(entry)?),
        None => Ok(request),
    }
}

/// The iothread of a disk or SCSI controller.
///
/// # Safety
/// The name is NULL or NUL-terminated.
pub(super) unsafe fn iothread(name: *const c_char, flags: u32) -> Result<Option<IoThread>> {
    // SAFETY: passed on.
    let name = unsafe { optional_str(name, "iothread") }?;
    match flags & KVM_HOTPLUG_MAKE_IOTHREAD != 0 {
        true => IoThread::made(name).map(Some),
        false => name.map(IoThread::existing).transpose(),
    }
    .map_err(|error| error.context("iothread"))
}

/// # Safety
/// The strings are NULL or NUL-terminated.
unsafe fn place(disk: &kvm_hotplug_disk, is_scsi: bool) -> Result<Placement> {
    let is_given = disk.flags & KVM_HOTPLUG_DISK_SCSI_ADDRESS != 0;
    let has_unit = is_given || disk.target != 0 || disk.lun != 0;
    if is_scsi && disk.slot == 0 && has_unit && !is_given {
        return Err(Error::invalid("target and lun count only with KVM_HOTPLUG_DISK_SCSI_ADDRESS; set it"));
    }
    // SAFETY: passed on.
    let (id, bus) = unsafe { (optional_str(disk.id, "id")?, optional_str(disk.bus, "bus")?) };
    let request =
        PlaceRequest { id, bus, slot: disk.slot, unit: has_unit.then_some((disk.target, disk.lun)) };
    let placement = if is_scsi { request.on_scsi() } else { request.on_pci() };
    placement.map(|placement| flagged(placement, disk.flags))
}
