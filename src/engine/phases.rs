//! What is known of each device beside record and journal: its phase, and who waits for it. A device that is
//! not in the map is at rest, where the record has it.

use std::collections::BTreeMap;

use super::outcome::PendingReason;
use super::phase::{Phase, UnplugRequest};
use crate::ids::DeviceId;
use crate::model::Device;
use crate::planted::{self, Fault};

/// Whether this process has the descriptors of a NIC's tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnFds {
    Held,
    Given,
}

/// Who is to be answered what becomes of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// No call.
    Nobody,
    /// A call that answers whether it was added, and no more than that.
    ForAdd,
    /// A call that answers whatever becomes of it.
    ForAll,
}

/// What is known of one device beside record and journal.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// `None` for one at rest.
    phase: Option<Phase>,
    /// How often the guest has refused to let go of it while calls waited for its removal. One call may have
    /// the guest asked again before another call learns of the refusal.
    refusals: u32,
    /// How many calls wait for what becomes of it: those are answered, and no event is made of it.
    waiting_calls: usize,
    /// How many calls are to answer whether it was added.
    waiting_adds: usize,
    /// The guest was too busy to be asked for it: a call that waits for its removal asks again.
    is_asked_again: bool,
    /// Its add was begun on an earlier connection: QEMU may have received its descriptors, or only some of
    /// them.
    fds_uncertain: bool,
    /// It is a NIC of an add that is being taken back, and this process has descriptors of its tap itself:
    /// the tap goes with those, and not before, since the add may be tried again.
    has_own_fds: bool,
    /// Its add has been told of as done; the journal still has it, because that could not be written.
    is_add_told: bool,
}

impl Entry {
    fn waiting(&mut self, waits: Waits) -> Option<&mut usize> {
        match waits {
            Waits::Nobody => None,
            Waits::ForAdd => Some(&mut self.waiting_adds),
            Waits::ForAll => Some(&mut self.waiting_calls),
        }
    }

    /// Whether there is nothing to be known of the device but what record and journal say.
    fn is_empty(&self) -> bool {
        let Self {
            phase,
            refusals: _,
            waiting_calls,
            waiting_adds,
            is_asked_again,
            fds_uncertain,
            has_own_fds,
            is_add_told,
        } = self;
        let is_marked = *is_asked_again || *fds_uncertain || *has_own_fds || *is_add_told;
        phase.is_none() && *waiting_calls == 0 && *waiting_adds == 0 && !is_marked
    }
}

/// The phases of all devices.
#[derive(Clone, Debug, Default)]
pub(super) struct Phases(BTreeMap<DeviceId, Entry>);

impl Phases {
    /// What a device is at.
    pub(super) fn of(&self, device: &Device) -> Phase {
        self.get(device.id.as_str()).unwrap_or_else(|| Phase::at_rest(device.presence))
    }

    /// The same by its id, unless it is at rest.
    pub(super) fn get(&self, id: &str) -> Option<Phase> {
        self.entry(id)?.phase
    }

    fn entry(&self, id: &str) -> Option<&Entry> {
        self.0.iter().find(|(own, _)| own.as_str() == id).map(|(_, entry)| entry)
    }

    fn set(&mut self, id: &DeviceId, phase: Option<Phase>) {
        self.change(id, |entry| entry.phase = phase);
    }

    /// A device is at this now; `None` is that it is absent.
    pub(super) fn put(&mut self, id: &DeviceId, phase: Option<Phase>) {
        match phase {
            None => self.forget(id),
            Some(Phase::Deferred | Phase::Plugged { .. }) => self.set(id, None),
            Some(phase) => self.set(id, Some(phase)),
        }
    }

    fn change(&mut self, id: &DeviceId, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.0.get_mut(id) else {
            let mut entry = Entry::default();
            change(&mut entry);
            if !entry.is_empty() {
                self.0.insert(id.clone(), entry);
            }
            return;
        };
        change(entry);
        if entry.is_empty() {
            self.0.remove(id);
        }
    }

    /// The removal of a device that is under way.
    pub(super) fn request(&self, id: &DeviceId) -> Option<&UnplugRequest> {
        self.0.get(id)?.phase.as_ref()?.request()
    }

    /// All removals that are under way.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&DeviceId, &UnplugRequest)> {
        self.0.iter().filter_map(|(id, entry)| Some((id, entry.phase.as_ref()?.request()?)))
    }

    /// Whether a device is on its way out.
    pub(super) fn is_unplugging(&self, id: &DeviceId) -> bool {
        self.request(id).is_some()
    }

    /// Whether an add is at work on a device.
    pub(super) fn is_plugging(&self, id: &DeviceId) -> bool {
        self.0.get(id).is_some_and(|entry| entry.phase == Some(Phase::Plugging))
    }

    /// Whether an add is at work on any device.
    pub(super) fn any_plugging(&self) -> bool {
        self.0.values().any(|entry| entry.phase == Some(Phase::Plugging))
    }

    /// Whether the guest does not have a device of the record.
    pub(super) fn is_absent(&self, id: &str) -> bool {
        matches!(self.get(id), Some(Phase::AbsentInGuest | Phase::Detached(_)))
    }

    /// QEMU has answered an add that no call waits for, or cannot: what becomes of the device is decided now.
    pub(super) fn end_add(&mut self, id: &DeviceId) {
        if self.is_plugging(id) {
            self.set(id, None);
        }
    }

    /// An inventory has been made, and shows none of these devices of the record.
    pub(super) fn take_inventory(&mut self, absent: &[DeviceId]) {
        let is_anew = |phase: &Phase| matches!(phase, Phase::AbsentInGuest | Phase::Detached(None));
        for entry in self.0.values_mut() {
            entry.phase = entry.phase.filter(|phase| !is_anew(phase));
        }
        for id in absent {
            match self.0.get(id).and_then(|entry| entry.phase) {
                Some(Phase::Unplugging(request)) => self.set(id, Some(Phase::Detached(Some(request)))),
                None => self.set(id, Some(Phase::AbsentInGuest)),
                Some(_) => {}
            }
        }
        self.0.retain(|_, entry| !entry.is_empty());
    }

    /// What a device is at once the guest is asked to let go of it. One that it has let go of stays that.
    pub(super) fn once_asked(&self, id: &DeviceId, request: UnplugRequest) -> Phase {
        match self.0.get(id).and_then(|entry| entry.phase) {
            Some(Phase::Detached(_)) => Phase::Detached(Some(request)),
            _ => Phase::Unplugging(request),
        }
    }

    /// Why the removal of a device is not done yet.
    pub(super) fn set_reason(&mut self, id: &DeviceId, reason: PendingReason) {
        let phase = self.0.get_mut(id).and_then(|entry| entry.phase.as_mut());
        if let Some(Phase::Unplugging(request) | Phase::Detached(Some(request))) = phase {
            request.why = reason;
        }
    }

    /// The guest has refused to let go of a device, which stays.
    pub(super) fn count_refusal(&mut self, id: &DeviceId) {
        self.change(id, |entry| entry.refusals = entry.refusals.wrapping_add(1));
    }

    /// How often the guest has refused to let go of a device, counted while calls wait for that.
    pub(super) fn refusals(&self, id: &DeviceId) -> u32 {
        self.0.get(id).map_or(0, |entry| entry.refusals)
    }

    /// Neither guest nor record has a device any more. Who waits for that has still to be answered.
    fn forget(&mut self, id: &DeviceId) {
        self.change(id, |entry| {
            (entry.phase, entry.fds_uncertain) = (None, false);
            entry.is_add_told = false;
        });
    }

    /// No removal is under way that was: their QEMU has ended, or the journal says anew which there are.
    pub(super) fn forget_removals(&mut self) {
        for entry in self.0.values_mut() {
            entry.phase = entry.phase.filter(|phase| phase.request().is_none());
        }
        self.0.retain(|_, entry| !entry.is_empty());
    }

    /// A connection is new; the adds of these devices were begun on an earlier one.
    pub(super) fn reconnect(&mut self, cut_off: &[DeviceId]) {
        self.0.values_mut().for_each(|entry| entry.fds_uncertain = false);
        cut_off.iter().for_each(|id| self.change(id, |entry| entry.fds_uncertain = true));
        self.0.retain(|_, entry| !entry.is_empty());
    }

    /// Whether QEMU may have received only some of the descriptors of a device.
    pub(super) fn has_uncertain_fds(&self, id: &DeviceId) -> bool {
        let is_uncertain = self.0.get(id).is_some_and(|entry| entry.fds_uncertain);
        is_uncertain && !planted::has(Fault::UncertainFdIsClosed)
    }

    /// A call begins to wait for what becomes of a device.
    pub(super) fn begin_waiting(&mut self, id: &DeviceId, waits: Waits) {
        self.change(id, |entry| {
            if let Some(count) = entry.waiting(waits) {
                *count = count.saturating_add(1);
            }
        });
    }

    /// It has what it is to be answered.
    pub(super) fn end_waiting(&mut self, id: &DeviceId, waits: Waits) {
        self.change(id, |entry| {
            if let Some(count) = entry.waiting(waits) {
                *count = count.saturating_sub(1);
            }
        });
    }

    /// Which calls wait for a device, so that no event is made of what they answer.
    pub(super) fn waits(&self, id: &DeviceId) -> Waits {
        match self.0.get(id) {
            Some(entry) if entry.waiting_calls > 0 => Waits::ForAll,
            Some(entry) if entry.waiting_adds > 0 => Waits::ForAdd,
            _ => Waits::Nobody,
        }
    }

    /// The guest is too busy to be asked for a device: the call that waits for that pauses.
    pub(super) fn begin_asking_again(&mut self, id: &DeviceId) {
        self.change(id, |entry| entry.is_asked_again = true);
    }

    /// It asks now, or has given up.
    pub(super) fn end_asking_again(&mut self, id: &DeviceId) {
        self.change(id, |entry| entry.is_asked_again = false);
    }

    /// Whether a call will ask the guest for a device once it is less busy.
    pub(super) fn is_asked_again(&self, id: &DeviceId) -> bool {
        self.0.get(id).is_some_and(|entry| entry.is_asked_again)
    }

    /// The add of a device is done, and the journal still has it.
    pub(super) fn set_add_told(&mut self, id: &DeviceId) {
        self.change(id, |entry| entry.is_add_told = true);
    }

    /// Whether the add of a device has been told of. It is out of the journal now.
    pub(super) fn take_add_told(&mut self, id: &DeviceId) -> bool {
        let is_told = self.0.get(id).is_some_and(|entry| entry.is_add_told);
        self.change(id, |entry| entry.is_add_told = false);
        is_told
    }

    /// An add of a NIC is taken back, by a process that has the descriptors of its tap; or that is over.
    pub(super) fn set_own_fds(&mut self, id: &DeviceId, own: OwnFds) {
        self.change(id, |entry| entry.has_own_fds = own == OwnFds::Held);
    }

    /// Whether the tap of a NIC goes with descriptors of this process.
    pub(super) fn has_own_fds(&self, id: &DeviceId) -> bool {
        self.0.get(id).is_some_and(|entry| entry.has_own_fds)
    }
}

#[cfg(test)]
mod tests;
