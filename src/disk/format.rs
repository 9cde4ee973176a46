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

/// The format a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FormatRequest {
    /// Raw, whatever the content looks like.
    Raw,
    /// qcow2; an image without its magic is refused.
    Qcow2,
    /// Decide from the content, of backing images too where their format is not recorded. A guest that ever had the
    /// image as a raw disk could have written the magic itself and named any file of the host as its backing file,
    /// so this is for images no guest has written raw.
    Probe,
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
