//! Journal, commands, record: all of it or nothing.

use std::time::Duration;

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::Outcome;
use super::phase::At;
use super::phase_change::Cause;
use super::phases::OwnFds;
use super::phases::Waits;
use super::plan::{Stage, UndoStep};
use super::recovery::add_completed;
use super::store_step::{Journaled, NotRecorded};
use super::teardown::Ended;
use super::transaction::{self, StageResult, StepError};
use crate::error::{Error, ErrorKind, Result};
use crate::log::Level;
use crate::model::{Device, Journal, Operation, Record};
use crate::store::Staged;
use crate::sys::descriptor::Descriptor;

/// How long a cancelled call may go on to find out and say what became of the devices.
const GRACE: Duration = Duration::from_secs(1);

/// Why devices could not be plugged in.
pub(super) struct PlugError {
    pub(super) error: Error,
    /// The one whose `device_add` was refused, if it was that.
    pub(super) device: Option<Box<Device>>,
}

impl From<Error> for PlugError {
    fn from(error: Error) -> Self {
        Self { error, device: None }
    }
}

impl PlugError {
    /// Says in the error what was being added.
    pub(super) fn about(mut self, devices: &[Device]) -> Self {
        let what = match (devices, self.device.as_deref()) {
            ([device], _) => name(device),
            ([controller, disk], _) if disk.controller() == Some(controller.id.as_str()) => {
                format!("{}, with {}", name(disk), name(controller))
            }
            (_, Some(device)) => name(device),
            (devices, None) => format!("{} devices", devices.len()),
        };
        self.error = self.error.context(format!("add {what}"));
        self
    }
}

fn name(device: &Device) -> String {
    let place = device.address.as_ref().map(|address| format!(" at {address}"));
    format!("{} {}{}", device.kind().title(), device.id, place.unwrap_or_default())
}

impl GuestState {
    /// Plugs all of them in; `next` is the record with them.
    pub(super) async fn plug(
        &mut self,
        devices: &[Device],
        stages: &[Stage],
        fds: &[Descriptor],
        next: Record,
        deadline: &Deadline,
    ) -> std::result::Result<(), PlugError> {
        if devices.is_empty() {
            return self.replace(next).await.map_err(PlugError::from);
        }
        let journaled = self.prepare(next, devices).await?;
        let result = match self.limit_given_taps(devices).await {
            Ok(()) => transaction::run(self, journaled.may(), stages, fds, deadline).await,
            Err(error) => StageResult::Refused(StepError::before_qemu(error)),
        };
        self.conclude(devices, journaled, result, deadline).await
    }

    /// The record with the devices, or everything as it was.
    pub(super) async fn conclude(
        &mut self,
        devices: &[Device],
        journaled: Journaled<Staged>,
        result: StageResult,
        deadline: &Deadline,
    ) -> std::result::Result<(), PlugError> {
        self.log.write(Level::Debug, || format!("{}: {result:?}", ids(devices)));
        match result {
            StageResult::Done => match self.commit_add(devices, journaled).await {
                Ok(()) => {
                    self.adopt_fdsets(devices);
                    Ok(())
                }
                Err(NotRecorded { error, .. }) => {
                    let all: Vec<&Device> = devices.iter().collect();
                    let error = error.with_step("save the runtime file");
                    Err(PlugError::from(Box::pin(self.roll_back_plugged(&all, error, deadline)).await))
                }
            },
            StageResult::Refused(step_error) => {
                Err(Box::pin(self.roll_back_steps(devices, journaled.give_up(), step_error, deadline)).await)
            }
            StageResult::Unknown(error) => {
                drop(journaled);
                Box::pin(self.resolve_unknown(devices, error, deadline)).await.map_err(PlugError::from)
            }
        }
    }

    async fn commit_add(
        &mut self,
        devices: &[Device],
        journaled: Journaled<Staged>,
    ) -> std::result::Result<(), NotRecorded> {
        let committed = self.commit(journaled, devices).await?;
        // The operation is complete: a journal entry that cannot be cleared now is settled by the next call.
        if let Err(error) = self.strike_adds(committed, devices).await {
            self.log.write(Level::Warning, || error.to_string());
            devices.iter().for_each(|device| self.phases.set_add_told(&device.id));
        }
        Ok(())
    }

    /// Puts the new record and the intent on disk, in that order, and both before the first command: of all
    /// that may fail afterwards, a full disk is the likeliest.
    pub(super) async fn prepare(&self, next: Record, devices: &[Device]) -> Result<Journaled<Staged>> {
        for device in devices {
            self.check_change(device, (self.at(device), At::Plugging), Cause::Begun)?;
        }
        let staged = self.stage(next).await?;
        self.journal_add(staged, devices, &self.followed_by).await
    }

    /// QEMU refused a step: the steps that were done are taken back. The first error is the one that is
    /// returned.
    ///
    /// Devices that are in the guest are asked to leave, and their backends stay until they have.
    async fn roll_back_steps(
        &mut self,
        devices: &[Device],
        journaled: Journaled<()>,
        step_error: StepError,
        deadline: &Deadline,
    ) -> PlugError {
        let StepError { error, device, undo_steps } = step_error;
        let refused = devices.iter().find(|other| Some(&other.id) == device.as_ref());
        let slot = refused.and_then(|device| device.address.as_ref()?.pci());
        if let (ErrorKind::NotHotpluggable, Some(slot)) = (error.kind(), slot) {
            self.no_hotplug_buses.insert(slot.bus.clone());
        }
        let is_live = |device: &&Device| undo_steps.contains(&UndoStep::Unplug(device.id.clone()));
        let (live, rest): (Vec<&Device>, Vec<&Device>) = devices.iter().partition(is_live);
        let kept: Vec<UndoStep> = live
            .iter()
            .flat_map(|device| super::plan::backend(device, &self.fdsets.of(&device.id)))
            .chain(live.iter().map(|device| UndoStep::Unplug(device.id.clone())))
            .collect();
        if !live.is_empty() {
            // The journal says first that the add failed: an agent that recovers from here must undo it, not
            // complete it.
            self.log_failed_adds(&live).await;
        }
        let mut undo_steps: Vec<UndoStep> =
            undo_steps.into_iter().filter(|undo_step| !kept.contains(undo_step)).collect();
        self.keep_needed_helpers(&mut undo_steps, &devices.iter().collect::<Vec<_>>());
        // Where that cannot be found out, they are taken back as ever.
        if let Err(error) = self.retain_fds(&mut undo_steps, &deadline.uncancelable()).await {
            self.log.write(Level::Warning, || error.to_string());
        }
        let error = self.roll_back_backends(&rest, journaled, error, undo_steps, deadline).await;
        let error =
            if live.is_empty() { error } else { self.roll_back_plugged(&live, error, deadline).await };
        PlugError { error, device: refused.map(|device| Box::new(device.clone())) }
    }

    async fn roll_back_backends(
        &mut self,
        devices: &[&Device],
        journaled: Journaled<()>,
        error: Error,
        undo_steps: Vec<UndoStep>,
        deadline: &Deadline,
    ) -> Error {
        let left: Vec<String> = match self.tear_down(journaled.may(), &undo_steps, deadline).await {
            Ok(report) => report.left.iter().map(ToString::to_string).collect(),
            Err(cause) => {
                undo_steps.iter().map(UndoStep::residue).map(|name| format!("{name} ({cause})")).collect()
            }
        };
        if !left.is_empty() {
            self.log_failed_adds(devices).await;
            return error.with_undo(left);
        }
        let ended: Vec<Ended<'_>> = devices.iter().map(|device| Ended::by_call(device)).collect();
        match self.drop_devices(journaled.nothing_to_record(), &ended).await {
            Ok(()) => error.with_undo(left),
            Err(cause) => {
                let entry = |device: &&Device| format!("journal entry of {} ({cause})", device.id);
                error.with_undo(devices.iter().map(entry).collect())
            }
        }
    }

    fn adopt_fdsets(&mut self, devices: &[Device]) {
        devices.iter().for_each(|device| self.fdsets.adopt(&device.id));
    }

    /// The devices are in the guest, and have to leave again.
    async fn roll_back_plugged(&mut self, devices: &[&Device], error: Error, deadline: &Deadline) -> Error {
        self.log_failed_adds(devices).await;
        // A SCSI disk before the controller that came with it.
        let all: Vec<Device> = devices.iter().rev().map(|device| (*device).clone()).collect();
        all.iter().for_each(|device| self.phases.set_own_fds(&device.id, OwnFds::Held));
        all.iter().for_each(|device| self.begin_waiting(device));
        let answers = self.request_and_wait_for_all(&all, true, &deadline.uncancelable()).await;
        all.iter().for_each(|device| self.phases.set_own_fds(&device.id, OwnFds::Given));
        let mut left = error.left().to_vec();
        left.extend(devices.iter().zip(answers.into_iter().rev()).filter_map(
            |(device, answer)| match answer {
                Ok(Outcome::Done(_)) => None,
                Ok(_) => Some(format!("device {}: its removal is pending", device.id)),
                Err(cause) => Some(format!("device {} ({cause})", device.id)),
            },
        ));
        error.with_undo(left)
    }

    /// A lost reply is a question: the guest is asked what is there, if there is time.
    async fn resolve_unknown(&mut self, devices: &[Device], error: Error, deadline: &Deadline) -> Result<()> {
        let all: Vec<&Device> = devices.iter().collect();
        all.iter().for_each(|device| self.phases.begin_waiting(&device.id, Waits::ForAdd));
        let asked = match error.kind() {
            ErrorKind::Timeout => Err(()),
            ErrorKind::Canceled if self.forget_if_planted(devices).await => return Err(error),
            ErrorKind::Canceled => {
                self.log_rollback(&all).await;
                self.ready(&deadline.uncancelable().at_most(self.now(), GRACE)).await.map_err(drop)
            }
            _ => self.ready(deadline).await.map_err(drop),
        };
        all.iter().for_each(|device| self.phases.end_waiting(&device.id, Waits::ForAdd));
        if asked.is_ok() && devices.iter().all(|device| self.is_recorded(device.id.as_str())) {
            return Ok(());
        }
        // The error does not say of these that they were added after all.
        for device in devices.iter().filter(|device| self.at(device) == At::Plugged).collect::<Vec<_>>() {
            self.tell(device, (At::Plugging, At::Plugged), Cause::Added, add_completed);
        }
        if asked.is_err() {
            // What has been taken back by now is told already.
            let unsettled: Vec<&Device> = all.into_iter().filter(|device| self.is_kept(device)).collect();
            self.log_rollback(&unsettled).await;
            let unknown =
                |device| format!("device {} and its backend: unknown, settled by the next call", id(device));
            return Err(error.with_undo(unsettled.into_iter().map(unknown).collect()));
        }
        let left = devices.iter().filter(|device| self.is_kept(device)).map(|device| {
            match self.phases.is_unplugging(&device.id) {
                true => format!("device {}: its removal is pending", device.id),
                false => format!("the backend of device {}: settled by the next call", device.id),
            }
        });
        let left = left.collect();
        Err(error.with_undo(left))
    }

    /// Whether record or journal have a device.
    fn is_kept(&self, device: &Device) -> bool {
        let id = device.id.as_str();
        self.is_recorded(id) || self.contents().journal().find(id).is_some()
    }

    /// The caller is told of a failure: whatever is found of the devices later is to go.
    async fn log_rollback(&mut self, devices: &[&Device]) {
        self.log_rollbacks(devices, |journal, device| journal.log_intent(Operation::RollbackAdd, device))
            .await;
    }

    /// The same, when QEMU has said of each command how it went.
    async fn log_failed_adds(&mut self, devices: &[&Device]) {
        self.log_rollbacks(devices, Journal::log_failed_add).await;
    }

    async fn log_rollbacks(&mut self, devices: &[&Device], note: impl Fn(&mut Journal, &Device)) {
        let noted = self.journal_rollbacks(devices, note).await;
        if let Err(error) = noted {
            self.log.write(Level::Error, || error.to_string());
        }
        self.needs_resync = true;
    }
}

fn id(device: &Device) -> &str {
    device.id.as_str()
}

fn ids(devices: &[Device]) -> String {
    devices.iter().map(id).collect::<Vec<_>>().join(", ")
}
