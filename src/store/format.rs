//! Which format a runtime file has: our own object, or the list that Ganeti writes.

use super::{ganeti, native};
use crate::error::Result;
use crate::model::Record;

/// The formats of runtime files, by the numbers of the C header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Format {
    /// Our own object, see [`native`].
    Native = 1,
    /// The list of Ganeti, see [`ganeti`].
    Ganeti = 2,
}

impl Format {
    /// The format's name in messages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Native => "kvm-hotplug's own format",
            Self::Ganeti => "a Ganeti list",
        }
    }
}

/// Reads a record of either format.
pub fn decode(bytes: &[u8]) -> Result<Record> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => ganeti::decode(bytes),
        _ => native::decode(bytes),
    }
}

/// Writes a record in the format it came from.
pub fn encode(record: &Record) -> Result<Vec<u8>> {
    match &record.ganeti {
        Some(list) => ganeti::encode(record, list),
        None => native::encode(record),
    }
}
