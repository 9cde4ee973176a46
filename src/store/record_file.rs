//! A record with its file: made, loaded and looked at.

use std::path::Path;
use std::sync::Arc;

use super::contents::Contents;
use super::dialect::{Dialect, Format};
use super::dir::RecordDir;
use super::document::Document;
use super::file_kind::FileKind;
use super::given::Given;
use super::lock::Lock;
use super::staged::Over;
use super::trust::Trust;
use super::{ganeti, journal_file};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, DeviceId};
use crate::model::{DeviceKind, Journal, Peer, Record, State};

/// A record, together with its place on disk and the lock on it.
#[derive(Debug)]
pub struct RecordFile {
    pub(super) contents: Contents,
    /// What stands in the file beside a Ganeti list.
    pub(super) sidecar: Option<Vec<u8>>,
    pub(super) storage: Storage,
    trust: Trust,
    pub(super) attached: bool,
    /// Counts the records that were staged.
    pub(super) writes: u64,
    pub(super) given: Given,
}

/// Where a record lives.
#[derive(Debug)]
pub(super) enum Storage {
    /// Nowhere yet: new, never saved.
    None,
    /// In a file that belongs to this handle until it is dropped.
    Owned { record_dir: Arc<RecordDir>, _lock: Lock },
    /// In a file that somebody else may own; for looking only.
    Borrowed,
    /// Nowhere: what is recorded and begun is known as long as this is there.
    Memory,
    /// Nowhere: a copy of another one, for looking only. What is learnt about it stays in memory.
    Copy,
}

impl RecordFile {
    /// A new record, not on disk yet.
    pub fn new(document: impl Into<Document>) -> Self {
        Self::found(document.into(), Journal::default(), None, Storage::None, Trust::Checked)
    }

    fn found(
        document: Document,
        journal: Journal,
        sidecar: Option<Vec<u8>>,
        storage: Storage,
        trust: Trust,
    ) -> Self {
        let Document { record, dialect } = document;
        let state = State { record: Arc::new(record), journal: Arc::new(journal) };
        let contents = Contents { state, dialect: Arc::new(dialect), peer: None };
        Self { contents, sidecar, storage, trust, attached: false, writes: 0, given: Given::default() }
    }

    /// The same with a file that is to be trusted as far as `trust` says.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// How far the record's file is to be trusted.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Loads a runtime file and keeps it locked until dropped.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_trusting(path, Trust::Checked)
    }

    /// The same for a file that is to be trusted as far as `trust` says.
    pub fn load_trusting(path: &Path, trust: Trust) -> Result<Self> {
        let record_dir = RecordDir::open(path, trust)?;
        // Looked at before the lock is taken: a path that names nothing must not leave a lock file behind.
        if !record_dir.exists() {
            return Err(missing(path));
        }
        record_dir.check_record()?;
        let lock = record_dir.lock()?;
        record_dir.remove_stale()?;
        let (document, sidecar) = read_record(&record_dir)?;
        let journal = read_journal(&record_dir)?;
        let storage = Storage::Owned { record_dir, _lock: lock };
        Ok(Self::found(document, journal, sidecar, storage, trust))
    }

    /// Loads a runtime file for looking only: no lock, so also while an agent owns it; never written.
    pub fn peek(path: &Path) -> Result<Self> {
        Self::peek_trusting(path, Trust::Checked)
    }

    /// The same for a file that is to be trusted as far as `trust` says.
    pub fn peek_trusting(path: &Path, trust: Trust) -> Result<Self> {
        let record_dir = RecordDir::open(path, trust)?;
        let (document, sidecar) = read_record(&record_dir)?;
        let journal = read_journal(&record_dir)?;
        Ok(Self::found(document, journal, sidecar, Storage::Borrowed, trust))
    }

    /// A copy to look at a guest with, whatever becomes of this one. Nothing of it is written to a file.
    pub fn copy_for_looking(&self) -> Self {
        let (journal, sidecar) = (self.journal().clone(), self.sidecar.clone());
        Self::found(self.document(), journal, sidecar, Storage::Copy, self.trust)
    }

    /// Writes the record to its file.
    pub fn save(&mut self) -> Result<()> {
        let record = self.record().clone();
        self.replace(record)
    }

    /// Writes a new record to a file that must not exist yet, and owns that file from then on.
    pub fn save_new(&mut self, path: &Path) -> Result<()> {
        if !matches!(self.storage, Storage::None | Storage::Memory) {
            return Err(Error::new(
                ErrorKind::State,
                "the record has a file already; save it there, without naming another path",
            ));
        }
        self.refuse_open()?;
        let record_dir = RecordDir::open(path, self.trust)?;
        refuse_existing(&record_dir)?;
        let lock = record_dir.lock()?;
        refuse_existing(&record_dir)?;
        record_dir.remove_stale()?;
        let (journal, beside) = (record_dir.read(FileKind::Journal)?, record_dir.read(FileKind::Sidecar)?);
        let sidecar = self.dialect().sidecar(self.record())?;
        let mut staged = record_dir.stage_nothing();
        // First, because a record without it would be another one.
        match (&sidecar, &beside) {
            (Some(bytes), None) => staged.add(FileKind::Sidecar, bytes, Over::Nothing)?,
            (Some(bytes), Some(old)) => {
                decode_sidecar(&record_dir, old)?;
                staged.add(FileKind::Sidecar, bytes, Over::Old)?;
            }
            (None, Some(old)) => {
                decode_sidecar(&record_dir, old)?;
                staged.remove(FileKind::Sidecar);
            }
            (None, None) => {}
        }
        // A journal without a record belongs to a guest that is gone. Beside the new record it would be taken
        // for its.
        if let Some(old) = &journal {
            decode_journal(&record_dir, old)?;
            staged.remove(FileKind::Journal);
        }
        staged.add(FileKind::Record, &self.dialect().encode(self.record())?, Over::Nothing)?;
        record_dir.settle(staged, |file_kind| {
            Ok(match file_kind {
                FileKind::Record => None,
                FileKind::Journal => journal.clone(),
                FileKind::Sidecar => beside.clone(),
            })
        })?;
        self.sidecar = sidecar;
        self.storage = Storage::Owned { record_dir, _lock: lock };
        Ok(())
    }

    /// Record and journal as they are on disk.
    pub fn state(&self) -> &State {
        &self.contents.state
    }

    /// All that the file says, and which QEMU is being talked to.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// A copy of what its file says.
    pub fn document(&self) -> Document {
        Document { record: self.record().clone(), dialect: self.dialect().clone() }
    }

    /// The format of its file, with what that says besides.
    pub fn dialect(&self) -> &Dialect {
        self.contents.dialect()
    }

    /// A copy of the record, which has no file.
    pub fn copy(&self) -> Result<Self> {
        self.convert(self.dialect().format())
    }

    /// A copy of the record in another format, which may not be able to hold it: the error names what. It has
    /// no file.
    pub fn convert(&self, format: Format) -> Result<Self> {
        Ok(Self::new(self.document().convert(format)?).with_trust(self.trust))
    }

    /// The record as it is on disk.
    pub fn record(&self) -> &Record {
        self.contents.record()
    }

    /// The id of a new device.
    pub fn new_id(&self, kind: DeviceKind, address: Option<&Address>) -> Result<DeviceId> {
        self.contents.new_id(kind, address)
    }

    /// What is unfinished.
    pub fn journal(&self) -> &Journal {
        self.contents.journal()
    }

    /// Notes which QEMU is being talked to: what is begun from now on is meant for it.
    pub fn meet(&mut self, peer: Peer) {
        self.contents.peer = Some(Arc::new(peer));
    }

    /// Marks the record as belonging to one live guest handle.
    pub fn attach(&mut self) -> Result<()> {
        if !matches!(self.storage, Storage::Copy | Storage::Memory) {
            self.record_dir()?;
        }
        if std::mem::replace(&mut self.attached, true) {
            return Err(Error::new(
                ErrorKind::State,
                "this record belongs to an open guest handle already; one guest has one handle",
            )
            .with_errno(libc::EBUSY));
        }
        Ok(())
    }

    /// Refuses to go on while the guest is open: it runs then.
    pub fn check_closed(&self) -> Result<()> {
        if !self.attached {
            return Ok(());
        }
        let text = "a guest handle is open with this record; this is for a guest that does not run, so close it first";
        Err(Error::new(ErrorKind::State, text).with_errno(libc::EBUSY))
    }

    /// Ends [`RecordFile::attach`].
    pub fn detach(&mut self) {
        self.attached = false;
    }

    /// Whether there is a file that this handle may write.
    pub fn is_owned(&self) -> bool {
        matches!(self.storage, Storage::Owned { .. })
    }

    /// Refuses to go on without a file that this handle may write.
    pub fn check_owned(&self) -> Result<()> {
        self.record_dir().map(|_| ())
    }

    /// Replaces the record here, and on disk if this handle may write there.
    pub fn keep(&mut self, record: Record) -> Result<()> {
        match self.storage {
            _ if record == *self.record() => Ok(()),
            Storage::Owned { .. } => self.replace(record),
            Storage::None | Storage::Memory | Storage::Borrowed | Storage::Copy => {
                self.hold(record);
                Ok(())
            }
        }
    }

    /// Replaces the record here alone.
    pub(super) fn hold(&mut self, record: Record) {
        let dialect = self.dialect().following(self.record(), &record);
        self.contents.put(record, dialect);
    }

    pub(super) fn record_dir(&self) -> Result<&Arc<RecordDir>> {
        match &self.storage {
            Storage::Owned { record_dir, .. } => Ok(record_dir),
            Storage::None | Storage::Memory => Err(Error::new(
                ErrorKind::State,
                "the record has no file yet; save it to a path first, so that changes can be recorded",
            )),
            Storage::Borrowed | Storage::Copy => Err(Error::new(
                ErrorKind::State,
                "the record was opened for reading only; load it to change it",
            )
            .with_errno(libc::EROFS)),
        }
    }
}

fn refuse_existing(record_dir: &RecordDir) -> Result<()> {
    if record_dir.exists() {
        let text = format!("{} exists already", record_dir.path().display());
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    Ok(())
}

fn missing(path: &Path) -> Error {
    Error::new(ErrorKind::NotFound, format!("runtime file {} does not exist", path.display()))
}

fn read_record(record_dir: &RecordDir) -> Result<(Document, Option<Vec<u8>>)> {
    let bytes = record_dir.read(FileKind::Record)?.ok_or_else(|| missing(record_dir.path()))?;
    let mut document = Document::decode(&bytes)
        .map_err(|error| error.context(format!("runtime file {}", record_dir.path().display())))?;
    let Dialect::Ganeti(list) = &document.dialect else { return Ok((document, None)) };
    let sidecar = record_dir.read(FileKind::Sidecar)?;
    if let Some(bytes) = &sidecar {
        let complete = decode_sidecar(record_dir, bytes)?;
        complete.apply(&mut document.record, list).map_err(|error| error.context(beside(record_dir)))?;
    }
    Ok((document, sidecar))
}

fn beside(record_dir: &RecordDir) -> String {
    let path = record_dir.part_path(FileKind::Sidecar);
    format!("{}, beside runtime file {}", path.display(), record_dir.path().display())
}

pub(super) fn decode_sidecar(record_dir: &RecordDir, bytes: &[u8]) -> Result<ganeti::Sidecar> {
    ganeti::Sidecar::decode(bytes).map_err(|error| error.context(beside(record_dir)))
}

pub(super) fn read_journal(record_dir: &RecordDir) -> Result<Journal> {
    record_dir
        .read(FileKind::Journal)?
        .map_or_else(|| Ok(Journal::default()), |bytes| decode_journal(record_dir, &bytes))
}

fn decode_journal(record_dir: &RecordDir, bytes: &[u8]) -> Result<Journal> {
    journal_file::decode(bytes).map_err(|error| {
        error.context(format!("journal {}", record_dir.part_path(FileKind::Journal).display()))
    })
}
