//! The record and the journal of a file are replaced: in the file, and then here.

use std::sync::Arc;

use super::dir::{Over, RecordDir, Staged};
use super::document::Document;
use super::file_kind::FileKind;
use super::journal_file;
use super::record_file::{RecordFile, Storage};
use crate::error::Result;
use crate::model::{Journal, Record};

/// A record that lies beside its file, complete: only renames are left for [`RecordFile::commit`].
#[derive(Debug)]
#[must_use = "a staged record takes effect only when committed"]
pub struct StagedRecord {
    document: Document,
    files: Staged,
    /// What belongs beside the record.
    sidecar: Option<Vec<u8>>,
    /// What stands there while both are put in place, if that is something else.
    transitional: Option<Vec<u8>>,
    /// Which of the records that were staged this is.
    writes: u64,
}

impl RecordFile {
    /// Writes `record` beside the file. Nothing else may be written until it is committed or dropped.
    pub fn stage(&mut self, record: Record) -> Result<StagedRecord> {
        let dialect = self.dialect.following(&self.state.record, &record);
        dialect.check(&record)?;
        let bytes = dialect.encode(&record)?;
        let sidecar = dialect.sidecar(&record)?;
        let mut files = self.record_dir()?.stage_nothing();
        let mut transitional = None;
        if sidecar != self.sidecar {
            // Only one of the two files changes, or both have to as one.
            if self.dialect.encode(&self.state.record)? != bytes {
                transitional = self.dialect.transitional(&self.state.record, &dialect, &record)?;
            }
            let over = over(self.sidecar.is_some());
            match (&transitional, &sidecar) {
                (Some(transitional), _) if self.sidecar.as_ref() == Some(transitional) => {}
                (Some(transitional), _) => files.add_harmless(FileKind::Sidecar, transitional, over)?,
                (None, Some(sidecar)) => files.add(FileKind::Sidecar, sidecar, over)?,
                (None, None) => files.remove(FileKind::Sidecar),
            }
        }
        files.add(FileKind::Record, &bytes, Over::Old)?;
        let document = Document { record, dialect };
        self.writes += 1;
        Ok(StagedRecord { document, files, sidecar, transitional, writes: self.writes })
    }

    /// Puts a staged record in place. Whatever fails, file and memory agree afterwards.
    pub fn commit(&mut self, staged: StagedRecord) -> Result<()> {
        let StagedRecord { document, files, sidecar, transitional, .. } = staged;
        let done = self.record_dir()?.settle(files, |file_kind| self.content(file_kind));
        if is_in_place(&done) {
            self.sidecar = transitional.or_else(|| sidecar.clone());
            (self.state.record, self.dialect) = (document.record, document.dialect);
            self.tidy(sidecar);
        }
        done
    }

    /// The same, also if other records have been staged or put in place since: then this one is made anew, by `change`, of the record
    /// as it is now.
    pub fn commit_rebased(&mut self, staged: StagedRecord, change: impl FnOnce(&mut Record)) -> Result<()> {
        if staged.writes == self.writes {
            return self.commit(staged);
        }
        drop(staged);
        let mut next = self.state.record.clone();
        change(&mut next);
        self.replace(next)
    }

    /// Entries that no list needs any more do no harm, so a failure is nobody's.
    fn tidy(&mut self, sidecar: Option<Vec<u8>>) {
        let Ok(record_dir) = self.record_dir().cloned() else { return };
        let done = match &sidecar {
            _ if sidecar == self.sidecar => return,
            Some(bytes) => self.put(&record_dir, FileKind::Sidecar, bytes, over(self.sidecar.is_some())),
            None => record_dir.remove(FileKind::Sidecar),
        };
        if is_in_place(&done) {
            self.sidecar = sidecar;
        }
    }

    /// Replaces the record on disk and here.
    pub fn replace(&mut self, record: Record) -> Result<()> {
        if matches!(self.storage, Storage::Copy) {
            self.dialect.check(&record)?;
            self.hold(record);
            return Ok(());
        }
        let staged = self.stage(record)?;
        self.commit(staged)
    }

    /// Makes sure that no attachment gets this generation any more.
    pub fn retire(&mut self, generation: u64) -> Result<()> {
        if self.state.record.next_generation > generation {
            return Ok(());
        }
        let next_generation = generation.saturating_add(1);
        self.replace(Record { next_generation, ..self.state.record.clone() })
    }

    /// Changes the journal, on disk first. An empty journal has no file.
    pub fn write_journal(&mut self, change: impl FnOnce(&mut Journal)) -> Result<()> {
        let mut journal = self.state.journal.clone();
        change(&mut journal);
        match (self.state.journal.intents.is_empty(), journal.intents.is_empty()) {
            (_, true) => journal.peer = None,
            (true, false) => journal.peer.clone_from(&self.peer),
            (false, false) => {}
        }
        if journal == self.state.journal {
            return Ok(());
        }
        let record_dir = self.record_dir()?;
        let written = if journal.intents.is_empty() {
            record_dir.remove(FileKind::Journal)
        } else {
            self.put(
                record_dir,
                FileKind::Journal,
                &journal_file::encode(&journal)?,
                over(!self.state.journal.intents.is_empty()),
            )
        };
        if is_in_place(&written) {
            self.state.journal = journal;
        }
        written.map_err(|error| error.with_step("write the journal"))
    }

    /// Replaces one part on disk.
    fn put(&self, record_dir: &Arc<RecordDir>, file_kind: FileKind, bytes: &[u8], over: Over) -> Result<()> {
        record_dir.settle(record_dir.stage(file_kind, bytes, over)?, |file_kind| self.content(file_kind))
    }

    /// What a part has on disk, `None` if it does not exist.
    fn content(&self, file_kind: FileKind) -> Result<Option<Vec<u8>>> {
        match file_kind {
            FileKind::Record => self.dialect.encode(&self.state.record).map(Some),
            FileKind::Sidecar => Ok(self.sidecar.clone()),
            FileKind::Journal if self.state.journal.intents.is_empty() => Ok(None),
            FileKind::Journal => journal_file::encode(&self.state.journal).map(Some),
        }
    }
}

/// Whether the new version is there: also if that failed and could not be taken back.
fn is_in_place(done: &Result<()>) -> bool {
    done.as_ref().map_or_else(|error| !error.left().is_empty(), |()| true)
}

/// What a new version takes the place of, by whether there is an old one.
fn over(is_there: bool) -> Over {
    if is_there { Over::Old } else { Over::Nothing }
}
