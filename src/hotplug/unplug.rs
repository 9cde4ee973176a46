//! Removal: asking the guest, waiting for `DEVICE_DELETED` of that very device, and only then the rest.

use std::time::Duration;

use super::outcome::{AfterReboot, Outcome, Waiting};
use super::plan::Inverse;
use super::session::Session;
use super::survey;
use super::transaction::{MIGRATING, is_absence};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::log::Level;
use crate::pci::Topology;
use crate::qmp::Command;
use crate::runtime::{Device, DeviceKind, Presence, Verb};

/// Pause before asking a guest again that is busy with an earlier plug or unplug.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// Pause before a lost connection is made again in the middle of a wait.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// Most time kept back from waiting, for the question why nothing came.
const LAST_WORD: Duration = Duration::from_millis(100);

/// A removal as the caller asks for it.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Id of the device.
    pub id: String,
    /// What it has to be, if the caller said so.
    pub kind: Option<DeviceKind>,
    /// Live or not at all: what would wait for a reboot is an error.
    pub live_only: bool,
    /// Wait for the guest; without, a granted removal is announced by an event.
    pub wait: bool,
}

impl Removal {
    /// Refuses a device that is not what the caller said.
    pub(super) fn check_kind(&self, device: &Device) -> Result<()> {
        match self.kind.filter(|kind| *kind != device.kind()) {
            None => Ok(()),
            Some(kind) => {
                let text = format!("{} is a {}, not a {}", device.id, device.kind().title(), kind.title());
                Err(Error::invalid(text))
            }
        }
    }
}

/// What a removal comes to.
pub(super) enum Judged {
    /// Nothing is to be done.
    Answer(Outcome),
    /// The device is only in the record.
    DropFromRecord(Device),
    /// It stays until the next boot.
    AfterReboot(Device, AfterReboot),
    /// The guest is to be asked.
    Ask(Device),
}

/// What QEMU said to `device_del`.
enum Asked {
    /// The guest has been asked, or had been before; this is its run state.
    Waiting(Option<Waiting>),
    /// The device is not in the guest.
    Absent,
    /// The guest is busy with an earlier change; ask again later.
    Busy(Error),
    /// It will not do.
    No(Error),
}

impl Session {
    /// Takes a device out of the guest, or out of the record if it only is there.
    pub(super) fn unplug(&mut self, removal: &Removal, deadline: &Deadline) -> Result<Outcome> {
        match self.judge(removal, deadline)? {
            Judged::Answer(outcome) => Ok(outcome),
            Judged::DropFromRecord(device) => self.drop_from_record(device),
            Judged::AfterReboot(device, why) => self.remove_after_reboot(device, why),
            Judged::Ask(device) => self.ask_and_wait(&device, removal.wait, deadline),
        }
    }

    /// What the removal comes to, without doing anything.
    pub(super) fn judge(&mut self, removal: &Removal, deadline: &Deadline) -> Result<Judged> {
        self.ready(deadline)?;
        let Some(device) = self.known_device(&removal.id) else {
            return self.unknown(&removal.id).map(Judged::Answer);
        };
        removal.check_kind(&device)?;
        self.check_unused(&device)?;
        if device.presence == Presence::AddAfterReboot {
            return Ok(Judged::DropFromRecord(device));
        }
        let too_old = matches!(self.obstacle(&device.spec), Some(AfterReboot::QemuTooOld(_)));
        if too_old || device.address.is_none() || device.presence == Presence::RemoveAfterReboot {
            let why = self.obstacle(&device.spec).unwrap_or(AfterReboot::NoAddress);
            if removal.live_only {
                let text = format!("{} cannot be removed from the running guest: {why}", device.id);
                return Err(Error::new(ErrorKind::NotHotpluggable, text));
            }
            return Ok(Judged::AfterReboot(Device { presence: Presence::RemoveAfterReboot, ..device }, why));
        }
        if let Some(located) = self.topology.find(device.id.as_str()) {
            located.check_removable()?;
        }
        Ok(Judged::Ask(device))
    }

    /// With a controller QEMU would take its disks out, whoever uses them.
    fn check_unused(&self, device: &Device) -> Result<()> {
        if device.kind() != DeviceKind::Controller {
            return Ok(());
        }
        let on_it =
            self.places.scsi.claims().filter(|(place, _)| place.controller() == Some(device.id.as_str()));
        let disks: Vec<String> =
            on_it.map(|(place, claim)| format!("{} at target {}", claim.label(), place.target)).collect();
        if disks.is_empty() {
            return Ok(());
        }
        let text =
            format!("{} has disks on it, which are to be removed first: {}", device.id, disks.join(", "));
        Err(Error::new(ErrorKind::Conflict, text).with_errno(libc::EBUSY))
    }

    /// A source that has been left, and a target that waits, take `device_add` and `device_del` without a word (QEMU 5.2 to
    /// 11.1); while a migration runs, QEMU itself refuses both.
    pub(super) fn refuse_while_migrating(&mut self, deadline: &Deadline) -> Result<()> {
        match self.run_state(deadline)? {
            Some(Waiting::Migrating) => Err(migrating()),
            _ => Ok(()),
        }
    }

    /// Not ours: either nobody's, or somebody else's and left alone.
    fn unknown(&mut self, id: &str) -> Result<Outcome> {
        let on_scsi = self.places.scsi.claims().any(|(_, claim)| claim.id.as_deref() == Some(id));
        match on_scsi || self.topology.find(id).is_some() {
            false => Ok(Outcome::Absent),
            true => Err(Error::new(
                ErrorKind::Foreign,
                format!(
                    "{id} is in the guest, but not in its record: it was not made by this library and is left alone"
                ),
            )),
        }
    }

    fn drop_from_record(&mut self, device: Device) -> Result<Outcome> {
        let mut next = self.runtime().record().clone();
        next.remove(&device.id);
        self.runtime().replace(next)?;
        self.forget(&device)?;
        Ok(Outcome::Done(device))
    }

    fn remove_after_reboot(&mut self, device: Device, why: AfterReboot) -> Result<Outcome> {
        let mut next = self.runtime().record().clone();
        if let Some(entry) = next.devices.iter_mut().find(|entry| entry.id == device.id) {
            entry.presence = device.presence;
        }
        if next != *self.runtime().record() {
            self.runtime().replace(next)?;
        }
        Ok(Outcome::AfterReboot(device, why))
    }

    /// Asks unless the guest is being asked already, then waits for its answer.
    pub(super) fn ask_and_wait(
        &mut self,
        device: &Device,
        wait: bool,
        deadline: &Deadline,
    ) -> Result<Outcome> {
        match self.ask_until_heard(device, deadline)? {
            Asked::Absent => return self.gone(device, deadline),
            Asked::No(error) | Asked::Busy(error) => return Err(error),
            Asked::Waiting(Some(why)) => {
                self.absorb();
                if !self.has_departed(&device.id) {
                    return Ok(self.still_pending(device, why));
                }
            }
            Asked::Waiting(None) => {}
        }
        if !wait {
            self.absorb();
            if !self.has_departed(&device.id) {
                return Ok(self.still_pending(device, Waiting::NotAwaited));
            }
        }
        self.await_departure(device, deadline)
    }

    fn still_pending(&mut self, device: &Device, why: Waiting) -> Outcome {
        if let Some(request) = self.pending.get_mut(&device.id) {
            request.why = why;
        }
        Outcome::Pending(device.clone(), why)
    }

    fn gone(&mut self, device: &Device, deadline: &Deadline) -> Result<Outcome> {
        let left = match self.finish_removal(device, deadline) {
            Ok(finished) => finished.left,
            Err(error) => return self.gone_but_for(device, error, deadline),
        };
        if left.is_empty() {
            return Ok(Outcome::Done(device.clone()));
        }
        let text = format!("{} is gone from the guest, but what stood behind it is not", device.id);
        Err(Error::new(ErrorKind::Qmp, text).with_undo(left))
    }

    /// Clearing up behind a device broke off. Nobody knows how far it came; after a lost connection a new one tells.
    fn gone_but_for(&mut self, device: &Device, error: Error, deadline: &Deadline) -> Result<Outcome> {
        let unheard = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled);
        if !unheard && self.ready(deadline).is_ok() && self.known_device(device.id.as_str()).is_none() {
            return Ok(Outcome::Done(device.clone()));
        }
        let left = format!("what stood behind device {}: unknown, settled by the next call", device.id);
        Err(error.context(format!("{} is gone from the guest", device.id)).with_undo(vec![left]))
    }

    /// Asks until the guest is no longer busy with something else.
    fn ask_until_heard(&mut self, device: &Device, deadline: &Deadline) -> Result<Asked> {
        let was_pending = self.pending.contains_key(&device.id);
        loop {
            match self.ask(device, deadline)? {
                // What the guest has been asked for before goes on being pending.
                Asked::No(error) if was_pending && error.kind() == ErrorKind::Migrating => {
                    self.note_request(device, Waiting::Migrating);
                    return Ok(Asked::Waiting(Some(Waiting::Migrating)));
                }
                Asked::Busy(error) => {
                    let waited = deadline.pause(BUSY_PAUSE.min(deadline.left()));
                    if let Err(ended) = waited.and_then(|()| deadline.check()) {
                        self.forget_request(device);
                        return match ended.kind() {
                            ErrorKind::Timeout => Ok(Asked::Busy(error)),
                            _ => Err(ended),
                        };
                    }
                }
                Asked::No(error) => {
                    self.forget_request(device);
                    return Ok(Asked::No(error));
                }
                heard => return Ok(heard),
            }
        }
    }

    fn ask(&mut self, device: &Device, deadline: &Deadline) -> Result<Asked> {
        let due = self.pending.get(&device.id).is_none_or(|request| request.is_due(self.asleep));
        if due && !self.is_leaving(device) {
            self.runtime().write_journal(|journal| journal.note(Verb::Remove, device))?;
        }
        let state = match self.run_state(deadline) {
            // QEMU does without a guest that does nothing.
            Ok(state) => state.filter(|_| device.leaves_by_consent()),
            Err(error) => return self.unheard(device, error, deadline),
        };
        if !due {
            return Ok(Asked::Waiting(state));
        }
        if self.migrating {
            return Ok(Asked::No(migrating()));
        }
        if self.asleep && device.leaves_by_consent() {
            self.hold_request(device);
            return Ok(Asked::Waiting(Some(Waiting::Asleep)));
        }
        let removal = Inverse::Unplug(device.id.clone()).command();
        let mut batch = self.monitor()?.run(&[removal], deadline);
        if let Some(error) = batch.failure {
            return self.unheard(device, error.with_step(format!("device_del {}", device.id)), deadline);
        }
        let asked = match batch.replies.pop().flatten() {
            Some(Err(error)) => sort_refusal(device, error),
            _ => Asked::Waiting(state),
        };
        if matches!(asked, Asked::Waiting(_)) {
            self.note_request(device, Waiting::Deadline);
        }
        Ok(asked)
    }

    /// Whether the journal has the device on its way out.
    fn is_leaving(&self, device: &Device) -> bool {
        let runtime = self.runtime();
        let intent = runtime.journal().find(device.id.as_str());
        intent.is_some_and(|intent| !matches!(intent.verb, Verb::SetLink | Verb::Move))
    }

    /// What the guest is doing, before it is asked for anything: one that sleeps is not asked. A guest that is known to run
    /// is not bothered with the question.
    fn run_state(&mut self, deadline: &Deadline) -> Result<Option<Waiting>> {
        self.absorb();
        if self.running {
            return Ok(None);
        }
        let state = self.monitor()?.execute(&Command::with("query-status", &[]), deadline)?;
        let state = Waiting::of_status(&state);
        self.note_state(state);
        // Some of what came meanwhile may be newer than the answer.
        self.absorb();
        Ok(state)
    }

    /// Repeats the requests that have been waiting for long: a guest that was booting did not hear them.
    pub(super) fn ask_again_where_due(&mut self, deadline: &Deadline) -> Result<()> {
        let due = self.pending.iter().filter(|(_, request)| request.is_due(self.asleep));
        let due: Vec<Device> = due.filter_map(|(id, _)| self.known_device(id.as_str())).collect();
        for device in due {
            match self.ask(&device, deadline)? {
                Asked::Absent => self.finish_and_tell(&device, deadline)?,
                Asked::Waiting(_) => {}
                // It is still asked for, and will be again.
                Asked::Busy(error) | Asked::No(error) => self.log.write(Level::Info, || error.to_string()),
            }
        }
        Ok(())
    }

    /// The reply to `device_del` is lost: the guest may or may not have been asked, so it is looked at.
    fn unheard(&mut self, device: &Device, error: Error, deadline: &Deadline) -> Result<Asked> {
        let unknown = vec![format!("device {}: its removal may have been asked for", device.id)];
        if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled) {
            return Err(error.with_undo(unknown));
        }
        match self.ready(deadline) {
            Ok(()) if self.known_device(device.id.as_str()).is_none() => Ok(Asked::Absent),
            Ok(()) => Ok(Asked::Waiting(None)),
            Err(_) => Err(error.with_undo(unknown)),
        }
    }

    fn await_departure(&mut self, device: &Device, deadline: &Deadline) -> Result<Outcome> {
        let last_word = LAST_WORD.min(deadline.left() / 8);
        let patience = deadline.earlier_by(last_word);
        loop {
            self.absorb();
            if self.has_departed(&device.id) && self.is_really_gone(&device.id, deadline)? {
                let answer = self.gone(device, deadline);
                self.set_departed_aside(device.id.as_str());
                return answer;
            }
            if self.known_device(device.id.as_str()).is_none() {
                return Ok(Outcome::Done(device.clone()));
            }
            let Some(request) = self.pending.get(&device.id) else {
                return Err(refused(device));
            };
            let step = patience.at_most(request.until_due(self.asleep));
            let waited = self.monitor().and_then(|monitor| monitor.wait_event(&step));
            let Err(error) = waited else { continue };
            match error.kind() {
                ErrorKind::Timeout if patience.left().is_zero() => {
                    let why = self.why_not(device, deadline);
                    return Ok(self.still_pending(device, why));
                }
                ErrorKind::Timeout => match self.ask_until_heard(device, deadline)? {
                    Asked::Absent => return self.gone(device, deadline),
                    Asked::No(error) | Asked::Busy(error) => return Err(error),
                    Asked::Waiting(_) => {}
                },
                ErrorKind::Canceled => {
                    self.still_pending(device, Waiting::NotAwaited);
                    return Err(
                        error.with_undo(vec![format!("device {}: its removal is pending", device.id)])
                    );
                }
                _ => self.reconnect_waiting(device, error, deadline)?,
            }
        }
    }

    fn reconnect_waiting(&mut self, device: &Device, error: Error, deadline: &Deadline) -> Result<()> {
        // A monitor that drops its clients at once is not tried as fast as the machine can.
        deadline.pause(RECONNECT_PAUSE).and_then(|()| self.ready(deadline)).map_err(|_| {
            error.with_undo(vec![format!(
                "device {}: its removal is pending, the guest cannot be asked",
                device.id
            )])
        })
    }

    /// Nothing came: what the guest shows says why.
    fn why_not(&mut self, device: &Device, deadline: &Deadline) -> Waiting {
        let questions = [Command::with("query-status", &[]), Command::with("query-pci", &[])];
        let deadline = deadline.uncancelable();
        let answers = self.monitor().and_then(|monitor| survey::ask(monitor, questions, &deadline));
        let Ok([state, pci]) = answers else { return Waiting::Deadline };
        let configured = Topology::from_query_pci(&pci).ok().and_then(|topology| {
            topology.find(device.id.as_str()).map(|located| located.occupant.configured)
        });
        match (Waiting::of_status(&state), configured) {
            (Some(why), _) => why,
            (None, Some(false)) => Waiting::NotBooted,
            (None, _) => Waiting::Deadline,
        }
    }
}

fn migrating() -> Error {
    Error::new(ErrorKind::Migrating, "the guest is being migrated; try again where it runs afterwards")
}

fn refused(device: &Device) -> Error {
    Error::new(
        ErrorKind::GuestRefused,
        format!("the guest refused to let go of {}: it may be in use there; the device stays", device.id),
    )
}

/// QEMU has no classes for these; the texts are those of QEMU 5.2 to 11.1.
fn sort_refusal(device: &Device, error: Error) -> Asked {
    let text = error.qmp_desc().unwrap_or_default().to_owned();
    let says = |part: &str| text.contains(part);
    let step = format!("device_del {}", device.id);
    if is_absence(&error) {
        Asked::Absent
    } else if says("in the process of unplug") {
        Asked::Waiting(None)
    } else if says("guest is busy") || says("power indicator") {
        let what = format!("the guest was busy with an earlier plug or unplug until the deadline: {text}");
        Asked::Busy(Error::new(ErrorKind::GuestBusy, what).with_step(step))
    } else if says(MIGRATING) {
        let what = "the guest is being migrated; try again where it runs afterwards";
        Asked::No(error.with_kind(ErrorKind::Migrating).context(what).with_step(step))
    } else if says("hotplug") || says("hot-unplug") || says("hotunplug") {
        Asked::No(error.with_kind(ErrorKind::NotHotpluggable).with_step(step))
    } else {
        Asked::No(error.with_step(step))
    }
}
