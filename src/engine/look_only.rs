//! A handle that only looks: what it refuses, and what it shows of what is unfinished.

use super::access::Access;
use super::guest_state::GuestState;
use super::outcome::PendingReason;
use super::phase::{Phase, UnplugRequest};
use super::phase_change::Cause;
use crate::error::{Error, ErrorKind, Result, errno};
use crate::model::{Device, Operation};
use crate::qmp::Command;

impl GuestState {
    /// Whether this handle only looks.
    pub(super) fn only_looks(&self) -> bool {
        self.access == Access::Look
    }

    /// Refuses a call that changes something.
    pub(super) fn check_may_change(&self) -> Result<()> {
        match self.access {
            Access::Change => Ok(()),
            Access::Look => Err(Error::new(
                ErrorKind::State,
                "the guest was opened for looking only; open it without that flag to change it",
            )
            .with_errno(errno::EROFS)),
        }
    }

    /// Refuses commands that are no questions, if this handle only looks.
    pub(super) fn check_only_asks(&self, commands: &[Command]) -> Result<()> {
        match commands.iter().find(|command| self.only_looks() && !command.is_question()) {
            None => Ok(()),
            Some(other) => {
                let text =
                    format!("{} may change something, and the guest was opened for looking only", other.name);
                Err(Error::new(ErrorKind::State, text).with_errno(errno::EROFS))
            }
        }
    }

    /// What the journal has open stays open: the devices that are on their way out are pending.
    pub(super) fn show_unfinished(&mut self) -> Result<()> {
        let leaving: Vec<Device> = {
            let contents = self.contents();
            let intents = contents.journal().intents.iter();
            let leaves = intents
                .filter(|intent| matches!(intent.operation, Operation::Remove | Operation::RollbackAdd));
            leaves.map(|intent| intent.device.clone()).collect()
        };
        let now = self.now();
        self.phases.forget_removals();
        for device in &leaving {
            let request = UnplugRequest { at: Some(now), why: PendingReason::NotAwaited };
            self.enter(device, Some(Phase::Unplugging(request)), Cause::Asked, String::new)?;
        }
        Ok(())
    }

    /// What was said of devices is not followed up; the next look shows what is so.
    pub(super) fn disregard_reports(&mut self) {
        self.needs_resync |= !self.reports.is_empty();
        self.reports.clear();
        self.block_users_changed = false;
    }
}
