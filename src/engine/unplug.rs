//! Removal as callers ask for it: what it comes to, for one device or for many at once.

use super::guest_state::GuestState;
use super::inventory::PeripheralIds;
use super::limit::Deadline;
use super::outcome::{DeferReason, Outcome, PendingReason};
use super::overlay::refuse_overlay;
use super::phase::At;
use super::phase_change::Cause;
use super::removal::{Removal, RemovalOfMany};
use super::removal_by_path::{Begun, is_path};
use super::teardown::Ended;
use crate::error::{Error, ErrorKind, Result, errno};
use crate::model::{Device, DeviceKind, Presence};

/// What is to be done about a disk with an overlay, before it is removed.
const WITH_OVERLAY: &str = "merge it into the disk's image with block-commit, or remove the disk with leave_overlay, which leaves \
                            that image to you";

/// What a removal comes to.
pub(super) enum RemovalAction {
    /// Nothing is to be done.
    Answer(Outcome),
    /// The device is only in the record.
    DropFromRecord(Device),
    /// It stays until the next boot.
    AfterReboot(Device, DeferReason),
    /// The guest is to be asked.
    Ask(Device),
}

impl GuestState {
    /// Takes a device out of the guest, or out of the record if it only is there.
    pub(super) async fn unplug(&mut self, removal: &Removal, deadline: &Deadline) -> Result<Outcome> {
        if is_path(&removal.id) {
            return self.remove_by_path(removal, deadline).await;
        }
        match self.removal_action(removal, deadline).await? {
            RemovalAction::Answer(outcome) => Ok(outcome),
            RemovalAction::DropFromRecord(device) => self.drop_from_record(device).await,
            RemovalAction::AfterReboot(device, why) => self.remove_after_reboot(device, why).await,
            RemovalAction::Ask(device) => {
                self.begin_waiting(&device);
                self.request_and_wait(&device, removal.wait, deadline).await
            }
        }
    }

    /// Takes many devices out: the guest is asked for all of them at once, and they are waited for together.
    /// Each has an answer of its own, in the order of `ids`.
    pub(super) async fn unplug_all(
        &mut self,
        ids: &[String],
        how: RemovalOfMany,
        deadline: &Deadline,
    ) -> Vec<Result<Outcome>> {
        let RemovalOfMany { live_only, wait, leave_overlay } = how;
        // One that is not waited for to its end fails for itself.
        let _ = self.await_adds(&ids.iter().map(String::as_str).collect::<Vec<_>>(), deadline).await;
        let mut has_looked = false;
        let mut answers = Vec::with_capacity(ids.len());
        let mut asked: Vec<Device> = Vec::new();
        let mut asked_by_path = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            let removal = Removal { id: id.clone(), kind: None, live_only, wait, leave_overlay };
            let is_repeated = ids.iter().take(index).any(|earlier| earlier == id);
            if is_repeated {
                answers.push(Some(Err(Error::invalid(format!("{id} is named twice")))));
                continue;
            }
            if is_path(id) {
                answers.push(Some(match self.begin_by_path(&removal, deadline).await {
                    Ok(Begun::Answered(outcome)) => Ok(outcome),
                    Ok(Begun::Asked(leaving)) => {
                        asked_by_path.push((index, leaving));
                        Ok(Outcome::PendingByPath(PendingReason::Deadline))
                    }
                    Err(error) => Err(error),
                }));
                continue;
            }
            let answer = match self.removal_action_of_many(&removal, &mut has_looked, deadline).await {
                Ok(RemovalAction::Answer(outcome)) => Ok(outcome),
                Ok(RemovalAction::DropFromRecord(device)) => self.drop_from_record(device).await,
                Ok(RemovalAction::AfterReboot(device, why)) => self.remove_after_reboot(device, why).await,
                Ok(RemovalAction::Ask(device)) => {
                    // What is found about it while the others are looked at is answered as well.
                    self.begin_waiting(&device);
                    asked.push(device);
                    answers.push(None);
                    continue;
                }
                Err(error) => Err(error),
            };
            answers.push(Some(answer));
        }
        // All have been asked, or are, before one is waited for.
        let mut outcomes = self.request_and_wait_for_all(&asked, wait, deadline).await.into_iter();
        for (index, leaving) in asked_by_path {
            let outcome = self.end_by_path(&leaving, deadline).await;
            if let Some(answer) = answers.get_mut(index) {
                *answer = Some(outcome);
            }
        }
        answers.into_iter().filter_map(|answer| answer.or_else(|| outcomes.next())).collect()
    }

    /// What the removal comes to, without doing anything.
    pub(super) async fn removal_action(
        &mut self,
        removal: &Removal,
        deadline: &Deadline,
    ) -> Result<RemovalAction> {
        self.removal_action_of_many(removal, &mut false, deadline).await
    }

    /// The same for one of many: which images the disks use is asked once, by the first that it matters to.
    pub(super) async fn removal_action_of_many(
        &mut self,
        removal: &Removal,
        has_looked: &mut bool,
        deadline: &Deadline,
    ) -> Result<RemovalAction> {
        self.ready(deadline).await?;
        self.await_add(&removal.id, deadline).await?;
        let Some(device) = self.known_device(&removal.id) else {
            return self.unknown(&removal.id, deadline).await.map(RemovalAction::Answer);
        };
        removal.check_kind(&device)?;
        self.check_unused(&device)?;
        if device.presence == Presence::AddAfterReboot {
            return Ok(RemovalAction::DropFromRecord(device));
        }
        let recorded = (device.presence == Presence::RemoveAfterReboot).then_some(DeferReason::Recorded);
        if let Some(why) = self.removal_defer_reason(&device).or(recorded) {
            if removal.live_only {
                let text = format!("{} cannot be removed from the running guest: {why}", device.id);
                return Err(Error::new(ErrorKind::NotHotpluggable, text));
            }
            return Ok(RemovalAction::AfterReboot(
                Device { presence: Presence::RemoveAfterReboot, ..device },
                why,
            ));
        }
        if let Some(located) = self.topology.find(device.id.as_str()) {
            located.check_removable()?;
        }
        let may_lose = device.kind() == DeviceKind::Disk && !self.phases.is_unplugging(&device.id);
        if may_lose && !removal.leave_overlay && !self.migrating {
            if !std::mem::replace(has_looked, true) {
                self.look_for_overlays(deadline).await?;
            }
            let contents = self.contents();
            refuse_overlay(contents.record().find(device.id.as_str()).unwrap_or(&device), WITH_OVERLAY)?;
        }
        Ok(RemovalAction::Ask(device))
    }

    /// When QEMU takes out a controller, it takes out the controller's disks too, even disks that the guest
    /// uses.
    fn check_unused(&self, device: &Device) -> Result<()> {
        if device.kind() != DeviceKind::Controller {
            return Ok(());
        }
        let on_it =
            self.slots.scsi.occupancy().filter(|(place, _)| place.controller() == Some(device.id.as_str()));
        let disks: Vec<String> =
            on_it.map(|(place, user)| format!("{} at target {}", user.label(), place.target)).collect();
        if disks.is_empty() {
            return Ok(());
        }
        let text =
            format!("{} has disks on it, which are to be removed first: {}", device.id, disks.join(", "));
        Err(Error::new(ErrorKind::Conflict, text).with_errno(errno::EBUSY))
    }

    /// Not ours: either nobody's, or somebody else's and left alone. QOM has the last word, since the
    /// inventory may be old.
    async fn unknown(&mut self, id: &str, deadline: &Deadline) -> Result<Outcome> {
        let on_scsi = self.slots.scsi.occupancy().any(|(_, user)| user.id.as_deref() == Some(id));
        let was_there = on_scsi || self.topology.find(id).is_some();
        if !was_there || !PeripheralIds::ask(self, deadline).await?.has(id) {
            return Ok(Outcome::Absent);
        }
        let text = format!(
            "{id} is in the guest, but not in its record: it was not made by this library and is left alone"
        );
        Err(Error::new(ErrorKind::Foreign, text))
    }

    pub(super) async fn drop_from_record(&mut self, device: Device) -> Result<Outcome> {
        let mut next = self.contents().record().clone();
        next.remove(&device.id);
        let at = self.at(&device);
        self.check_change(&device, (at, At::Absent), Cause::Dropped)?;
        self.replace(next).await?;
        self.forget_device(&Ended::by_call(&device), at)?;
        Ok(Outcome::Done(device))
    }

    pub(super) async fn remove_after_reboot(&mut self, device: Device, why: DeferReason) -> Result<Outcome> {
        let mut next = self.contents().record().clone();
        if let Some(entry) = next.devices.iter_mut().find(|entry| entry.id == device.id) {
            entry.presence = device.presence;
        }
        if next != *self.contents().record() {
            self.replace(next).await?;
        }
        Ok(Outcome::AfterReboot(device, why))
    }
}
