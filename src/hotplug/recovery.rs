//! Settles what an operation left unfinished, by what the guest really shows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::events::What;
use super::outcome::Waiting;
use super::plan::{self, Inverse};
use super::session::{Request, Session};
use super::transaction::{self, Leftover, Unwound};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::ids::DeviceId;
use crate::log::Level;
use crate::ordered;
use crate::runtime::{Device, DeviceKind, Intent, Verb};

/// How long a block node that is still in use is tried again: a device that left while nobody was connected is gone from
/// the bus before QEMU has let go of what stood behind it.
const IN_USE_PATIENCE: Duration = Duration::from_secs(1);
const IN_USE_PAUSE: Duration = Duration::from_millis(10);

/// Most ids whose late `DEVICE_DELETED` is looked out for.
const MAX_GHOSTS: usize = 64;

/// What is to be done about a device that has left.
struct Ending {
    /// What the journal says of it.
    verb: Option<Verb>,
    what: What,
    text: &'static str,
    /// What stood behind it.
    traces: Vec<Inverse>,
    /// Nobody knows which of the descriptors that were handed over for it QEMU has.
    doubtful: bool,
    /// The guest has had it.
    was_there: bool,
    /// QEMU has said that it is gone.
    seen: bool,
}

/// A removal that has come to its end.
pub(super) struct Finished {
    what: What,
    text: &'static str,
    /// What of the backend could not be taken down.
    pub(super) left: Vec<String>,
}

impl Session {
    /// Strikes what was done long ago. That the journal was removed is not synced, because nobody has to wait for that: after
    /// a power failure its last version may be there again.
    pub(super) fn strike_outdated(&mut self, present: &BTreeSet<String>) -> Result<()> {
        let is_outdated = |intent: &Intent| {
            let recorded = self.recorded(intent.device.id.as_str());
            let here = present.contains(intent.device.id.as_str());
            is_outdated(intent, recorded.as_ref(), here)
        };
        let intents = self.runtime().journal().intents.clone();
        let outdated: Vec<Intent> = intents.into_iter().filter(is_outdated).collect();
        for Intent { verb, device, .. } in outdated {
            self.log.write(Level::Info, || format!("{verb:?} of {} was done before", device.id));
            self.pending.remove(&device.id);
            self.runtime().write_journal(|journal| journal.strike(device.id.as_str()))?;
        }
        Ok(())
    }

    /// Finishes or undoes every unfinished operation; `present` are the ids of the guest's devices.
    pub(super) fn settle(&mut self, present: &BTreeSet<String>, deadline: &Deadline) -> Result<()> {
        self.undo_halves(present)?;
        let intents = self.unfinished(present)?;
        for intent in intents {
            let Intent { verb, device, .. } = &intent;
            let here = present.contains(device.id.as_str());
            self.log.write(Level::Info, || {
                format!(
                    "unfinished {verb:?} of {}: the guest {}",
                    device.id,
                    if here { "has it" } else { "does not have it" }
                )
            });
            match (verb, here) {
                (Verb::SetLink | Verb::Move, here) => self.settle_change(&intent, here, deadline)?,
                (Verb::Add, true) => self.complete_add(device)?,
                (Verb::UndoAdd | Verb::Remove, true) => self.ask_again(device, deadline)?,
                // Also one that was added: its record may have been written before things went wrong.
                (_, false) => self.finish_and_tell(device, deadline)?,
            }
        }
        Ok(())
    }

    /// The unfinished operations, those on controllers last. A controller that was to come with a disk is not wanted without
    /// it.
    fn unfinished(&self, present: &BTreeSet<String>) -> Result<Vec<Intent>> {
        let mut runtime = self.runtime();
        let mut intents = runtime.journal().intents.clone();
        let failed = |intent: &Intent| {
            intent.verb == Verb::UndoAdd
                || (intent.verb == Verb::Add && !present.contains(intent.device.id.as_str()))
        };
        let disks = intents.iter().filter(|intent| failed(intent));
        let unwanted = ordered::set(disks.filter_map(|intent| intent.device.controller().map(str::to_owned)));
        for intent in &mut intents {
            let id = intent.device.id.as_str();
            if intent.verb == Verb::Add && unwanted.contains(id) && runtime.record().find(id).is_none() {
                intent.verb = Verb::UndoAdd;
                // Once its disk is struck from the journal, nothing else tells.
                runtime.write_journal(|journal| journal.note(intent.verb, &intent.device))?;
            }
        }
        ordered::sort_by_key(&mut intents, |intent| intent.device.kind() == DeviceKind::Controller);
        Ok(intents)
    }

    /// Of an add of several devices that was interrupted, all have to be in the guest, or none is to stay. One that has been
    /// recorded was complete.
    fn undo_halves(&mut self, present: &BTreeSet<String>) -> Result<()> {
        let mut runtime = self.runtime();
        let adds = || runtime.journal().intents.iter().filter(|intent| intent.verb == Verb::Add);
        let lacks = |intent: &&Intent| {
            let id = intent.device.id.as_str();
            !present.contains(id) && runtime.record().find(id).is_none()
        };
        let halves = ordered::set(adds().filter(lacks).filter_map(|intent| intent.group));
        let is_half = |intent: &&Intent| intent.group.is_some_and(|group| halves.contains(&group));
        let undone: Vec<Device> = adds().filter(is_half).map(|intent| intent.device.clone()).collect();
        runtime.write_journal(|journal| undone.iter().for_each(|device| journal.note(Verb::UndoAdd, device)))
    }

    fn complete_add(&mut self, device: &Device) -> Result<()> {
        let mut runtime = self.runtime();
        if runtime.record().find(device.id.as_str()).is_none() {
            let mut next = runtime.record().clone();
            next.add(device.clone());
            runtime.replace(next)?;
        }
        runtime.write_journal(|journal| journal.strike(device.id.as_str()))?;
        drop(runtime);
        self.events.device(What::Added, device, "an interrupted add was completed");
        Ok(())
    }

    /// An agent that died may have asked or not; asking twice does no harm, not asking would.
    fn ask_again(&mut self, device: &Device, deadline: &Deadline) -> Result<()> {
        if self.pending.contains_key(&device.id) {
            return Ok(());
        }
        // Whatever is said of that id first may be about the one that had it before, which an agent that died took out.
        self.expect_late_word(device);
        if let Some(why) = self.deaf.filter(|_| device.leaves_by_consent()) {
            self.hold_request(device, why);
            self.events.device(What::Pending, device, format!("{why}, and will be asked later"));
            return Ok(());
        }
        if self.migrating {
            self.note_request(device, Waiting::Migrating);
            self.events.device(
                What::Pending,
                device,
                "the guest is being migrated and will be asked afterwards",
            );
            return Ok(());
        }
        self.let_first_moment_pass(deadline)?;
        let command = Inverse::Unplug(device.id.clone()).command();
        // QEMU may say that it is at it already; only a broken connection is a reason to stop.
        if let Some(error) =
            self.monitor()?.execute(&command, deadline).err().filter(|e| e.qmp_class().is_none())
        {
            return Err(error);
        }
        self.note_request(device, Waiting::NotAwaited);
        self.events.device(What::Pending, device, "the guest was asked to let go of the device");
        Ok(())
    }

    /// The guest was asked for the device: its place is quarantined until QEMU says it is gone.
    pub(super) fn note_request(&mut self, device: &Device, why: Waiting) {
        self.pending.insert(device.id.clone(), Request { at: Some(Instant::now()), why });
        self.places.quarantine(device);
    }

    /// The guest is not asked for the device now, but when it wakes up or is started.
    pub(super) fn hold_request(&mut self, device: &Device, why: Waiting) {
        self.note_request(device, why);
        if let Some(request) = self.pending.get_mut(&device.id) {
            request.at = None;
        }
    }

    /// Clears up behind a device that nobody is waiting for, and leaves word of it once nothing is left: whoever hears
    /// it may tear down its storage or tap.
    pub(super) fn finish_and_tell(&mut self, device: &Device, deadline: &Deadline) -> Result<()> {
        self.finish_and_tell_all(&[device], deadline)
    }

    pub(super) fn finish_and_tell_all(&mut self, devices: &[&Device], deadline: &Deadline) -> Result<()> {
        let finished = self.finish_removals(devices, deadline)?;
        for (device, finished) in
            devices.iter().zip(finished).filter(|(_, finished)| finished.left.is_empty())
        {
            self.events.device(finished.what, device, finished.text);
        }
        Ok(())
    }

    /// The devices have left the guest: takes down their backends, in one write, then takes them out of the record. What is
    /// left of a backend stays in the journal, and its slot in quarantine, for the next call to try again.
    ///
    /// Off the bus is not gone: until `DEVICE_DELETED`, which has not been seen if the device was only found missing,
    /// QEMU may still use what stands behind it. Then the removal goes on pending.
    pub(super) fn finish_removals(
        &mut self,
        devices: &[&Device],
        deadline: &Deadline,
    ) -> Result<Vec<Finished>> {
        let finished = self.take_down_and_forget(devices, deadline);
        self.delete_held_taps(devices);
        finished
    }

    fn take_down_and_forget(&mut self, devices: &[&Device], deadline: &Deadline) -> Result<Vec<Finished>> {
        let mut endings: Vec<Ending> = devices.iter().map(|device| self.ending(device)).collect();
        // Dying between here and the record must not lose that the backends are to go.
        self.runtime().write_journal(|journal| {
            let unasked =
                devices.iter().zip(&endings).filter(|(_, ending)| ending.what == What::RemovedByGuest);
            unasked.for_each(|(device, _)| journal.note(Verb::Remove, device));
        })?;
        let leftovers = self.take_down_backends(devices, &mut endings, deadline)?;
        let mut finished = Vec::with_capacity(devices.len());
        let mut gone: Vec<&Device> = Vec::new();
        let mut retired = Vec::new();
        let mut missed = Vec::new();
        let mut next = self.runtime().record().clone();
        for (device, ending) in devices.iter().zip(endings) {
            let own = || leftovers.iter().filter(|leftover| ending.traces.contains(&leftover.inverse));
            let left: Vec<String> = own().map(Leftover::to_string).collect();
            if !ending.seen && own().any(Leftover::is_in_use) {
                if ending.verb == Some(Verb::Add) && self.recorded(device.id.as_str()).is_none() {
                    // Whether it was there long enough to be called added no longer matters: it is on its way out.
                    self.runtime().write_journal(|journal| journal.note(Verb::UndoAdd, device))?;
                }
                self.note_request(device, Waiting::Deadline);
            } else {
                if !ending.seen {
                    self.expect_late_word(device);
                    missed.extend(ending.was_there.then_some(&device.id));
                }
                next.remove(&device.id);
                retired.push(device.generation);
                gone.extend(left.is_empty().then_some(*device));
            }
            finished.push(Finished { what: ending.what, text: ending.text, left });
        }
        let mut unheard = next.unheard.clone();
        unheard.extend(missed.into_iter().cloned());
        unheard.retain(|id| self.ghosts.contains(id));
        let changed = next != *self.runtime().record();
        if changed {
            next.unheard.clone_from(&unheard);
            self.runtime().replace(next)?;
        }
        if let Some(generation) = retired.into_iter().max() {
            self.retire(generation, &unheard);
        }
        self.forget_all(&gone)?;
        Ok(finished)
    }

    /// Takes down what stood behind the devices; what is left of it.
    fn take_down_backends(
        &mut self,
        devices: &[&Device],
        endings: &mut [Ending],
        deadline: &Deadline,
    ) -> Result<Vec<Leftover>> {
        for (device, _) in devices.iter().zip(&*endings).filter(|(_, ending)| ending.seen) {
            self.hold_tap(device);
        }
        let traces: Vec<Inverse> = endings.iter().flat_map(|ending| ending.traces.clone()).collect();
        let Unwound { mut left, absent } = self.take_down(&traces, deadline)?;
        for (device, ending) in devices.iter().zip(endings).filter(|(_, ending)| ending.doubtful) {
            ending.traces.extend(plan::passed(device, &self.fdsets.of(&device.id)));
            left.extend(self.take_back_passed(device, &absent, deadline)?);
        }
        Ok(left)
    }

    fn ending(&mut self, device: &Device) -> Ending {
        let was_asked_for = self.pending.remove(&device.id).is_some();
        let fdsets = self.fdsets.of(&device.id);
        let verb = self.runtime().journal().find(device.id.as_str()).map(|intent| intent.verb);
        let (what, text) = match verb {
            Some(Verb::Add | Verb::UndoAdd) => (What::Undone, "an interrupted add was taken back"),
            Some(Verb::Remove) => (What::Removed, "the device is gone"),
            None | Some(Verb::SetLink | Verb::Move) => {
                (What::RemovedByGuest, "the guest let go of the device unasked")
            }
        };
        let undone = what == What::Undone;
        let doubtful = undone && self.doubtful.contains(&device.id);
        let mut traces =
            if undone { plan::made(device, self.version) } else { plan::backend(device, &fdsets) };
        if undone && !doubtful {
            traces.extend(plan::passed(device, &fdsets));
        }
        // Of what is not recorded, whoever struck it from the record knew.
        let was_there = was_asked_for || self.recorded(device.id.as_str()).is_some();
        let seen = self.has_departed(&device.id);
        Ending { verb, what, text, traces, doubtful, was_there, seen }
    }

    /// `DEVICE_DELETED` comes within a second or has been missed: old ones are of no use.
    fn expect_late_word(&mut self, device: &Device) {
        self.ghosts.insert(device.id.clone());
        while self.ghosts.len() > MAX_GHOSTS {
            self.ghosts.pop_first();
        }
    }

    /// No other attachment gets the number, now that somebody may have been told of it. The next record that is written says
    /// so as well, if this one cannot be.
    fn retire(&self, generation: u64, unheard: &BTreeSet<DeviceId>) {
        if let Err(error) = self.runtime().retire(generation, unheard) {
            self.log.write(Level::Warning, || error.to_string());
        }
    }

    pub(super) fn take_down(&mut self, traces: &[Inverse], deadline: &Deadline) -> Result<Unwound> {
        // What has begun to be undone is undone to the end.
        let deadline = deadline.uncancelable();
        let patience = deadline.at_most(IN_USE_PATIENCE);
        let mut unwound = transaction::unwind(self.monitor()?, traces, &deadline)?;
        while unwound.left.iter().any(Leftover::is_in_use) && patience.pause(IN_USE_PAUSE).is_ok() {
            // What is absent now was there before.
            unwound.left = transaction::unwind(self.monitor()?, traces, &deadline)?.left;
        }
        for leftover in &unwound.left {
            self.log.write(Level::Error, || format!("left behind: {leftover}"));
        }
        Ok(unwound)
    }

    /// Neither guest nor record has the device any more.
    pub(super) fn forget(&mut self, device: &Device) -> Result<()> {
        self.forget_all(&[device])
    }

    pub(super) fn forget_all(&mut self, devices: &[&Device]) -> Result<()> {
        for device in devices {
            self.places.release(device);
            self.fdsets.release(&device.id);
            self.topology.remove(device.id.as_str());
            self.pending.remove(&device.id);
            self.missing.remove(&device.id);
            self.doubtful.remove(&device.id);
        }
        self.runtime().write_journal(|journal| {
            devices.iter().for_each(|device| journal.strike(device.id.as_str()));
        })
    }
}

/// Whether the operation is not what is unfinished about the device of this id.
fn is_outdated(Intent { verb, device, .. }: &Intent, recorded: Option<&Device>, here: bool) -> bool {
    match recorded {
        Some(recorded) => recorded.generation != device.generation,
        // It was completed; the device of that id is another one, and not ours.
        None => *verb == Verb::Remove && here,
    }
}
