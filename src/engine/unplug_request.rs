//! Asking the guest for devices: when it is asked, when not yet, and what it said.

use std::time::Instant;

use super::device_reports::Confirmed;
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::medium_plan::emptying;
use super::outcome::PendingReason;
use super::phase::{Phase, UnplugRequest};
use super::phase_change::Cause;
use super::plan::{self, UndoStep};
use super::report::Report;
use super::store_step::May;
use super::tap_teardown::own_tap;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::DeviceId;
use crate::log::Level;
use crate::model::{Device, Operation};
use crate::planted::{self, Fault};
use crate::qmp::Command;
use crate::qmp::qemu_errors::{self, Refusal};

const DEVICE_DEL: &str = "device_del";

/// What QEMU said to `device_del`.
#[derive(Clone)]
pub(super) enum DeviceDelReply {
    /// The guest has been asked, or had been before; this is its run state.
    Accepted(Option<PendingReason>),
    /// QEMU does not find the device.
    NotFound,
    /// The device has been found gone meanwhile, and cleared up behind.
    AlreadyGone,
    /// The guest is busy with an earlier change; ask again later.
    Busy(Error),
    /// It will not do.
    Rejected(Error),
}

impl GuestState {
    /// Notes what is about to be done, finds out whether the guest may be asked, and asks, for all in one
    /// write.
    pub(super) async fn request_unplug(
        &mut self,
        devices: &[&Device],
        deadline: &Deadline,
    ) -> Vec<Result<DeviceDelReply>> {
        let all = |error: Error| devices.iter().map(|_| Err(error.clone())).collect();
        let due = |state: &Self, device: &Device| {
            state
                .phases
                .request(&device.id)
                .is_none_or(|request| request.is_due(state.unplug_blocked, state.now()))
        };
        let mut news: Vec<&Device> = Vec::new();
        news.extend(
            devices
                .iter()
                .filter(|_| !planted::has(Fault::RemovalNotLogged))
                .filter(|device| due(self, device) && !self.is_being_removed(device)),
        );
        let journaled = match self.journal_removals(&news).await {
            Ok(journaled) => journaled,
            Err(error) => return all(error),
        };
        let state = match self.run_state(deadline).await {
            Ok(state) => state,
            Err(error) => return self.look_after_lost_reply(devices, &error, deadline).await,
        };
        // QEMU does without a guest that does nothing, for devices that it does not have to let go of.
        let state = |device: &Device| state.filter(|_| device.leaves_by_consent());
        let unplug_blocked =
            |state: &Self, device: &Device| state.unplug_blocked.filter(|_| device.leaves_by_consent());
        let is_request =
            |device: &&Device| due(self, device) && unplug_blocked(self, device).is_none() && !self.migrating;
        let requests: Vec<bool> = devices.iter().map(is_request).collect();
        let asked: Vec<&Device> = devices
            .iter()
            .zip(&requests)
            .filter(|(_, request)| **request)
            .map(|(device, _)| *device)
            .collect();
        let mut replies = self.send_device_del(journaled.may(), &asked, &state, deadline).await.into_iter();
        let mut answers = Vec::with_capacity(devices.len());
        for (device, request) in devices.iter().zip(requests) {
            answers.push(match (request, unplug_blocked(self, device)) {
                (true, _) => next_reply(&mut replies),
                (false, _) if self.migrating && due(self, device) => {
                    Ok(DeviceDelReply::Rejected(migrating()))
                }
                (false, Some(why)) if !self.phases.is_unplugging(&device.id) => {
                    self.defer_unplug(device, why).map(|()| DeviceDelReply::Accepted(Some(why)))
                }
                (false, _) => Ok(DeviceDelReply::Accepted(state(device))),
            });
        }
        answers
    }

    /// `device_del` for all of them that are there. What has the id of another one by now is somebody else's.
    async fn send_device_del(
        &mut self,
        may: May<'_>,
        devices: &[&Device],
        state: &impl Fn(&Device) -> Option<PendingReason>,
        deadline: &Deadline,
    ) -> Vec<Result<DeviceDelReply>> {
        if devices.is_empty() {
            return Vec::new();
        }
        let passed = self.wait_for_guest_clock(deadline).await;
        if let Err(error) = passed.and_then(|()| self.monitor().map(drop)) {
            return devices.iter().map(|_| Err(error.clone())).collect();
        }
        self.drop_refusals(devices);
        let departed = match self.no_longer_there(devices, deadline).await {
            Ok(departed) => departed,
            Err(error) => return self.look_after_lost_reply(devices, &error, deadline).await,
        };
        let has_left = |device: &Device| departed.contains(&device.id);
        let here: Vec<&Device> = devices.iter().copied().filter(|device| !has_left(device)).collect();
        let mut replies = self.send_device_del_to(may, &here, state, deadline).await.into_iter();
        let reply = |device: &&Device| match has_left(device) {
            true => Ok(DeviceDelReply::NotFound),
            false => next_reply(&mut replies),
        };
        devices.iter().map(reply).collect()
    }

    /// Those that QOM does not show, or shows another device instead of. QOM is asked about a device that was
    /// added on an earlier connection, and about one that QEMU has said to be gone.
    async fn no_longer_there(&mut self, devices: &[&Device], deadline: &Deadline) -> Result<Vec<DeviceId>> {
        let is_unsure = |device: &&Device| {
            device.generation < self.heard_from_generation || self.is_reported_deleted(&device.id)
        };
        let unsure: Vec<&Device> = devices.iter().copied().filter(is_unsure).collect();
        if unsure.is_empty() {
            return Ok(Vec::new());
        }
        let confirmed = self.confirm_in_qom(&unsure, deadline).await?;
        let departed = confirmed.into_iter().filter_map(|confirmed| match confirmed {
            Confirmed::Detached(gone) => Some(gone.device.id.clone()),
            Confirmed::Refused | Confirmed::Present => None,
        });
        Ok(departed.collect())
    }

    async fn send_device_del_to(
        &mut self,
        may: May<'_>,
        devices: &[&Device],
        state: &impl Fn(&Device) -> Option<PendingReason>,
        deadline: &Deadline,
    ) -> Vec<Result<DeviceDelReply>> {
        if devices.is_empty() {
            return Vec::new();
        }
        let mut commands: Vec<Command> = devices.iter().flat_map(|device| emptying(device)).collect();
        let emptied = commands.len();
        commands.extend(devices.iter().map(|device| UndoStep::Unplug(device.id.clone()).command()));
        if planted::has(Fault::BackendGoesEarly) {
            let backends = devices.iter().flat_map(|device| plan::backend(device, &[]));
            commands.extend(backends.map(|undo_step| undo_step.command()));
        }
        if planted::has(Fault::TapGoesEarly) {
            for tap in devices.iter().filter_map(|device| own_tap(device)) {
                self.delete_tap(tap).await;
            }
        }
        let batch = self.send(may, commands, deadline).await;
        if let Some(error) = batch.failure {
            let step = devices.first().map(|device| format!("device_del {}", device.id));
            return self
                .look_after_lost_reply(devices, &error.with_step(step.unwrap_or_default()), deadline)
                .await;
        }
        let mut answers = Vec::with_capacity(devices.len());
        for (device, reply) in devices.iter().zip(batch.replies.into_iter().skip(emptied)) {
            let asked = match reply {
                Some(Err(error)) => classify_device_del_error(device, error),
                _ => DeviceDelReply::Accepted(state(device)),
            };
            let marked = match asked {
                DeviceDelReply::Accepted(_) => self.mark_unplugging(device, PendingReason::Deadline),
                _ => Ok(()),
            };
            answers.push(marked.map(|()| asked));
        }
        answers
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

    /// The removal of a device is off: it keeps its place, and no journal entry is left. A device that only
    /// is on its way out of a failed add has no record to stay in: it stays pending and is asked for again,
    /// after the usual pause.
    pub(super) async fn cancel_unplug(&mut self, device: &Device, cause: Cause) -> Result<()> {
        let operation = self.contents().journal().find(device.id.as_str()).map(|intent| intent.operation);
        // Nor may a device be forgotten whose add could not be noted as failed.
        if operation == Some(Operation::RollbackAdd) || !self.is_recorded(device.id.as_str()) {
            return self.ask_for(device, Some(self.now()), PendingReason::Deadline, cause);
        }
        let back = match self.phases.get(device.id.as_str()) {
            Some(Phase::Detached(_)) => Some(Phase::AbsentInGuest),
            _ => self.rest_of(device),
        };
        if self.phases.is_unplugging(&device.id) {
            self.enter(device, back, cause, refusal)?;
        }
        self.slots.end_quarantine(device);
        let Ok(journaled) = self.journaled(&[device]) else { return Ok(()) };
        if let Err(error) = self.strike(journaled.nothing_to_record(), [device]).await {
            self.log.write(Level::Error, || error.to_string());
        }
        Ok(())
    }

    /// Whether the journal has the device on its way out.
    fn is_being_removed(&self, device: &Device) -> bool {
        let contents = self.contents();
        let intent = contents.journal().find(device.id.as_str());
        let stays = |operation| {
            matches!(
                operation,
                Operation::RemoveNext
                    | Operation::SetLink
                    | Operation::Move
                    | Operation::SetLimits
                    | Operation::ChangeMedium
            )
        };
        intent.is_some_and(|intent| !stays(intent.operation))
    }

    /// A source that has been left, and a target that waits, take `device_add` and `device_del` without a
    /// word (QEMU 5.2 to 11.1); while a migration runs, QEMU itself refuses both.
    pub(super) async fn refuse_while_migrating(&mut self, deadline: &Deadline) -> Result<()> {
        match self.run_state(deadline).await? {
            Some(PendingReason::Migrating) => Err(migrating()),
            _ => Ok(()),
        }
    }

    /// What the guest is doing, before it is asked for anything: one that sleeps is not asked. A guest that
    /// is known to run is not bothered with the question.
    pub(super) async fn run_state(&mut self, deadline: &Deadline) -> Result<Option<PendingReason>> {
        self.drain_events();
        if self.running {
            return Ok(None);
        }
        let state = self.ask_one(Command::with("query-status", &[]), deadline).await?;
        let state = PendingReason::of_status(&state);
        self.update_run_state(state);
        // Some of what came meanwhile may be newer than the answer.
        self.drain_events();
        Ok(state)
    }

    /// Repeats the requests that have been waiting for long: a guest that was booting did not hear them.
    pub(super) async fn repeat_due_requests(&mut self, deadline: &Deadline) -> Result<()> {
        let due =
            self.phases.requests().filter(|(_, request)| request.is_due(self.unplug_blocked, self.now()));
        let due: Vec<Device> = due.filter_map(|(id, _)| self.known_device(id.as_str())).collect();
        if due.is_empty() {
            return Ok(());
        }
        let devices: Vec<&Device> = due.iter().collect();
        for (device, asked) in due.iter().zip(self.request_unplug(&devices, deadline).await) {
            match asked? {
                DeviceDelReply::NotFound => self.add_report(device.id.as_str(), Report::NotFound),
                DeviceDelReply::Accepted(_) | DeviceDelReply::AlreadyGone => {}
                // It is still asked for, and will be again.
                DeviceDelReply::Busy(error) | DeviceDelReply::Rejected(error) => {
                    self.log.write(Level::Info, || error.to_string())
                }
            }
        }
        self.drain_events();
        self.process_reports(deadline).await
    }

    /// The replies to `device_del` are lost: the guest may or may not have been asked, so it is looked at.
    async fn look_after_lost_reply(
        &mut self,
        devices: &[&Device],
        error: &Error,
        deadline: &Deadline,
    ) -> Vec<Result<DeviceDelReply>> {
        let looked = self.can_look_again(error, deadline).await;
        let answer = |device: &&Device| match looked {
            true if !self.is_known(device.id.as_str()) => Ok(DeviceDelReply::AlreadyGone),
            true => Ok(DeviceDelReply::Accepted(None)),
            false => {
                let unknown = format!("device {}: its removal may have been asked for", device.id);
                Err(error.clone().with_undo(vec![unknown]))
            }
        };
        devices.iter().map(answer).collect()
    }
}

fn next_reply(replies: &mut impl Iterator<Item = Result<DeviceDelReply>>) -> Result<DeviceDelReply> {
    replies.next().unwrap_or_else(|| Err(Error::no_reply()))
}

fn migrating() -> Error {
    Error::new(ErrorKind::Migrating, qemu_errors::MIGRATING)
}

fn classify_device_del_error(device: &Device, error: Error) -> DeviceDelReply {
    let refusal = qemu_errors::refusal(DEVICE_DEL, &error);
    let explained = qemu_errors::explain(DEVICE_DEL, error).with_step(format!("{DEVICE_DEL} {}", device.id));
    match refusal {
        Some(Refusal::Absent) => DeviceDelReply::NotFound,
        Some(Refusal::AlreadyUnplugging) => DeviceDelReply::Accepted(None),
        Some(Refusal::GuestBusy) => DeviceDelReply::Busy(explained),
        _ => DeviceDelReply::Rejected(explained),
    }
}

/// What is said of a device that the guest keeps.
fn refusal() -> String {
    "the guest refused to let go of the device; it stays".to_owned()
}
