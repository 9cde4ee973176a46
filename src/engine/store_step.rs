//! What is written: the record and the journal. The engine says what is to stand there, the shell writes it,
//! and what the engine reads is what stands there.

mod order;

use std::sync::Arc;

pub(super) use order::{Committed, Journaled, May, Undurable};

use super::guest_state::GuestState;
use super::io::{Effect, Given, StoreStep, unexpected};
use super::medium_plan::with_noted_nodes;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Device, Journal, Operation, Peer, Record};
use crate::planted::{self, Fault};
use crate::store::{Contents, Staged};

/// The record could not be put in place: what has been done is to be taken back.
#[derive(Debug)]
pub(super) struct NotRecorded {
    pub(super) error: Error,
    pub(super) journaled: Journaled<()>,
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

    /// Changes the journal. Only what follows does so, which keeps the order.
    async fn write_journal(&self, change: impl FnOnce(&mut Journal)) -> Result<()> {
        let mut journal = self.contents().journal().clone();
        change(&mut journal);
        if journal == *self.contents().journal() {
            return Ok(());
        }
        self.write(StoreStep::Journal(journal)).await
    }

    /// The planted fault of a cancelled add that is struck from the journal, whatever has become of it.
    pub(super) async fn forget_if_planted(&self, devices: &[Device]) -> bool {
        planted::has(Fault::ResidueIsForgotten)
            && self.write_journal(|journal| journal.clear_intents(devices)).await.is_ok()
    }

    /// Notes which QEMU the journal is about.
    pub(super) async fn journal_peer(&self, peer: Option<Arc<Peer>>) -> Result<()> {
        self.write_journal(|journal| journal.peer = peer).await
    }

    /// Writes a record beside the file; [`GuestState::commit`] puts it in place.
    pub(super) async fn stage(&self, next: Record) -> Result<Staged> {
        match self.store(StoreStep::Stage(Box::new(next))).await? {
            Given::Staged(staged) => Ok(staged),
            _ => Err(unexpected()),
        }
    }

    /// Notes an add of these devices, and the removals that follow it.
    pub(super) async fn journal_add(
        &self,
        staged: Staged,
        devices: &[Device],
        removals: &[Device],
    ) -> Result<Journaled<Staged>> {
        if !planted::has(Fault::AddNotLogged) {
            self.write_journal(|journal| {
                journal.log_add(devices);
                journal.log_removals_after(devices, removals);
            })
            .await?;
        }
        Ok(Journaled::with(staged))
    }

    /// Notes a change of a device, which is put back to `before` should it not come to its end.
    pub(super) async fn journal_change(
        &self,
        staged: Staged,
        operation: Operation,
        before: &Device,
    ) -> Result<Journaled<Staged>> {
        if !planted::has(Fault::ChangeNotLogged) {
            self.write_journal(|journal| journal.log_intent(operation, before)).await?;
        }
        Ok(Journaled::with(staged))
    }

    /// Notes the removal of these devices, beside what the journal has already.
    pub(super) async fn journal_removals(&self, devices: &[&Device]) -> Result<Journaled<()>> {
        self.write_journal(|journal| {
            for device in devices {
                let noted = with_noted_nodes(device, journal);
                journal.log_intent(Operation::Remove, &noted);
            }
        })
        .await?;
        Ok(Journaled::with(()))
    }

    /// Notes that adds of these devices are to be taken back.
    pub(super) async fn journal_rollbacks(
        &self,
        devices: &[&Device],
        note: impl Fn(&mut Journal, &Device),
    ) -> Result<()> {
        self.write_journal(|journal| devices.iter().for_each(|device| note(journal, device))).await
    }

    /// What the journal has of these devices goes on.
    pub(super) fn journaled(&self, devices: &[&Device]) -> Result<Journaled<()>> {
        let contents = self.contents();
        match devices.iter().find(|device| contents.journal().find(device.id.as_str()).is_none()) {
            None => Ok(Journaled::with(())),
            Some(other) => {
                let text = format!("internal error: the journal has nothing about {}", other.id);
                Err(Error::new(ErrorKind::State, text))
            }
        }
    }

    /// Puts the staged record in place, which has these devices as they are to be. If other records have come
    /// since, the one that is in place gets them.
    pub(super) async fn commit(
        &self,
        journaled: Journaled<Staged>,
        devices: &[Device],
    ) -> std::result::Result<Committed, NotRecorded> {
        let (staged, journaled) = journaled.into_staged();
        match self.commit_staged(staged, devices).await {
            Ok(()) => Ok(journaled.recorded()),
            Err(error) => Err(NotRecorded { error, journaled }),
        }
    }

    async fn commit_staged(&self, staged: Staged, devices: &[Device]) -> Result<()> {
        if planted::has(Fault::JournalClearedFirst) {
            self.write_journal(|journal| journal.clear_intents(devices)).await?;
        }
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

    /// The record says what has come of what the journal has, without having been staged for that.
    pub(super) async fn record(&self, journaled: Journaled<()>, next: Record) -> Result<Committed> {
        if next != *self.contents().record() {
            self.replace(next).await?;
        }
        Ok(journaled.recorded())
    }

    /// Takes what the journal has of these devices out of it.
    pub(super) async fn strike<'a>(
        &self,
        committed: Committed,
        devices: impl IntoIterator<Item = &'a Device>,
    ) -> Result<()> {
        drop(committed);
        self.write_journal(|journal| journal.clear_intents(devices)).await
    }

    /// The same for adds that are done: the removals that follow them begin.
    pub(super) async fn strike_adds<'a>(
        &self,
        committed: Committed,
        devices: impl IntoIterator<Item = &'a Device>,
    ) -> Result<()> {
        drop(committed);
        self.write_journal(|journal| journal.complete_adds(devices)).await
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
