//! Changing the medium of a CD drive while the guest runs: one is inserted, exchanged or taken out.

use std::time::{Duration, Instant};

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::medium_plan::{Lock, fill, nodes_of, open_arguments, with_nodes};
use super::medium_request::{NewMedium, Opened, check_own, is_there, with_medium};
use super::outcome::{Outcome, PendingReason};
use super::plan::{self, Stage, UndoStep};
use super::store_step::{Committed, Journaled, May, NotRecorded, Undurable};
use super::transaction::{self, Residue, RollbackReport, StageResult, StepError};
use super::trays::Tray;
use crate::disk::{Layer, LayerRef};
use crate::error::{Error, ErrorKind, Result, errno};
use crate::ids::{BackendName, DeviceId};
use crate::model::{Device, Operation, Presence, Record};
use crate::planted::{self, Fault};
use crate::qmp::Command;
use crate::qmp::qemu_errors::{Refusal, refusal};
use crate::sys::descriptor::Descriptor;

/// How often a guest that has locked the tray is asked to open it. It is told each time, and Linux does not
/// open the tray when it unlocks it.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A change as it is carried out.
struct Change {
    /// The drive as it is recorded afterwards.
    after: Device,
    stages: Vec<Stage>,
    fds: Vec<Descriptor>,
    next: Record,
    /// The node of the new medium, which its fdsets are tagged with.
    node: Option<DeviceId>,
}

impl GuestState {
    /// Changes the medium of a drive, in the guest and in the record.
    pub(super) async fn change_medium(
        &mut self,
        id: &str,
        wanted: &NewMedium,
        deadline: &Deadline,
    ) -> Result<Outcome> {
        self.ready(deadline).await?;
        self.await_add(id, deadline).await?;
        let before = self.drive(id)?;
        let describe = |error: Error| error.context(format!("change the medium of {id}"));
        let opened = self.open_medium(&before, wanted).await.map_err(describe)?;
        if before.presence == Presence::AddAfterReboot {
            let after = with_medium(&before, &opened, Vec::new());
            let why = self.recorded_defer_reason(&after);
            self.replace(self.record_with(&after)).await?;
            return Ok(Outcome::AfterReboot(after, why));
        }
        if opened.image.is_some() {
            self.check_passes_descriptors("the image of a CD")?;
        }
        let changed = self.change_when_open(&before.id, &opened, wanted.lock, deadline).await;
        self.awaited_trays.remove(&before.id);
        changed.map_err(describe)
    }

    /// Changes it once the tray is open or can be opened.
    async fn change_when_open(
        &mut self,
        id: &DeviceId,
        opened: &Opened,
        lock: Lock,
        deadline: &Deadline,
    ) -> Result<Outcome> {
        let mut asked = None;
        loop {
            // Others have had the state while the guest was waited for.
            let before = self.drive(id.as_str())?;
            self.refuse_unsettled(&before)?;
            self.refuse_while_migrating(deadline).await?;
            let tray = self.tray_of(&before, deadline).await?;
            check_own(&before, &tray)?;
            if is_there(&before, opened, &tray) {
                return Ok(Outcome::Done(before));
            }
            if tray.locked && !tray.open && lock == Lock::Respected {
                if !self.await_tray(&before, &mut asked, deadline).await? {
                    return Ok(Outcome::Pending(before, PendingReason::TrayLocked));
                }
                continue;
            }
            let change = self.plan_change(&before, opened)?;
            match self.carry_out_change(&before, change, (&tray, lock), deadline).await {
                // The guest has locked it since it was looked at.
                Err(error) if is_shut(&error) && error.left().is_empty() => {}
                answer => return answer.map(Outcome::Done),
            }
        }
    }

    /// Asks the guest to open the tray, and waits until something is said. False if the time is over.
    async fn await_tray(
        &mut self,
        device: &Device,
        asked: &mut Option<Instant>,
        deadline: &Deadline,
    ) -> Result<bool> {
        if asked.is_none_or(|at| self.now().saturating_duration_since(at) >= ASK_AGAIN) {
            let command = Command::new("blockdev-open-tray", open_arguments(&device.id, Lock::Respected));
            self.send_one(Undurable::TrayRequest.may(), command, deadline).await?;
            *asked = Some(self.now());
        }
        self.awaited_trays.insert(device.id.clone());
        let step = deadline.at_most(self.now(), ASK_AGAIN);
        match self.wait_event(&step).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Timeout => {}
            Err(error) if error.kind() == ErrorKind::MonitorLost => self.ready(deadline).await?,
            Err(error) => return Err(error),
        }
        self.drain_events();
        Ok(!deadline.left(self.now()).is_zero())
    }

    fn plan_change(&mut self, before: &Device, opened: &Opened) -> Result<Change> {
        let mut generation = self.contents().record().next_generation;
        let name = |generation: u64| DeviceId::parse(&format!("medium-{generation}"));
        while self.is_of_known(name(generation)?.as_str()) {
            generation = generation.saturating_add(1);
        }
        let node = opened.image.as_ref().map(|_| name(generation)).transpose()?;
        let after = with_medium(before, opened, node.iter().map(BackendName::from).collect());
        let mut next = self.record_with(&after);
        next.next_generation = next.next_generation.max(generation.saturating_add(1));
        let mut change = Change { after, stages: Vec::new(), fds: Vec::new(), next, node };
        if let (Some(image), Some(node)) = (&opened.image, &change.node) {
            let sets = self.fdsets.take(image.layers.len(), node);
            let layer = |(set, layer): (&u32, &Layer<Descriptor>)| LayerRef {
                filename: format!("/dev/fdset/{set}"),
                format: layer.format,
                kind: layer.kind,
            };
            let layers: Vec<LayerRef> = sets.iter().zip(&image.layers).map(layer).collect();
            change.stages.push(plan::image(node, &opened.spec, &layers, &sets)?);
            change.fds.extend(image.layers.iter().map(|layer| layer.fd.clone()));
        }
        Ok(change)
    }

    /// Journal, the new node, the drive, record, and then the old node goes.
    async fn carry_out_change(
        &mut self,
        before: &Device,
        change: Change,
        (tray, lock): (&Tray, Lock),
        deadline: &Deadline,
    ) -> Result<Device> {
        let Change { after, stages, fds, next, node } = change;
        self.monitor()?;
        let both = nodes_of(&after).into_iter().chain(nodes_of(before)).collect();
        let noted = with_nodes(&after, both);
        let journaled = self.prepare_change(next, Operation::ChangeMedium, &noted).await?;
        let new: Vec<UndoStep> = stages.iter().flatten().rev().map(|step| step.undo_step.clone()).collect();
        let made = transaction::run(self, journaled.may(), &stages, &fds, deadline).await;
        let filled = match made {
            StageResult::Done => self.fill(journaled.may(), &after, tray, lock, deadline).await,
            StageResult::Refused(StepError { error, undo_steps, .. }) => {
                let journaled = journaled.give_up();
                let error = self.take_change_back(before, journaled, error, &undo_steps, deadline).await;
                node.iter().for_each(|node| self.fdsets.release(node));
                return Err(error);
            }
            StageResult::Unknown(error) => Err(error),
        };
        let (error, journaled) = match filled {
            Ok(()) => match self.commit(journaled, std::slice::from_ref(&after)).await {
                Ok(committed) => {
                    return self.take_old_medium_down(before, committed, deadline).await.map(|()| after);
                }
                Err(NotRecorded { error, journaled }) => {
                    (error.with_step("save the runtime file"), journaled)
                }
            },
            Err(error) if error.is_refusal() => (error, journaled.give_up()),
            Err(error) => {
                drop(journaled);
                let what = format!("medium of {}", before.id);
                return Err(self.look_up_change(what, error, deadline).await);
            }
        };
        let error = self.take_change_back(before, journaled, error, &new, deadline).await;
        node.iter().for_each(|node| self.fdsets.release(node));
        Err(error)
    }

    /// Makes the drive have the node of this device, or nothing.
    pub(super) async fn fill(
        &self,
        may: May<'_>,
        device: &Device,
        tray: &Tray,
        lock: Lock,
        deadline: &Deadline,
    ) -> Result<()> {
        let commands = fill(&device.id, tray, nodes_of(device).first(), lock);
        let names: Vec<_> = commands.iter().map(|command| command.name.clone()).collect();
        let batch = self.send(may, commands, deadline).await;
        if let Some(error) = batch.failure {
            return Err(error);
        }
        let refused = names.iter().zip(batch.replies).find_map(|(name, reply)| Some((name, reply?.err()?)));
        refused.map_or(Ok(()), |(name, error)| Err(error.with_step(format!("{name} {}", device.id))))
    }

    /// The new medium is recorded: what was behind the old one goes. What is left of that is settled by the
    /// next call, since the journal has it.
    async fn take_old_medium_down(
        &mut self,
        before: &Device,
        committed: Committed,
        deadline: &Deadline,
    ) -> Result<()> {
        let sets = self.fdsets.behind(before).into_iter().map(UndoStep::RemoveFd);
        let old: Vec<UndoStep> =
            nodes_of(before).into_iter().map(UndoStep::BlockdevDel).chain(sets).collect();
        let torn = match self.journaled(&[before])? {
            _ if planted::has(Fault::OldMediumStays) => Ok(RollbackReport::default()),
            journaled => self.tear_down(journaled.may(), &old, deadline).await,
        };
        let left = match torn {
            Ok(report) if report.left.is_empty() => {
                self.fdsets.release_behind(before);
                self.clear_change(committed, before).await;
                return Ok(());
            }
            Ok(report) => report.left.iter().map(Residue::to_string).collect(),
            Err(error) => {
                self.needs_resync = true;
                let settled = self.can_look_again(&error, deadline).await;
                if settled && self.contents().journal().find(before.id.as_str()).is_none() {
                    return Ok(());
                }
                vec![format!("what is behind the old medium of {} ({error})", before.id)]
            }
        };
        drop(committed);
        self.needs_resync = true;
        let text = "the medium is changed, and QEMU still has the image of the old one, which the next call takes down";
        Err(Error::new(ErrorKind::State, text).with_errno(errno::EBUSY).with_undo(left))
    }

    /// The drive has its old medium again, and nothing is left of the new one.
    async fn take_change_back(
        &mut self,
        before: &Device,
        journaled: Journaled<()>,
        error: Error,
        new: &[UndoStep],
        deadline: &Deadline,
    ) -> Error {
        let deadline = deadline.uncancelable();
        let refilled = match self.tray_of(before, &deadline).await {
            Ok(tray) => self.fill(journaled.may(), before, &tray, Lock::Broken, &deadline).await,
            Err(error) => Err(error),
        };
        let torn = match refilled {
            Ok(()) => self.tear_down(journaled.may(), new, &deadline).await,
            Err(error) => Err(error),
        };
        let left: Vec<String> = match torn {
            Ok(report) => report.left.iter().map(Residue::to_string).collect(),
            Err(cause) => vec![format!("medium of {} ({cause})", before.id)],
        };
        self.end_undo(before, journaled, error, left).await
    }
}

/// Whether the tray was not open that was to be emptied.
fn is_shut(error: &Error) -> bool {
    refusal("blockdev-remove-medium", error) == Some(Refusal::TrayShut)
}
