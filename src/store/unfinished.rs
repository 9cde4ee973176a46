//! What is unfinished of a guest that has ended, and what is not known of one that may run.

use super::peer;
use super::record_file::RecordFile;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Intent;
use crate::model::peer::PeerState;
use crate::model::unfinished::end_all;

impl RecordFile {
    /// Everything that is unfinished, oldest first.
    pub fn unfinished(&self) -> &[Intent] {
        &self.journal().intents
    }

    /// Refuses to make a migration target of a record that does not say what the source has.
    pub(crate) fn refuse_open_for_target(&self) -> Result<()> {
        self.contents.state.open_intent().map_or(Ok(()), |intent| {
            let advice = "the record does not say what the source guest has: settle it at the source, by opening the guest, and \
                          take its record as it is then";
            Err(unsettled(intent, advice))
        })
    }

    /// Refuses to start a guest that may run, with something unfinished. If its QEMU has ended, nothing is.
    pub(crate) fn refuse_open_for_boot(&self) -> Result<()> {
        let Some(intent) = self.contents.state.open_intent() else { return Ok(()) };
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
        self.journal().peer.as_ref().map_or(PeerState::Unknown, |noted| peer::state(noted))
    }

    /// Settles what is unfinished by the rules for a guest that has ended. Answers how many operations that
    /// were.
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
        let count = self.journal().intents.len();
        let mut next = self.record().clone();
        end_all(&mut next, &self.journal().intents);
        // No other attachment gets the number of one that somebody may have been told of.
        let latest = self.journal().intents.iter().map(|intent| intent.device.generation).max();
        let after = latest.map_or(0, |latest| latest.saturating_add(1));
        next.next_generation = next.next_generation.max(after);
        if next != *self.record() {
            self.replace(next)?;
        }
        self.write_journal(|journal| journal.intents.clear())?;
        Ok(count)
    }
}

pub(super) fn process(pid: Option<i32>) -> String {
    pid.map_or_else(|| "QEMU".to_owned(), |pid| format!("QEMU (process {pid})"))
}

fn unsettled(intent: &Intent, advice: &str) -> Error {
    Error::new(ErrorKind::State, format!("{}; {advice}", intent.text()))
}
