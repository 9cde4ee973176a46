//! Settles what an operation left unfinished, by what the guest really shows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::device_reports::Confirmed;
use super::events::EventKind;
use super::guest_state::GuestState;
use super::identity::{DetachedDevice, Shown};
use super::inventory::PeripheralIds;
use super::limit::Deadline;
use super::outcome::PendingReason;
use super::phase::{Phase, UnplugRequest};
use super::phase_change::{At, Cause};
use super::plan::{self, UndoStep};
use super::reconcile::{self, Backend, Decision, Facts, Guest, Recorded, Teardown, Unfinished};
use super::store_step::{Committed, May};
use super::transaction::{Residue, RollbackReport};
use crate::error::Result;
use crate::ids::DeviceId;
use crate::log::Level;
use crate::model::{Device, DeviceKind, Intent, Journal, Operation};
use crate::ordered;
use crate::planted::{self, Fault};

/// How long a block node that is still in use is tried again: a device that left while nobody was connected is gone from
/// the bus before QEMU has let go of what stood behind it.
const IN_USE_PATIENCE: Duration = Duration::from_secs(1);
const IN_USE_PAUSE: Duration = Duration::from_millis(10);

/// What the guest shows under the ids of the devices with unfinished operations.
pub(super) type ShownById = BTreeMap<DeviceId, Shown>;

/// A device that has left.
struct Departure {
    /// What the journal says of it.
    operation: Option<Operation>,
    teardown: Teardown,
    /// What stood behind it.
    backend_objects: Vec<UndoStep>,
    /// QEMU has said that it is gone.
    seen: bool,
    /// What stood behind it could not be taken down before.
    was_kept: bool,
}

/// A removal that has come to its end.
pub(super) struct TeardownReport {
    /// What of the backend could not be taken down.
    pub(super) left: Vec<String>,
}

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
        Ok(ordered::map(devices.into_iter().map(|device| device.id.clone()).zip(shown)))
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
        let mut unfinished = self.unfinished(shown);
        // A controller after its disks.
        ordered::sort_by_key(&mut unfinished, |one| one.intent.device.kind() == DeviceKind::Controller);
        let arrived: Vec<&Device> = arrived.iter().map(|intent| &intent.device).collect();
        self.complete_adds(&arrived, deadline).await?;
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
            | Decision::AwaitUnplug => {}
        }
        Ok(())
    }

    /// Notes of adds that they are to be taken back, until there is none more: a controller goes because of its disk. Once the disk
    /// is out of the journal, nothing else tells.
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

    /// Records devices of interrupted adds that are in the guest. Somebody else may take one out meanwhile: only what is there
    /// after it was recorded is complete, since from then on the word that it is gone finds it in the record.
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
        self.strike(committed, arrived.iter().map(|(device, _)| *device)).await?;
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

    /// The guest was asked for the device: its place is quarantined until QEMU says it is gone.
    pub(super) fn mark_unplugging(&mut self, device: &Device, why: PendingReason) -> Result<()> {
        self.ask_for(device, Some(self.now()), why, Cause::Asked)
    }

    /// The guest is not asked for the device now, but when it wakes up or is started.
    pub(super) fn defer_unplug(&mut self, device: &Device, why: PendingReason) -> Result<()> {
        self.ask_for(device, None, why, Cause::Asked)
    }

    /// The guest was asked, or will be where `at` is `None`.
    pub(super) fn ask_for(
        &mut self,
        device: &Device,
        at: Option<Instant>,
        why: PendingReason,
        cause: Cause,
    ) -> Result<()> {
        let phase = self.phases.once_asked(&device.id, UnplugRequest { at, why });
        self.enter(device, Some(phase), cause, refusal)?;
        self.slots.quarantine(device);
        Ok(())
    }

    /// The devices have left the guest: takes down their backends, in one write, then takes them out of the record. What is
    /// left of a backend stays in the journal, and its slot in quarantine, for the next call to try again.
    ///
    /// Off the bus is not gone: until `DEVICE_DELETED`, which has not been seen if the device was only found missing,
    /// QEMU may still use what stands behind it. Then the removal goes on pending.
    ///
    /// Where no call waits for it, word is left once nothing is left: whoever hears it may tear down its storage or tap.
    pub(super) async fn finish_removals(
        &mut self,
        gone: &[DetachedDevice<'_>],
        deadline: &Deadline,
    ) -> Result<Vec<TeardownReport>> {
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let finished = self.tear_down_and_drop(gone, deadline).await;
        self.delete_taps_kept_open(&gone.iter().map(|gone| gone.device).collect::<Vec<_>>()).await;
        finished
    }

    async fn tear_down_and_drop(
        &mut self,
        gone: &[DetachedDevice<'_>],
        deadline: &Deadline,
    ) -> Result<Vec<TeardownReport>> {
        let mut departures: Vec<Departure> = self.departures(gone)?;
        let devices: Vec<&Device> = gone.iter().map(|gone| gone.device).collect();
        // Dying between here and the record must not lose that the backends are to go.
        let is_unasked = |departure: &Departure| departure.teardown.told == EventKind::RemovedByGuest;
        let both = devices.iter().zip(&departures);
        let unasked: Vec<&Device> =
            both.filter(|(_, departure)| is_unasked(departure)).map(|(device, _)| *device).collect();
        let journaled = self.journal_removals(&unasked).await?;
        let may = journaled.may();
        let residues = self.tear_down_backends(may, &devices, &mut departures, deadline).await?;
        let mut finished = Vec::with_capacity(devices.len());
        let mut unplugged: Vec<Ended<'_>> = Vec::new();
        let mut retired = Vec::new();
        let mut next = self.contents().record().clone();
        for (gone, departure) in gone.iter().zip(departures) {
            let device = &gone.device;
            let own =
                || residues.iter().filter(|residue| departure.backend_objects.contains(&residue.undo_step));
            let left: Vec<String> = own().map(Residue::to_string).collect();
            if let Some(residue) = own().find(|residue| residue.is_in_use()) {
                if departure.operation == Some(Operation::Add) && !self.is_recorded(device.id.as_str()) {
                    // Whether it was there long enough to be called added no longer matters: it is on its way out.
                    self.journal_rollbacks(&[device], log_rollback).await?;
                }
                let why = residue.why_kept();
                let kept = Phase::Detached(Some(UnplugRequest { at: Some(self.now()), why }));
                let cause = if departure.was_kept { Cause::StillKept } else { Cause::Kept };
                self.enter(device, Some(kept), cause, || why.to_string())?;
                self.slots.quarantine(*device);
            } else {
                next.remove(&device.id);
                retired.push(device.generation);
                let (is_replaced, cause) = (gone.is_replaced, Cause::of_end(departure.teardown.told));
                let ended = Ended { device, cause, is_replaced };
                unplugged.extend(left.is_empty().then_some(ended));
            }
            finished.push(TeardownReport { left });
        }
        let committed = self.record(journaled, next).await?;
        if let Some(generation) = retired.into_iter().max() {
            // No other attachment gets the number, now that somebody may have been told of it. Until that is written, the
            // journal keeps it.
            if !planted::has(Fault::GenerationIsUsedAgain) {
                self.retire_generation(generation).await?;
            }
        }
        self.drop_devices(committed, &unplugged).await?;
        Ok(finished)
    }

    /// Takes down what stood behind the devices; what is left of it.
    async fn tear_down_backends(
        &mut self,
        may: May<'_>,
        devices: &[&Device],
        departures: &mut [Departure],
        deadline: &Deadline,
    ) -> Result<Vec<Residue>> {
        let is_held =
            |departure: &Departure| departure.seen && departure.teardown.backend != Backend::OfAnother;
        for (device, _) in devices.iter().zip(&*departures).filter(|(_, departure)| is_held(departure)) {
            self.keep_tap_open(device).await;
        }
        let backend_objects: Vec<UndoStep> =
            departures.iter().flat_map(|departure| departure.backend_objects.clone()).collect();
        let RollbackReport { mut left, absent } = self.tear_down(may, &backend_objects, deadline).await?;
        self.tap_cache = None;
        let was_cut_off = |departure: &Departure| departure.teardown.backend == Backend::OfCutOffAdd;
        for (device, departure) in
            devices.iter().zip(departures).filter(|(_, departure)| was_cut_off(departure))
        {
            departure.backend_objects.extend(plan::passed_fds(device, &self.fdsets.of(&device.id)));
            left.extend(self.recover_passed_fds(may, device, &absent, deadline).await?);
        }
        self.tap_cache = None;
        Ok(left)
    }

    /// All of them leave, or none does.
    fn departures(&mut self, gone: &[DetachedDevice<'_>]) -> Result<Vec<Departure>> {
        for DetachedDevice { device, .. } in gone {
            self.check_change(device, (self.at(device), At::Detached), Cause::Left)?;
        }
        gone.iter().map(|gone| self.departure(*gone)).collect()
    }

    fn departure(&mut self, gone: DetachedDevice<'_>) -> Result<Departure> {
        let DetachedDevice { device, backend_is_taken, .. } = gone;
        let was_kept = self.at(device) == At::InUse;
        self.enter(device, Some(Phase::Detached(None)), Cause::Left, String::new)?;
        let fdsets = self.fdsets.of(&device.id);
        let operation = self.contents().journal().find(device.id.as_str()).map(|intent| intent.operation);
        let teardown =
            reconcile::teardown(operation, backend_is_taken, self.phases.has_uncertain_fds(&device.id));
        let backend_objects = match teardown.backend {
            Backend::OfAnother => Vec::new(),
            Backend::Whole => plan::backend(device, &fdsets),
            Backend::OfCutOffAdd => plan::possible_backend(device, self.version),
            Backend::OfAdd => {
                let made = plan::possible_backend(device, self.version);
                made.into_iter().chain(plan::passed_fds(device, &fdsets)).collect()
            }
        };
        let seen = self.is_reported_deleted(&device.id);
        Ok(Departure { operation, teardown, backend_objects, seen, was_kept })
    }

    pub(super) async fn tear_down(
        &mut self,
        may: May<'_>,
        backend_objects: &[UndoStep],
        deadline: &Deadline,
    ) -> Result<RollbackReport> {
        // What has begun to be undone is undone to the end.
        let deadline = deadline.uncancelable();
        let patience = deadline.at_most(self.now(), IN_USE_PATIENCE);
        let mut report = self.roll_back(may, backend_objects, &deadline).await?;
        self.name_holders(&mut report.left, &deadline).await?;
        // What an export or a job uses does not become free by waiting.
        while report.left.iter().any(Residue::is_only_late)
            && self.pause(IN_USE_PAUSE, &patience).await.is_ok()
        {
            // What is absent now was there before.
            report.left = self.roll_back(may, backend_objects, &deadline).await?.left;
            self.name_holders(&mut report.left, &deadline).await?;
        }
        for residue in &report.left {
            self.log.write(Level::Error, || format!("left behind: {residue}"));
        }
        Ok(report)
    }

    /// Neither guest nor record have the devices any more. All of them may go, or none does.
    ///
    /// The journal first: as long as it has a device, what is known of the device counts, such as which descriptors are uncertain.
    pub(super) async fn drop_devices(&mut self, committed: Committed, ended: &[Ended<'_>]) -> Result<()> {
        let mut from = Vec::with_capacity(ended.len());
        for Ended { device, cause, .. } in ended {
            from.push(self.at(device));
            self.check_change(device, (self.at(device), At::Absent), *cause)?;
        }
        self.strike(committed, ended.iter().map(|ended| ended.device)).await?;
        ended.iter().zip(from).try_for_each(|(ended, from)| self.forget_device(ended, from))
    }

    /// Nothing is known of a device any more.
    pub(super) fn forget_device(&mut self, ended: &Ended<'_>, from: At) -> Result<()> {
        let Ended { device, cause, is_replaced } = *ended;
        if is_replaced {
            self.slots.end_quarantine(device);
        } else {
            self.slots.release(device);
            self.topology.remove(device.id.as_str());
        }
        self.fdsets.release(&device.id);
        self.enter_from(from, device, None, cause, || text_of(cause).to_owned())
    }
}

/// A device of which nothing is left.
pub(super) struct Ended<'a> {
    device: &'a Device,
    cause: Cause,
    /// Another device has its id by now, and perhaps its place.
    is_replaced: bool,
}

impl<'a> Ended<'a> {
    /// By a call that says so itself.
    pub(super) fn by_call(device: &'a Device) -> Self {
        Self { device, cause: Cause::Dropped, is_replaced: false }
    }
}

fn log_rollback(journal: &mut Journal, device: &Device) {
    journal.log_intent(Operation::RollbackAdd, device);
}

/// What is said of an add that was found to be done.
pub(super) fn add_completed() -> String {
    "an interrupted add was completed".to_owned()
}

/// What is said of a device that the guest keeps.
pub(super) fn refusal() -> String {
    "the guest refused to let go of the device; it stays".to_owned()
}

/// What is said of a device that has left.
fn text_of(cause: Cause) -> &'static str {
    match cause {
        Cause::TakenBack => "an interrupted add was taken back",
        Cause::Ejected => "the guest let go of the device unasked",
        _ => "the device is gone",
    }
}
