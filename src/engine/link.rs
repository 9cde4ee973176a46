//! The link of a NIC: the guest sees its cable pulled, and put back.

use std::time::Duration;

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::Outcome;
use super::plan::{self, UndoStep};
use super::store_step::{NotRecorded, Undurable};
use super::transaction::{self, Residue, StageResult, StepError};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Device, DeviceKind, Operation, Presence, Spec};

/// How long a cancelled call may go on to take back what it has begun.
const GRACE: Duration = Duration::from_secs(1);

impl GuestState {
    /// Sets the link up or down, in the guest and in the record.
    pub(super) async fn set_link(&mut self, id: &str, up: bool, deadline: &Deadline) -> Result<Outcome> {
        self.ready(deadline).await?;
        self.await_add(id, deadline).await?;
        let before = self.changeable(id, DeviceKind::Nic)?;
        let after = with_link(&before, up);
        let next = self.record_with(&after);
        if before.presence == Presence::AddAfterReboot {
            let why = self.recorded_defer_reason(&after);
            self.replace(next).await?;
            return Ok(Outcome::AfterReboot(after, why));
        }
        self.refuse_while_migrating(deadline).await?;
        let stages = [vec![plan::set_link(after.backend_name(), up)]];
        if after == before {
            // Once more, since somebody else may have set it.
            let may = Undurable::RecordedLink.may();
            return match transaction::run(self, may, &stages, &[], deadline).await {
                StageResult::Done => Ok(Outcome::Done(after)),
                StageResult::Refused(StepError { error, .. }) | StageResult::Unknown(error) => {
                    Err(self.describe_link(&after, error))
                }
            };
        }
        self.monitor()?;
        let journaled = self.prepare_change(next, Operation::SetLink, &before).await?;
        match transaction::run(self, journaled.may(), &stages, &[], deadline).await {
            StageResult::Done => match self.commit_change(&after, journaled).await {
                Ok(()) => Ok(Outcome::Done(after)),
                Err(failure) => Err(self.undo_link(&before, failure, deadline).await),
            },
            StageResult::Refused(StepError { error, .. }) => {
                self.clear_change(journaled.give_up().nothing_to_record(), &before).await;
                Err(self.describe_link(&before, error).with_undo(Vec::new()))
            }
            StageResult::Unknown(error) => {
                drop(journaled);
                Err(self.look_up_link(&before, error, deadline).await)
            }
        }
    }

    fn describe_link(&self, device: &Device, error: Error) -> Error {
        error.context(format!("set the link of {}", device.id))
    }

    /// The link is set, but that could not be recorded: it is set back.
    async fn undo_link(&mut self, before: &Device, failure: NotRecorded, deadline: &Deadline) -> Error {
        let NotRecorded { error, journaled } = failure;
        let back = UndoStep::SetLink { netdev: before.backend_name(), up: is_up(before) };
        let left: Vec<String> = match self.tear_down(journaled.may(), &[back], deadline).await {
            Ok(report) => report.left.iter().map(Residue::to_string).collect(),
            Err(cause) => vec![format!("link of {} ({cause})", before.id)],
        };
        if left.is_empty() {
            self.clear_change(journaled.nothing_to_record(), before).await;
        } else {
            self.needs_resync = true;
        }
        error.with_undo(left)
    }

    /// The reply is lost. Nobody can ask a link for its state; setting it back is sure, if there is time.
    async fn look_up_link(&mut self, before: &Device, error: Error, deadline: &Deadline) -> Error {
        self.needs_resync = true;
        let settled = match error.kind() {
            ErrorKind::Timeout => false,
            ErrorKind::Canceled => {
                self.ready(&deadline.uncancelable().at_most(self.now(), GRACE)).await.is_ok()
            }
            _ => self.ready(deadline).await.is_ok(),
        };
        let left = match settled {
            true => Vec::new(),
            false => vec![format!("link of {}: unknown, set back by the next call", before.id)],
        };
        self.describe_link(before, error).with_undo(left)
    }
}

fn is_up(device: &Device) -> bool {
    !matches!(&device.spec, Spec::Nic(spec) if spec.link_down)
}

fn with_link(device: &Device, up: bool) -> Device {
    let mut device = device.clone();
    if let Spec::Nic(spec) = &mut device.spec {
        spec.link_down = !up;
    }
    device
}
