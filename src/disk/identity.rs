//! Which file an image is, whatever path led to it.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What kind of file an image is, which decides QEMU's block driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A block device.
    HostDevice,
}

impl Kind {
    /// QEMU's block driver for it.
    pub fn driver(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::HostDevice => "host_device",
        }
    }

    pub(super) fn of(metadata: &Metadata) -> Result<Self> {
        let kind = metadata.file_type();
        let found = match () {
            () if kind.is_file() => return Ok(Self::File),
            () if kind.is_block_device() => return Ok(Self::HostDevice),
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a fifo",
            () if kind.is_socket() => "a socket",
            () if kind.is_char_device() => "a character device",
            () => "of an unknown kind",
        };
        Err(Error::invalid(format!("it is {found}; a disk needs a regular file or a block device")))
    }
}

/// What an open file really is, whatever path led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Identity {
    /// A regular file.
    File {
        /// `st_dev`.
        device: u64,
        /// `st_ino`.
        inode: u64,
    },
    /// A block device, by `st_rdev`: two device nodes may lead to one device.
    Device(u64),
}

impl Identity {
    /// What `path` leads to now; an error if that is no regular file or block device.
    pub fn of_path(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path)
            .map_err(|source| Error::host(source, format!("stat {}", path.display())))?;
        Ok(identity(Kind::of(&metadata)?, &metadata))
    }
}

/// `file 253:1 4711`: device and inode; `device 253:3`. Devices are major and minor number, as in `lsblk`.
impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |number| (libc::major(number), libc::minor(number));
        match *self {
            Self::File { device, inode } => {
                let (major, minor) = number(device);
                write!(f, "file {major}:{minor} {inode}")
            }
            Self::Device(device) => {
                let (major, minor) = number(device);
                write!(f, "device {major}:{minor}")
            }
        }
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.to_string()
    }
}

impl TryFrom<String> for Identity {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let number = |text: &str| {
            let (major, minor) = text.split_once(':')?;
            Some(libc::makedev(major.parse().ok()?, minor.parse().ok()?))
        };
        let parts: Vec<&str> = text.split(' ').collect();
        let identity = match parts.as_slice() {
            ["file", device, inode] => {
                number(device).zip(inode.parse().ok()).map(|(device, inode)| Self::File { device, inode })
            }
            ["device", device] => number(device).map(Self::Device),
            _ => None,
        };
        identity.ok_or_else(|| {
            format!("{text:?} is neither \"file MAJOR:MINOR INODE\" nor \"device MAJOR:MINOR\"")
        })
    }
}

/// Which file it is that says this of itself.
pub(super) fn identity(kind: Kind, metadata: &Metadata) -> Identity {
    match kind {
        Kind::File => Identity::File { device: metadata.dev(), inode: metadata.ino() },
        Kind::HostDevice => Identity::Device(metadata.rdev()),
    }
}
