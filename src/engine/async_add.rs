//! Adds that are not waited for: the caller is told what is on its way, and the operation goes on without the
//! caller.

use super::add::{Attempt, is_misplaced};
use super::add_item::{AddItem, AddRequest, queues_to_attach};
use super::add_transaction::PlugError;
use super::answer::Answer;
use super::events::AddFailure;
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::{Outcome, PendingReason};
use super::phase::At;
use super::phase::Phase;
use super::phase_change::Cause;
use super::phases::Waits;
use super::store_step::Journaled;
use super::transaction::{self, StageResult, StepError};
use crate::error::Result;
use crate::log::Level;
use crate::model::Device;
use crate::store::Staged;
use crate::sys::descriptor::Descriptor;

impl GuestState {
    /// Sends what the devices take, answers, and goes on when QEMU has answered. Nothing is tried again
    /// elsewhere: the caller has been told id and place.
    pub(super) async fn add_in_background(
        &mut self,
        requests: Vec<AddRequest>,
        deadline: &Deadline,
    ) -> Result<Vec<Outcome>> {
        let mut items = self.open_all(requests, deadline).await?;
        if !items.iter().any(|item| matches!(item, AddItem::Plug { .. })) {
            self.plug_items(&mut items, deadline).await?;
            return Ok(items.into_iter().filter_map(AddItem::into_answer).collect());
        }
        self.attach(queues_to_attach(&items)).await?;
        let attempt = self.attempt(&mut items, deadline).await?;
        // From here on the journal has them.
        let reserved = std::mem::take(&mut self.reserved);
        let journaled = match self.prepare(attempt.next.clone(), &attempt.devices).await {
            Ok(journaled) => journaled,
            Err(error) => {
                self.reserved = reserved;
                return Err(PlugError::from(error).about(&attempt.devices).error);
            }
        };
        let answers: Vec<Outcome> = items.iter().filter_map(AddItem::pending).collect();
        self.answer(Answer::Outcomes(answers));
        self.finish_background(&items, &attempt, (journaled, reserved), &deadline.uncancelable()).await;
        Ok(Vec::new())
    }

    /// Waits for the end of an add of this device that another call has begun and not waited for: two
    /// operations on one device take turns.
    pub(super) async fn await_add(&mut self, id: &str, deadline: &Deadline) -> Result<()> {
        self.await_adds(&[id], deadline).await
    }

    /// The same for many devices, before anything is planned for the first of them: others have the state
    /// meanwhile.
    pub(super) async fn await_adds(&mut self, ids: &[&str], deadline: &Deadline) -> Result<()> {
        while ids.iter().any(|id| self.phases.get(id) == Some(Phase::Plugging)) {
            self.drain_events();
            let waited = self.wait_news(deadline).await;
            waited.map_err(|error| error.context("an add that was not waited for is still under way"))?;
        }
        Ok(())
    }

    async fn finish_background(
        &mut self,
        items: &[AddItem],
        attempt: &Attempt,
        (journaled, reserved): (Journaled<Staged>, Vec<Device>),
        deadline: &Deadline,
    ) {
        let devices = &attempt.devices;
        for device in devices {
            self.phases.put(&device.id, Some(Phase::Plugging));
        }
        // What becomes of these is told at the end.
        let told = || items.iter().filter_map(AddItem::device);
        told().for_each(|device| self.phases.begin_waiting(&device.id, Waits::ForAll));
        let fds: Vec<Descriptor> = items.iter().flat_map(AddItem::fds).cloned().collect();
        let result = match self.limit_given_taps(devices).await {
            Ok(()) => transaction::run_yielding(self, journaled.may(), &attempt.stages, &fds, deadline).await,
            Err(error) => StageResult::Refused(StepError::before_qemu(error)),
        };
        devices.iter().for_each(|device| self.phases.end_add(&device.id));
        let concluded = self.conclude(devices, journaled, result, deadline).await;
        let done = self.finish_plug(concluded, devices, reserved).await.map_err(|failure| failure.error);
        self.finish_add(done.is_ok());
        if done.is_err() {
            self.retire(devices).await;
        }
        told().for_each(|device| self.phases.end_waiting(&device.id, Waits::ForAll));
        self.tell_end(items, done);
    }

    /// The caller has been told the numbers of these, so no other attachment gets them.
    async fn retire(&mut self, devices: &[Device]) {
        let last = devices.iter().map(|device| device.generation).max();
        let Some(last) = last else { return };
        if let Err(error) = self.retire_generation(last).await {
            self.log.write(Level::Warning, || error.to_string());
        }
    }

    /// Says what the call would have answered.
    fn tell_end(&mut self, items: &[AddItem], done: Result<()>) {
        match done {
            Ok(()) => {
                let added = items.iter().filter(|item| matches!(item, AddItem::Plug { .. }));
                added.filter_map(AddItem::device).for_each(|device| {
                    let change = (At::Plugging, At::Plugged);
                    self.tell(device, change, Cause::Added, || "added".to_owned());
                });
            }
            Err(error) => {
                self.needs_resync |= is_misplaced(&error);
                let failure = AddFailure { kind: error.kind(), errno: error.errno() };
                items.iter().filter_map(AddItem::device).for_each(|device| {
                    let change = (At::Plugging, self.at(device));
                    self.tell(device, change, Cause::AddFailed(failure), || error.to_string());
                });
            }
        }
    }
}

impl AddItem {
    fn device(&self) -> Option<&Device> {
        match self {
            Self::Answered(_) => None,
            Self::Adopt(device) | Self::Later(device, _) => Some(device),
            Self::Plug { device, .. } => device.as_ref(),
        }
    }

    /// The answer as long as QEMU's is not known.
    fn pending(&self) -> Option<Outcome> {
        match self {
            Self::Answered(outcome) => Some(outcome.clone()),
            Self::Adopt(device) => Some(Outcome::Done(device.clone())),
            Self::Later(device, why) => Some(Outcome::AfterReboot(device.clone(), why.clone())),
            Self::Plug { device, .. } => {
                device.clone().map(|device| Outcome::Pending(device, PendingReason::NotAwaited))
            }
        }
    }
}
