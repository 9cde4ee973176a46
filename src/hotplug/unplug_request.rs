//! Asking the guest for devices: when it is asked, when not yet, and what it said.

use super::device_reports::Word;
use super::outcome::Waiting;
use super::plan::UndoStep;
use super::session::Session;
use super::transaction::{MIGRATING, is_absence};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::log::Level;
use crate::qmp::Command;
use crate::runtime::{Device, Verb};

/// What QEMU said to `device_del`.
#[derive(Clone)]
pub(super) enum Asked {
    /// The guest has been asked, or had been before; this is its run state.
    Waiting(Option<Waiting>),
    /// QEMU does not find the device.
    Absent,
    /// The device has been found gone meanwhile, and cleared up behind.
    Settled,
    /// The guest is busy with an earlier change; ask again later.
    Busy(Error),
    /// It will not do.
    No(Error),
}

impl Session {
    /// Notes what is about to be done, finds out whether the guest may be asked, and asks, for all in one write.
    pub(super) fn ask(&mut self, devices: &[&Device], deadline: &Deadline) -> Vec<Result<Asked>> {
        let all = |error: Error| devices.iter().map(|_| Err(error.clone())).collect();
        let due = |session: &Self, device: &Device| {
            session.unplugging.get(&device.id).is_none_or(|request| request.is_due(session.unplug_blocked))
        };
        let mut news: Vec<&Device> = Vec::new();
        news.extend(devices.iter().filter(|device| due(self, device) && !self.is_leaving(device)));
        let noted = self.runtime().write_journal(|journal| {
            news.iter().for_each(|device| journal.note(Verb::Remove, device));
        });
        if let Err(error) = noted {
            return all(error);
        }
        let state = match self.run_state(deadline) {
            Ok(state) => state,
            Err(error) => return self.look_after_silence(devices, &error, deadline),
        };
        // QEMU does without a guest that does nothing, for devices that it does not have to let go of.
        let state = |device: &Device| state.filter(|_| device.leaves_by_consent());
        let unplug_blocked =
            |session: &Self, device: &Device| session.unplug_blocked.filter(|_| device.leaves_by_consent());
        let is_request =
            |device: &&Device| due(self, device) && unplug_blocked(self, device).is_none() && !self.migrating;
        let requests: Vec<bool> = devices.iter().map(is_request).collect();
        let asked: Vec<&Device> = devices
            .iter()
            .zip(&requests)
            .filter(|(_, request)| **request)
            .map(|(device, _)| *device)
            .collect();
        let mut replies = self.request(&asked, &state, deadline).into_iter();
        let mut answers = Vec::with_capacity(devices.len());
        for (device, request) in devices.iter().zip(requests) {
            answers.push(match (request, unplug_blocked(self, device)) {
                (true, _) => {
                    replies.next().unwrap_or_else(|| Err(Error::new(ErrorKind::Protocol, "no reply")))
                }
                (false, _) if self.migrating && due(self, device) => Ok(Asked::No(migrating())),
                (false, Some(why)) if !self.unplugging.contains_key(&device.id) => {
                    self.hold_request(device, why);
                    Ok(Asked::Waiting(Some(why)))
                }
                (false, _) => Ok(Asked::Waiting(state(device))),
            });
        }
        answers
    }

    /// `device_del` for all of them.
    fn request(
        &mut self,
        devices: &[&Device],
        state: &impl Fn(&Device) -> Option<Waiting>,
        deadline: &Deadline,
    ) -> Vec<Result<Asked>> {
        if devices.is_empty() {
            return Vec::new();
        }
        let commands: Vec<Command<'_>> =
            devices.iter().map(|device| UndoStep::Unplug(device.id.clone()).command()).collect();
        let passed = self.let_first_moment_pass(deadline);
        let batch = match passed.and_then(|()| self.monitor()) {
            Ok(monitor) => monitor.run(&commands, deadline),
            Err(error) => return devices.iter().map(|_| Err(error.clone())).collect(),
        };
        if let Some(error) = batch.failure {
            let step = devices.first().map(|device| format!("device_del {}", device.id));
            return self.look_after_silence(devices, &error.with_step(step.unwrap_or_default()), deadline);
        }
        let mut answers = Vec::with_capacity(devices.len());
        for (device, reply) in devices.iter().zip(batch.replies) {
            let asked = match reply {
                Some(Err(error)) => sort_refusal(device, error),
                _ => Asked::Waiting(state(device)),
            };
            if matches!(asked, Asked::Waiting(_)) {
                self.note_request(device, Waiting::Deadline);
            }
            answers.push(Ok(asked));
        }
        answers
    }

    /// Whether the journal has the device on its way out.
    fn is_leaving(&self, device: &Device) -> bool {
        let runtime = self.runtime();
        let intent = runtime.journal().find(device.id.as_str());
        intent.is_some_and(|intent| !matches!(intent.verb, Verb::SetLink | Verb::Move))
    }

    /// A source that has been left, and a target that waits, take `device_add` and `device_del` without a word (QEMU 5.2 to
    /// 11.1); while a migration runs, QEMU itself refuses both.
    pub(super) fn refuse_while_migrating(&mut self, deadline: &Deadline) -> Result<()> {
        match self.run_state(deadline)? {
            Some(Waiting::Migrating) => Err(migrating()),
            _ => Ok(()),
        }
    }

    /// What the guest is doing, before it is asked for anything: one that sleeps is not asked. A guest that is known to run
    /// is not bothered with the question.
    pub(super) fn run_state(&mut self, deadline: &Deadline) -> Result<Option<Waiting>> {
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
        let due = self.unplugging.iter().filter(|(_, request)| request.is_due(self.unplug_blocked));
        let due: Vec<Device> = due.filter_map(|(id, _)| self.known_device(id.as_str())).collect();
        if due.is_empty() {
            return Ok(());
        }
        let devices: Vec<&Device> = due.iter().collect();
        for (device, asked) in due.iter().zip(self.ask(&devices, deadline)) {
            match asked? {
                Asked::Absent => self.note_word(device.id.as_str(), Word::NotFound),
                Asked::Waiting(_) | Asked::Settled => {}
                // It is still asked for, and will be again.
                Asked::Busy(error) | Asked::No(error) => self.log.write(Level::Info, || error.to_string()),
            }
        }
        self.absorb();
        self.clear_heard(deadline)
    }

    /// The replies to `device_del` are lost: the guest may or may not have been asked, so it is looked at.
    fn look_after_silence(
        &mut self,
        devices: &[&Device],
        error: &Error,
        deadline: &Deadline,
    ) -> Vec<Result<Asked>> {
        let silent = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled);
        let looked = !silent && self.ready(deadline).is_ok();
        let answer = |device: &&Device| match looked {
            true if self.known_device(device.id.as_str()).is_none() => Ok(Asked::Settled),
            true => Ok(Asked::Waiting(None)),
            false => {
                let unknown = format!("device {}: its removal may have been asked for", device.id);
                Err(error.clone().with_undo(vec![unknown]))
            }
        };
        devices.iter().map(answer).collect()
    }
}

fn migrating() -> Error {
    Error::new(ErrorKind::Migrating, "the guest is being migrated; try again where it runs afterwards")
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
