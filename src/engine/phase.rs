//! What each device is at: one phase for each, in one map. It holds what record and journal do not say; a device that is not in it
//! is at rest, where the record has it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::outcome::PendingReason;
use crate::ids::DeviceId;
use crate::model::{Device, Presence};

/// A guest that did not hear a request, because it had not booted yet, never answers it. It is repeated no sooner than
/// this: within 5 s QEMU refuses, and a second press of the attention button would mean "never mind".
const REQUEST_INTERVAL: Duration = Duration::from_secs(10);

/// What a device is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It comes with the next boot.
    Deferred,
    /// An add is at work on it.
    Plugging,
    /// It is in the guest.
    Plugged {
        /// It goes with the next boot.
        drop_at_boot: bool,
    },
    /// It is recorded, and the guest did not show it when it was last asked.
    AbsentInGuest,
    /// The guest is to let go of it.
    Unplugging(UnplugRequest),
    /// The guest has let go of it; what stood behind it is not gone yet.
    Detached(UnplugRequest),
}

/// A removal that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnplugRequest {
    /// When QEMU was last asked; `None` if it was not, because the guest is
    /// [not to be asked](super::session::Session::unplug_blocked).
    pub(super) at: Option<Instant>,
    /// Why it is not done yet.
    pub(super) why: PendingReason,
}

impl UnplugRequest {
    /// How long until the guest is to be asked (again).
    pub(super) fn until_due(&self, unplug_blocked: Option<PendingReason>, now: Instant) -> Duration {
        match self.at {
            _ if unplug_blocked.is_some() => REQUEST_INTERVAL,
            Some(at) => REQUEST_INTERVAL.saturating_sub(now.saturating_duration_since(at)),
            None => Duration::ZERO,
        }
    }

    /// Whether it is time to ask (again).
    pub(super) fn is_due(&self, unplug_blocked: Option<PendingReason>, now: Instant) -> bool {
        self.until_due(unplug_blocked, now).is_zero()
    }
}

impl Phase {
    /// Of a device about which nothing is going on.
    fn at_rest(presence: Presence) -> Self {
        match presence {
            Presence::Live => Self::Plugged { drop_at_boot: false },
            Presence::AddAfterReboot => Self::Deferred,
            Presence::RemoveAfterReboot => Self::Plugged { drop_at_boot: true },
        }
    }

    /// The removal that is under way.
    pub(super) fn request(&self) -> Option<&UnplugRequest> {
        match self {
            Self::Unplugging(request) | Self::Detached(request) => Some(request),
            Self::Deferred | Self::Plugging | Self::Plugged { .. } | Self::AbsentInGuest => None,
        }
    }

    /// Whether the guest has the device, as far as is known.
    pub(super) fn is_in_guest(&self) -> bool {
        matches!(self, Self::Plugged { .. } | Self::Unplugging(_))
    }
}

/// What is known of one device beside record and journal.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// `None` for one at rest.
    phase: Option<Phase>,
    /// The guest has refused to let go of it since it was last asked.
    is_refused: bool,
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
        self.0.entry(id.clone()).or_default().phase = phase;
        self.0.retain(|_, entry| entry.phase.is_some() || entry.is_refused);
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

    /// Whether the guest has refused to let go of a device since it was last asked.
    pub(super) fn is_refused(&self, id: &DeviceId) -> bool {
        self.0.get(id).is_some_and(|entry| entry.is_refused)
    }

    /// An add that no call waits for begins.
    pub(super) fn begin_add(&mut self, id: &DeviceId) {
        self.set(id, Some(Phase::Plugging));
    }

    /// QEMU has answered it, or cannot: what becomes of the device is decided now.
    pub(super) fn end_add(&mut self, id: &DeviceId) {
        if self.is_plugging(id) {
            self.set(id, None);
        }
    }

    /// An inventory has been made, and shows none of these devices of the record.
    pub(super) fn take_inventory(&mut self, absent: &[DeviceId]) {
        for entry in self.0.values_mut().filter(|entry| entry.phase == Some(Phase::AbsentInGuest)) {
            entry.phase = None;
        }
        for id in absent {
            match self.0.get(id).and_then(|entry| entry.phase) {
                Some(Phase::Unplugging(request)) => self.set(id, Some(Phase::Detached(request))),
                None => self.set(id, Some(Phase::AbsentInGuest)),
                Some(_) => {}
            }
        }
        self.0.retain(|_, entry| entry.phase.is_some() || entry.is_refused);
    }

    /// The guest is asked to let go of a device, or will be where `at` is `None`.
    pub(super) fn ask(&mut self, id: &DeviceId, at: Option<Instant>, why: PendingReason) {
        if let Some(entry) = self.0.get_mut(id) {
            entry.is_refused = false;
        }
        let request = UnplugRequest { at, why };
        match self.0.get(id).and_then(|entry| entry.phase) {
            Some(Phase::Detached(_)) => self.set(id, Some(Phase::Detached(request))),
            _ => self.set(id, Some(Phase::Unplugging(request))),
        }
    }

    /// QOM does not show a device any more, and what stood behind it is about to be taken down.
    pub(super) fn leave(&mut self, id: &DeviceId) {
        self.set(id, Some(Phase::AbsentInGuest));
    }

    /// It has let go; this is why what stood behind the device stays.
    pub(super) fn keep_backend(&mut self, id: &DeviceId, now: Instant, why: PendingReason) {
        self.set(id, Some(Phase::Detached(UnplugRequest { at: Some(now), why })));
    }

    /// Why the removal of a device is not done yet.
    pub(super) fn set_reason(&mut self, id: &DeviceId, reason: PendingReason) {
        let phase = self.0.get_mut(id).and_then(|entry| entry.phase.as_mut());
        if let Some(Phase::Unplugging(request) | Phase::Detached(request)) = phase {
            request.why = reason;
        }
    }

    /// The removal of a device is off.
    pub(super) fn end_removal(&mut self, id: &DeviceId) {
        if self.is_unplugging(id) {
            self.set(id, None);
        }
    }

    /// The guest has refused to let go of a device, which stays.
    pub(super) fn refuse(&mut self, id: &DeviceId) {
        self.end_removal(id);
        self.0.entry(id.clone()).or_default().is_refused = true;
    }

    /// Neither guest nor record has a device any more.
    pub(super) fn forget(&mut self, id: &DeviceId) {
        self.0.remove(id);
    }

    /// The QEMU of which all this was known has ended.
    pub(super) fn forget_removals(&mut self) {
        for entry in self.0.values_mut() {
            entry.is_refused = false;
            entry.phase = entry.phase.filter(|phase| phase.request().is_none());
        }
        self.0.retain(|_, entry| entry.phase.is_some());
    }
}

#[cfg(test)]
mod tests;
