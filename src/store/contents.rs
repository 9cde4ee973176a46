//! What a record's file says, without the file.

use std::sync::Arc;

use super::dialect::Dialect;
use crate::disk::DiskSpec;
use crate::disk::rule::BackingRule;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, DeviceId};
use crate::model::{DeviceKind, Journal, Peer, PeerMatch, Record, Spec, State};

/// Record, journal and format as they are in the file, and which QEMU is being talked to. A copy is cheap,
/// and stays as it is when the file changes.
#[derive(Clone, Debug)]
pub struct Contents {
    pub(super) state: State,
    /// What the file says besides.
    pub(super) dialect: Arc<Dialect>,
    /// The QEMU that is being talked to.
    pub(super) peer: Option<Arc<Peer>>,
}

impl Contents {
    /// The file says this now.
    pub(super) fn put(&mut self, record: Record, dialect: Dialect) {
        self.state.record = Arc::new(record);
        if dialect != *self.dialect {
            self.dialect = Arc::new(dialect);
        }
    }

    /// The record.
    pub fn record(&self) -> &Record {
        &self.state.record
    }

    /// What is unfinished.
    pub fn journal(&self) -> &Journal {
        &self.state.journal
    }

    /// The format of the file, with what that says besides.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// The id of a new device of `record`.
    pub fn new_id(&self, kind: DeviceKind, address: Option<&Address>) -> Result<DeviceId> {
        self.dialect.new_id(&self.state.record, kind, address)
    }

    /// How the QEMU of the journal and the one that is being talked to go together.
    pub fn peer_match(&self) -> PeerMatch {
        match (&self.state.journal.peer, &self.peer) {
            (Some(noted), Some(met)) => noted.compare(met),
            _ => PeerMatch::Unknown,
        }
    }

    /// The QEMU that is being talked to.
    pub fn met(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    /// The settings of a disk with this rule for its backing files, if one is given.
    pub fn disk_under(&self, id: &str, rule: Option<BackingRule>) -> Result<DiskSpec> {
        let found = self.state.record.find(id);
        let device =
            found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the record has no disk {id}")))?;
        let Spec::Disk(spec) = &device.spec else {
            return Err(Error::invalid(format!("{id} is not a disk")));
        };
        Ok(DiskSpec { backing: rule.or_else(|| spec.backing.clone()), ..spec.clone() })
    }

    /// The record with these settings of a disk in place of those that it has.
    pub fn with_disk(&self, id: &str, spec: DiskSpec) -> Record {
        let mut next = Record::clone(&self.state.record);
        if let Some(device) = next.devices.iter_mut().find(|device| device.id.as_str() == id) {
            device.spec = Spec::Disk(spec);
        }
        next
    }
}
