//! What a runtime file says.

use super::dialect::{Dialect, Format};
use super::{ganeti, native};
use crate::error::Result;
use crate::model::{Device, Record};

/// A record, and what its file says besides.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The record.
    pub record: Record,
    /// What a record has no place for.
    pub dialect: Dialect,
}

impl From<Record> for Document {
    fn from(record: Record) -> Self {
        Self { record, dialect: Dialect::Native }
    }
}

impl From<(Record, ganeti::List)> for Document {
    fn from((record, list): (Record, ganeti::List)) -> Self {
        Self { record, dialect: Dialect::Ganeti(Box::new(list)) }
    }
}

impl Document {
    /// Reads a file of either format.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'[') => ganeti::decode(bytes).map(Self::from),
            _ => native::decode(bytes).map(Self::from),
        }
    }

    /// Writes it in the format that it has.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.dialect.encode(&self.record)
    }

    /// Refuses what no guest could be.
    pub fn check(&self) -> Result<()> {
        self.dialect.check(&self.record)
    }

    /// The format that it has.
    pub fn format(&self) -> Format {
        self.dialect.format()
    }

    /// The same in another format, which may not be able to hold it: the error names what.
    pub fn convert(&self, format: Format) -> Result<Self> {
        match (&self.dialect, format) {
            (Dialect::Native, Format::Native) => readable(self.record.clone()),
            (Dialect::Ganeti(list), Format::Native) => readable(ganeti::to_native(&self.record, list)?),
            (Dialect::Native, Format::Ganeti) => ganeti::to_list(&self.record).map(Self::from),
            (Dialect::Ganeti(_), Format::Ganeti) => Ok(self.clone()),
        }
    }
}

/// A list has whatever Ganeti would hand to QEMU; a record of our own that could not be read again is none.
fn readable(record: Record) -> Result<Document> {
    record.check()?;
    let validate = |device: &Device| device.spec.validate().map_err(|error| error.context(&device.id));
    record.devices.iter().try_for_each(validate)?;
    Ok(record.into())
}
