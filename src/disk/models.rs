//! Models of disks.

use super::spec::{NVME, SCSI_CD};

/// Disk models that can be plugged into a running guest.
pub const LIVE_DISK_MODELS: &[&str] = &[
    "virtio-blk-pci",
    "virtio-blk-pci-non-transitional",
    "virtio-blk-pci-transitional",
    "scsi-hd",
    "scsi-block",
    SCSI_CD,
    NVME,
];

/// Those among them that not each QEMU has, or not with all properties: it is asked.
pub const ASKED_DISK_MODELS: &[&str] = &[NVME];
