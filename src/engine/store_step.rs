//! What is written: the record and the journal. The engine says what is to stand there, the shell writes it, and what the engine reads
//! is what stands there.

use super::guest_state::GuestState;
use super::io::{Effect, Given};
use super::talk::unexpected;
use crate::error::Result;
use crate::model::{Device, Journal, Peer, Record};
use crate::store::{Contents, Staged};

/// Something to be written, or to be known with what is written.
#[derive(Debug)]
pub enum StoreStep {
    /// This QEMU is being talked to: what is begun from now on is meant for it.
    Meet(Peer),
    /// Replace the record.
    Replace(Box<Record>),
    /// Write a record beside the file, so that it can be put in place without fail.
    Stage(Box<Record>),
    /// Put a staged record in place.
    Commit(Staged),
    /// Replace the journal.
    Journal(Journal),
}

impl GuestState {
    /// Record, journal and format as they are written.
    pub(super) fn contents(&self) -> Contents {
        let told = self.own.as_ref().and_then(|own| own.port.contents());
        told.unwrap_or_else(|| self.opened_with.clone())
    }

    async fn store(&self, step: StoreStep) -> Result<Given> {
        match self.port()?.perform(Effect::Store(step)).await {
            Given::Failed(error) => Err(error),
            given => Ok(given),
        }
    }

    async fn write(&self, step: StoreStep) -> Result<()> {
        match self.store(step).await? {
            Given::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Notes which QEMU is being talked to.
    pub(super) async fn meet(&self, peer: Peer) -> Result<()> {
        self.write(StoreStep::Meet(peer)).await
    }

    /// Replaces the record.
    pub(super) async fn replace(&self, next: Record) -> Result<()> {
        self.write(StoreStep::Replace(Box::new(next))).await
    }

    /// Changes the journal.
    pub(super) async fn write_journal(&self, change: impl FnOnce(&mut Journal)) -> Result<()> {
        let mut journal = self.contents().journal().clone();
        change(&mut journal);
        if journal == *self.contents().journal() {
            return Ok(());
        }
        self.write(StoreStep::Journal(journal)).await
    }

    /// Writes a record beside the file; [`GuestState::commit_staged`] puts it in place.
    pub(super) async fn stage(&self, next: Record) -> Result<Staged> {
        match self.store(StoreStep::Stage(Box::new(next))).await? {
            Given::Staged(staged) => Ok(staged),
            _ => Err(unexpected()),
        }
    }

    /// Puts a staged record in place, which has these devices as they are to be. If other records have come since, the one that is in
    /// place gets them.
    pub(super) async fn commit_staged(&self, staged: Staged, devices: &[Device]) -> Result<()> {
        match self.store(StoreStep::Commit(staged)).await? {
            Given::Done => Ok(()),
            Given::Outdated => {
                let mut next = self.contents().record().clone();
                devices.iter().for_each(|device| next.put(device.clone()));
                self.replace(next).await
            }
            _ => Err(unexpected()),
        }
    }

    /// Makes sure that no attachment gets this generation any more.
    pub(super) async fn retire_generation(&self, generation: u64) -> Result<()> {
        let contents = self.contents();
        if contents.record().next_generation > generation {
            return Ok(());
        }
        let next_generation = generation.saturating_add(1);
        self.replace(Record { next_generation, ..contents.record().clone() }).await
    }
}
