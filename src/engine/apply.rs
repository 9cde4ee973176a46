//! Making a guest have the devices of a wanted list. What can be undone comes first: changes of links and
//! bridges, then the adds that no removal has to make room for. With these adds the journal has the removals,
//! which begin when the adds are recorded, and not before. Adds that a removal makes room for come last.

use super::action::{Action, Change};
use super::add_item::AddRequest;
use super::applied::{Applied, DeviceAnswer};
use super::apply_adds::Adds;
use super::apply_item::ApplyItem;
use super::device_text::{MOST_DEVICES, wanted_ids};
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::Outcome;
use super::phases::Waits;
use super::removal::Removal;
use super::unplug::RemovalAction;
use super::wanted::{Apply, Wanted, decide};
use crate::error::{Error, ErrorKind, Result, errno};
use crate::ids::DeviceId;
use crate::model::{Device, Operation};

impl GuestState {
    /// Makes the guest have these NICs and disks and no others, or says what that would take.
    pub(super) async fn apply(
        &mut self,
        requests: Vec<AddRequest>,
        how: Apply,
        deadline: &Deadline,
    ) -> Result<Applied> {
        let mut list = self.plan_apply(requests, how, deadline).await?;
        if let Some(refused) = list.iter().find_map(|one| one.decided.refused.clone()) {
            for one in &mut list {
                one.answer = one.decided.refused.clone().map(DeviceAnswer::Refused);
            }
            return Ok(applied(list, Some(Error::new(ErrorKind::Conflict, refused))));
        }
        let done = match how.plan_only {
            true => self.preview(&mut list, deadline).await,
            false => self.carry_out_apply(&mut list, how, deadline).await,
        };
        Ok(applied(list, done.err()))
    }

    /// What is to be done, in the order of the answers. Everything that can be found wrong with a device is
    /// found here, before anything is done about another one.
    async fn plan_apply(
        &mut self,
        mut requests: Vec<AddRequest>,
        how: Apply,
        deadline: &Deadline,
    ) -> Result<Vec<ApplyItem>> {
        if requests.len() > MOST_DEVICES {
            let text = format!("{} devices in one list, at most {MOST_DEVICES} are allowed", requests.len());
            return Err(Error::invalid(text).with_errno(errno::E2BIG));
        }
        let ids = wanted_ids(&requests)?;
        for request in &mut requests {
            let placement = request.placement_mut();
            (placement.live_only, placement.no_wait) = (placement.live_only || how.live_only, false);
        }
        self.ready(deadline).await?;
        self.await_adds(&ids.iter().map(DeviceId::as_str).collect::<Vec<_>>(), deadline).await?;
        let mut wanted = Vec::with_capacity(ids.len());
        for (id, request) in ids.iter().zip(&requests) {
            let standing = self.standing(id, request, deadline).await.map_err(|error| error.context(id))?;
            wanted.push(Wanted { id, request, standing });
        }
        let contents = self.contents();
        let recorded: Vec<&Device> = contents.record().devices.iter().collect();
        let decided = decide(&recorded, &wanted, how);
        drop(wanted);
        let mut has_looked = false;
        let mut list = Vec::with_capacity(decided.len());
        let mut requests = requests.into_iter();
        for decided in decided {
            let mut one = ApplyItem { decided, request: requests.next(), removal: None, answer: None };
            if matches!(one.decided.action, Action::Del | Action::Replace) && one.decided.refused.is_none() {
                one.removal = Some(self.plan_removal_of(&one, how, &mut has_looked, deadline).await?);
            }
            list.push(one);
        }
        Ok(list)
    }

    async fn plan_removal_of(
        &mut self,
        one: &ApplyItem,
        how: Apply,
        has_looked: &mut bool,
        deadline: &Deadline,
    ) -> Result<RemovalAction> {
        let id = one.id().to_string();
        let removal =
            Removal { id, kind: None, live_only: how.live_only, wait: !how.no_wait, leave_overlay: false };
        let action = self.removal_action_of_many(&removal, has_looked, deadline).await;
        let action = action.map_err(|error| error.context(format!("remove {}", one.id())))?;
        match &action {
            RemovalAction::AfterReboot(_, why) if one.decided.action == Action::Replace => {
                let text = format!("{} cannot be replaced in the running guest: {why}", one.id());
                Err(Error::new(ErrorKind::NotHotpluggable, text))
            }
            _ => Ok(action),
        }
    }

    /// What the answers would be, if all goes well.
    async fn preview(&mut self, list: &mut [ApplyItem], deadline: &Deadline) -> Result<()> {
        for at in 0..list.len() {
            let Some(one) = list.get(at) else { continue };
            let answer = match (&one.decided.action, &one.removal) {
                (Action::None | Action::Change(_), _) => self.answer_for_present(one.id()),
                (Action::Del, Some(removal)) => self.would_answer(removal),
                (Action::Add, _) if one.decided.after.is_empty() => self.would_add(one, deadline).await?,
                _ => DeviceAnswer::Done(None),
            };
            if let Some(one) = list.get_mut(at) {
                one.answer = Some(answer);
            }
        }
        Ok(())
    }

    fn would_answer(&self, removal: &RemovalAction) -> DeviceAnswer {
        match removal {
            RemovalAction::Answer(outcome) => outcome.clone().into(),
            RemovalAction::DropFromRecord(device) => DeviceAnswer::Done(Some(device.clone())),
            RemovalAction::AfterReboot(device, why) => DeviceAnswer::AfterReboot(device.clone(), why.clone()),
            RemovalAction::Ask(device) => match self.phases.request(&device.id) {
                Some(request) => DeviceAnswer::Pending(Some(device.clone()), request.why.to_string()),
                None => DeviceAnswer::Done(Some(device.clone())),
            },
        }
    }

    /// The answer for a device that is there, and stays.
    pub(super) fn answer_for_present(&self, id: &DeviceId) -> DeviceAnswer {
        let Some(device) = self.known_device(id.as_str()) else { return DeviceAnswer::Done(None) };
        match self.answer_existing(device.clone(), false) {
            Ok(outcome) => outcome.into(),
            Err(_) => DeviceAnswer::Done(Some(device)),
        }
    }

    async fn carry_out_apply(
        &mut self,
        list: &mut [ApplyItem],
        how: Apply,
        deadline: &Deadline,
    ) -> Result<()> {
        for one in list.iter_mut().filter(|one| one.decided.action == Action::None) {
            one.answer = Some(self.answer_for_present(&one.decided.id));
        }
        let mut adds = Adds::open(self, list, deadline).await?;
        self.expect_removals(list);
        if let Err(error) = self.make_room_for_removals(&mut adds, list, deadline).await {
            let left = [error.left(), &self.call_off_removals(list).await].concat();
            return Err(if left == error.left() { error } else { error.with_undo(left) });
        }
        let removed = self.carry_out_removals(list, how, adds.has_later(), deadline).await;
        let added = adds.plug_later(self, list, deadline).await;
        removed.and(added)
    }

    /// What can be undone as a whole: changes, and the adds that go ahead.
    async fn make_room_for_removals(
        &mut self,
        adds: &mut Adds,
        list: &mut [ApplyItem],
        deadline: &Deadline,
    ) -> Result<()> {
        let undo = match self.make_changes(list, deadline).await {
            Ok(undo) => undo,
            Err(error) => {
                self.finish_add(false);
                return Err(error);
            }
        };
        match adds.plug(self, list, deadline).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.take_changes_back(list, undo, error, deadline).await),
        }
    }

    /// From here on this call answers what becomes of the devices that are to go, and it is this call that
    /// asks the guest for them: an inventory on the way leaves that to it. What has left by now has been
    /// told.
    fn expect_removals(&mut self, list: &mut [ApplyItem]) {
        for one in list {
            let Some(device) = one.asked() else { continue };
            if self.is_gone(&device) {
                one.removal = Some(RemovalAction::Answer(Outcome::Absent));
                continue;
            }
            self.begin_waiting(&device);
            self.phases.begin_asking_again(&device.id);
        }
    }

    /// The adds have failed, so the guest is asked for no device. This call answers for one that has left by
    /// itself meanwhile.
    /// Answers what is left behind.
    async fn call_off_removals(&mut self, list: &mut [ApplyItem]) -> Vec<String> {
        let mut begun: Vec<Device> = Vec::new();
        for one in list {
            let Some(device) = one.asked() else { continue };
            self.phases.end_asking_again(&device.id);
            self.phases.end_waiting(&device.id, Waits::ForAll);
            if self.is_gone(&device) {
                one.answer = Some(DeviceAnswer::Done(Some(device)));
            } else if !self.phases.is_unplugging(&device.id) {
                begun.push(device);
            }
        }
        let contents = self.contents();
        begun.retain(|device| {
            let intent = contents.journal().find(device.id.as_str());
            intent.is_some_and(|intent| matches!(intent.operation, Operation::Remove | Operation::RemoveNext))
        });
        if begun.is_empty() {
            return Vec::new();
        }
        // The adds had been completed by then, and were taken back nevertheless.
        let struck = match self.journaled(&begun.iter().collect::<Vec<_>>()) {
            Ok(journaled) => self.strike(journaled.nothing_to_record(), &begun).await,
            Err(error) => Err(error),
        };
        match struck {
            Ok(()) => Vec::new(),
            Err(error) => begun.iter().map(|one| format!("the removal of {} ({error})", one.id)).collect(),
        }
    }

    fn is_gone(&self, device: &Device) -> bool {
        self.known_generation(device.id.as_str()) != Some(device.generation)
    }

    /// Sets links and bridges; answers what sets them back, newest first. If one fails, those before it are
    /// set back.
    async fn make_changes(
        &mut self,
        list: &mut [ApplyItem],
        deadline: &Deadline,
    ) -> Result<Vec<(DeviceId, Change)>> {
        let mut undo = Vec::new();
        for at in 0..list.len() {
            let Some(one) = list.get(at) else { continue };
            let (id, action) = (one.id().clone(), one.decided.action.clone());
            let Action::Change(changes) = action else { continue };
            for change in changes {
                match self.make_change(&id, &change, deadline).await {
                    Ok(outcome) => {
                        undo.insert(0, (id.clone(), change.reversed()));
                        if let Some(one) = list.get_mut(at) {
                            one.answer = Some(outcome.into());
                        }
                    }
                    Err(error) => {
                        return Err(self.take_changes_back(list, undo, error, deadline).await);
                    }
                }
            }
        }
        Ok(undo)
    }

    async fn make_change(&mut self, id: &DeviceId, change: &Change, deadline: &Deadline) -> Result<Outcome> {
        match change {
            Change::Link { up } => Box::pin(self.set_link(id.as_str(), *up, deadline)).await,
            Change::Limits { to, .. } => Box::pin(self.set_nic_limits(id.as_str(), *to, deadline)).await,
            Change::Bridge { to, .. } => Box::pin(self.set_bridge(id.as_str(), to.as_ref(), deadline)).await,
        }
    }

    /// The call fails with `error`: changes that were made are unmade.
    async fn take_changes_back(
        &mut self,
        list: &mut [ApplyItem],
        undo: Vec<(DeviceId, Change)>,
        error: Error,
        deadline: &Deadline,
    ) -> Error {
        let deadline = deadline.uncancelable();
        let mut left = error.left().to_vec();
        for (id, change) in undo {
            if let Err(cause) = self.make_change(&id, &change, &deadline).await {
                left.push(format!("{} of {id} ({cause})", change.word()));
                continue;
            }
            if let Some(one) = list.iter_mut().find(|one| *one.id() == id) {
                one.answer = None;
            }
        }
        if left == error.left() { error } else { error.with_undo(left) }
    }

    /// Asks the guest for all devices that are to go, at once. If adds wait for them, it waits for the guest
    /// for three quarters of the time that is left, so that the adds have the rest.
    async fn carry_out_removals(
        &mut self,
        list: &mut [ApplyItem],
        how: Apply,
        adds_follow: bool,
        deadline: &Deadline,
    ) -> Result<()> {
        let mut asked: Vec<(usize, Device)> = Vec::new();
        let mut first_error = None;
        for (at, one) in list.iter_mut().enumerate() {
            let outcome = match one.removal.take() {
                None => continue,
                Some(RemovalAction::Answer(outcome)) => Ok(outcome),
                Some(RemovalAction::DropFromRecord(device)) => self.drop_from_record(device).await,
                Some(RemovalAction::AfterReboot(device, why)) => self.remove_after_reboot(device, why).await,
                Some(RemovalAction::Ask(device)) => {
                    asked.push((at, device));
                    continue;
                }
            };
            one.take_removal(outcome, &mut first_error);
        }
        let devices: Vec<Device> = asked.iter().map(|(_, device)| device.clone()).collect();
        devices.iter().for_each(|device| self.phases.end_asking_again(&device.id));
        let margin = if adds_follow { deadline.left(self.now()) / 4 } else { std::time::Duration::ZERO };
        let patience = deadline.earlier_by(self.now(), margin);
        let outcomes = self.request_and_wait_for_all(&devices, !how.no_wait, &patience).await;
        for ((at, _), outcome) in asked.into_iter().zip(outcomes) {
            if let Some(one) = list.get_mut(at) {
                one.take_removal(outcome, &mut first_error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

fn applied(list: Vec<ApplyItem>, error: Option<Error>) -> Applied {
    let otherwise = match &error {
        Some(_) => "nothing has been done about it, since another one failed",
        None => "nothing has been done about it",
    };
    Applied { steps: list.into_iter().map(|one| one.into_step(otherwise)).collect(), error }
}
