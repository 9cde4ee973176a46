//! Settles what an operation left unfinished, by what the guest really shows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::device_reports::Confirmed;
use super::events::EventKind;
use super::identity::{DetachedDevice, Shown};
use super::inventory::PeripheralIds;
use super::limit::Deadline;
use super::outcome::PendingReason;
use super::plan::{self, UndoStep};
use super::session::{Session, UnplugRequest};
use super::transaction::{Residue, RollbackReport};
use crate::error::Result;
use crate::ids::DeviceId;
use crate::log::Level;
use crate::model::{Device, DeviceKind, Intent, Operation};
use crate::ordered;

/// How long a block node that is still in use is tried again: a device that left while nobody was connected is gone from
/// the bus before QEMU has let go of what stood behind it.
const IN_USE_PATIENCE: Duration = Duration::from_secs(1);
const IN_USE_PAUSE: Duration = Duration::from_millis(10);

/// What the guest shows under the ids of the devices with unfinished operations.
type ShownById = BTreeMap<DeviceId, Shown>;

fn of(shows: &ShownById, device: &Device) -> Shown {
    shows.get(&device.id).copied().unwrap_or(Shown::Nothing)
}

/// What is to be done about a device that has left.
struct Teardown {
    /// What the journal says of it.
    operation: Option<Operation>,
    what: EventKind,
    text: &'static str,
    /// What stood behind it.
    backend_objects: Vec<UndoStep>,
    /// Nobody knows which of the descriptors that were handed over for it QEMU has.
    fds_uncertain: bool,
    /// What stood behind it belongs to another device by now.
    taken: bool,
    /// QEMU has said that it is gone.
    seen: bool,
}

/// A removal that has come to its end.
pub(super) struct TeardownReport {
    what: EventKind,
    text: &'static str,
    /// What of the backend could not be taken down.
    pub(super) left: Vec<String>,
}

impl Session {
    /// What the guest shows under the ids of the devices with unfinished operations.
    pub(super) async fn identify_journalled(
        &mut self,
        peripheral_ids: &PeripheralIds,
        deadline: &Deadline,
    ) -> Result<ShownById> {
        let intents = self.runtime().journal().intents.clone();
        let devices: Vec<&Device> = intents.iter().map(|intent| &intent.device).collect();
        let shown = self.identify(&devices, peripheral_ids, deadline).await?;
        Ok(ordered::map(devices.into_iter().map(|device| device.id.clone()).zip(shown)))
    }

    /// Strikes what was done long ago. That the journal was removed is not synced, because nobody has to wait for that: after
    /// a power failure its last version may be there again.
    pub(super) fn clear_outdated_intents(&mut self, shown: &ShownById) -> Result<()> {
        let is_outdated = |intent: &Intent| {
            let recorded = self.recorded(intent.device.id.as_str());
            is_outdated(intent, recorded.as_ref(), of(shown, &intent.device))
        };
        let intents = self.runtime().journal().intents.clone();
        let outdated: Vec<Intent> = intents.into_iter().filter(is_outdated).collect();
        for Intent { operation, device, .. } in outdated {
            self.log.write(Level::Info, || format!("{operation:?} of {} was done before", device.id));
            self.unplugging.remove(&device.id);
            self.runtime().write_journal(|journal| journal.clear_intent(device.id.as_str()))?;
        }
        Ok(())
    }

    /// Finishes or undoes every unfinished operation, by what the guest shows under the ids of their devices.
    pub(super) async fn reconcile(&mut self, shown: &ShownById, deadline: &Deadline) -> Result<()> {
        self.roll_back_partial_adds(shown)?;
        let intents = self.unfinished(shown)?;
        let arrived = intents.iter().filter(|intent| intent.operation == Operation::Add);
        let arrived: Vec<&Device> =
            arrived.map(|intent| &intent.device).filter(|device| of(shown, device).is_itself()).collect();
        self.complete_adds(&arrived, deadline).await?;
        for intent in &intents {
            let Intent { operation, device, .. } = intent;
            let shown = of(shown, device);
            self.log.write(Level::Info, || {
                format!("unfinished {operation:?} of {}: the guest shows {shown:?}", device.id)
            });
            match (operation, shown.gone(device)) {
                (Operation::SetLink | Operation::Move, gone) => {
                    self.reconcile_change(intent, gone.is_none(), deadline).await?;
                }
                (Operation::Add, None) => {}
                (Operation::RollbackAdd | Operation::Remove, None) => {
                    self.resume_removal(device, deadline).await?
                }
                // Also one that was added: its record may have been written before things went wrong.
                (_, Some(gone)) => self.finish_and_notify(gone, deadline).await?,
            }
        }
        Ok(())
    }

    /// The unfinished operations, those on controllers last. A controller that was to come with a disk is not wanted without
    /// it.
    fn unfinished(&self, shown: &ShownById) -> Result<Vec<Intent>> {
        let mut runtime = self.runtime();
        let mut intents = runtime.journal().intents.clone();
        let failed = |intent: &Intent| {
            intent.operation == Operation::RollbackAdd
                || (intent.operation == Operation::Add && !of(shown, &intent.device).is_itself())
        };
        let disks = intents.iter().filter(|intent| failed(intent));
        let unwanted = ordered::set(disks.filter_map(|intent| intent.device.controller().map(str::to_owned)));
        for intent in &mut intents {
            let id = intent.device.id.as_str();
            if intent.operation == Operation::Add
                && unwanted.contains(id)
                && runtime.record().find(id).is_none()
            {
                intent.operation = Operation::RollbackAdd;
                // Once its disk is removed from the journal, nothing else tells.
                runtime.write_journal(|journal| journal.log_intent(intent.operation, &intent.device))?;
            }
        }
        ordered::sort_by_key(&mut intents, |intent| intent.device.kind() == DeviceKind::Controller);
        Ok(intents)
    }

    /// Of an add of several devices that was interrupted, all have to be in the guest, or none is to stay. One that has been
    /// recorded was complete.
    fn roll_back_partial_adds(&mut self, shown: &ShownById) -> Result<()> {
        let mut runtime = self.runtime();
        let adds = || runtime.journal().intents.iter().filter(|intent| intent.operation == Operation::Add);
        let lacks = |intent: &&Intent| {
            let id = intent.device.id.as_str();
            !of(shown, &intent.device).is_itself() && runtime.record().find(id).is_none()
        };
        let halves = ordered::set(adds().filter(lacks).filter_map(|intent| intent.batch));
        let is_half = |intent: &&Intent| intent.batch.is_some_and(|group| halves.contains(&group));
        let undone: Vec<Device> = adds().filter(is_half).map(|intent| intent.device.clone()).collect();
        runtime.write_journal(|journal| {
            undone.iter().for_each(|device| journal.log_intent(Operation::RollbackAdd, device))
        })
    }

    /// Records devices of interrupted adds that are in the guest. Somebody else may take one out meanwhile: only what is there
    /// after it was recorded is complete, since from then on the word that it is gone finds it in the record.
    async fn complete_adds(&mut self, devices: &[&Device], deadline: &Deadline) -> Result<()> {
        if devices.is_empty() {
            return Ok(());
        }
        let mut next = self.runtime().record().clone();
        let lacks = devices.iter().filter(|device| self.recorded(device.id.as_str()).is_none());
        lacks.for_each(|device| next.add((*device).clone()));
        if next != *self.runtime().record() {
            self.runtime().replace(next)?;
        }
        let mut left = Vec::new();
        for (device, confirmed) in devices.iter().zip(self.confirm_in_qom(devices, deadline).await?) {
            if let Confirmed::Detached(gone) = confirmed {
                left.push(gone);
                continue;
            }
            self.runtime().write_journal(|journal| journal.clear_intent(device.id.as_str()))?;
            self.events.device(EventKind::Added, device, "an interrupted add was completed");
        }
        if left.is_empty() { Ok(()) } else { self.finish_and_notify_all(&left, deadline).await }
    }

    /// An agent that died may have asked or not; asking twice does no harm, not asking would.
    async fn resume_removal(&mut self, device: &Device, deadline: &Deadline) -> Result<()> {
        if self.unplugging.contains_key(&device.id) {
            return Ok(());
        }
        if let Some(why) = self.unplug_blocked.filter(|_| device.leaves_by_consent()) {
            self.defer_unplug(device, why);
            self.events.device(EventKind::Pending, device, format!("{why}, and will be asked later"));
            return Ok(());
        }
        if self.migrating {
            self.mark_unplugging(device, PendingReason::Migrating);
            self.events.device(
                EventKind::Pending,
                device,
                "the guest is being migrated and will be asked afterwards",
            );
            return Ok(());
        }
        self.wait_for_guest_clock(deadline).await?;
        let command = UndoStep::Unplug(device.id.clone()).command();
        // QEMU may say that it is at it already; only a broken connection is a reason to stop.
        if let Some(error) = self.execute(command, deadline).await.err().filter(|e| e.qmp_class().is_none()) {
            return Err(error);
        }
        self.mark_unplugging(device, PendingReason::NotAwaited);
        self.events.device(EventKind::Pending, device, "the guest was asked to let go of the device");
        Ok(())
    }

    /// The guest was asked for the device: its place is quarantined until QEMU says it is gone.
    pub(super) fn mark_unplugging(&mut self, device: &Device, why: PendingReason) {
        self.unplug_refused.remove(&device.id);
        self.unplugging.insert(device.id.clone(), UnplugRequest { at: Some(Instant::now()), why });
        self.slots.quarantine(device);
    }

    /// The guest is not asked for the device now, but when it wakes up or is started.
    pub(super) fn defer_unplug(&mut self, device: &Device, why: PendingReason) {
        self.mark_unplugging(device, why);
        if let Some(request) = self.unplugging.get_mut(&device.id) {
            request.at = None;
        }
    }

    /// Clears up behind a device that nobody is waiting for, and leaves word of it once nothing is left: whoever hears
    /// it may tear down its storage or tap.
    pub(super) async fn finish_and_notify(
        &mut self,
        gone: DetachedDevice<'_>,
        deadline: &Deadline,
    ) -> Result<()> {
        self.finish_and_notify_all(&[gone], deadline).await
    }

    pub(super) async fn finish_and_notify_all(
        &mut self,
        gone: &[DetachedDevice<'_>],
        deadline: &Deadline,
    ) -> Result<()> {
        let were_kept: Vec<bool> = gone.iter().map(|gone| self.why_kept(gone.device).is_some()).collect();
        let finished = self.finish_removals(gone, deadline).await?;
        for ((DetachedDevice { device, .. }, finished), was_kept) in gone.iter().zip(finished).zip(were_kept)
        {
            match self.why_kept(device) {
                // Whoever waits for it is answered.
                _ if self.awaited.contains_key(&device.id) => {}
                _ if finished.left.is_empty() => self.events.device(finished.what, device, finished.text),
                Some(why) if !was_kept => self.events.device(EventKind::Pending, device, why.to_string()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The devices have left the guest: takes down their backends, in one write, then takes them out of the record. What is
    /// left of a backend stays in the journal, and its slot in quarantine, for the next call to try again.
    ///
    /// Off the bus is not gone: until `DEVICE_DELETED`, which has not been seen if the device was only found missing,
    /// QEMU may still use what stands behind it. Then the removal goes on pending.
    pub(super) async fn finish_removals(
        &mut self,
        gone: &[DetachedDevice<'_>],
        deadline: &Deadline,
    ) -> Result<Vec<TeardownReport>> {
        let finished = self.tear_down_and_drop(gone, deadline).await;
        self.delete_taps_kept_open(&gone.iter().map(|gone| gone.device).collect::<Vec<_>>());
        finished
    }

    async fn tear_down_and_drop(
        &mut self,
        gone: &[DetachedDevice<'_>],
        deadline: &Deadline,
    ) -> Result<Vec<TeardownReport>> {
        let mut teardowns: Vec<Teardown> = gone.iter().map(|gone| self.teardown(*gone)).collect();
        let devices: Vec<&Device> = gone.iter().map(|gone| gone.device).collect();
        // Dying between here and the record must not lose that the backends are to go.
        self.runtime().write_journal(|journal| {
            let unasked = devices
                .iter()
                .zip(&teardowns)
                .filter(|(_, teardown)| teardown.what == EventKind::RemovedByGuest);
            unasked.for_each(|(device, _)| journal.log_intent(Operation::Remove, device));
        })?;
        let residues = self.tear_down_backends(&devices, &mut teardowns, deadline).await?;
        let mut finished = Vec::with_capacity(devices.len());
        let mut unplugged: Vec<&Device> = Vec::new();
        let mut retired = Vec::new();
        let mut next = self.runtime().record().clone();
        for (device, teardown) in devices.iter().zip(teardowns) {
            let own =
                || residues.iter().filter(|residue| teardown.backend_objects.contains(&residue.undo_step));
            let left: Vec<String> = own().map(Residue::to_string).collect();
            if let Some(residue) = own().find(|residue| residue.is_in_use()) {
                if teardown.operation == Some(Operation::Add) && self.recorded(device.id.as_str()).is_none() {
                    // Whether it was there long enough to be called added no longer matters: it is on its way out.
                    self.runtime()
                        .write_journal(|journal| journal.log_intent(Operation::RollbackAdd, device))?;
                }
                self.mark_unplugging(device, residue.why_kept());
            } else {
                next.remove(&device.id);
                retired.push(device.generation);
                unplugged.extend(left.is_empty().then_some(*device));
            }
            finished.push(TeardownReport { what: teardown.what, text: teardown.text, left });
        }
        if next != *self.runtime().record() {
            self.runtime().replace(next)?;
        }
        if let Some(generation) = retired.into_iter().max() {
            // No other attachment gets the number, now that somebody may have been told of it. Until that is written, the
            // journal keeps it.
            self.runtime().retire(generation)?;
        }
        let (replaced, forgotten): (Vec<&Device>, Vec<&Device>) = unplugged
            .into_iter()
            .partition(|device| gone.iter().any(|g| g.is_replaced && g.device == *device));
        self.yield_to_others(&replaced)?;
        self.drop_devices(&forgotten)?;
        Ok(finished)
    }

    /// Takes down what stood behind the devices; what is left of it.
    async fn tear_down_backends(
        &mut self,
        devices: &[&Device],
        teardowns: &mut [Teardown],
        deadline: &Deadline,
    ) -> Result<Vec<Residue>> {
        for (device, _) in
            devices.iter().zip(&*teardowns).filter(|(_, teardown)| teardown.seen && !teardown.taken)
        {
            self.keep_tap_open(device);
        }
        let backend_objects: Vec<UndoStep> =
            teardowns.iter().flat_map(|teardown| teardown.backend_objects.clone()).collect();
        let RollbackReport { mut left, absent } = self.tear_down(&backend_objects, deadline).await?;
        self.tap_cache = None;
        for (device, teardown) in devices.iter().zip(teardowns).filter(|(_, teardown)| teardown.fds_uncertain)
        {
            teardown.backend_objects.extend(plan::passed_fds(device, &self.fdsets.of(&device.id)));
            left.extend(self.recover_passed_fds(device, &absent, deadline).await?);
        }
        self.tap_cache = None;
        Ok(left)
    }

    fn teardown(&mut self, gone: DetachedDevice<'_>) -> Teardown {
        let DetachedDevice { device, backend_is_taken: taken, .. } = gone;
        self.unplugging.remove(&device.id);
        let fdsets = self.fdsets.of(&device.id);
        let operation = self.runtime().journal().find(device.id.as_str()).map(|intent| intent.operation);
        let (what, text) = match operation {
            Some(Operation::Add | Operation::RollbackAdd) => {
                (EventKind::Undone, "an interrupted add was taken back")
            }
            Some(Operation::Remove) => (EventKind::Removed, "the device is gone"),
            None | Some(Operation::SetLink | Operation::Move) => {
                (EventKind::RemovedByGuest, "the guest let go of the device unasked")
            }
        };
        let undone = what == EventKind::Undone;
        let fds_uncertain = undone && !taken && self.fds_uncertain.contains(&device.id);
        let mut backend_objects = match undone {
            _ if taken => Vec::new(),
            true => plan::possible_backend(device, self.version),
            false => plan::backend(device, &fdsets),
        };
        if undone && !fds_uncertain && !taken {
            backend_objects.extend(plan::passed_fds(device, &fdsets));
        }
        let seen = self.is_reported_deleted(&device.id);
        Teardown { operation, what, text, backend_objects, fds_uncertain, taken, seen }
    }

    pub(super) async fn tear_down(
        &mut self,
        backend_objects: &[UndoStep],
        deadline: &Deadline,
    ) -> Result<RollbackReport> {
        // What has begun to be undone is undone to the end.
        let deadline = deadline.uncancelable();
        let patience = deadline.at_most(self.now(), IN_USE_PATIENCE);
        let mut report = self.roll_back(backend_objects, &deadline).await?;
        self.name_holders(&mut report.left, &deadline).await?;
        // What an export or a job uses does not become free by waiting.
        while report.left.iter().any(Residue::is_only_late)
            && self.pause(IN_USE_PAUSE, &patience).await.is_ok()
        {
            // What is absent now was there before.
            report.left = self.roll_back(backend_objects, &deadline).await?.left;
            self.name_holders(&mut report.left, &deadline).await?;
        }
        for residue in &report.left {
            self.log.write(Level::Error, || format!("left behind: {residue}"));
        }
        Ok(report)
    }

    /// Other devices have their ids by now, and perhaps their places.
    fn yield_to_others(&mut self, devices: &[&Device]) -> Result<()> {
        for device in devices {
            self.slots.end_quarantine(*device);
            self.forget_state(device);
        }
        self.runtime().write_journal(|journal| journal.clear_intents(devices.iter().copied()))
    }

    fn forget_state(&mut self, device: &Device) {
        self.fdsets.release(&device.id);
        self.unplugging.remove(&device.id);
        self.absent_in_guest.remove(&device.id);
        self.unplug_refused.remove(&device.id);
        self.fds_uncertain.remove(&device.id);
    }

    /// Neither guest nor record has the device any more.
    pub(super) fn drop_device(&mut self, device: &Device) -> Result<()> {
        self.drop_devices(&[device])
    }

    pub(super) fn drop_devices(&mut self, devices: &[&Device]) -> Result<()> {
        for device in devices {
            self.slots.release(*device);
            self.topology.remove(device.id.as_str());
            self.forget_state(device);
        }
        self.runtime().write_journal(|journal| journal.clear_intents(devices.iter().copied()))
    }
}

/// Whether the operation is not what is unfinished about the device of this id.
fn is_outdated(Intent { operation, device, .. }: &Intent, recorded: Option<&Device>, shown: Shown) -> bool {
    match recorded {
        Some(recorded) => recorded.generation != device.generation,
        // It was completed; the device of that id is another one, and not ours.
        None => *operation == Operation::Remove && matches!(shown, Shown::Another { .. }),
    }
}
