//! The block drivers that a description may have, and what is below a node of each.

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// A file or block device of the host.
    Local,
    /// A format or a filter, over the node in its member `file`.
    Over,
    /// The format whose header may name other files: `file`, `backing` and `data-file` are all that it uses.
    Qcow2,
    /// Something that QEMU opens by itself.
    Remote,
}

/// Each under QEMU's name. What is not here opens files of the host that it is not told, as vmdk does for the
/// parts that its header names, or vvfat for a directory; or it only means something in a test.
const DRIVERS: &[(&str, Driver)] = &[
    ("copy-on-read", Driver::Over),
    ("file", Driver::Local),
    ("ftp", Driver::Remote),
    ("ftps", Driver::Remote),
    ("gluster", Driver::Remote),
    ("host_cdrom", Driver::Local),
    ("host_device", Driver::Local),
    ("http", Driver::Remote),
    ("https", Driver::Remote),
    ("iscsi", Driver::Remote),
    ("luks", Driver::Over),
    ("nbd", Driver::Remote),
    ("nfs", Driver::Remote),
    ("null-aio", Driver::Remote),
    ("null-co", Driver::Remote),
    ("nvme", Driver::Remote),
    ("nvme-io_uring", Driver::Remote),
    ("qcow2", Driver::Qcow2),
    ("raw", Driver::Over),
    ("rbd", Driver::Remote),
    ("ssh", Driver::Remote),
    ("vdi", Driver::Over),
    ("vhdx", Driver::Over),
    ("virtio-blk-vhost-user", Driver::Remote),
    ("virtio-blk-vhost-vdpa", Driver::Remote),
    ("vpc", Driver::Over),
];

impl Driver {
    /// The driver of this name, if it may be described.
    pub(super) fn named(name: &str) -> Option<Self> {
        DRIVERS.iter().find(|(own, _)| *own == name).map(|(_, driver)| *driver)
    }

    /// The members that are nodes.
    pub(super) fn children(self) -> &'static [&'static str] {
        match self {
            Self::Local | Self::Remote => &[],
            Self::Over => &["file"],
            Self::Qcow2 => &["file", "backing", "data-file"],
        }
    }
}

/// All of them, for an error.
pub(super) fn names() -> String {
    DRIVERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
