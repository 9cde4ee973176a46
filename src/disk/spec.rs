//! What a disk is asked to be. A [`DiskSpec`] goes into the runtime file as it is.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::description::Description;
use super::format::Format;
use super::limits::Limits;
use super::objects::SourceObjects;
use super::overlay::Overlay;
use super::path;
use super::rule::BackingRule;
use crate::error::{Error, Result};
use crate::ids::{IoThread, is_model_name};

/// virtio-blk has room for 20 bytes (`VIRTIO_BLK_ID_BYTES`); QEMU cuts off the rest without a word (measured,
/// 7.2).
pub const MAX_SERIAL: usize = 20;

/// The same for a SCSI disk (page 80h in QEMU's hw/scsi/scsi-disk.c): a UUID with its hyphens.
pub const MAX_SCSI_SERIAL: usize = 36;

/// The largest block size QEMU's `logical_block_size` and `physical_block_size` take, in bytes (measured,
/// 7.2).
pub const MAX_BLOCK_SIZE: u32 = 2 << 20;

/// The most virtqueues a virtio device has in QEMU (`VIRTIO_QUEUE_MAX`).
pub const MAX_QUEUES: u16 = 1024;

/// QEMU reads `bootindex` as a signed 32-bit number.
pub const MAX_BOOT_INDEX: u32 = i32::MAX.unsigned_abs();

/// The device model used unless another one is named.
pub const DEFAULT_MODEL: &str = "virtio-blk-pci";

/// A disk that QEMU plays on the bus of a SCSI controller.
pub const SCSI_DISK: &str = "scsi-hd";

/// A SCSI device of the host, which answers the guest's SCSI commands itself.
pub const SCSI_PASSTHROUGH: &str = "scsi-block";

/// A CD drive on the bus of a SCSI controller.
pub const SCSI_CD: &str = "scsi-cd";

/// A disk of NVM Express, which is its own controller.
pub const NVME: &str = "nvme";

c_enum! {
    /// Host page cache and flushes, with QEMU's names.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Cache = kvm_hotplug_cache, KVM_HOTPLUG_CACHE {
        /// Page cache; the guest sees a write cache and flushes it.
        #[default]
        Writeback = 0,
        /// O_DIRECT; the guest sees a write cache and flushes it.
        None = 1,
        /// Page cache; every write is flushed.
        Writethrough = 2,
        /// O_DIRECT; every write is flushed.
        Directsync = 3,
        /// Page cache; flushes are ignored: data is lost if the host dies.
        Unsafe = 4,
    }
}

impl Cache {
    /// QEMU's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Writeback => "writeback",
            Self::None => "none",
            Self::Writethrough => "writethrough",
            Self::Directsync => "directsync",
            Self::Unsafe => "unsafe",
        }
    }

    /// `cache.direct`: the image is opened with O_DIRECT.
    pub fn direct(self) -> bool {
        matches!(self, Self::None | Self::Directsync)
    }

    /// `cache.no-flush`: the guest's flushes are dropped.
    pub fn no_flush(self) -> bool {
        self == Self::Unsafe
    }

    /// `cache.writeback`, which for a block node is the device's `write-cache`.
    pub fn write_cache(self) -> bool {
        !matches!(self, Self::Writethrough | Self::Directsync)
    }
}

c_enum! {
    /// How QEMU submits I/O.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Aio = kvm_hotplug_aio, KVM_HOTPLUG_AIO {
        /// A pool of threads.
        #[default]
        Threads = 0,
        /// Linux AIO; needs cache NONE or DIRECTSYNC.
        Native = 1,
        /// io_uring.
        IoUring = 2,
    }
}

impl Aio {
    /// QEMU's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Native => "native",
            Self::IoUring => "io_uring",
        }
    }
}

c_enum! {
    /// What becomes of the guest's discard requests.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Discard = kvm_hotplug_discard, KVM_HOTPLUG_DISCARD {
        /// Ignored.
        #[default]
        Ignore = 0,
        /// Storage is given back.
        Unmap = 1,
    }
}

c_enum! {
    /// What becomes of writes of zeros.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum DetectZeroes = kvm_hotplug_detect_zeroes, KVM_HOTPLUG_DETECT_ZEROES {
        /// Written.
        #[default]
        Off = 0,
        /// Turned into an efficient write of zeros.
        On = 1,
        /// Turned into a discard; needs discard UNMAP.
        Unmap = 2,
    }
}

/// All settings of one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// Absolute path of the image or block device, UTF-8; empty if the source is described, and of a CD drive
    /// without a medium.
    #[serde(default, skip_serializing_if = "is_no_path")]
    pub path: PathBuf,
    /// What the disk is made of instead of the image at a path. Its format is part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Description>,
    /// The objects of QEMU that the source names, and that are made for the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<Box<SourceObjects>>,
    /// What QEMU opens by itself instead of the path, such as `rbd:pool/image`: only of disks that somebody
    /// else started the guest with. Such a disk can be listed and removed, but not attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Format of the image itself.
    pub format: Format,
    /// The caller vouches for backing images whose format is not recorded in the image above them; see
    /// [`FormatRequest::Probe`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub probe_backing: bool,
    /// The files that the image was made of when it was added; nothing else is opened for it. None in records
    /// that were written before there was any, and of disks that are not opened here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Box<Chain>>,
    /// Where its backing files may be; none for what the record says of all disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<BackingRule>,
    /// The guest cannot write to the disk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// Other processes may write to the image at the same time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub share_rw: bool,
    /// Serial number the guest sees, printable ASCII: 1 to 20 characters, 1 to 36 of a SCSI disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Cache mode.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cache: Cache,
    /// I/O submission.
    #[serde(default, skip_serializing_if = "is_default")]
    pub aio: Aio,
    /// Discard requests.
    #[serde(default, skip_serializing_if = "is_default")]
    pub discard: Discard,
    /// Writes of zeros.
    #[serde(default, skip_serializing_if = "is_default")]
    pub detect_zeroes: DetectZeroes,
    /// Place in the firmware's boot order, 0 to 2147483647, lowest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_index: Option<u32>,
    /// QEMU device model; one that is not among [the live ones](super::models::LIVE_DISK_MODELS) cannot be
    /// plugged into a running guest.
    #[serde(default = "default_model", skip_serializing_if = "is_default_model")]
    pub model: String,
    /// Smallest unit of I/O in bytes, a power of two from 512 to 2 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_block_size: Option<u32>,
    /// Unit the guest should align to in bytes, a power of two from 512 to 2 MiB, not below the logical one.
    /// When only the logical size is given, this one follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_block_size: Option<u32>,
    /// Virtqueues, 1 to 1024; QEMU's default is one per vCPU (machine types 5.2 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// World wide name the guest sees, for `scsi-hd` and `scsi-cd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<NonZeroU64>,
    /// The thread that does its I/O; none for QEMU's main one. Not of a SCSI disk, whose controller has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iothread: Option<IoThread>,
    /// How much I/O it may do. Limits that have been lifted from a disk in the guest are there, and limit
    /// nothing: what QEMU made for them stays until the disk goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What the guest was seen to write to instead of this image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Overlay>,
    /// The guest has opened the tray of the CD drive.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tray_open: bool,
}

fn is_no_path(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_model() -> String {
    DEFAULT_MODEL.to_owned()
}

fn is_default_model(model: &str) -> bool {
    model == DEFAULT_MODEL
}

impl DiskSpec {
    /// A writable disk with every other setting at its default.
    pub fn new(path: impl Into<PathBuf>, format: Format) -> Self {
        Self {
            path: path.into(),
            source: None,
            objects: None,
            uri: None,
            format,
            probe_backing: false,
            chain: None,
            backing: None,
            read_only: false,
            share_rw: false,
            serial: None,
            cache: Cache::default(),
            aio: Aio::default(),
            discard: Discard::default(),
            detect_zeroes: DetectZeroes::default(),
            boot_index: None,
            model: default_model(),
            logical_block_size: None,
            physical_block_size: None,
            queues: None,
            wwn: None,
            iothread: None,
            limits: None,
            overlay: None,
            tray_open: false,
        }
    }

    /// Takes the medium out of a CD drive.
    pub fn take_medium_out(&mut self) {
        (self.path, self.source, self.uri) = (PathBuf::new(), None, None);
        (self.format, self.chain) = (Format::Raw, None);
        (self.probe_backing, self.backing, self.tray_open) = (false, None, false);
    }

    /// Refuses settings that QEMU would refuse, or would quietly turn into something else.
    pub fn validate(&self) -> Result<()> {
        match &self.source {
            None if !self.has_medium() => {}
            None => path::check(&self.path)?,
            Some(source) => self.check_source(source)?,
        }
        self.objects.as_ref().map_or(Ok(()), |objects| objects.check(self.source.as_ref()))?;
        self.chain.as_deref().map_or(Ok(()), Chain::check)?;
        self.backing.as_ref().map_or(Ok(()), BackingRule::validate)?;
        self.serial.as_deref().map_or(Ok(()), |serial| self.check_serial(serial))?;
        if !is_model_name(&self.model) {
            return Err(Error::invalid(format!(
                "disk model {:?} is not the name of a QEMU device",
                self.model
            )));
        }
        self.check_io()?;
        self.check_block_sizes()?;
        if self.boot_index.is_some_and(|index| index > MAX_BOOT_INDEX) {
            return Err(Error::invalid(format!("boot index: at most {MAX_BOOT_INDEX} is allowed")));
        }
        if self.queues.is_some_and(|queues| !(1..=MAX_QUEUES).contains(&queues)) {
            return Err(Error::invalid(format!("disk queues: 1 to {MAX_QUEUES} are allowed")));
        }
        self.check_model()
    }

    /// Settings that say of a path what a description says itself.
    fn check_source(&self, source: &Description) -> Result<()> {
        source.check()?;
        let refuse = |what: &str, why: &str| Err(Error::invalid(format!("{what} with a source: {why}")));
        if !is_no_path(&self.path) || self.uri.is_some() {
            return refuse("path", "a disk has one of both; leave one out");
        }
        if self.format != Format::Raw || self.probe_backing {
            return refuse("format", "the drivers of its nodes say it; leave it at its default");
        }
        if self.backing.is_some() {
            return refuse("backing", "it names each file itself; leave it out");
        }
        if self.aio != Aio::default() && source.paths(false).next().is_none() {
            return refuse("aio", "it has no file or block device of the host; leave it at its default");
        }
        Ok(())
    }

    /// How people call what it is made of.
    pub fn title(&self) -> Cow<'_, str> {
        match (&self.source, &self.uri) {
            (Some(source), _) => source.file_name().into(),
            (None, Some(uri)) => uri.into(),
            (None, None) => self.path.to_string_lossy(),
        }
    }

    /// The files that the guest reads and writes itself.
    pub fn own_files(&self) -> Vec<&Path> {
        match &self.source {
            Some(source) => source.paths(false).collect(),
            None if is_no_path(&self.path) => Vec::new(),
            None => vec![&self.path],
        }
    }

    /// The files that are below those, as they were when the disk was added.
    pub fn files_below(&self) -> Vec<&Path> {
        match &self.source {
            Some(source) => source.paths(true).collect(),
            None => {
                let layers = self.chain.iter().flat_map(|chain| chain.layers.iter().skip(1));
                layers.map(|layer| layer.path.as_path()).collect()
            }
        }
    }

    /// Whether it sits on the bus of a SCSI controller.
    pub fn is_scsi(&self) -> bool {
        is_scsi(&self.model)
    }

    /// Whether it is a CD drive, which is there without an image too.
    pub fn is_cd(&self) -> bool {
        self.model == SCSI_CD
    }

    /// Whether there is an image: a CD drive without a medium has no path.
    pub fn has_medium(&self) -> bool {
        !is_no_path(&self.path) || self.source.is_some() || self.uri.is_some()
    }

    /// The first setting in which `other` differs. [`DiskSpec::probe_backing`], the chain and the rule for it
    /// are not compared: they say how the image is read, not what the guest got; nor are
    /// [`DiskSpec::overlay`] and the tray, which nobody asks for.
    pub fn conflict_with(&self, other: &Self) -> Option<&'static str> {
        // Taken apart by name, so that a new field cannot be forgotten here.
        let Self {
            path,
            source,
            objects,
            uri,
            format,
            probe_backing: _,
            chain: _,
            backing: _,
            read_only,
            share_rw,
            serial,
            cache,
            aio,
            discard,
            detect_zeroes,
            boot_index,
            model,
            logical_block_size,
            physical_block_size: _,
            queues,
            wwn,
            iothread,
            limits,
            overlay: _,
            tray_open: _,
        } = self;
        let same = [
            ("path", *path == other.path),
            ("source", *source == other.source),
            ("secret or tls_creds", *objects == other.objects),
            ("uri", *uri == other.uri),
            ("format", *format == other.format),
            ("read_only", *read_only == other.read_only),
            ("share_rw", *share_rw == other.share_rw),
            ("serial", *serial == other.serial),
            ("cache", *cache == other.cache),
            ("aio", *aio == other.aio),
            ("discard", *discard == other.discard),
            ("detect_zeroes", *detect_zeroes == other.detect_zeroes),
            ("boot_index", *boot_index == other.boot_index),
            ("model", *model == other.model),
            ("logical_block_size", *logical_block_size == other.logical_block_size),
            ("physical_block_size", self.effective_physical_size() == other.effective_physical_size()),
            ("queues", *queues == other.queues),
            ("wwn", *wwn == other.wwn),
            ("iothread", *iothread == other.iothread),
            ("limits", limits.clone().unwrap_or_default() == other.limits.clone().unwrap_or_default()),
        ];
        same.into_iter().find_map(|(name, same)| (!same).then_some(name))
    }

    /// The physical block size that QEMU is told, in bytes: its own default of 512 is below any larger
    /// logical size, which it refuses.
    pub(super) fn effective_physical_size(&self) -> Option<u32> {
        self.physical_block_size.or(self.logical_block_size)
    }

    fn check_serial(&self, serial: &str) -> Result<()> {
        let bad = |why: &str| Err(Error::invalid(format!("disk serial {serial:?}: {why}")));
        let most = if self.is_scsi() { MAX_SCSI_SERIAL } else { MAX_SERIAL };
        if serial.is_empty() || serial.len() > most {
            return bad(&format!("must have 1 to {most} characters with {}", self.model));
        }
        if !serial.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return bad("only printable ASCII is allowed");
        }
        Ok(())
    }

    fn check_io(&self) -> Result<()> {
        if self.aio == Aio::Native && !self.cache.direct() {
            return Err(Error::invalid(
                "aio native works only with O_DIRECT: use cache none or directsync with it, or aio io_uring or threads",
            ));
        }
        if self.detect_zeroes == DetectZeroes::Unmap && self.discard != Discard::Unmap {
            return Err(Error::invalid(
                "detect-zeroes unmap needs discard unmap: set both, or use detect-zeroes on",
            ));
        }
        Ok(())
    }

    fn check_block_sizes(&self) -> Result<()> {
        for (name, size) in [("logical", self.logical_block_size), ("physical", self.physical_block_size)] {
            let Some(size) = size else { continue };
            if !size.is_power_of_two() || !(512..=MAX_BLOCK_SIZE).contains(&size) {
                return Err(Error::invalid(format!(
                    "{name} block size {size}: use a power of two from 512 to {MAX_BLOCK_SIZE}"
                )));
            }
        }
        match (self.logical_block_size, self.physical_block_size) {
            (Some(logical), Some(physical)) if physical < logical => Err(Error::invalid(format!(
                "physical block size {physical} is below the logical block size {logical}"
            ))),
            _ => Ok(()),
        }
    }
}

/// Whether disks of this model sit on the bus of a SCSI controller: all such models are called `scsi-...` in
/// QEMU.
pub fn is_scsi(model: &str) -> bool {
    model.starts_with("scsi-")
}

#[cfg(test)]
mod tests;
