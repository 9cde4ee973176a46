//! Adds that are not waited for: the commands are sent, and what QEMU answers is taken in by a later call.

use std::os::fd::OwnedFd;

use super::add::{AddItem, Attempt, attach_queues, is_misplaced};
use super::add_transaction::PlugError;
use super::events::{AddFailure, EventKind};
use super::outcome::{Outcome, PendingReason};
use super::plan::Stage;
use super::session::Session;
use super::transaction::{self, Progress, StageResult};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::qmp::Batch;
use crate::runtime::{Device, StagedRecord};

/// Devices on their way into the guest. There is one add at a time for each guest, and whatever needs the guest waits for it.
#[derive(Debug)]
pub(super) struct AsyncAdd {
    items: Vec<AddItem>,
    devices: Vec<Device>,
    stages: Vec<Stage>,
    reserved: Vec<Device>,
    staged: StagedRecord,
    /// The stage whose commands are sent.
    stage: usize,
    progress: Progress,
    /// That of the call that began it.
    deadline: Deadline,
}

impl AsyncAdd {
    fn steps(&self) -> &Stage {
        const NONE: &Stage = &Stage::new();
        self.stages.get(self.stage).unwrap_or(NONE)
    }

    fn fds(&self) -> Vec<&OwnedFd> {
        self.items.iter().flat_map(AddItem::fds).collect()
    }
}

impl Session {
    /// Sends what the devices take, and answers at once.
    pub(super) fn begin_async_add(
        &mut self,
        mut items: Vec<AddItem>,
        deadline: &Deadline,
    ) -> Result<Vec<Outcome>> {
        attach_queues(&items)?;
        let Attempt { devices, stages, next } = self.attempt(&mut items)?;
        // From here on the journal has them.
        let reserved = std::mem::take(&mut self.reserved);
        let staged = match self.prepare(next, &devices) {
            Ok(staged) => staged,
            Err(error) => {
                self.reserved = reserved;
                return Err(PlugError::from(error).about(&devices).error);
            }
        };
        let answers = items.iter().filter_map(AddItem::pending).collect();
        let async_add = AsyncAdd {
            items,
            devices,
            stages,
            reserved,
            staged,
            stage: 0,
            progress: Progress::default(),
            deadline: deadline.uncancelable(),
        };
        self.send_stage(&async_add, deadline);
        self.async_add = Some(async_add);
        // It may be over by now, if the connection is.
        self.advance_async_add(deadline);
        Ok(answers)
    }

    /// Whatever goes wrong is found when the answers are looked for.
    fn send_stage(&mut self, async_add: &AsyncAdd, deadline: &Deadline) {
        if let Ok(monitor) = self.monitor() {
            monitor.submit(&transaction::commands(async_add.steps(), &async_add.fds()), deadline);
        }
    }

    /// Goes on with the add that is under way, as far as its answers are there; true if none is left.
    pub(super) fn advance_async_add(&mut self, deadline: &Deadline) -> bool {
        while let Some(async_add) = &self.async_add {
            let late = async_add.deadline.check().is_err();
            let ended = self.monitor().map_or(true, |monitor| monitor.in_flight_has_ended());
            if !ended && !late {
                return false;
            }
            self.take_answers(deadline);
        }
        true
    }

    /// Waits for the add that is under way, if there is one.
    pub(super) fn finish_async_add(&mut self, deadline: &Deadline) -> Result<()> {
        while let Some(async_add) = &self.async_add {
            let until = async_add.deadline.clone();
            if let Ok(monitor) = self.monitor() {
                let waited = monitor.await_in_flight(&deadline.at_most(until.left()));
                if let (Err(error), Ok(())) = (waited, until.check()) {
                    return Err(error.context("an add that was not waited for is still under way"));
                }
            }
            self.take_answers(deadline);
        }
        Ok(())
    }

    /// What QEMU has answered to the stage of the moment decides about the next one, or about all of them.
    fn take_answers(&mut self, deadline: &Deadline) {
        let Some(mut async_add) = self.async_add.take() else { return };
        match self.stage_result(&mut async_add, deadline) {
            StageResult::Done if async_add.stage + 1 < async_add.stages.len() => {
                async_add.stage += 1;
                let within = async_add.deadline.clone();
                self.send_stage(&async_add, &within);
                self.async_add = Some(async_add);
            }
            result => self.end_async_add(async_add, result, deadline),
        }
    }

    fn stage_result(&mut self, async_add: &mut AsyncAdd, deadline: &Deadline) -> StageResult {
        let lost = || Error::new(ErrorKind::MonitorLost, "the connection to the monitor is gone");
        let Some(monitor) = self.connection() else { return StageResult::Unknown(lost()) };
        let answers = monitor.take_in_flight().unwrap_or_else(|| Batch {
            replies: async_add.steps().iter().map(|_| None).collect(),
            failure: Some(lost()),
        });
        let mut progress = std::mem::take(&mut async_add.progress);
        let (steps, fds) = (async_add.steps(), async_add.fds());
        let commands = transaction::commands(steps, &fds);
        let result = progress.judge(monitor, steps, &commands, answers, deadline);
        async_add.progress = progress;
        result
    }

    /// Nothing is tried again elsewhere: the caller has been told id and place.
    fn end_async_add(&mut self, async_add: AsyncAdd, result: StageResult, deadline: &Deadline) {
        let AsyncAdd { items, devices, reserved, staged, .. } = async_add;
        let concluded = self.conclude(&devices, staged, result, deadline);
        let done = self.finish_plug(concluded, &devices, reserved).map_err(|failure| failure.error);
        self.finish_add(done.is_ok());
        match done {
            Ok(()) => {
                let arrived = items.iter().filter(|item| matches!(item, AddItem::Plug { .. }));
                arrived.filter_map(AddItem::device).for_each(|device| {
                    self.events.device(EventKind::Added, device, "added");
                });
            }
            Err(error) => {
                self.needs_resync |= is_misplaced(&error);
                let failure = EventKind::AddFailed(AddFailure { kind: error.kind(), errno: error.errno() });
                items.iter().filter_map(AddItem::device).for_each(|device| {
                    self.events.device(failure, device, error.to_string());
                });
            }
        }
    }
}

impl AddItem {
    fn device(&self) -> Option<&Device> {
        match self {
            Self::Answered(_) => None,
            Self::Later(device, _) => Some(device),
            Self::Plug { device, .. } => device.as_ref(),
        }
    }

    /// The answer as long as QEMU's is not known.
    fn pending(&self) -> Option<Outcome> {
        match self {
            Self::Answered(outcome) => Some(outcome.clone()),
            Self::Later(device, why) => Some(Outcome::AfterReboot(device.clone(), why.clone())),
            Self::Plug { device, .. } => {
                device.clone().map(|device| Outcome::Pending(device, PendingReason::NotAwaited))
            }
        }
    }
}
