//! Giving a record what its next start takes from the caller: taps of NICs, and secrets of disks.

use std::os::fd::OwnedFd;

use super::given::Given;
use super::record_file::RecordFile;
use crate::disk::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Device;

impl RecordFile {
    /// The next start has this NIC over this tap of the caller's, which may be another one than before.
    pub fn give_tap(&mut self, id: &str, queues: Vec<OwnedFd>) -> Result<()> {
        let device = self.device("NIC", id)?;
        self.given.taps.give(&device, queues)
    }

    /// The next start has this secret of a disk's source.
    pub fn give_secret(&mut self, id: &str, name: &str, secret: Secret) -> Result<()> {
        let device = self.device("disk", id)?;
        self.given.secrets.give(&device, name, secret)
    }

    fn device(&self, what: &str, id: &str) -> Result<Device> {
        let missing = || Error::new(ErrorKind::NotFound, format!("the record has no {what} {id}"));
        self.record().find(id).cloned().ok_or_else(missing)
    }

    /// What has been given for the next start.
    pub fn given(&self) -> &Given {
        &self.given
    }

    /// A start has them: the next one needs others.
    pub fn forget_given(&mut self) {
        self.given = Given::default();
    }
}
