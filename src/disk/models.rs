//! Models of disks.

/// Disk models that can be plugged into a running guest.
pub const LIVE_DISK_MODELS: &[&str] = &[
    "virtio-blk-pci",
    "virtio-blk-pci-non-transitional",
    "virtio-blk-pci-transitional",
    "scsi-hd",
    "scsi-block",
];
