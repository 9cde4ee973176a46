//! The record of one guest, the file it lives in, and the journal beside it.

pub mod boot;
pub mod format;
pub mod ganeti;
mod images;
pub mod journal;
mod leftover;
pub mod lock;
pub mod native;
pub mod peer;
pub mod ports;
pub mod record;
pub mod store;
pub mod trust;
mod unfinished;
mod versioned;

use std::path::Path;
use std::sync::Arc;

pub use boot::{BootCommand, BootPlan, BootRequest, Incoming};
pub use format::Format;
pub use journal::{Intent, Journal, Operation};
pub use peer::{Likeness, Peer};
pub use ports::RootPort;
pub use record::{DEFAULT_RESERVED, Device, DeviceKind, Presence, Record, Spec};
pub use trust::Trust;
pub use unfinished::{End, end_of};

use crate::error::{Error, ErrorKind, Result};
use lock::Lock;
use store::{Over, Part, Place, Staged};

/// A record, together with its place on disk and the lock on it.
#[derive(Debug)]
pub struct Runtime {
    record: Record,
    journal: Journal,
    /// What stands in the file beside a Ganeti list.
    companion: Option<Vec<u8>>,
    home: Home,
    trust: Trust,
    attached: bool,
    /// The QEMU that is being talked to.
    peer: Option<Arc<Peer>>,
}

/// A record that lies beside its file, complete: only renames are left for [`Runtime::commit`].
#[derive(Debug)]
#[must_use = "a staged record takes effect only when committed"]
pub struct StagedRecord {
    record: Record,
    files: Staged,
    /// What belongs beside the record.
    companion: Option<Vec<u8>>,
    /// What stands there while both are put in place, if that is something else.
    covering: Option<Vec<u8>>,
}

/// Where a record lives.
#[derive(Debug)]
enum Home {
    /// Nowhere yet: new, never saved.
    None,
    /// In a file that belongs to this handle until it is dropped.
    Owned { place: Arc<Place>, _lock: Lock },
    /// In a file that somebody else may own; for looking only.
    Borrowed,
}

impl Runtime {
    /// A new record, not on disk yet.
    pub fn new(record: Record) -> Self {
        Self {
            record,
            journal: Journal::default(),
            companion: None,
            home: Home::None,
            trust: Trust::Checked,
            attached: false,
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
        let place = Place::open(path, trust)?;
        // Looked at before the lock is taken: a path that names nothing must not leave a lock file behind.
        if !place.exists() {
            return Err(missing(path));
        }
        place.check_record()?;
        let lock = place.lock()?;
        place.remove_stale()?;
        let (record, companion) = read_record(&place)?;
        let journal = read_journal(&place)?;
        let home = Home::Owned { place, _lock: lock };
        Ok(Self { record, journal, companion, home, trust, attached: false, peer: None })
    }

    /// Loads a runtime file for looking only: no lock, so also while an agent owns it; never written.
    pub fn peek(path: &Path) -> Result<Self> {
        Self::peek_trusting(path, Trust::Checked)
    }

    /// The same for a file that is to be trusted as far as `trust` says.
    pub fn peek_trusting(path: &Path, trust: Trust) -> Result<Self> {
        let place = Place::open(path, trust)?;
        let (record, companion) = read_record(&place)?;
        let journal = read_journal(&place)?;
        Ok(Self { record, journal, companion, home: Home::Borrowed, trust, attached: false, peer: None })
    }

    /// Writes the record to its file.
    pub fn save(&mut self) -> Result<()> {
        let record = self.record.clone();
        self.replace(record)
    }

    /// Writes a new record to a file that must not exist yet, and owns that file from then on.
    pub fn save_new(&mut self, path: &Path) -> Result<()> {
        if !matches!(self.home, Home::None) {
            return Err(Error::new(
                ErrorKind::State,
                "the record has a file already; save it there, without naming another path",
            ));
        }
        let place = Place::open(path, self.trust)?;
        refuse_existing(&place)?;
        let lock = place.lock()?;
        refuse_existing(&place)?;
        place.remove_stale()?;
        let (journal, beside) = (place.read(Part::Journal)?, place.read(Part::Companion)?);
        let companion = companion_of(&self.record)?;
        let mut staged = place.stage_nothing();
        // First, because a record without it would be another one.
        match (&companion, &beside) {
            (Some(bytes), None) => staged.add(Part::Companion, bytes, Over::Nothing)?,
            (Some(bytes), Some(old)) => {
                decode_companion(&place, old)?;
                staged.add(Part::Companion, bytes, Over::Old)?;
            }
            (None, Some(old)) => {
                decode_companion(&place, old)?;
                staged.remove(Part::Companion);
            }
            (None, None) => {}
        }
        // A journal without a record belongs to a guest that is gone. Beside the new record it would be taken for its.
        if let Some(old) = &journal {
            decode_journal(&place, old)?;
            staged.remove(Part::Journal);
        }
        staged.add(Part::Record, &format::encode(&self.record)?, Over::Nothing)?;
        place.settle(staged, |part| {
            Ok(match part {
                Part::Record => None,
                Part::Journal => journal.clone(),
                Part::Companion => beside.clone(),
            })
        })?;
        self.companion = companion;
        self.home = Home::Owned { place, _lock: lock };
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
    pub fn likeness(&self) -> Likeness {
        match (&self.journal.peer, &self.peer) {
            (Some(noted), Some(met)) => noted.compare(met),
            _ => Likeness::Unknown,
        }
    }

    /// The QEMU that is being talked to.
    pub fn met(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    /// Marks the record as belonging to one live guest handle.
    pub fn attach(&mut self) -> Result<()> {
        self.place()?;
        if std::mem::replace(&mut self.attached, true) {
            return Err(Error::new(
                ErrorKind::State,
                "this record belongs to an open guest handle already; one guest has one handle",
            )
            .with_errno(libc::EBUSY));
        }
        Ok(())
    }

    /// Ends [`Runtime::attach`].
    pub fn detach(&mut self) {
        self.attached = false;
    }

    /// Writes `record` beside the file. Nothing else may be written until it is committed or dropped.
    pub fn stage(&self, record: Record) -> Result<StagedRecord> {
        record.check()?;
        let bytes = format::encode(&record)?;
        let companion = companion_of(&record)?;
        let mut files = self.place()?.stage_nothing();
        let mut covering = None;
        if companion != self.companion {
            // Only one of the two files changes, or both have to as one.
            if format::encode(&self.record)? != bytes {
                covering = ganeti::Companion::covering(&self.record, &record)?;
            }
            let over = over(self.companion.is_some());
            match (&covering, &companion) {
                (Some(covering), _) if self.companion.as_ref() == Some(covering) => {}
                (Some(covering), _) => files.add_harmless(Part::Companion, covering, over)?,
                (None, Some(companion)) => files.add(Part::Companion, companion, over)?,
                (None, None) => files.remove(Part::Companion),
            }
        }
        files.add(Part::Record, &bytes, Over::Old)?;
        Ok(StagedRecord { record, files, companion, covering })
    }

    /// Puts a staged record in place. Whatever fails, file and memory agree afterwards.
    pub fn commit(&mut self, staged: StagedRecord) -> Result<()> {
        let StagedRecord { record, files, companion, covering } = staged;
        let done = self.place()?.settle(files, |part| self.content(part));
        if is_in_place(&done) {
            self.companion = covering.or_else(|| companion.clone());
            self.record = record;
            self.tidy(companion);
        }
        done
    }

    /// Entries that no list needs any more do no harm, so a failure is nobody's.
    fn tidy(&mut self, companion: Option<Vec<u8>>) {
        let Ok(place) = self.place().cloned() else { return };
        let done = match &companion {
            _ if companion == self.companion => return,
            Some(bytes) => self.put(&place, Part::Companion, bytes, over(self.companion.is_some())),
            None => place.remove(Part::Companion),
        };
        if is_in_place(&done) {
            self.companion = companion;
        }
    }

    /// Replaces the record on disk and here.
    pub fn replace(&mut self, record: Record) -> Result<()> {
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
        let place = self.place()?;
        let written = if journal.intents.is_empty() {
            place.remove(Part::Journal)
        } else {
            self.put(place, Part::Journal, &journal.encode()?, over(!self.journal.intents.is_empty()))
        };
        if is_in_place(&written) {
            self.journal = journal;
        }
        written.map_err(|error| error.with_step("write the journal"))
    }

    /// Replaces one part on disk.
    fn put(&self, place: &Arc<Place>, part: Part, bytes: &[u8], over: Over) -> Result<()> {
        place.settle(place.stage(part, bytes, over)?, |part| self.content(part))
    }

    /// What a part has on disk, `None` if it does not exist.
    fn content(&self, part: Part) -> Result<Option<Vec<u8>>> {
        match part {
            Part::Record => format::encode(&self.record).map(Some),
            Part::Companion => Ok(self.companion.clone()),
            Part::Journal if self.journal.intents.is_empty() => Ok(None),
            Part::Journal => self.journal.encode().map(Some),
        }
    }

    fn place(&self) -> Result<&Arc<Place>> {
        match &self.home {
            Home::Owned { place, .. } => Ok(place),
            Home::None => Err(Error::new(
                ErrorKind::State,
                "the record has no file yet; save it to a path first, so that changes can be recorded",
            )),
            Home::Borrowed => Err(Error::new(
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

fn refuse_existing(place: &Place) -> Result<()> {
    if place.exists() {
        let text = format!("{} exists already", place.path().display());
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    Ok(())
}

fn missing(path: &Path) -> Error {
    Error::new(ErrorKind::NotFound, format!("runtime file {} does not exist", path.display()))
}

fn companion_of(record: &Record) -> Result<Option<Vec<u8>>> {
    match record.format() {
        Format::Native => Ok(None),
        Format::Ganeti => ganeti::Companion::encode(record),
    }
}

fn read_record(place: &Place) -> Result<(Record, Option<Vec<u8>>)> {
    let bytes = place.read(Part::Record)?.ok_or_else(|| missing(place.path()))?;
    let mut record = format::decode(&bytes)
        .map_err(|error| error.context(format!("runtime file {}", place.path().display())))?;
    let companion = match record.format() {
        Format::Native => None,
        Format::Ganeti => place.read(Part::Companion)?,
    };
    if let Some(bytes) = &companion {
        let complete = decode_companion(place, bytes)?;
        complete.apply(&mut record).map_err(|error| error.context(beside(place)))?;
    }
    Ok((record, companion))
}

fn beside(place: &Place) -> String {
    let path = place.part_path(Part::Companion);
    format!("{}, beside runtime file {}", path.display(), place.path().display())
}

fn decode_companion(place: &Place, bytes: &[u8]) -> Result<ganeti::Companion> {
    ganeti::Companion::decode(bytes).map_err(|error| error.context(beside(place)))
}

fn read_journal(place: &Place) -> Result<Journal> {
    place.read(Part::Journal)?.map_or_else(|| Ok(Journal::default()), |bytes| decode_journal(place, &bytes))
}

fn decode_journal(place: &Place, bytes: &[u8]) -> Result<Journal> {
    Journal::decode(bytes)
        .map_err(|error| error.context(format!("journal {}", place.part_path(Part::Journal).display())))
}
