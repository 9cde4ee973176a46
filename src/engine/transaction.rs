//! Runs the steps of a plan as one, and takes them back as one.

use std::time::Duration;

use super::guest_state::GuestState;
use super::io::Link;
use super::limit::Deadline;
use super::plan::{self, Stage, Step, UndoStep};
use super::store_step::May;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::DeviceId;
use crate::planted::{self, Fault};
use crate::qmp::qemu_errors::{self, Refusal, is_absence};
use crate::qmp::{Batch, Command, Reply, Version};
use crate::sys::descriptor::Descriptor;

/// The oldest QEMU known to give an id free before it says `DEVICE_DELETED`. In 5.2 the id of a device that
/// has left goes with the last reference to it: milliseconds later, and with a guest that does nothing, up to
/// seconds.
pub(super) const FREES_IDS: Version = Version { major: 7, minor: 2, micro: 0 };

/// How long an id of a device that has left is waited for, and how often it is tried.
const LATE_ID: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(10));

/// How a plan went.
#[derive(Debug)]
pub(super) enum StageResult {
    /// Every step was done.
    Done,
    /// QEMU refused a step.
    Refused(StepError),
    /// Replies are missing: nobody knows how far it came.
    Unknown(Error),
}

/// QEMU's refusal of a step.
#[derive(Debug)]
pub(super) struct StepError {
    pub(super) error: Error,
    /// The device whose `device_add` it was.
    pub(super) device: Option<DeviceId>,
    /// What takes back the steps that were done, newest first.
    pub(super) undo_steps: Vec<UndoStep>,
}

impl StepError {
    /// What failed before QEMU was asked for anything.
    pub(super) fn before_qemu(error: Error) -> Self {
        Self { error, device: None, undo_steps: Vec::new() }
    }
}

/// What has been done of a plan so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// What takes it back, oldest first.
    done: Vec<UndoStep>,
}

/// Runs stage after stage, up to the first one that is not done.
pub(super) async fn run(
    state: &GuestState,
    may: May<'_>,
    stages: &[Stage],
    fds: &[Descriptor],
    deadline: &Deadline,
) -> StageResult {
    let mut progress = Progress::default();
    for steps in stages {
        match progress.run(state, may, steps, fds, deadline).await {
            StageResult::Done => {}
            other => return other,
        }
    }
    StageResult::Done
}

/// Runs the stages of an add that no call waits for, one after the other, until one fails. Other operations
/// have the state of the guest while QEMU is at work.
pub(super) async fn run_yielding(
    state: &mut GuestState,
    may: May<'_>,
    stages: &[Stage],
    fds: &[Descriptor],
    deadline: &Deadline,
) -> StageResult {
    let mut progress = Progress::default();
    let begun_on = state.monitor().map(|monitor| monitor.link).ok();
    for steps in stages {
        if state.monitor().map(|monitor| monitor.link).ok() != begun_on {
            let text = "the connection to the monitor was lost in the middle of the add";
            return StageResult::Unknown(Error::new(ErrorKind::MonitorLost, text));
        }
        let batch = state.send_yielding(may, commands(steps, fds), deadline).await;
        let batch = run_until_ids_are_free(state, may, steps, fds, batch, deadline).await;
        match progress.judge(steps, batch, state.version) {
            StageResult::Done => {}
            other => return other,
        }
    }
    StageResult::Done
}

/// All steps of a stage, for one write and one wait. QEMU runs them in order, and a step whose predecessor
/// failed fails too, since it names what the other would have made.
fn commands(steps: &[Step], fds: &[Descriptor]) -> Vec<Command> {
    let command = |step: &Step| {
        let fd = step.fd.and_then(|index| fds.get(index)).cloned();
        Command { fd, ..step.plain_command() }
    };
    steps.iter().map(command).collect()
}

impl Progress {
    /// Runs the steps of a stage.
    async fn run(
        &mut self,
        state: &GuestState,
        may: May<'_>,
        steps: &[Step],
        fds: &[Descriptor],
        deadline: &Deadline,
    ) -> StageResult {
        let batch = state.send(may, commands(steps, fds), deadline).await;
        let batch = run_until_ids_are_free(state, may, steps, fds, batch, deadline).await;
        self.judge(steps, batch, state.version)
    }

    /// What the answers to the commands of a stage come to.
    fn judge(&mut self, steps: &[Step], batch: Batch, qemu: Version) -> StageResult {
        let refused = steps.iter().zip(&batch.replies).find_map(|(step, reply)| match reply {
            Some(Err(error)) => Some((step_error(error, step), step)),
            _ => None,
        });
        match (batch.failure, refused) {
            (Some(error), None) => {
                StageResult::Unknown(error.with_step(first_unanswered(steps, &batch.replies)))
            }
            (Some(error), Some((refused, _))) => {
                StageResult::Unknown(refused.context(format!("{error}; before that")))
            }
            (None, Some((error, step))) => {
                let mut undo_steps = undo_steps(steps, &batch.replies, qemu);
                undo_steps.extend(std::mem::take(&mut self.done).into_iter().rev());
                let device = match &step.undo_step {
                    UndoStep::Unplug(id) => Some(id.clone()),
                    _ => None,
                };
                StageResult::Refused(StepError { error, device, undo_steps })
            }
            (None, None) => {
                self.done.extend(steps.iter().map(|step| step.undo_step.clone()));
                StageResult::Done
            }
        }
    }
}

/// Sends those commands again that stumbled over the id of a device that has left. Nobody else has that id:
/// it was looked for among the guest's devices before.
async fn run_until_ids_are_free(
    state: &GuestState,
    may: May<'_>,
    steps: &[Step],
    fds: &[Descriptor],
    mut batch: Batch,
    deadline: &Deadline,
) -> Batch {
    let (patience, pause) = (deadline.at_most(state.now(), LATE_ID.0), LATE_ID.1);
    while batch.failure.is_none() && state.version < FREES_IDS {
        let again = after_late_id(steps, &batch.replies);
        if again.is_empty() || state.pause(pause, &patience).await.is_err() {
            break;
        }
        let commands = commands(steps, fds);
        let repeated: Vec<Command> = again.iter().filter_map(|at| commands.get(*at)).cloned().collect();
        let answers = state.send(may, repeated, deadline).await;
        batch.failure = answers.failure;
        for (at, answer) in again.into_iter().zip(answers.replies) {
            if let Some(reply) = batch.replies.get_mut(at) {
                *reply = answer;
            }
        }
    }
    batch
}

/// Which steps are to be done again because the first that was refused stumbled over a late id: all that were
/// refused, and every `set_link`, which without its NIC is done to the netdev alone.
fn after_late_id(steps: &[Step], replies: &[Option<Reply>]) -> Vec<usize> {
    let refused = |reply: &Option<Reply>| matches!(reply, Some(Err(_)));
    let is_late_id = |(step, reply): &(&Step, &Option<Reply>)| match reply {
        Some(Err(error)) => qemu_errors::refusal(step.command, error) == Some(Refusal::DuplicateDevice),
        _ => false,
    };
    let mut answered = steps.iter().zip(replies);
    if !answered.clone().find(|(_, reply)| refused(reply)).is_some_and(|first| is_late_id(&first)) {
        return Vec::new();
    }
    // Its fd has been sent: another device's step, which fails for itself.
    if answered.any(|(step, reply)| refused(reply) && step.fd.is_some()) {
        return Vec::new();
    }
    let again = |(_, (step, reply)): &(usize, (&Step, &Option<Reply>))| {
        refused(reply) || matches!(step.undo_step, UndoStep::SetLink { .. })
    };
    steps.iter().zip(replies).enumerate().filter(again).map(|(at, _)| at).collect()
}

/// Newest first.
fn undo_steps(steps: &[Step], replies: &[Option<Reply>], qemu: Version) -> Vec<UndoStep> {
    let answered = steps.iter().zip(replies).rev();
    let taken_back = |(step, reply): (&Step, &Option<Reply>)| match reply {
        Some(Ok(_)) => vec![step.undo_step.clone()],
        Some(Err(_)) => plan::undo_of_refused(step, qemu),
        None => Vec::new(),
    };
    let forgotten = |undo_step: &UndoStep| match undo_step {
        UndoStep::NetdevDel(_) => planted::has(Fault::NetdevIsForgotten),
        UndoStep::ChardevRemove(_) => planted::has(Fault::ChardevIsForgotten),
        _ => false,
    };
    answered.flat_map(taken_back).filter(|undo_step| !forgotten(undo_step)).collect()
}

fn first_unanswered(steps: &[Step], replies: &[Option<Reply>]) -> String {
    let unanswered = steps.iter().zip(replies).find(|(_, reply)| reply.is_none());
    unanswered.map(|(step, _)| step.label()).unwrap_or_default()
}

/// QEMU's refusal of a step, with a kind that a caller can act on.
fn step_error(error: &Error, step: &Step) -> Error {
    qemu_errors::explain(step.command, error.clone().with_step(step.label()))
}

/// Something that could not be taken back.
#[derive(Debug)]
pub(super) struct Residue {
    pub(super) undo_step: UndoStep,
    error: Error,
    /// Who uses it, in words, if that was asked and is known.
    pub(super) holders: Option<String>,
}

impl Residue {
    /// Whether somebody still uses it: QEMU itself, for a moment, or an export, a job or another node.
    pub(super) fn is_in_use(&self) -> bool {
        if matches!(self.undo_step, UndoStep::AwaitDrive(_)) {
            return true;
        }
        let command = self.undo_step.command().name;
        qemu_errors::refusal(&command, &self.error) == Some(Refusal::InUse)
    }
}

impl std::fmt::Display for Residue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}", self.undo_step.residue(), self.error.message())?;
        match &self.holders {
            Some(holders) => write!(f, "; {holders})"),
            None => f.write_str(")"),
        }
    }
}

/// What taking things back came to.
#[derive(Debug, Default)]
pub(super) struct RollbackReport {
    /// What could not be taken back.
    pub(super) left: Vec<Residue>,
    /// What was not there to be taken back, which is as good.
    pub(super) absent: Vec<UndoStep>,
}

/// Takes things back, all in one write.
pub(super) async fn roll_back(
    state: &GuestState,
    may: May<'_>,
    link: Link,
    undo_steps: &[UndoStep],
    deadline: &Deadline,
) -> Result<RollbackReport> {
    let commands: Vec<Command> = undo_steps.iter().map(UndoStep::command).collect();
    let batch = state.send_on(may, link, commands, deadline).await;
    if let Some(error) = batch.failure {
        return Err(error);
    }
    let mut report = RollbackReport::default();
    for (undo_step, reply) in undo_steps.iter().zip(batch.replies) {
        match reply {
            Some(Err(error)) if is_absence(&undo_step.command().name, &error) => {
                report.absent.push(undo_step.clone())
            }
            Some(Err(error)) if !undo_step.prepares() => {
                report.left.push(Residue { undo_step: undo_step.clone(), error, holders: None });
            }
            Some(Ok(answer)) => {
                let left = undo_step.still_there(&answer);
                let residue = |error| Residue { undo_step: undo_step.clone(), error, holders: None };
                report.left.extend(left.map(residue));
            }
            _ => {}
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_late_id_is_tried_again_and_nothing_else_is() {
        let id = DeviceId::parse("lan").unwrap();
        let step = |command, undo_step| Step { command, arguments: Arc::default(), fd: None, undo_step };
        let mut steps = vec![
            step("netdev_add", UndoStep::NetdevDel((&id).into())),
            step("device_add", UndoStep::Unplug(id.clone())),
            plan::set_link((&id).into(), false),
        ];
        let done = || Some(Ok(serde_json::Value::Null));
        let refused = |text: &str| Some(Err(Error::qmp("GenericError", text)));
        let late = || refused("Duplicate ID 'lan' for device");
        assert_eq!(after_late_id(&steps, &[done(), late(), done()]), [1, 2]);
        for replies in [
            [done(), done(), done()],
            [done(), refused("Duplicate ID 'lan' for netdev"), done()],
            [refused("no"), late(), done()],
        ] {
            assert!(after_late_id(&steps, &replies).is_empty(), "{replies:?}");
        }
        steps.last_mut().unwrap().fd = Some(0);
        assert!(after_late_id(&steps, &[done(), late(), refused("no")]).is_empty(), "its fd is gone");
    }
}
