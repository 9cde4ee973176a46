//! Journal, commands, record: all of it or nothing.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::attach::Draft;
use super::outcome::Outcome;
use super::plan::Inverse;
use super::session::Session;
use super::transaction::{self, Verdict};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::log::Level;
use crate::runtime::store::Staged;
use crate::runtime::{Device, Record, Runtime, Verb};

/// How long a cancelled call may go on to find out and say what became of the device.
const GRACE: Duration = Duration::from_secs(1);

impl Session {
    /// Plugs what was drafted in and records it.
    pub(super) fn plug(&mut self, draft: &Draft, fds: &[OwnedFd], deadline: &Deadline) -> Result<()> {
        let mut next = self.runtime().record().clone();
        draft.devices().for_each(|device| next.add(device.clone()));
        // Written and synced before the first command: of all that may fail afterwards, a full disk is the likeliest.
        let prepared = self.prepare(&next, draft);
        let staged = prepared.inspect_err(|_| self.fdsets.release(&draft.device.id))?;
        let verdict = transaction::run(self.monitor()?, &draft.stages, fds, deadline);
        self.log.write(Level::Debug, || format!("{}: {verdict:?}", draft.device.id));
        match verdict {
            Verdict::Done => self.commit(draft, staged, next).map_err(|error| {
                let steps = draft.stages.iter().flatten().rev();
                let inverses: Vec<Inverse> = steps.map(|step| step.inverse.clone()).collect();
                self.undo(draft, error.with_step("save the runtime file"), inverses, deadline)
            }),
            Verdict::Refused(error, inverses) => {
                if error.kind() == ErrorKind::NotHotpluggable {
                    self.note_closed_bus(draft, error.step());
                }
                Err(self.undo(draft, error, inverses, deadline))
            }
            Verdict::Unknown(error) => {
                drop(staged);
                self.find_out(draft, error, deadline)
            }
        }
    }

    fn note_closed_bus(&mut self, draft: &Draft, step: Option<&str>) {
        let refused = draft.devices().find(|device| {
            step.and_then(|step| step.strip_prefix("device_add ")) == Some(device.id.as_str())
        });
        let slot = refused.and_then(|device| device.address.as_ref()?.pci());
        self.closed.extend(slot.map(|slot| slot.bus.clone()));
    }

    fn commit(&self, draft: &Draft, staged: Staged, next: Record) -> Result<()> {
        let mut runtime = self.runtime();
        runtime.commit(staged, next)?;
        self.strike_finished(&mut runtime, draft);
        Ok(())
    }

    /// Puts the new record and the intent on disk, in that order.
    fn prepare(&self, next: &Record, draft: &Draft) -> Result<Staged> {
        let mut runtime = self.runtime();
        let staged = runtime.stage(next)?;
        runtime
            .write_journal(|journal| draft.devices().for_each(|device| journal.note(Verb::Add, device)))?;
        Ok(staged)
    }

    /// The operation is complete: a journal entry that cannot be struck now is settled by the next call.
    fn strike_finished(&self, runtime: &mut Runtime, draft: &Draft) {
        let strike = runtime.write_journal(|journal| {
            draft.devices().for_each(|device| journal.strike(device.id.as_str()));
        });
        if let Err(error) = strike {
            self.log.write(Level::Warning, || error.to_string());
        }
    }

    /// Takes back what was done, newest first. A device that is in the guest is asked to leave, and nothing behind it is
    /// touched before it has. The first error is the one that is returned.
    fn undo(&mut self, draft: &Draft, error: Error, inverses: Vec<Inverse>, deadline: &Deadline) -> Error {
        let (arrivals, behind): (Vec<Inverse>, Vec<Inverse>) =
            inverses.into_iter().partition(|inverse| matches!(inverse, Inverse::Unplug(_)));
        let mut left = Vec::new();
        if let Some(controller) = &draft.controller {
            // Before its disk is struck from the journal: without it, the controller would look wanted.
            self.plan_undo([controller]);
        }
        for device in draft.devices().rev() {
            if arrivals.contains(&Inverse::Unplug(device.id.clone())) {
                left.extend(self.undo_live(device, deadline));
            } else {
                // Only the device that was asked for has something behind it.
                let behind = if *device == draft.device { behind.as_slice() } else { &[] };
                left.extend(self.undo_steps(device, behind, deadline));
            }
        }
        error.with_undo(left)
    }

    /// QEMU refused a step: the steps before it are taken back.
    fn undo_steps(&mut self, device: &Device, inverses: &[Inverse], deadline: &Deadline) -> Vec<String> {
        let left: Vec<String> = match self.take_down(inverses.to_vec(), deadline) {
            Ok(leftovers) => leftovers.iter().map(ToString::to_string).collect(),
            Err(cause) => {
                inverses.iter().map(|inverse| format!("{} ({cause})", inverse.leftover())).collect()
            }
        };
        if !left.is_empty() {
            self.plan_undo([device]);
            return left;
        }
        match self.forget(device) {
            Ok(()) => left,
            Err(cause) => vec![format!("journal entry of {} ({cause})", device.id)],
        }
    }

    /// The device is in the guest, but is not to be: it is asked to leave again.
    fn undo_live(&mut self, device: &Device, deadline: &Deadline) -> Option<String> {
        self.plan_undo([device]);
        match self.ask_and_wait(device, true, &deadline.uncancelable()) {
            Ok(Outcome::Done(_)) => None,
            Ok(_) => Some(format!("device {}: its removal is pending", device.id)),
            Err(cause) => Some(format!("device {} ({cause})", device.id)),
        }
    }

    /// A lost reply is a question: the guest is asked what is there, if there is time.
    fn find_out(&mut self, draft: &Draft, error: Error, deadline: &Deadline) -> Result<()> {
        let asked = match error.kind() {
            ErrorKind::Timeout => Err(()),
            ErrorKind::Canceled => {
                self.plan_undo(draft.devices());
                self.ready(&deadline.uncancelable().at_most(GRACE)).map_err(drop)
            }
            _ => self.ready(deadline).map_err(drop),
        };
        if asked.is_err() {
            self.plan_undo(draft.devices());
            let unknown = |device: &Device| {
                format!("device {} and its backend: unknown, settled by the next call", device.id)
            };
            return Err(error.with_undo(draft.devices().map(unknown).collect()));
        }
        if self.recorded(draft.device.id.as_str()).is_some() {
            return Ok(());
        }
        let pending = draft.devices().filter(|device| self.pending.contains_key(&device.id));
        let left = pending.map(|device| format!("device {}: its removal is pending", device.id)).collect();
        Err(error.with_undo(left))
    }

    /// The caller is told of a failure: whatever is found of the devices later is to go.
    fn plan_undo<'a>(&mut self, devices: impl IntoIterator<Item = &'a Device>) {
        let noted = self.runtime().write_journal(|journal| {
            devices.into_iter().for_each(|device| journal.note(Verb::UndoAdd, device));
        });
        if let Err(error) = noted {
            self.log.write(Level::Error, || error.to_string());
        }
        self.stale = true;
    }
}
