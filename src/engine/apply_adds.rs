//! The adds of a wanted list: those that go ahead of the removals, and those that a removal makes room for.

use super::action::Action;
use super::add_item::{AddItem, AddRequest};
use super::applied::DeviceAnswer;
use super::apply_item::ApplyItem;
use super::dry_run::Preparation;
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::{DeferReason, Outcome};
use super::unplug::RemovalAction;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Address;
use crate::model::{Device, Spec};

/// The adds of one call, by their places in the list.
#[derive(Debug, Default)]
pub(super) struct Adds {
    /// Those that go ahead, with their backends open.
    first: Vec<usize>,
    items: Vec<AddItem>,
    /// Those that wait for removals.
    later: Vec<usize>,
}

impl Adds {
    /// Opens the backends of those that go ahead, and looks at the others: what is wrong with one of them is
    /// found before anything is sent.
    pub(super) async fn open(
        state: &mut GuestState,
        list: &mut [ApplyItem],
        deadline: &Deadline,
    ) -> Result<Self> {
        let mut adds = Self::default();
        // Disks may be put on a controller of the same list.
        let controllers_first = |list: &[ApplyItem], is: bool| -> Vec<usize> {
            let so = |(_, one): &(usize, &ApplyItem)| one.is_to_be_added() && one.is_controller() == is;
            list.iter().enumerate().filter(so).map(|(at, _)| at).collect()
        };
        for at in controllers_first(list, true).into_iter().chain(controllers_first(list, false)) {
            let waits = list.get(at).is_some_and(|one| !one.decided.after.is_empty());
            if waits { adds.later.push(at) } else { adds.first.push(at) }
        }
        let requests = adds.first.iter().filter_map(|at| list.get(*at)?.request.clone()).collect();
        match state.open_all(requests, deadline).await {
            Ok(items) => adds.items = items,
            Err(error) => {
                state.finish_add(false);
                adds.put_off_or(list, error)?;
            }
        }
        for at in &adds.later {
            if let Some(one) = list.get(*at) {
                state.check_later(one).await.map_err(|error| error.context(one.id()))?;
            }
        }
        Ok(adds)
    }

    /// Whether adds wait for removals.
    pub(super) fn has_later(&self) -> bool {
        !self.later.is_empty()
    }

    /// Without a free slot, adds wait for the removals that give one free, if there are such.
    fn put_off_or(&mut self, list: &mut [ApplyItem], error: Error) -> Result<()> {
        let gives_slot = |one: &&ApplyItem| match &one.removal {
            Some(RemovalAction::Ask(device)) => matches!(device.address, Some(Address::Pci(_))),
            _ => false,
        };
        let going: Vec<_> = list.iter().filter(gives_slot).map(|one| one.id().clone()).collect();
        if error.kind() != ErrorKind::NoSlot || going.is_empty() {
            return Err(error);
        }
        self.items.clear();
        for at in self.first.drain(..) {
            if let Some(one) = list.get_mut(at) {
                one.decided.after.clone_from(&going);
            }
            self.later.push(at);
        }
        self.later.sort_unstable();
        Ok(())
    }

    /// Plugs in those that go ahead, all or none; the removals follow them in the journal.
    pub(super) async fn plug(
        &mut self,
        state: &mut GuestState,
        list: &mut [ApplyItem],
        deadline: &Deadline,
    ) -> Result<()> {
        // A removal that an earlier call has begun goes on if the adds fail.
        let contents = state.contents();
        let is_new = |device: &Device| contents.journal().find(device.id.as_str()).is_none();
        state.followed_by = list.iter().filter_map(ApplyItem::asked).filter(is_new).collect();
        let plugged = state.plug_items(&mut self.items, deadline).await;
        state.followed_by.clear();
        state.finish_add(plugged.is_ok());
        if let Err(error) = plugged {
            return self.put_off_or(list, error);
        }
        for (at, item) in self.first.iter().zip(std::mem::take(&mut self.items)) {
            if let Some(one) = list.get_mut(*at) {
                one.answer = item.into_answer().map(DeviceAnswer::from);
            }
        }
        Ok(())
    }

    /// Plugs in those whose removals are done, all or none.
    pub(super) async fn plug_later(
        self,
        state: &mut GuestState,
        list: &mut [ApplyItem],
        deadline: &Deadline,
    ) -> Result<()> {
        let mut free = Vec::new();
        for at in self.later {
            match in_the_way(list, at) {
                Some(answer) => put(list, at, answer),
                None => free.push(at),
            }
        }
        let requests: Vec<AddRequest> = free.iter().filter_map(|at| list.get(*at)?.request.clone()).collect();
        if requests.is_empty() {
            return Ok(());
        }
        let outcomes = state.add_and_wait(requests, deadline).await;
        state.finish_add(outcomes.is_ok());
        match outcomes {
            Ok(outcomes) => {
                free.into_iter().zip(outcomes).for_each(|(at, outcome)| put(list, at, outcome.into()));
                Ok(())
            }
            Err(error) => {
                free.into_iter().for_each(|at| put(list, at, DeviceAnswer::Failed(error.clone())));
                Err(error.context("what was to go is gone; what was to come then is not there"))
            }
        }
    }
}

fn put(list: &mut [ApplyItem], at: usize, answer: DeviceAnswer) {
    if let Some(one) = list.get_mut(at) {
        one.answer = Some(answer);
    }
}

/// The answer for an add whose removals are not done.
fn in_the_way(list: &[ApplyItem], at: usize) -> Option<DeviceAnswer> {
    let after = &list.get(at)?.decided.after;
    let of = |id| list.iter().find(|one| one.id() == id).and_then(|one| Some((id, one.answer.as_ref()?)));
    let answers: Vec<_> = after.iter().filter_map(of).collect();
    let failed = answers.iter().find(|(_, answer)| matches!(answer, DeviceAnswer::Failed(_)));
    if let Some((id, answer)) = failed {
        return Some(DeviceAnswer::Left(format!("{id} is still there: {}", answer.reason())));
    }
    let (id, answer) = answers.iter().find(|(_, answer)| matches!(answer, DeviceAnswer::Pending(..)))?;
    Some(DeviceAnswer::Pending(None, format!("it is added once {id} is gone: {}", answer.reason())))
}

impl GuestState {
    /// What can be said of an add before what is in its way has gone.
    async fn check_later(&mut self, one: &ApplyItem) -> Result<()> {
        match &one.request {
            Some(AddRequest::Nic(request)) => match &request.bridge {
                Some(bridge) => self.check_bridge(request.netns(), bridge, request.port.clone()).await,
                None => Ok(()),
            },
            Some(AddRequest::Disk(request)) => {
                let settled = request.settled(self.contents().dialect())?;
                self.resolve_image(settled.spec, request.format).await.map(drop)
            }
            Some(AddRequest::Controller(_)) | None => Ok(()),
        }
    }

    /// What an add that goes ahead would answer. Nothing is opened but what has to be looked at.
    pub(super) async fn would_add(&mut self, one: &ApplyItem, deadline: &Deadline) -> Result<DeviceAnswer> {
        let mut wanted = one.request.clone();
        if let Some(request) = &mut wanted {
            self.settle_properties(request, deadline).await?;
        }
        let later = match &wanted {
            Some(AddRequest::Nic(request)) => {
                if let Some(bridge) = &request.bridge {
                    self.check_bridge(request.netns(), bridge, request.port.clone()).await?;
                }
                reason(self.prepare_nic(request, deadline).await?)
            }
            Some(AddRequest::Disk(request)) => reason(self.prepare_disk(request, deadline).await?),
            Some(AddRequest::Controller(request)) => {
                reason(self.prepare_controller(request, deadline).await?)
            }
            None => None,
        };
        let Some((spec, why)) = later else { return Ok(DeviceAnswer::Done(None)) };
        let Some(request) = wanted.filter(|_| one.decided.action == Action::Add) else {
            return Ok(DeviceAnswer::Done(None));
        };
        let mut next = self.contents().record().clone();
        let (_, outcome) = self.plan_for_next_boot(&mut next, spec, request.placement(), why)?;
        Ok(outcome.into())
    }
}

fn reason<T>(prepared: Preparation<T>) -> Option<(Spec, DeferReason)> {
    match prepared {
        Preparation::Later(spec, why) => Some((spec, why)),
        Preparation::Answer(Outcome::AfterReboot(device, why)) => Some((device.spec, why)),
        Preparation::Answer(_) | Preparation::Adopt(_) | Preparation::Now(_) => None,
    }
}
