//! Clearing up behind devices that have left the guest, or never came: their backends, then the record, then
//! the journal.

use std::time::Duration;

use super::events::EventKind;
use super::guest_state::GuestState;
use super::helpers;
use super::identity::DetachedDevice;
use super::limit::Deadline;
use super::medium_plan::with_noted_nodes;
use super::phase::At;
use super::phase::{Phase, UnplugRequest};
use super::phase_change::Cause;
use super::plan::{self, UndoStep};
use super::reconcile::{self, Backend, Teardown};
use super::recovery::log_rollback;
use super::store_step::{Committed, May};
use super::transaction::{Residue, RollbackReport};
use crate::error::Result;
use crate::log::Level;
use crate::model::{Device, Operation};
use crate::planted::{self, Fault};

/// How long a block node that is still in use is tried again: a device that left while nobody was connected
/// is gone from the bus before QEMU has released its backend.
const IN_USE_PATIENCE: Duration = Duration::from_secs(1);
const IN_USE_PAUSE: Duration = Duration::from_millis(10);

/// A device that has left.
struct Departure {
    /// What the journal says of it.
    operation: Option<Operation>,
    teardown: Teardown,
    /// Its backend.
    backend_objects: Vec<UndoStep>,
    /// QEMU has said that it is gone.
    seen: bool,
    /// Its backend could not be taken down before.
    was_kept: bool,
}

/// A removal that has come to its end.
pub(super) struct TeardownReport {
    /// What of the backend could not be taken down.
    pub(super) left: Vec<String>,
}

impl GuestState {
    /// The devices have left the guest: takes down their backends, in one write, then takes them out of the
    /// record. What is left of a backend stays in the journal, and its slot in quarantine, for the next call
    /// to try again.
    ///
    /// Off the bus is not gone: until `DEVICE_DELETED`, which has not been seen if the device was only found
    /// missing, QEMU may still use its backend. Then the removal goes on pending.
    ///
    /// Where no call waits for it, word is left once nothing is left: whoever hears it may tear down its
    /// storage or tap.
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
                    // Whether it was there long enough to be called added no longer matters: it is on its way
                    // out.
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
            // No other attachment gets the number, now that somebody may have been told of it. Until that is
            // written, the journal keeps it.
            if !planted::has(Fault::GenerationIsUsedAgain) {
                self.retire_generation(generation).await?;
            }
        }
        self.drop_devices(committed, &unplugged).await?;
        Ok(finished)
    }

    /// Takes down the backends of the devices; returns what is left of them.
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
            departure.backend_objects.extend(plan::passed_fds(device, &self.fdsets.behind(device)));
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
        let mut departures =
            gone.iter().map(|gone| self.departure(*gone)).collect::<Result<Vec<Departure>>>()?;
        let devices: Vec<&Device> = gone.iter().map(|gone| gone.device).collect();
        let mut all: Vec<Vec<UndoStep>> = Vec::with_capacity(departures.len());
        for departure in &mut departures {
            self.keep_needed_helpers(&mut departure.backend_objects, &devices);
            all.push(std::mem::take(&mut departure.backend_objects));
        }
        helpers::with_the_last(&mut all);
        departures.iter_mut().zip(all).for_each(|(departure, own)| departure.backend_objects = own);
        Ok(departures)
    }

    fn departure(&mut self, gone: DetachedDevice<'_>) -> Result<Departure> {
        let DetachedDevice { device, backend_is_taken, .. } = gone;
        let was_kept = self.at(device) == At::InUse;
        self.enter(device, Some(Phase::Detached(None)), Cause::Left, String::new)?;
        let (operation, noted) = {
            let contents = self.contents();
            let journal = contents.journal();
            let open = journal.find(device.id.as_str()).map(|intent| intent.operation);
            (open, with_noted_nodes(device, journal).into_owned())
        };
        let fdsets = self.fdsets.behind(&noted);
        let teardown =
            reconcile::teardown(operation, backend_is_taken, self.phases.has_uncertain_fds(&device.id));
        let backend_objects = match teardown.backend {
            Backend::OfAnother => Vec::new(),
            Backend::Whole => plan::backend(&noted, &fdsets),
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
    /// The journal first: as long as it has a device, what is known of the device counts, such as which
    /// descriptors are uncertain.
    pub(super) async fn drop_devices(&mut self, committed: Committed, ended: &[Ended<'_>]) -> Result<()> {
        let mut from = Vec::with_capacity(ended.len());
        for Ended { device, cause, .. } in ended {
            from.push(self.at(device));
            self.check_change(device, (self.at(device), At::Absent), *cause)?;
        }
        for Ended { device, .. } in ended {
            self.free_given_tap(device).await;
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
            let rules = self.contents().record().slot_rules.clone();
            self.slots.pci.remember_freed(&rules);
            self.topology.remove(device.id.as_str());
        }
        self.fdsets.release_behind(device);
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

/// What is said of a device that has left.
fn text_of(cause: Cause) -> &'static str {
    match cause {
        Cause::TakenBack => "an interrupted add was taken back",
        Cause::Ejected => "the guest let go of the device unasked",
        _ => "the device is gone",
    }
}
