//! Changing a device that is in the guest: what setting its link or limits and moving it to another bridge
//! have in common.

use std::time::Duration;

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::phase::At;
use super::phase_change::Cause;
use super::plan::{self, UndoStep};
use super::store_step::{Committed, Journaled, NotRecorded, Undurable};
use super::transaction::Residue;
use crate::error::{Error, ErrorKind, Result, errno};
use crate::log::Level;
use crate::model::{Device, DeviceKind, Intent, Operation, Presence, Record, Spec};
use crate::store::Staged;

/// How long a cancelled call may go on to take back what it has begun.
const GRACE: Duration = Duration::from_secs(1);

impl GuestState {
    /// The device of this kind and id, if it is one that can be changed now.
    pub(super) fn changeable(&self, id: &str, kind: DeviceKind) -> Result<Device> {
        let Some(device) = self.known_device(id) else {
            return Err(match self.topology.find(id) {
                Some(_) => Error::new(
                    ErrorKind::Foreign,
                    format!(
                        "{id} is in the guest, but not in its record: it was not made by this library and is left alone"
                    ),
                ),
                None => Error::new(
                    ErrorKind::NotFound,
                    format!("there is no {} {id:?} in this guest", kind.title()),
                ),
            });
        };
        if device.kind() != kind {
            let text = format!("{id} is a {}, not a {}", device.kind().title(), kind.title());
            return Err(Error::invalid(text));
        }
        if self.phases.is_unplugging(&device.id) || !self.is_recorded(id) {
            let text = format!("{id} is being removed");
            return Err(Error::new(ErrorKind::State, text).with_errno(errno::EBUSY));
        }
        if self.phases.is_absent(device.id.as_str()) {
            let text =
                format!("{id} is recorded, but the guest does not have it; remove it, or mend the record");
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        Ok(device)
    }

    /// The record with this device instead of the one of the same id.
    pub(super) fn record_with(&self, device: &Device) -> Record {
        let mut next = self.contents().record().clone();
        if let Some(entry) = next.devices.iter_mut().find(|entry| entry.id == device.id) {
            entry.clone_from(device);
        }
        next
    }

    /// Puts the new record and the intent on disk, in that order. `before` is what the device is put back to.
    pub(super) async fn prepare_change(
        &self,
        next: Record,
        operation: Operation,
        before: &Device,
    ) -> Result<Journaled<Staged>> {
        let staged = self.stage(next).await?;
        self.journal_change(staged, operation, before).await
    }

    /// The change of this device is made: puts the new record in place, with all that have changed. An intent
    /// that cannot be cleared now is settled by the next call.
    pub(super) async fn commit_change(
        &self,
        device: &Device,
        changed: &[Device],
        journaled: Journaled<Staged>,
    ) -> std::result::Result<(), NotRecorded> {
        let committed = self.commit(journaled, changed).await;
        let committed = committed.map_err(|NotRecorded { error, journaled }| NotRecorded {
            error: error.with_step("save the runtime file"),
            journaled,
        })?;
        self.clear_change(committed, device).await;
        Ok(())
    }

    /// Nothing is left of a change.
    pub(super) async fn clear_change(&self, committed: Committed, device: &Device) {
        let struck = self.strike(committed, [device]).await;
        if let Err(error) = struck {
            self.log.write(Level::Warning, || error.to_string());
        }
    }

    /// The change is made, but could not be recorded: it is taken back.
    pub(super) async fn undo_change(
        &mut self,
        before: &Device,
        back: UndoStep,
        failure: NotRecorded,
        deadline: &Deadline,
    ) -> Error {
        let NotRecorded { error, journaled } = failure;
        let what = back.residue();
        let left: Vec<String> = match self.tear_down(journaled.may(), &[back], deadline).await {
            Ok(report) => report.left.iter().map(Residue::to_string).collect(),
            Err(cause) => vec![format!("{what} ({cause})")],
        };
        self.end_undo(before, journaled, error, left).await
    }

    /// A change was taken back, but for what is left: that is settled by the next call.
    pub(super) async fn end_undo(
        &mut self,
        before: &Device,
        journaled: Journaled<()>,
        error: Error,
        left: Vec<String>,
    ) -> Error {
        if left.is_empty() {
            self.clear_change(journaled.nothing_to_record(), before).await;
        } else {
            self.needs_resync = true;
        }
        error.with_undo(left)
    }

    /// The reply is lost. Setting things back is sure, if there is time.
    pub(super) async fn look_up_change(&mut self, what: String, error: Error, deadline: &Deadline) -> Error {
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
            false => vec![format!("{what}: unknown, set back by the next call")],
        };
        error.with_undo(left)
    }

    /// A change was interrupted: puts things as the record has them, which is the state before unless the new
    /// one was recorded already. What cannot be put back is told, and not tried for ever.
    pub(super) async fn reconcile_change(&mut self, intent: &Intent, deadline: &Deadline) -> Result<()> {
        let device = &intent.device;
        if intent.operation == Operation::ChangeMedium {
            return self.settle_medium(device, deadline).await;
        }
        let recorded = self.recorded(device.id.as_str());
        let journaled = self.journaled(&[device])?;
        let failed = match recorded.as_ref().map(|device| &device.spec) {
            Some(Spec::Nic(spec)) if intent.operation == Operation::SetLink => {
                let back = UndoStep::SetLink { netdev: device.backend_name(), up: !spec.link_down }.command();
                match self.send_one(journaled.may(), back, deadline).await {
                    // Only a broken connection is a reason to stop.
                    Err(error) if !error.is_refusal() => return Err(error),
                    answer => answer.err(),
                }
            }
            Some(Spec::Nic(spec)) if intent.operation == Operation::SetLimits => {
                self.restore_limits(device, spec).await.err()
            }
            Some(Spec::Nic(spec)) => self.restore_bridge(device, spec).await.err(),
            Some(Spec::Disk(_)) if intent.operation == Operation::SetLimits => {
                let recorded = recorded.as_ref().unwrap_or(device);
                let back = self.recorded_limits(recorded, deadline).await?;
                match self.send_one(journaled.may(), back, deadline).await {
                    Err(error) if !error.is_refusal() => return Err(error),
                    answer => answer.err(),
                }
            }
            _ => None,
        };
        if let Some(error) = failed {
            self.tell_change_stays(device, &error);
        }
        self.strike(journaled.nothing_to_record(), [device]).await
    }

    /// An interrupted change of this device could not be taken back.
    pub(super) fn tell_change_stays(&mut self, device: &Device, error: &Error) {
        let text = format!("an interrupted change could not be taken back: {error}");
        self.log.write(Level::Error, || format!("{}: {text}", device.id));
        self.tell(device, (At::Plugged, At::Plugged), Cause::ChangeStays, || text);
    }

    /// Sets down the links that are recorded as down: a QEMU that has just been started has all of them up.
    pub(super) async fn set_recorded_links(&mut self, deadline: &Deadline) -> Result<()> {
        let down = |device: &&Device| {
            matches!(&device.spec, Spec::Nic(spec) if spec.link_down)
                && device.presence != Presence::AddAfterReboot
                && !self.phases.is_absent(device.id.as_str())
        };
        let steps: Vec<plan::Step> = self
            .contents()
            .record()
            .devices
            .iter()
            .filter(down)
            .map(|device| plan::set_link(device.backend_name(), false))
            .collect();
        if steps.is_empty() {
            return Ok(());
        }
        let commands: Vec<_> = steps.iter().map(plan::Step::plain_command).collect();
        let batch = self.send(Undurable::RecordedLink.may(), commands, deadline).await;
        for (step, reply) in steps.iter().zip(batch.replies) {
            if let Some(Err(error)) = reply {
                self.log.write(Level::Error, || format!("{}: {error}", step.label()));
            }
        }
        batch.failure.map_or(Ok(()), Err)
    }
}
