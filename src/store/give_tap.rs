//! Giving NICs of a record the caller's taps for its next start.

use std::os::fd::OwnedFd;

use super::given_taps::GivenTaps;
use super::record_file::RecordFile;
use crate::error::{Error, ErrorKind, Result};

impl RecordFile {
    /// The next start has this NIC over this tap of the caller's, which may be another one than before.
    pub fn give_tap(&mut self, id: &str, queues: Vec<OwnedFd>) -> Result<()> {
        let missing = || Error::new(ErrorKind::NotFound, format!("the record has no NIC {id}"));
        let device = self.record().find(id).cloned().ok_or_else(missing)?;
        self.given_taps.give(&device, queues)
    }

    /// What has been given for the next start.
    pub fn given_taps(&self) -> &GivenTaps {
        &self.given_taps
    }

    /// A start has them: the next one needs others.
    pub fn forget_given_taps(&mut self) {
        self.given_taps = GivenTaps::default();
    }
}
