//! One device on its way out, for the call that waits for it.

use super::identity::DetachedDevice;
use super::outcome::{Outcome, PendingReason};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Device;

/// A device on its way out.
pub(super) struct UnplugOp<'a> {
    pub(super) device: &'a Device,
    /// The guest had been asked for it by an earlier call.
    pub(super) was_pending: bool,
    /// Why it is not waited for, once the guest has been asked.
    pub(super) unawaited: Option<PendingReason>,
    /// How often the guest had refused before this call.
    pub(super) refusals: u32,
    /// The call waits for it.
    pub(super) is_awaited: bool,
    pub(super) phase: UnplugPhase<'a>,
}

/// How far it has come.
pub(super) enum UnplugPhase<'a> {
    /// The guest is to be asked, for the first time or again because it was busy.
    Queued,
    /// The guest has been asked.
    Requested,
    /// It has left; its backend is still to be taken down.
    Unplugged(DetachedDevice<'a>),
    /// This is the answer.
    Finished(Box<Result<Outcome>>),
}

impl UnplugOp<'_> {
    pub(super) fn is_requested(&self) -> bool {
        matches!(self.phase, UnplugPhase::Requested)
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.phase, UnplugPhase::Finished(_))
    }

    pub(super) fn into_answer(self) -> Option<Result<Outcome>> {
        match self.phase {
            UnplugPhase::Finished(answer) => Some(*answer),
            UnplugPhase::Queued | UnplugPhase::Requested | UnplugPhase::Unplugged(_) => None,
        }
    }

    pub(super) fn answer(&mut self, answer: Result<Outcome>) {
        self.phase = UnplugPhase::Finished(Box::new(answer));
    }

    pub(super) fn fail(&mut self, error: &Error, left: String) {
        self.answer(Err(error.clone().with_undo(vec![left])));
    }
}

pub(super) fn positions(ops: &[UnplugOp<'_>], so: impl Fn(&UnplugOp<'_>) -> bool) -> Vec<usize> {
    ops.iter().enumerate().filter(|(_, op)| so(op)).map(|(at, _)| at).collect()
}

pub(super) fn queued<'a>(ops: &[UnplugOp<'a>]) -> impl Iterator<Item = &'a Device> {
    ops.iter().filter(|op| matches!(op.phase, UnplugPhase::Queued)).map(|op| op.device)
}

pub(super) fn fail_waiting(ops: &mut [UnplugOp<'_>], error: &Error) {
    for op in ops.iter_mut().filter(|op| op.is_requested()) {
        op.fail(error, format!("device {}: its removal is pending", op.device.id));
    }
}

pub(super) fn refused(device: &Device) -> Error {
    Error::new(
        ErrorKind::GuestRefused,
        format!("the guest refused to let go of {}: it may be in use there; the device stays", device.id),
    )
}
