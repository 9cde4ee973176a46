//! Formats of images.

use serde::{Deserialize, Serialize};

/// The format of an image, settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The bytes of the file are the bytes of the disk.
    Raw,
    /// QEMU's copy-on-write format, versions 2 and 3.
    Qcow2,
}

impl Format {
    /// QEMU's name of the format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

c_enum! {
    /// Format of an image.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum FormatRequest = kvm_hotplug_format, KVM_HOTPLUG_FORMAT {
        /// The bytes of the file are the bytes of the disk.
        Raw = 0,
        /// QEMU's copy-on-write format. The library opens each backing file. Its format must be recorded in
        /// the image above it.
        Qcow2 = 1,
        /// Detect the format by content, also of backing files. Only for images that no guest has ever
        /// written as raw: a guest can make a raw image look like a qcow2 with a backing file of its choice.
        /// The result is recorded and not detected again. A file with another format's signature, such as
        /// vmdk, vdi, vhdx, luks or iso9660, is refused, not taken for raw.
        Probe = 2,
    }
}

impl FormatRequest {
    /// Whether an image that is known to be `format` satisfies the request.
    pub fn accepts(self, format: Format) -> bool {
        self == Self::Probe || self == Self::from(format)
    }
}

impl From<Format> for FormatRequest {
    fn from(format: Format) -> Self {
        match format {
            Format::Raw => Self::Raw,
            Format::Qcow2 => Self::Qcow2,
        }
    }
}
