//! What is unfinished of a guest that has ended, and what is not known of one that may run.

use super::RecordFile;
use super::journal::{Intent, Operation};
use super::peer::PeerState;
use super::record::{Device, Record};
use crate::error::{Error, ErrorKind, Result};

/// What the end of the guest makes of an unfinished operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The device goes from the record: its removal is done, or the add that was to be taken back is.
    Drop,
    /// The record is right as it is.
    Keep,
}

/// What becomes of an operation that was begun in a QEMU that has ended. The record says what the next one has: an add that is
/// not in it is dropped, a change counts as far as it is in it, and a removal is done. `is_there`: the QEMU that runs now was
/// started with the recorded device all the same.
pub fn resolution_of(intent: &Intent, recorded: Option<&Device>, is_there: bool) -> Resolution {
    let is_about_it = recorded.is_some_and(|recorded| recorded.generation == intent.device.generation);
    match intent.operation {
        Operation::Remove | Operation::RollbackAdd if is_about_it && !is_there => Resolution::Drop,
        Operation::Remove
        | Operation::RollbackAdd
        | Operation::Add
        | Operation::SetLink
        | Operation::Move => Resolution::Keep,
    }
}

/// Takes from the record of a guest that does not run what its end has finished.
pub(super) fn end_all(record: &mut Record, intents: &[Intent]) {
    for intent in intents {
        let id = &intent.device.id;
        if resolution_of(intent, record.find(id.as_str()), false) == Resolution::Drop {
            record.remove(id);
        }
    }
}

/// Whether the record does not say how the operation ends, as long as the guest may run.
fn is_open(intent: &Intent, record: &Record) -> bool {
    let recorded = record.find(intent.device.id.as_str());
    let is_about_it = recorded.map(|recorded| recorded.generation == intent.device.generation);
    match intent.operation {
        // A guest that is left off, or at its source, lets go of the device as it ends.
        Operation::Remove => false,
        Operation::Add => is_about_it.is_none(),
        Operation::RollbackAdd => is_about_it != Some(false),
        Operation::SetLink | Operation::Move => is_about_it == Some(true),
    }
}

impl Intent {
    /// What is unfinished, in words.
    pub fn text(&self) -> String {
        let id = &self.device.id;
        match self.operation {
            Operation::Add => format!("adding {id} was interrupted"),
            Operation::RollbackAdd => format!("adding {id} was interrupted, and is to be taken back"),
            Operation::Remove => format!("removing {id} has begun, and the guest may still have it"),
            Operation::SetLink => format!("setting the link of {id} was interrupted"),
            Operation::Move => format!("moving {id} to another bridge was interrupted"),
        }
    }
}

impl RecordFile {
    /// Everything that is unfinished, oldest first.
    pub fn unfinished(&self) -> &[Intent] {
        &self.journal.intents
    }

    /// The first unfinished operation of which the record does not say how it ends.
    pub(super) fn open_intent(&self) -> Option<&Intent> {
        self.journal.intents.iter().find(|intent| is_open(intent, &self.record))
    }

    /// Refuses to make a migration target of a record that does not say what the source has.
    pub(super) fn refuse_open_for_target(&self) -> Result<()> {
        self.open_intent().map_or(Ok(()), |intent| {
            let advice = "the record does not say what the source guest has: settle it at the source, by opening the guest, and \
                          take its record as it is then";
            Err(unsettled(intent, advice))
        })
    }

    /// Refuses to start a guest that may run, with something unfinished. If its QEMU has ended, nothing is.
    pub(super) fn refuse_open_for_boot(&self) -> Result<()> {
        let Some(intent) = self.open_intent() else { return Ok(()) };
        let advice = match self.peer_state() {
            PeerState::Ended => return Ok(()),
            PeerState::Runs(pid) => format!("{} runs; open the guest, which settles it", process(pid)),
            PeerState::Unknown => {
                "open the guest if it runs, which settles it; if it is known to be off, settle its record"
                    .to_owned()
            }
        };
        Err(unsettled(intent, &advice))
    }

    fn peer_state(&self) -> PeerState {
        self.journal.peer.as_ref().map_or(PeerState::Unknown, |peer| peer.peer_state())
    }

    /// Settles what is unfinished by the rules for a guest that has ended. Answers how many operations that were.
    pub fn settle_ended(&mut self) -> Result<usize> {
        self.check_closed()?;
        self.record_dir()?;
        if let PeerState::Runs(pid) = self.peer_state() {
            let text = format!(
                "{} runs, in which the unfinished operations were begun; open the guest, which settles them",
                process(pid)
            );
            return Err(Error::new(ErrorKind::State, text).with_errno(libc::EBUSY));
        }
        let count = self.journal.intents.len();
        let mut next = self.record.clone();
        end_all(&mut next, &self.journal.intents);
        // No other attachment gets the number of one that somebody may have been told of.
        let latest = self.journal.intents.iter().map(|intent| intent.device.generation).max();
        let after = latest.map_or(0, |latest| latest.saturating_add(1));
        next.next_generation = next.next_generation.max(after);
        if next != self.record {
            self.replace(next)?;
        }
        self.write_journal(|journal| journal.intents.clear())?;
        Ok(count)
    }
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(|| "QEMU".to_owned(), |pid| format!("QEMU (process {pid})"))
}

fn unsettled(intent: &Intent, advice: &str) -> Error {
    Error::new(ErrorKind::State, format!("{}; {advice}", intent.text()))
}
