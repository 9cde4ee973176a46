//! Devices that calls wait for have left the guest: what is cleared up behind them, and what is answered.

use super::guest_state::GuestState;
use super::identity::DetachedDevice;
use super::limit::Deadline;
use super::outcome::{Outcome, PendingReason};
use super::unplug_op::{UnplugOp, UnplugPhase, positions};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Device;

impl GuestState {
    /// Takes down the backends of those that have left, and takes them out of the record, in one go.
    pub(super) async fn tear_down_unplugged(&mut self, ops: &mut [UnplugOp<'_>], deadline: &Deadline) {
        self.answer_for_gone(ops, |phase| matches!(phase, UnplugPhase::Unplugged(_)));
        let left = positions(ops, |op| matches!(op.phase, UnplugPhase::Unplugged(_)));
        let gone = left.iter().filter_map(|at| match ops.get(*at)?.phase {
            UnplugPhase::Unplugged(gone) => Some(gone),
            _ => None,
        });
        let gone: Vec<DetachedDevice<'_>> = gone.collect();
        if gone.is_empty() {
            return;
        }
        let answers: Vec<Result<Outcome>> = match self.finish_removals(&gone, deadline).await {
            Ok(finished) => {
                gone.iter().zip(finished).map(|(gone, f)| self.unplugged(gone.device, f.left)).collect()
            }
            Err(error) => {
                let devices: Vec<&Device> = gone.iter().map(|gone| gone.device).collect();
                self.unplugged_with_residue(&devices, &error, deadline).await
            }
        };
        for (at, answer) in left.into_iter().zip(answers) {
            if let Some(op) = ops.get_mut(at) {
                self.drop_reports(op.device.id.as_str());
                op.answer(answer);
            }
        }
    }

    /// Clearing up broke off. Nobody knows how far it came; after a lost connection a new one tells.
    async fn unplugged_with_residue(
        &mut self,
        gone: &[&Device],
        error: &Error,
        deadline: &Deadline,
    ) -> Vec<Result<Outcome>> {
        let looked = self.can_look_again(error, deadline).await;
        let answer = |device: &&Device| {
            if looked && !self.is_known(device.id.as_str()) {
                return Ok(Outcome::Done((*device).clone()));
            }
            let left = format!("the backend of device {}: unknown, settled by the next call", device.id);
            let text = format!("{} is gone from the guest", device.id);
            Err(error.clone().context(text).with_undo(vec![left]))
        };
        gone.iter().map(answer).collect()
    }

    fn unplugged(&mut self, device: &Device, left: Vec<String>) -> Result<Outcome> {
        if left.is_empty() {
            return Ok(Outcome::Done(device.clone()));
        }
        if let Some(why) = self.why_kept(device) {
            return Ok(self.still_pending(device, why));
        }
        let text = format!("{} is gone from the guest, but its backend is not", device.id);
        Err(Error::new(ErrorKind::Qmp, text).with_undo(left))
    }

    /// The answer for a device that the guest has not let go of yet.
    pub(super) fn still_pending(&mut self, device: &Device, why: PendingReason) -> Outcome {
        self.phases.set_reason(&device.id, why);
        Outcome::Pending(device.clone(), why)
    }

    /// Another operation may have come first while this one waited. What has the id then, if anything, is
    /// another device.
    pub(super) fn answer_for_gone(
        &mut self,
        ops: &mut [UnplugOp<'_>],
        so: impl Fn(&UnplugPhase<'_>) -> bool,
    ) {
        for op in ops.iter_mut().filter(|op| so(&op.phase)) {
            if self.known_generation(op.device.id.as_str()) != Some(op.device.generation) {
                op.answer(Ok(Outcome::Done(op.device.clone())));
            }
        }
    }
}
