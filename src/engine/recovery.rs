//! Settles what an operation left unfinished, by what the guest really shows.

use std::collections::BTreeMap;
use std::time::Instant;

use super::device_reports::Confirmed;
use super::guest_state::GuestState;
use super::identity::Shown;
use super::inventory::PeripheralIds;
use super::limit::Deadline;
use super::medium_plan::emptying;
use super::outcome::PendingReason;
use super::phase::UnplugRequest;
use super::phase_change::Cause;
use super::plan::UndoStep;
use super::reconcile::{self, Decision, Facts, Guest, Recorded, Unfinished};
use crate::error::Result;
use crate::ids::DeviceId;
use crate::log::Level;
use crate::model::{Device, DeviceKind, Intent, Journal, Operation};
use crate::sorted;

/// What the guest shows under the ids of the devices with unfinished operations.
pub(super) type ShownById = BTreeMap<DeviceId, Shown>;

impl GuestState {
    /// What the guest shows under the ids of the devices with unfinished operations.
    pub(super) async fn identify_journalled(
        &mut self,
        peripheral_ids: &PeripheralIds,
        deadline: &Deadline,
    ) -> Result<ShownById> {
        let intents = self.intents_to_settle();
        let devices: Vec<&Device> = intents.iter().map(|intent| &intent.device).collect();
        let shown = self.identify(&devices, peripheral_ids, deadline).await?;
        Ok(sorted::map(devices.into_iter().map(|device| device.id.clone()).zip(shown)))
    }

    /// All but those of adds that other operations are at.
    fn intents_to_settle(&self) -> Vec<Intent> {
        let mut intents = self.contents().journal().intents.clone();
        intents.retain(|intent| !self.phases.is_plugging(&intent.device.id));
        intents
    }

    /// The entries of the journal, with what record and guest have under their ids.
    pub(super) fn unfinished(&self, shown: &ShownById) -> Vec<Unfinished> {
        let contents = self.contents();
        let one = |intent: &Intent| Unfinished {
            recorded: Recorded::of(&intent.device, contents.record()),
            shown: shown.get(&intent.device.id).copied().unwrap_or(Shown::Nothing),
            intent: intent.clone(),
        };
        contents.journal().intents.iter().map(one).collect()
    }

    pub(super) fn decide(&self, unfinished: &Unfinished, all: &[Unfinished]) -> Decision {
        let Unfinished { intent: Intent { operation, device, .. }, recorded, shown } = unfinished;
        reconcile::decide(&Facts {
            qemu: self.qemu_of_journal(),
            operation: Some(*operation),
            recorded: *recorded,
            shown: *shown,
            batch: unfinished.batch(all),
            is_in_progress: self.phases.is_plugging(&device.id),
            is_unplugging: self.phases.is_unplugging(&device.id) || self.phases.is_asked_again(&device.id),
            guest: match self.unplug_blocked.filter(|_| device.leaves_by_consent()) {
                Some(_) => Guest::CannotAnswer,
                None if self.migrating => Guest::Migrates,
                None => Guest::Listens,
            },
            fds_uncertain: self.phases.has_uncertain_fds(&device.id),
        })
    }

    /// Those about which this is decided.
    fn decided(&self, shown: &ShownById, what: Decision) -> Vec<Intent> {
        let all = self.unfinished(shown);
        let so = all.iter().filter(|unfinished| self.decide(unfinished, &all) == what);
        so.map(|unfinished| unfinished.intent.clone()).collect()
    }

    /// Clears entries of the journal about which nothing is to be done.
    pub(super) async fn clear_outdated_intents(&mut self, shown: &ShownById) -> Result<()> {
        for Intent { operation, device, .. } in self.decided(shown, Decision::ClearIntent) {
            self.log.write(Level::Info, || {
                format!("nothing is left to be done about {operation:?} of {}", device.id)
            });
            if self.phases.is_unplugging(&device.id) {
                self.enter(&device, self.rest_of(&device), Cause::CalledOff, String::new)?;
            }
            let journaled = self.journaled(&[&device])?;
            self.strike(journaled.nothing_to_record(), [&device]).await?;
        }
        Ok(())
    }

    /// Finishes or undoes every unfinished operation, by what the guest shows under the ids of their devices.
    pub(super) async fn reconcile(&mut self, shown: &ShownById, deadline: &Deadline) -> Result<()> {
        self.roll_back_unwanted(shown).await?;
        let arrived = self.decided(shown, Decision::CompleteAdd);
        // A controller after its disks.
        let mut unfinished =
            sorted::by_key(self.unfinished(shown), |one| one.intent.device.kind() == DeviceKind::Controller);
        let arrived: Vec<&Device> = arrived.iter().map(|intent| &intent.device).collect();
        self.complete_adds(&arrived, deadline).await?;
        if unfinished.iter().any(|one| one.intent.operation == Operation::RemoveNext) {
            self.begin_removals_after(&mut unfinished, shown);
        }
        for one in &unfinished {
            let decision = self.decide(one, &unfinished);
            let Unfinished { intent, shown, .. } = one;
            self.log.write(Level::Info, || {
                let Intent { operation, device, .. } = intent;
                format!(
                    "unfinished {operation:?} of {}: the guest shows {shown:?}, so {decision:?}",
                    device.id
                )
            });
            match shown.gone(&intent.device) {
                Some(gone) if matches!(decision, Decision::TearDown(_)) => {
                    self.finish_removals(&[gone], deadline).await?;
                }
                _ => self.carry_out(decision, intent, deadline).await?,
            }
        }
        Ok(())
    }

    /// Removals that followed adds which are recorded by now have begun; what was dropped with its adds is
    /// not there any more.
    fn begin_removals_after(&self, unfinished: &mut Vec<Unfinished>, shown: &ShownById) {
        unfinished.retain(|one| one.intent.operation != Operation::RemoveNext);
        let is_new = |one: &Unfinished| !unfinished.iter().any(|old| old.intent.device == one.intent.device);
        let begun: Vec<Unfinished> = self.unfinished(shown).into_iter().filter(is_new).collect();
        unfinished.extend(begun);
    }

    async fn carry_out(&mut self, decision: Decision, intent: &Intent, deadline: &Deadline) -> Result<()> {
        let device = &intent.device;
        match decision {
            Decision::SettleChange => self.reconcile_change(intent, deadline).await?,
            Decision::RequestUnplug => self.resume_removal(device, deadline).await?,
            Decision::DeferUnplug => {
                let why = self.unplug_blocked.unwrap_or(PendingReason::NotStarted);
                self.resume_unplug(device, None, why, || format!("{why}, and will be asked later"))?;
            }
            Decision::AwaitMigration => {
                let text = || "the guest is being migrated and will be asked afterwards".to_owned();
                self.resume_unplug(device, Some(self.now()), PendingReason::Migrating, text)?;
            }
            // Done for all together, or nothing is to be done.
            Decision::ClearIntent
            | Decision::CompleteAdd
            | Decision::RollBack
            | Decision::TearDown(_)
            | Decision::GoneWithQemu(_)
            | Decision::StaysInNewQemu
            | Decision::Keep
            | Decision::KeepAbsent
            | Decision::LeaveToOperation
            | Decision::AwaitUnplug
            | Decision::AwaitAdds => {}
        }
        Ok(())
    }

    /// Notes of adds that they are to be taken back, until there is none more: a controller goes because of
    /// its disk. Once the disk is out of the journal, nothing else tells.
    async fn roll_back_unwanted(&mut self, shown: &ShownById) -> Result<()> {
        loop {
            let unwanted = self.decided(shown, Decision::RollBack);
            if unwanted.is_empty() {
                return Ok(());
            }
            let devices: Vec<&Device> = unwanted.iter().map(|intent| &intent.device).collect();
            self.journal_rollbacks(&devices, log_rollback).await?;
        }
    }

    /// Records devices of interrupted adds that are in the guest. Somebody else may take one out meanwhile:
    /// only what is there after it was recorded is complete, since from then on the word that it is gone
    /// finds it in the record.
    async fn complete_adds(&mut self, devices: &[&Device], deadline: &Deadline) -> Result<()> {
        if devices.is_empty() {
            return Ok(());
        }
        let mut next = self.contents().record().clone();
        let lacks = devices.iter().filter(|device| !self.is_recorded(device.id.as_str()));
        lacks.for_each(|device| next.add((*device).clone()));
        let committed = self.record(self.journaled(devices)?, next).await?;
        let mut left = Vec::new();
        let mut arrived = Vec::new();
        for (device, confirmed) in devices.iter().zip(self.confirm_in_qom(devices, deadline).await?) {
            if let Confirmed::Detached(gone) = confirmed {
                left.push(gone);
                continue;
            }
            arrived.push((*device, self.at(device)));
        }
        self.strike_adds(committed, arrived.iter().map(|(device, _)| *device)).await?;
        for (device, from) in arrived {
            if !self.phases.take_add_told(&device.id) {
                self.enter_from(from, device, self.rest_of(device), Cause::Added, add_completed)?;
            }
        }
        self.finish_removals(&left, deadline).await.map(drop)
    }

    async fn resume_removal(&mut self, device: &Device, deadline: &Deadline) -> Result<()> {
        self.wait_for_guest_clock(deadline).await?;
        self.drop_refusals(&[device]);
        let command = UndoStep::Unplug(device.id.clone()).command();
        let journaled = self.journaled(&[device])?;
        let emptied = emptying(device);
        if !emptied.is_empty() {
            self.send(journaled.may(), emptied, deadline).await.failure.map_or(Ok(()), Err)?;
        }
        // QEMU may say that it is at it already; only a broken connection is a reason to stop.
        if let Some(error) =
            self.send_one(journaled.may(), command, deadline).await.err().filter(|e| !e.is_refusal())
        {
            return Err(error);
        }
        let text = || "the guest was asked to let go of the device".to_owned();
        self.resume_unplug(device, Some(self.now()), PendingReason::NotAwaited, text)
    }

    fn resume_unplug(
        &mut self,
        device: &Device,
        at: Option<Instant>,
        why: PendingReason,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        let phase = self.phases.once_asked(&device.id, UnplugRequest { at, why });
        self.enter(device, Some(phase), Cause::Resumed, text)?;
        self.slots.quarantine(device);
        Ok(())
    }
}

pub(super) fn log_rollback(journal: &mut Journal, device: &Device) {
    journal.log_intent(Operation::RollbackAdd, device);
}

/// What is said of an add that was found to be done.
pub(super) fn add_completed() -> String {
    "an interrupted add was completed".to_owned()
}
