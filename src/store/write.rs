//! The record and the journal of a file are replaced: in the file, and then here.

use std::sync::Arc;

use super::dir::RecordDir;
use super::document::Document;
use super::file_kind::FileKind;
use super::journal_file;
use super::record_file::{RecordFile, Storage};
use super::staged::{self, Over};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Journal, Record};

/// A record that lies beside its file, complete: only renames are left for [`RecordFile::commit`].
#[derive(Debug)]
#[must_use = "a staged record takes effect only when committed"]
pub struct StagedRecord {
    document: Document,
    /// None of a record that is kept in memory.
    files: Option<staged::Staged>,
    /// What belongs beside the record.
    sidecar: Option<Vec<u8>>,
    /// What stands there while both are put in place, if that is something else.
    transitional: Option<Vec<u8>>,
    /// Which of the records that were staged this is.
    writes: u64,
}

/// A staged record in the hands of whoever only decides when it is put in place. Whatever is given up is
/// taken away.
#[derive(Debug)]
pub struct Staged(Box<StagedRecord>);

impl From<StagedRecord> for Staged {
    fn from(staged: StagedRecord) -> Self {
        Self(Box::new(staged))
    }
}

/// What has become of a staged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is in place.
    InPlace,
    /// Another record has been staged or put in place since, so that it would take that back.
    Outdated,
}

impl RecordFile {
    /// Puts a staged record in place, unless it is outdated by now.
    pub fn commit_staged(&mut self, Staged(staged): Staged) -> Result<Committed> {
        match staged.writes == self.writes {
            true => self.commit(*staged).map(|()| Committed::InPlace),
            false => Ok(Committed::Outdated),
        }
    }

    /// From now on a record without a file may belong to a live guest: nothing of it is written down.
    pub fn keep_in_memory(&mut self) -> Result<()> {
        match self.storage {
            Storage::None | Storage::Memory => {
                self.storage = Storage::Memory;
                Ok(())
            }
            Storage::Owned { .. } | Storage::Borrowed | Storage::Copy => {
                Err(Error::new(ErrorKind::State, "the record has a file, which says what was begun"))
            }
        }
    }

    /// What is under way of a record in memory would not get into its file.
    pub(super) fn refuse_open(&self) -> Result<()> {
        if self.attached {
            return Err(Error::new(
                ErrorKind::State,
                "a guest handle is open with this record; close it first",
            )
            .with_errno(libc::EBUSY));
        }
        match self.journal().intents.first() {
            Some(intent) => Err(Error::new(ErrorKind::State, format!("{}; settle it first", intent.text()))),
            None => Ok(()),
        }
    }

    /// Writes `record` beside the file. Nothing else may be written until it is committed or dropped.
    pub fn stage(&mut self, record: Record) -> Result<StagedRecord> {
        let dialect = self.dialect().following(self.record(), &record);
        dialect.check(&record)?;
        if matches!(self.storage, Storage::Memory) {
            self.writes += 1;
            let document = Document { record, dialect };
            let (files, writes) = (None, self.writes);
            return Ok(StagedRecord { document, files, sidecar: None, transitional: None, writes });
        }
        let bytes = dialect.encode(&record)?;
        let sidecar = dialect.sidecar(&record)?;
        let mut files = self.record_dir()?.stage_nothing();
        let mut transitional = None;
        if sidecar != self.sidecar {
            // Only one of the two files changes, or both have to as one.
            if self.dialect().encode(self.record())? != bytes {
                transitional = self.dialect().transitional(self.record(), &dialect, &record)?;
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
        Ok(StagedRecord { document, files: Some(files), sidecar, transitional, writes: self.writes })
    }

    /// Puts a staged record in place. Whatever fails, file and memory agree afterwards.
    pub fn commit(&mut self, staged: StagedRecord) -> Result<()> {
        let StagedRecord { document, files, sidecar, transitional, .. } = staged;
        let Some(files) = files else {
            self.contents.put(document.record, document.dialect);
            return Ok(());
        };
        let done = self.record_dir()?.settle(files, |file_kind| self.content(file_kind));
        if is_in_place(&done) {
            self.sidecar = transitional.or_else(|| sidecar.clone());
            self.contents.put(document.record, document.dialect);
            self.tidy(sidecar);
        }
        done
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
            self.dialect().check(&record)?;
            self.hold(record);
            return Ok(());
        }
        let staged = self.stage(record)?;
        self.commit(staged)
    }

    /// Makes sure that no attachment gets this generation any more.
    pub fn retire(&mut self, generation: u64) -> Result<()> {
        if self.record().next_generation > generation {
            return Ok(());
        }
        let next_generation = generation.saturating_add(1);
        self.replace(Record { next_generation, ..self.record().clone() })
    }

    /// Changes the journal, on disk first. An empty journal has no file.
    pub fn write_journal(&mut self, change: impl FnOnce(&mut Journal)) -> Result<()> {
        let mut journal = self.journal().clone();
        change(&mut journal);
        self.put_journal(journal)
    }

    /// Replaces the journal, on disk first. An empty journal has no file.
    pub fn put_journal(&mut self, mut journal: Journal) -> Result<()> {
        match (self.journal().intents.is_empty(), journal.intents.is_empty()) {
            (_, true) => journal.peer = None,
            (true, false) => journal.peer.clone_from(&self.contents.peer),
            (false, false) => {}
        }
        if journal == *self.journal() {
            return Ok(());
        }
        if matches!(self.storage, Storage::Memory) {
            self.contents.state.journal = Arc::new(journal);
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
                over(!self.journal().intents.is_empty()),
            )
        };
        if is_in_place(&written) {
            self.contents.state.journal = Arc::new(journal);
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
            FileKind::Record => self.dialect().encode(self.record()).map(Some),
            FileKind::Sidecar => Ok(self.sidecar.clone()),
            FileKind::Journal if self.journal().intents.is_empty() => Ok(None),
            FileKind::Journal => journal_file::encode(self.journal()).map(Some),
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
