//! The link of a NIC: the guest sees its cable pulled, and put back.

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::Outcome;
use super::plan::{self, UndoStep};
use super::store_step::Undurable;
use super::transaction::{self, StageResult, StepError};
use crate::error::{Error, Result};
use crate::model::{Device, DeviceKind, Operation, Presence, Spec};

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
            StageResult::Done => {
                match self.commit_change(&after, std::slice::from_ref(&after), journaled).await {
                    Ok(()) => Ok(Outcome::Done(after)),
                    Err(failure) => {
                        let back = UndoStep::SetLink { netdev: before.backend_name(), up: is_up(&before) };
                        Err(self.undo_change(&before, back, failure, deadline).await)
                    }
                }
            }
            StageResult::Refused(StepError { error, .. }) => {
                self.clear_change(journaled.give_up().nothing_to_record(), &before).await;
                Err(self.describe_link(&before, error).with_undo(Vec::new()))
            }
            StageResult::Unknown(error) => {
                drop(journaled);
                let left = format!("link of {}", before.id);
                let error = self.look_up_change(left, error, deadline).await;
                Err(self.describe_link(&before, error))
            }
        }
    }

    fn describe_link(&self, device: &Device, error: Error) -> Error {
        error.context(format!("set the link of {}", device.id))
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
