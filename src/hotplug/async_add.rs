//! Adds that are not waited for: the commands are sent, and what QEMU answers is taken in by a later call.

use std::os::fd::OwnedFd;

use super::add::{Item, Try, attach_queues, is_misplaced};
use super::add_transaction::Failure;
use super::events::{AddFailure, What};
use super::outcome::{Outcome, Waiting};
use super::plan::Stage;
use super::session::Session;
use super::transaction::{self, Progress, Verdict};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::qmp::Batch;
use crate::runtime::{Device, StagedRecord};

/// Devices on their way into the guest. There is one add at a time for each guest, and whatever needs the guest waits for it.
#[derive(Debug)]
pub(super) struct Arrival {
    items: Vec<Item>,
    devices: Vec<Device>,
    stages: Vec<Stage>,
    upcoming: Vec<Device>,
    staged: StagedRecord,
    /// The stage whose commands are sent.
    stage: usize,
    progress: Progress,
    /// That of the call that began it.
    deadline: Deadline,
}

impl Arrival {
    fn steps(&self) -> &Stage {
        const NONE: &Stage = &Stage::new();
        self.stages.get(self.stage).unwrap_or(NONE)
    }

    fn fds(&self) -> Vec<&OwnedFd> {
        self.items.iter().flat_map(Item::fds).collect()
    }
}

impl Session {
    /// Sends what the devices take, and answers at once.
    pub(super) fn begin_arrival(
        &mut self,
        mut items: Vec<Item>,
        deadline: &Deadline,
    ) -> Result<Vec<Outcome>> {
        attach_queues(&items)?;
        let Try { devices, stages, next } = self.try_places(&mut items)?;
        // From here on the journal has them.
        let upcoming = std::mem::take(&mut self.upcoming);
        let staged = match self.prepare(next, &devices) {
            Ok(staged) => staged,
            Err(error) => {
                self.upcoming = upcoming;
                return Err(Failure::from(error).about(&devices).error);
            }
        };
        let answers = items.iter().filter_map(Item::pending).collect();
        let arrival = Arrival {
            items,
            devices,
            stages,
            upcoming,
            staged,
            stage: 0,
            progress: Progress::default(),
            deadline: deadline.uncancelable(),
        };
        self.send_stage(&arrival, deadline);
        self.arrival = Some(arrival);
        // It may be over by now, if the connection is.
        self.advance_arrival(deadline);
        Ok(answers)
    }

    /// Whatever goes wrong is found when the answers are looked for.
    fn send_stage(&mut self, arrival: &Arrival, deadline: &Deadline) {
        if let Ok(monitor) = self.monitor() {
            monitor.begin(&transaction::commands(arrival.steps(), &arrival.fds()), deadline);
        }
    }

    /// Goes on with the add that is under way, as far as its answers are there; true if none is left.
    pub(super) fn advance_arrival(&mut self, deadline: &Deadline) -> bool {
        while let Some(arrival) = &self.arrival {
            let late = arrival.deadline.check().is_err();
            let ended = self.monitor().map_or(true, |monitor| monitor.begun_has_ended());
            if !ended && !late {
                return false;
            }
            self.take_answers(deadline);
        }
        true
    }

    /// Waits for the add that is under way, if there is one.
    pub(super) fn finish_arrival(&mut self, deadline: &Deadline) -> Result<()> {
        while let Some(arrival) = &self.arrival {
            let until = arrival.deadline.clone();
            if let Ok(monitor) = self.monitor() {
                let waited = monitor.await_begun(&deadline.at_most(until.left()));
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
        let Some(mut arrival) = self.arrival.take() else { return };
        match self.judge_stage(&mut arrival, deadline) {
            Verdict::Done if arrival.stage + 1 < arrival.stages.len() => {
                arrival.stage += 1;
                let within = arrival.deadline.clone();
                self.send_stage(&arrival, &within);
                self.arrival = Some(arrival);
            }
            verdict => self.end_arrival(arrival, verdict, deadline),
        }
    }

    fn judge_stage(&mut self, arrival: &mut Arrival, deadline: &Deadline) -> Verdict {
        let lost = || Error::new(ErrorKind::MonitorLost, "the connection to the monitor is gone");
        let Some(monitor) = self.connection() else { return Verdict::Unknown(lost()) };
        let answers = monitor.take_begun().unwrap_or_else(|| Batch {
            replies: arrival.steps().iter().map(|_| None).collect(),
            failure: Some(lost()),
        });
        let mut progress = std::mem::take(&mut arrival.progress);
        let (steps, fds) = (arrival.steps(), arrival.fds());
        let commands = transaction::commands(steps, &fds);
        let verdict = progress.judge(monitor, steps, &commands, answers, deadline);
        arrival.progress = progress;
        verdict
    }

    /// Nothing is tried again elsewhere: the caller has been told id and place.
    fn end_arrival(&mut self, arrival: Arrival, verdict: Verdict, deadline: &Deadline) {
        let Arrival { items, devices, upcoming, staged, .. } = arrival;
        let concluded = self.conclude(&devices, staged, verdict, deadline);
        let done = self.attached(concluded, &devices, upcoming).map_err(|failure| failure.error);
        self.end_add(done.is_ok());
        match done {
            Ok(()) => {
                let arrived = items.iter().filter(|item| matches!(item, Item::Plug { .. }));
                arrived.filter_map(Item::device).for_each(|device| {
                    self.events.device(What::Added, device, "added");
                });
            }
            Err(error) => {
                self.stale |= is_misplaced(&error);
                let failure = What::AddFailed(AddFailure { kind: error.kind(), errno: error.errno() });
                items.iter().filter_map(Item::device).for_each(|device| {
                    self.events.device(failure, device, error.to_string());
                });
            }
        }
    }
}

impl Item {
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
                device.clone().map(|device| Outcome::Pending(device, Waiting::NotAwaited))
            }
        }
    }
}
