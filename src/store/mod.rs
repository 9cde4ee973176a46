//! The file of a record, and the journal beside it.

pub mod dir;
pub mod format;
pub mod ganeti;
pub mod images;
pub mod journal_file;
mod leftover;
pub mod lock;
pub mod native;
pub mod peer;
pub mod trust;
mod unfinished;
pub(crate) mod versioned;

use std::path::Path;
use std::sync::Arc;

pub use format::Format;
pub use trust::Trust;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{Journal, Peer, PeerMatch, Record};
use dir::{FileKind, Over, RecordDir, Staged};
use lock::Lock;

/// A record, together with its place on disk and the lock on it.
#[derive(Debug)]
pub struct RecordFile {
    record: Record,
    journal: Journal,
    /// What stands in the file beside a Ganeti list.
    sidecar: Option<Vec<u8>>,
    storage: Storage,
    trust: Trust,
    attached: bool,
    /// Counts the records that were staged.
    writes: u64,
    /// The QEMU that is being talked to.
    peer: Option<Arc<Peer>>,
}

/// A record that lies beside its file, complete: only renames are left for [`RecordFile::commit`].
#[derive(Debug)]
#[must_use = "a staged record takes effect only when committed"]
pub struct StagedRecord {
    record: Record,
    files: Staged,
    /// What belongs beside the record.
    sidecar: Option<Vec<u8>>,
    /// What stands there while both are put in place, if that is something else.
    transitional: Option<Vec<u8>>,
    /// Which of the records that were staged this is.
    writes: u64,
}

/// Where a record lives.
#[derive(Debug)]
enum Storage {
    /// Nowhere yet: new, never saved.
    None,
    /// In a file that belongs to this handle until it is dropped.
    Owned { record_dir: Arc<RecordDir>, _lock: Lock },
    /// In a file that somebody else may own; for looking only.
    Borrowed,
    /// Nowhere: a copy of another one, for looking only. What is learnt about it stays in memory.
    Copy,
}

impl RecordFile {
    /// A new record, not on disk yet.
    pub fn new(record: Record) -> Self {
        Self {
            record,
            journal: Journal::default(),
            sidecar: None,
            storage: Storage::None,
            trust: Trust::Checked,
            attached: false,
            writes: 0,
            peer: None,
        }
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
        let (record, sidecar) = read_record(&record_dir)?;
        let journal = read_journal(&record_dir)?;
        let storage = Storage::Owned { record_dir, _lock: lock };
        Ok(Self { record, journal, sidecar, storage, trust, attached: false, writes: 0, peer: None })
    }

    /// Loads a runtime file for looking only: no lock, so also while an agent owns it; never written.
    pub fn peek(path: &Path) -> Result<Self> {
        Self::peek_trusting(path, Trust::Checked)
    }

    /// The same for a file that is to be trusted as far as `trust` says.
    pub fn peek_trusting(path: &Path, trust: Trust) -> Result<Self> {
        let record_dir = RecordDir::open(path, trust)?;
        let (record, sidecar) = read_record(&record_dir)?;
        let journal = read_journal(&record_dir)?;
        Ok(Self {
            record,
            journal,
            sidecar,
            storage: Storage::Borrowed,
            trust,
            attached: false,
            writes: 0,
            peer: None,
        })
    }

    /// A copy to look at a guest with, whatever becomes of this one. Nothing of it is written to a file.
    pub fn copy_for_looking(&self) -> Self {
        Self {
            record: self.record.clone(),
            journal: self.journal.clone(),
            sidecar: self.sidecar.clone(),
            storage: Storage::Copy,
            trust: self.trust,
            attached: false,
            writes: 0,
            peer: None,
        }
    }

    /// Writes the record to its file.
    pub fn save(&mut self) -> Result<()> {
        let record = self.record.clone();
        self.replace(record)
    }

    /// Writes a new record to a file that must not exist yet, and owns that file from then on.
    pub fn save_new(&mut self, path: &Path) -> Result<()> {
        if !matches!(self.storage, Storage::None) {
            return Err(Error::new(
                ErrorKind::State,
                "the record has a file already; save it there, without naming another path",
            ));
        }
        let record_dir = RecordDir::open(path, self.trust)?;
        refuse_existing(&record_dir)?;
        let lock = record_dir.lock()?;
        refuse_existing(&record_dir)?;
        record_dir.remove_stale()?;
        let (journal, beside) = (record_dir.read(FileKind::Journal)?, record_dir.read(FileKind::Sidecar)?);
        let sidecar = sidecar_of(&self.record)?;
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
        // A journal without a record belongs to a guest that is gone. Beside the new record it would be taken for its.
        if let Some(old) = &journal {
            decode_journal(&record_dir, old)?;
            staged.remove(FileKind::Journal);
        }
        staged.add(FileKind::Record, &format::encode(&self.record)?, Over::Nothing)?;
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

    /// The record as it is on disk.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What is unfinished.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Notes which QEMU is being talked to: what is begun from now on is meant for it.
    pub fn meet(&mut self, peer: Peer) {
        self.peer = Some(Arc::new(peer));
    }

    /// How the QEMU of the journal and the one that is being talked to go together.
    pub fn peer_match(&self) -> PeerMatch {
        match (&self.journal.peer, &self.peer) {
            (Some(noted), Some(met)) => noted.compare(met),
            _ => PeerMatch::Unknown,
        }
    }

    /// The QEMU that is being talked to.
    pub fn met(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    /// Marks the record as belonging to one live guest handle.
    pub fn attach(&mut self) -> Result<()> {
        if !matches!(self.storage, Storage::Copy) {
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

    /// Writes `record` beside the file. Nothing else may be written until it is committed or dropped.
    pub fn stage(&mut self, record: Record) -> Result<StagedRecord> {
        record.check()?;
        let bytes = format::encode(&record)?;
        let sidecar = sidecar_of(&record)?;
        let mut files = self.record_dir()?.stage_nothing();
        let mut transitional = None;
        if sidecar != self.sidecar {
            // Only one of the two files changes, or both have to as one.
            if format::encode(&self.record)? != bytes {
                transitional = ganeti::Sidecar::transitional(&self.record, &record)?;
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
        self.writes += 1;
        Ok(StagedRecord { record, files, sidecar, transitional, writes: self.writes })
    }

    /// Puts a staged record in place. Whatever fails, file and memory agree afterwards.
    pub fn commit(&mut self, staged: StagedRecord) -> Result<()> {
        let StagedRecord { record, files, sidecar, transitional, .. } = staged;
        let done = self.record_dir()?.settle(files, |file_kind| self.content(file_kind));
        if is_in_place(&done) {
            self.sidecar = transitional.or_else(|| sidecar.clone());
            self.record = record;
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
        let mut next = self.record.clone();
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
            record.check()?;
            self.record = record;
            return Ok(());
        }
        let staged = self.stage(record)?;
        self.commit(staged)
    }

    /// Makes sure that no attachment gets this generation any more.
    pub fn retire(&mut self, generation: u64) -> Result<()> {
        if self.record.next_generation > generation {
            return Ok(());
        }
        let next_generation = generation.saturating_add(1);
        self.replace(Record { next_generation, ..self.record.clone() })
    }

    /// Changes the journal, on disk first. An empty journal has no file.
    pub fn write_journal(&mut self, change: impl FnOnce(&mut Journal)) -> Result<()> {
        let mut journal = self.journal.clone();
        change(&mut journal);
        match (self.journal.intents.is_empty(), journal.intents.is_empty()) {
            (_, true) => journal.peer = None,
            (true, false) => journal.peer.clone_from(&self.peer),
            (false, false) => {}
        }
        if journal == self.journal {
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
                over(!self.journal.intents.is_empty()),
            )
        };
        if is_in_place(&written) {
            self.journal = journal;
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
            FileKind::Record => format::encode(&self.record).map(Some),
            FileKind::Sidecar => Ok(self.sidecar.clone()),
            FileKind::Journal if self.journal.intents.is_empty() => Ok(None),
            FileKind::Journal => journal_file::encode(&self.journal).map(Some),
        }
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
            _ if record == self.record => Ok(()),
            Storage::Owned { .. } => self.replace(record),
            Storage::None | Storage::Borrowed | Storage::Copy => {
                self.record = record;
                Ok(())
            }
        }
    }

    fn record_dir(&self) -> Result<&Arc<RecordDir>> {
        match &self.storage {
            Storage::Owned { record_dir, .. } => Ok(record_dir),
            Storage::None => Err(Error::new(
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

/// Whether the new version is there: also if that failed and could not be taken back.
fn is_in_place(done: &Result<()>) -> bool {
    done.as_ref().map_or_else(|error| !error.left().is_empty(), |()| true)
}

/// What a new version takes the place of, by whether there is an old one.
fn over(is_there: bool) -> Over {
    if is_there { Over::Old } else { Over::Nothing }
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

fn sidecar_of(record: &Record) -> Result<Option<Vec<u8>>> {
    match record.format() {
        Format::Native => Ok(None),
        Format::Ganeti => ganeti::Sidecar::encode(record),
    }
}

fn read_record(record_dir: &RecordDir) -> Result<(Record, Option<Vec<u8>>)> {
    let bytes = record_dir.read(FileKind::Record)?.ok_or_else(|| missing(record_dir.path()))?;
    let mut record = format::decode(&bytes)
        .map_err(|error| error.context(format!("runtime file {}", record_dir.path().display())))?;
    let sidecar = match record.format() {
        Format::Native => None,
        Format::Ganeti => record_dir.read(FileKind::Sidecar)?,
    };
    if let Some(bytes) = &sidecar {
        let complete = decode_sidecar(record_dir, bytes)?;
        complete.apply(&mut record).map_err(|error| error.context(beside(record_dir)))?;
    }
    Ok((record, sidecar))
}

fn beside(record_dir: &RecordDir) -> String {
    let path = record_dir.part_path(FileKind::Sidecar);
    format!("{}, beside runtime file {}", path.display(), record_dir.path().display())
}

fn decode_sidecar(record_dir: &RecordDir, bytes: &[u8]) -> Result<ganeti::Sidecar> {
    ganeti::Sidecar::decode(bytes).map_err(|error| error.context(beside(record_dir)))
}

fn read_journal(record_dir: &RecordDir) -> Result<Journal> {
    record_dir
        .read(FileKind::Journal)?
        .map_or_else(|| Ok(Journal::default()), |bytes| decode_journal(record_dir, &bytes))
}

fn decode_journal(record_dir: &RecordDir, bytes: &[u8]) -> Result<Journal> {
    journal_file::decode(bytes).map_err(|error| {
        error.context(format!("journal {}", record_dir.part_path(FileKind::Journal).display()))
    })
}
