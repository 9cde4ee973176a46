//! Asking the guest for devices, waiting for `DEVICE_DELETED` of each, and only then the rest. One device is
//! many of one.

use std::time::{Duration, Instant};

use super::device_reports::Confirmed;
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::{Outcome, PendingReason};
use super::phase_change::Cause;
use super::phases::Waits;
use super::report::Report;
use super::unplug_op::{UnplugOp, UnplugPhase, fail_waiting, positions, queued, refused};
use super::unplug_request::DeviceDelReply;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Device;
use crate::qmp::Command;
use crate::slots::pci::Topology;

/// Pause before asking a guest again that is busy with an earlier plug or unplug.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// Pause before a lost connection is made again in the middle of a wait.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// Least time between two questions whether the guest runs, while it is said over and over that it resumes.
const QUESTION_PAUSE: Duration = Duration::from_millis(25);

/// Most time kept back from waiting, for the question why nothing came. A busy host takes 100 ms for it now
/// and then.
const LAST_WORD: Duration = Duration::from_millis(250);

impl GuestState {
    /// Asks unless the guest is being asked already, then waits for its answer.
    pub(super) async fn request_and_wait(
        &mut self,
        device: &Device,
        wait: bool,
        deadline: &Deadline,
    ) -> Result<Outcome> {
        let answers = self.request_and_wait_for_all(std::slice::from_ref(device), wait, deadline).await;
        answers.into_iter().next().unwrap_or(Ok(Outcome::Absent))
    }

    /// The same for many devices: one write asks for all of them, and they are waited for together. The call
    /// [waits](GuestState::begin_waiting) for them already.
    pub(super) async fn request_and_wait_for_all(
        &mut self,
        devices: &[Device],
        wait: bool,
        deadline: &Deadline,
    ) -> Vec<Result<Outcome>> {
        let mut ops: Vec<UnplugOp<'_>> = devices.iter().map(|device| self.unplug_op(device)).collect();
        self.request_until_accepted(&mut ops, wait, deadline).await;
        self.await_unplugged(&mut ops, deadline).await;
        self.tear_down_unplugged(&mut ops, deadline).await;
        for op in ops.iter_mut().filter(|op| !op.is_finished()) {
            op.answer(Err(Error::new(
                ErrorKind::State,
                format!("the removal of {} has no end", op.device.id),
            )));
        }
        self.end_waiting(&mut ops);
        ops.into_iter().filter_map(UnplugOp::into_answer).collect()
    }

    fn unplug_op<'a>(&mut self, device: &'a Device) -> UnplugOp<'a> {
        let refusals = self.phases.refusals(&device.id);
        let was_pending = self.phases.is_unplugging(&device.id);
        match self.why_kept(device) {
            // The guest has no part in it any more; QOM has the last word.
            Some(why) => {
                self.add_report(device.id.as_str(), Report::NotFound);
                let phase = UnplugPhase::Requested;
                UnplugOp { device, was_pending, unawaited: Some(why), refusals, is_awaited: true, phase }
            }
            None => {
                let phase = UnplugPhase::Queued;
                UnplugOp { device, was_pending, unawaited: None, refusals, is_awaited: true, phase }
            }
        }
    }

    /// What becomes of those that have their answers is told from now on: it is said that an event follows
    /// where one is pending.
    fn end_waiting(&mut self, ops: &mut [UnplugOp<'_>]) {
        for op in ops.iter_mut().filter(|op| op.is_awaited && op.is_finished()) {
            op.is_awaited = false;
            self.phases.end_waiting(&op.device.id, Waits::ForAll);
        }
    }

    /// Asks until the guest is no longer busy with something else.
    async fn request_until_accepted(&mut self, ops: &mut [UnplugOp<'_>], wait: bool, deadline: &Deadline) {
        loop {
            self.answer_for_gone(ops, |phase| matches!(phase, UnplugPhase::Queued));
            let to_ask: Vec<usize> = positions(ops, |op| matches!(op.phase, UnplugPhase::Queued));
            let devices: Vec<&Device> = queued(ops).collect();
            if devices.is_empty() {
                return;
            }
            let replies = self.request_unplug(&devices, deadline).await;
            let mut busy = None;
            for (at, asked) in to_ask.into_iter().zip(replies) {
                let Some(op) = ops.get_mut(at) else { continue };
                match asked {
                    Ok(DeviceDelReply::Busy(error)) => busy = Some(error),
                    Ok(asked) => self.take_reply(op, asked, wait).await,
                    Err(error) => op.answer(Err(error)),
                }
            }
            let Some(error) = busy else { return };
            let queued: Vec<&Device> = queued(ops).collect();
            queued.iter().for_each(|device| self.phases.begin_asking_again(&device.id));
            self.end_waiting(ops);
            let paused = self.pause_yielding(BUSY_PAUSE, deadline).await;
            queued.iter().for_each(|device| self.phases.end_asking_again(&device.id));
            let Err(ended) = paused else { continue };
            self.answer_for_gone(ops, |phase| matches!(phase, UnplugPhase::Queued));
            let last = if ended.kind() == ErrorKind::Timeout { error } else { ended };
            for op in ops.iter_mut().filter(|op| matches!(op.phase, UnplugPhase::Queued)) {
                let off = self.cancel_unplug(op.device, Cause::CalledOff).await;
                op.answer(Err(off.err().unwrap_or_else(|| last.clone())));
            }
        }
    }

    /// What the guest said about one of them.
    async fn take_reply(&mut self, op: &mut UnplugOp<'_>, asked: DeviceDelReply, wait: bool) {
        let device = op.device;
        let why = match asked {
            DeviceDelReply::AlreadyGone => return op.answer(Ok(Outcome::Done(device.clone()))),
            DeviceDelReply::NotFound => {
                // QOM has the last word.
                self.add_report(device.id.as_str(), Report::NotFound);
                if let Err(error) = self.mark_unplugging(device, PendingReason::Deadline) {
                    return op.answer(Err(error));
                }
                None
            }
            // What the guest has been asked for before goes on being pending.
            DeviceDelReply::Rejected(error) if op.was_pending && error.kind() == ErrorKind::Migrating => {
                if let Err(error) = self.mark_unplugging(device, PendingReason::Migrating) {
                    return op.answer(Err(error));
                }
                Some(PendingReason::Migrating)
            }
            DeviceDelReply::Rejected(error) => {
                let off = self.cancel_unplug(device, Cause::CalledOff).await;
                return op.answer(Err(off.err().unwrap_or(error)));
            }
            DeviceDelReply::Busy(error) => return op.answer(Err(error)),
            DeviceDelReply::Accepted(why) => why.or((!wait).then_some(PendingReason::NotAwaited)),
        };
        self.drain_events();
        op.unawaited = why;
        op.phase = UnplugPhase::Requested;
        if let Some(why) = why.filter(|_| !self.has_report(&device.id)) {
            op.answer(Ok(self.still_pending(device, why)));
        }
    }

    /// Waits until none of them is still waited for.
    async fn await_unplugged(&mut self, ops: &mut [UnplugOp<'_>], deadline: &Deadline) {
        let last_word = LAST_WORD.min(deadline.left(self.now()) / 8);
        let patience = deadline.earlier_by(self.now(), last_word);
        // What was heard between the question whether it runs and the request counts as well.
        let mut was_running = true;
        let mut asked_at: Option<Instant> = None;
        loop {
            self.end_waiting(ops);
            if let Err(error) = self.check_unplugged(ops, deadline).await {
                return fail_waiting(ops, &error);
            }
            let waiting = positions(ops, |op| op.is_requested());
            let unsure = was_running && !self.running && !waiting.is_empty();
            let rest = asked_at.map_or(Duration::ZERO, |at| QUESTION_PAUSE.saturating_sub(self.now() - at));
            if unsure && rest.is_zero() {
                was_running = false;
                asked_at = Some(self.now());
                self.check_run_state(ops, &patience).await;
                // The word that somebody has left may have come with the answer.
                continue;
            }
            was_running = self.running || unsure;
            let due_in = |at: &usize| {
                let device = ops.get(*at).map(|op| &op.device.id);
                device
                    .and_then(|id| self.phases.request(id))
                    .map(|request| request.until_due(self.unplug_blocked, self.now()))
            };
            let Some(step) = waiting.iter().filter_map(due_in).min() else { return };
            let step = patience.at_most(self.now(), if unsure { step.min(rest) } else { step });
            self.end_waiting(ops);
            let waited = self.wait_event(&step).await;
            let Err(error) = waited else { continue };
            // Another operation may have come first, which has told nobody.
            self.answer_for_gone(ops, |phase| matches!(phase, UnplugPhase::Requested));
            match error.kind() {
                ErrorKind::Timeout if patience.left(self.now()).is_zero() => {
                    return Box::pin(self.stop_waiting(ops, deadline)).await;
                }
                ErrorKind::Timeout => Box::pin(self.repeat_due(ops, deadline)).await,
                ErrorKind::Canceled => {
                    for op in ops.iter_mut().filter(|op| op.is_requested()) {
                        self.still_pending(op.device, PendingReason::NotAwaited);
                    }
                    return fail_waiting(ops, &error);
                }
                _ => {
                    if let Err(failure) = self.reconnect_waiting(deadline).await {
                        let error = if failure.kind() == ErrorKind::Canceled { failure } else { error };
                        for op in ops.iter_mut().filter(|op| op.is_requested()) {
                            let id = &op.device.id;
                            let left =
                                format!("device {id}: its removal is pending, the guest cannot be asked");
                            op.fail(&error, left);
                        }
                        return;
                    }
                }
            }
        }
    }

    /// Takes in what has been said, and moves those on that it is about.
    async fn check_unplugged(&mut self, ops: &mut [UnplugOp<'_>], deadline: &Deadline) -> Result<()> {
        self.drain_events();
        if self.events_lost {
            // What is not there any more has left while nobody heard.
            self.ready(deadline).await?;
        }
        self.answer_for_gone(ops, |phase| matches!(phase, UnplugPhase::Requested));
        for op in ops.iter_mut().filter(|op| op.is_requested()) {
            if self.phases.refusals(&op.device.id) != op.refusals {
                op.answer(Err(refused(op.device)));
            }
        }
        self.confirm_reported(ops, deadline).await?;
        for op in ops.iter_mut().filter(|op| op.is_requested()) {
            if let Some(why) = op.unawaited {
                op.answer(Ok(self.still_pending(op.device, why)));
            }
        }
        Ok(())
    }

    /// Asks QOM about those of which something was said, or whose removal has been cleared by somebody else's
    /// doing.
    async fn confirm_reported(&mut self, ops: &mut [UnplugOp<'_>], deadline: &Deadline) -> Result<()> {
        let is_in_question = |op: &UnplugOp<'_>| {
            let id = &op.device.id;
            op.is_requested() && (self.has_report(id) || !self.phases.is_unplugging(id))
        };
        let in_question = positions(ops, is_in_question);
        if in_question.is_empty() {
            return Ok(());
        }
        let devices = in_question.iter().filter_map(|at| ops.get(*at)).map(|op| op.device);
        let confirmed = self.confirm_in_qom(&devices.collect::<Vec<_>>(), deadline).await?;
        for (at, confirmed) in in_question.into_iter().zip(confirmed) {
            let Some(op) = ops.get_mut(at) else { continue };
            match confirmed {
                Confirmed::Detached(gone) => {
                    // Now, while the others still take their time.
                    if !gone.backend_is_taken {
                        self.keep_tap_open(op.device).await;
                    }
                    op.phase = UnplugPhase::Unplugged(gone);
                }
                Confirmed::Refused => {
                    self.handle_guest_refusal(op.device).await?;
                    if self.phases.refusals(&op.device.id) != op.refusals {
                        op.answer(Err(refused(op.device)));
                    }
                }
                Confirmed::Present if !self.phases.is_unplugging(&op.device.id) => {
                    self.mark_unplugging(op.device, PendingReason::Deadline)?;
                }
                Confirmed::Present => {}
            }
        }
        Ok(())
    }

    /// A guest that stopped or fell asleep after it was asked does not answer before it goes on, so nobody
    /// waits for that.
    async fn check_run_state(&mut self, ops: &mut [UnplugOp<'_>], deadline: &Deadline) {
        // A connection that breaks over the question is noticed by who waits on it.
        let Ok(Some(why)) = self.run_state(deadline).await else { return };
        let by_consent = |op: &&mut UnplugOp<'_>| op.is_requested() && op.device.leaves_by_consent();
        for op in ops.iter_mut().filter(by_consent) {
            // It may have left before the guest stopped.
            if !self.has_report(&op.device.id) {
                op.answer(Ok(self.still_pending(op.device, why)));
            }
        }
    }

    async fn repeat_due(&mut self, ops: &mut [UnplugOp<'_>], deadline: &Deadline) {
        for op in ops.iter_mut().filter(|op| op.is_requested()) {
            let request = self.phases.request(&op.device.id);
            if request.is_none_or(|request| request.is_due(self.unplug_blocked, self.now())) {
                op.phase = UnplugPhase::Queued;
            }
        }
        self.request_until_accepted(ops, true, deadline).await;
    }

    async fn reconnect_waiting(&mut self, deadline: &Deadline) -> Result<()> {
        // A monitor that drops its clients at once is not tried as fast as the machine can.
        self.pause(RECONNECT_PAUSE, deadline).await?;
        self.ready(deadline).await
    }

    /// Nothing came: what the guest shows says why.
    async fn stop_waiting(&mut self, ops: &mut [UnplugOp<'_>], deadline: &Deadline) {
        let questions = [Command::with("query-status", &[]), Command::with("query-pci", &[])];
        let deadline = deadline.uncancelable();
        let answers = self.questions(questions, &deadline).await;
        let (state, topology) = match answers {
            Ok([state, pci]) => (PendingReason::of_status(&state), Topology::from_query_pci(&pci).ok()),
            Err(_) => (None, None),
        };
        for op in ops.iter_mut().filter(|op| op.is_requested()) {
            let located = topology.as_ref().and_then(|topology| topology.find(op.device.id.as_str()));
            let why = match (state, located.map(|located| located.occupant.configured)) {
                (Some(why), _) => why,
                (None, Some(false)) => PendingReason::NotBooted,
                (None, _) => PendingReason::Deadline,
            };
            op.answer(Ok(self.still_pending(op.device, why)));
        }
    }
}
