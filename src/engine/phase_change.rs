//! A device comes to another phase: the one place where that is noted, and where an event about a device is
//! made.

use super::events::{AddFailure, EventKind};
use super::guest_state::GuestState;
use super::phase::{At, Phase};
use super::phases::Waits;
use crate::error::{Error, ErrorKind, Result};
use crate::log::Level;
use crate::model::{Device, Operation};
use crate::planted::{self, Fault};

/// Why a device comes to another phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// An add has begun.
    Begun,
    /// An add is done: QEMU said so, or the device of an interrupted one was found in the guest.
    Added,
    /// An add that was not waited for has failed.
    AddFailed(AddFailure),
    /// The guest is asked to let go, or is asked once more.
    Asked,
    /// A removal that was found in the journal goes on.
    Resumed,
    /// The guest has refused to let go.
    Refused,
    /// The removal is off.
    CalledOff,
    /// QOM does not show it any more.
    Left,
    /// Its backend is in use in QEMU, and cannot be taken down yet.
    Kept,
    /// Its backend was in use before, and still is.
    StillKept,
    /// Nothing is left of it: its removal is done.
    Removed,
    /// Nothing is left of it: the guest let go of it unasked.
    Ejected,
    /// Nothing is left of it: its add is taken back.
    TakenBack,
    /// Nothing is left of it, by a call that says so itself.
    Dropped,
    /// The QEMU that was asked for it has ended, and the next one has it as well.
    StaysInNewQemu,
    /// An interrupted change of it could not be taken back.
    ChangeStays,
}

/// Where a device may come to from each phase. It may always stay where it is.
#[rustfmt::skip]
pub(super) const CHANGES: [(At, &[At]); 8] = [
    (At::Absent,        &[At::Plugging]),
    // The next boot starts it, in which the engine has no part.
    (At::Deferred,      &[At::Absent]),
    (At::Plugging,      &[At::Plugged, At::Unplugging, At::Detached, At::Absent]),
    (At::Plugged,       &[At::AbsentInGuest, At::Unplugging, At::Detached]),
    (At::AbsentInGuest, &[At::Plugged, At::Unplugging, At::Detached, At::Absent]),
    (At::Unplugging,    &[At::Plugged, At::Detached, At::Absent]),
    (At::Detached,      &[At::InUse, At::Absent, At::Plugged, At::AbsentInGuest]),
    (At::InUse,         &[At::Detached, At::Absent, At::Plugged, At::AbsentInGuest]),
];

/// Whether a device may come from one phase to another.
pub(super) fn is_allowed(from: At, to: At) -> bool {
    from == to || CHANGES.iter().any(|(before, after)| *before == from && after.contains(&to))
}

/// The event that a change is, if it is one: what a call answers is none, and what nobody waits for is one.
pub(super) fn event_of(from: At, to: At, cause: Cause, waits: Waits) -> Option<EventKind> {
    let kind = match (cause, from, to) {
        (Cause::Added, _, At::Plugged) => EventKind::Added,
        (Cause::AddFailed(failure), ..) => EventKind::AddFailed(failure),
        (Cause::Resumed, _, At::Unplugging) => EventKind::Pending,
        (Cause::Kept, _, At::InUse) => EventKind::Pending,
        // One that only is on its way out of a failed add cannot stay.
        (Cause::Refused, At::Unplugging, At::Plugged | At::Unplugging) => EventKind::Refused,
        (Cause::Removed, _, At::Absent) => EventKind::Removed,
        (Cause::Ejected, _, At::Absent) => EventKind::RemovedByGuest,
        (Cause::TakenBack, _, At::Absent) => EventKind::Undone,
        (Cause::StaysInNewQemu, _, At::Plugged) | (Cause::ChangeStays, At::Plugged, At::Plugged) => {
            EventKind::Undone
        }
        _ => return None,
    };
    match waits {
        Waits::Nobody => Some(kind),
        Waits::ForAdd => Some(kind).filter(|kind| *kind != EventKind::Added),
        Waits::ForAll => None,
    }
}

impl Cause {
    /// Of a device of which nothing is left, by what is told of it.
    pub(super) fn of_end(told: EventKind) -> Self {
        match told {
            EventKind::Undone => Self::TakenBack,
            EventKind::RemovedByGuest => Self::Ejected,
            _ => Self::Removed,
        }
    }
}

impl GuestState {
    /// What a device is at: what is known of it, or else what journal and record say.
    pub(super) fn at(&self, device: &Device) -> At {
        if let Some(phase) = self.phases.get(device.id.as_str()) {
            return phase.at();
        }
        let contents = self.contents();
        let recorded = contents.record().find(device.id.as_str());
        match contents.journal().find(device.id.as_str()).map(|intent| intent.operation) {
            Some(Operation::Add | Operation::RollbackAdd) => At::Plugging,
            Some(Operation::Remove) => At::Unplugging,
            Some(
                Operation::RemoveNext
                | Operation::SetLink
                | Operation::Move
                | Operation::SetLimits
                | Operation::ChangeMedium,
            )
            | None => recorded.map_or(At::Absent, |device| Phase::at_rest(device.presence).at()),
        }
    }

    /// Where a device is about which nothing is going on; `None` if the record does not have it.
    pub(super) fn rest_of(&self, device: &Device) -> Option<Phase> {
        self.recorded(device.id.as_str()).map(|device| Phase::at_rest(device.presence))
    }

    /// A device comes to another phase; `None` is that it is absent. The text is for an event, if this is
    /// one. A change that is not [allowed](CHANGES) is refused, and the device stays where it is.
    pub(super) fn enter(
        &mut self,
        device: &Device,
        to: Option<Phase>,
        cause: Cause,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        self.enter_from(self.at(device), device, to, cause, text)
    }

    /// The same where record and journal have been written by now, so that what it comes from is not to be
    /// seen there.
    pub(super) fn enter_from(
        &mut self,
        from: At,
        device: &Device,
        to: Option<Phase>,
        cause: Cause,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        let change = (from, to.map_or(At::Absent, |phase| phase.at()));
        self.check_change(device, change, cause)?;
        self.phases.put(&device.id, to);
        self.tell(device, change, cause, text);
        Ok(())
    }

    /// Refuses a change of phase that cannot be: something here has gone wrong, and nothing is to follow from
    /// it.
    pub(super) fn check_change(&self, device: &Device, (from, to): (At, At), cause: Cause) -> Result<()> {
        if is_allowed(from, to) {
            return Ok(());
        }
        let text = format!("internal error: {} cannot come from {from:?} to {to:?} ({cause:?})", device.id);
        self.log.write(Level::Error, || text.clone());
        Err(Error::new(ErrorKind::State, text))
    }

    /// Makes the event that a change is, if it is one.
    pub(super) fn tell(
        &mut self,
        device: &Device,
        (from, to): (At, At),
        cause: Cause,
        text: impl FnOnce() -> String,
    ) {
        let waits = match self.phases.waits(&device.id) {
            _ if planted::has(Fault::AnswerIsTold) => Waits::Nobody,
            waits => waits,
        };
        let Some(kind) = event_of(from, to, cause, waits) else { return };
        let text = text();
        if planted::has(Fault::ToldTwice) {
            self.events.device(kind, device, text.clone());
        }
        self.events.device(kind, device, text);
    }

    /// A call begins to wait for what becomes of a device, and takes over that it is pending, where nobody
    /// has fetched that.
    pub(super) fn begin_waiting(&mut self, device: &Device) {
        self.phases.begin_waiting(&device.id, Waits::ForAll);
        self.events.take_over_pending(device);
    }
}

#[cfg(test)]
mod tests;
