//! What the third entry, the hypervisor parameters, says about all NICs and disks of a guest.

use super::element::Element;
use crate::disk::{Aio, Cache, Discard};
use crate::error::Result;
use crate::ids::SLOTS;

/// `kvm_pci_reservations` of a guest that has none (`QEMU_DEFAULT_PCI_RESERVATIONS`, since 2.16).
const DEFAULT_RESERVATIONS: u8 = 12;

/// Ganeti's word for virtio.
const PARAVIRTUAL: &str = "paravirtual";

/// The storage a migration moves between hosts without copying (`DTS_EXT_MIRROR`): Ganeti forces `cache=none`
/// on all of it but rbd.
const SHARED_STORAGE: &[&str] = &["blockdev", "diskless", "ext", "gluster", "sharedfile"];

/// The parameters that matter here, by the names and defaults of Ganeti 3.1.
/// The most queues that Ganeti starts a NIC with (`virtio_net_queues`, until 3.1).
const MAX_QUEUES: u8 = 8;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Params {
    disk_type: String,
    nic_type: String,
    cache: Cache,
    aio: Aio,
    discard: Discard,
    vhost: bool,
    queues: u16,
    vnet_hdr: bool,
    /// Whether QEMU runs in a chroot, where it finds no option ROM.
    pub(super) chroot: bool,
    /// Slots of `pci.0` left to QEMU, 0 to 32.
    pub(super) reservations: u8,
}

impl Params {
    pub(super) fn read(hvparams: &Element<'_>) -> Result<Self> {
        let word = |key: &str, default: &str| match hvparams.member(key)? {
            Some(element) => element.text("a string").map(str::to_owned),
            None => Ok(default.to_owned()),
        };
        let flag = |key: &str, default: bool| match hvparams.member(key)? {
            Some(element) => element.flag(),
            None => Ok(default),
        };
        let number = |key: &str, default: u8, max: u8| match hvparams.member(key)? {
            Some(element) => element.number(max),
            None => Ok(default),
        };
        Ok(Self {
            disk_type: word("disk_type", PARAVIRTUAL)?,
            nic_type: word("nic_type", PARAVIRTUAL)?,
            cache: read_cache(hvparams)?,
            aio: read_aio(hvparams)?,
            // Words of other versions ("default", until 3.0) mean QEMU's default, which is to ignore.
            discard: if word("disk_discard", "")? == "unmap" { Discard::Unmap } else { Discard::Ignore },
            vhost: flag("vhost_net", false)?,
            queues: number("virtio_net_queues", 1, MAX_QUEUES)?.max(1).into(),
            vnet_hdr: flag("vnet_hdr", true)?,
            chroot: flag("use_chroot", false)?,
            reservations: number("kvm_pci_reservations", DEFAULT_RESERVATIONS, SLOTS)?,
        })
    }

    /// The QEMU driver of a disk without one of its own.
    pub(super) fn disk_model(&self) -> &str {
        match self.disk_type.as_str() {
            PARAVIRTUAL => "virtio-blk-pci",
            "ide" => "ide-hd",
            "scsi" => "scsi-hd",
            model => model,
        }
    }

    /// The QEMU driver of a NIC without one of its own.
    pub(super) fn nic_model(&self) -> &str {
        match self.nic_type.as_str() {
            PARAVIRTUAL => "virtio-net-pci",
            model => model,
        }
    }

    /// Whether a guest's disks were started with the address that an integer `pci` names: only virtio ones
    /// were, until 2.15.
    pub(super) fn disks_had_slots(&self) -> bool {
        self.disk_type == PARAVIRTUAL
    }

    /// Whether vhost-net moves the packets of a NIC.
    pub(super) fn vhost(&self) -> bool {
        self.vhost && self.nic_type == PARAVIRTUAL
    }

    /// Queue pairs: Ganeti starts more than one only with vhost.
    pub(super) fn queues(&self) -> u16 {
        if self.vhost() { self.queues } else { 1 }
    }

    /// Whether taps are opened with `IFF_VNET_HDR`.
    pub(super) fn vnet_hdr(&self) -> bool {
        self.vnet_hdr && self.nic_type == PARAVIRTUAL
    }

    pub(super) fn cache(&self, dev_type: &str) -> Cache {
        // Until 3.0 Ganeti turned native AIO into cache=none by itself; since then it refuses any other.
        if SHARED_STORAGE.contains(&dev_type) || self.aio == Aio::Native { Cache::None } else { self.cache }
    }

    pub(super) fn aio(&self) -> Aio {
        self.aio
    }

    pub(super) fn discard(&self) -> Discard {
        self.discard
    }
}

fn read_cache(hvparams: &Element<'_>) -> Result<Cache> {
    let Some(element) = hvparams.member("disk_cache")? else { return Ok(Cache::Writeback) };
    let expected = "\"default\", \"none\", \"writeback\" or \"writethrough\"";
    match element.text(expected)? {
        "default" | "writeback" => Ok(Cache::Writeback),
        "none" => Ok(Cache::None),
        "writethrough" => Ok(Cache::Writethrough),
        _ => Err(element.expected(expected)),
    }
}

fn read_aio(hvparams: &Element<'_>) -> Result<Aio> {
    let Some(element) = hvparams.member("disk_aio")? else { return Ok(Aio::Threads) };
    let expected = "\"threads\", \"native\" or \"io_uring\"";
    match element.text(expected)? {
        "" | "threads" => Ok(Aio::Threads),
        "native" => Ok(Aio::Native),
        "io_uring" => Ok(Aio::IoUring),
        _ => Err(element.expected(expected)),
    }
}
