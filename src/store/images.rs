//! What the caller decides about the images of a record: where backing files may be, and that another chain
//! is right.

use super::record_file::{RecordFile, Storage};
use crate::disk::{self, BackingRule, DiskSpec, FormatRequest, Image};
use crate::error::Result;
use crate::model::Record;

/// Opens the image of a disk that is recorded.
pub fn open(record: &Record, spec: &DiskSpec) -> Result<Image> {
    disk::image::open_under(spec, &record.backing_rule(spec))
}

/// Opens the image of a disk that is asked for; see [`disk::image::resolve`].
pub fn resolve(record: &Record, spec: &mut DiskSpec, format: FormatRequest) -> Result<Image> {
    let rule = record.backing_rule(spec);
    disk::image::resolve(spec, format, &rule)
}

impl RecordFile {
    /// Says where the backing files of all disks may be that say nothing of their own. It counts from the
    /// next time that an image is opened; nothing is opened now.
    pub fn set_backing(&mut self, rule: Option<BackingRule>) -> Result<()> {
        rule.as_ref().map_or(Ok(()), BackingRule::validate)?;
        let mut next = self.record().clone();
        next.backing = rule;
        self.change(next)
    }

    /// Records the files that the image of a disk is made of now, in place of those that were recorded
    /// before. They have to be where the rule for the disk allows it: `rule`, which it has from then on, or
    /// the one that it has.
    pub fn accept_chain(&mut self, id: &str, rule: Option<BackingRule>) -> Result<()> {
        let mut spec = self.contents().disk_under(id, rule)?;
        let format = spec.format.into();
        resolve(self.record(), &mut spec, format).map_err(|error| error.context(id))?;
        let next = self.contents().with_disk(id, spec);
        self.change(next)
    }

    /// Replaces the record on disk, if it has a file, and here.
    pub(super) fn change(&mut self, next: Record) -> Result<()> {
        match self.storage {
            _ if next == *self.record() => Ok(()),
            Storage::None | Storage::Memory => self.dialect().check(&next).map(|()| self.hold(next)),
            Storage::Owned { .. } | Storage::Borrowed | Storage::Copy => self.replace(next),
        }
    }
}
