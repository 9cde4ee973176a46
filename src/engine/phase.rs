//! What a device is at.

use std::time::{Duration, Instant};

use super::outcome::PendingReason;
use crate::model::Presence;

/// A guest that did not hear a request, because it had not booted yet, never answers it. It is repeated no
/// sooner than this: within 5 s QEMU refuses, and a second press of the attention button would mean "never
/// mind".
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
    /// The guest has let go of it, and QEMU may still have its backend. With a request, the removal is
    /// pending, because QEMU still uses the backend; without one, this call takes the backend down, or the
    /// next call does.
    Detached(Option<UnplugRequest>),
}

/// What a device is at, without the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Neither record nor journal have it.
    Absent,
    /// See [`Phase::Deferred`].
    Deferred,
    /// See [`Phase::Plugging`]; also by the journal alone.
    Plugging,
    /// See [`Phase::Plugged`].
    Plugged,
    /// See [`Phase::AbsentInGuest`].
    AbsentInGuest,
    /// See [`Phase::Unplugging`]; also by the journal alone.
    Unplugging,
    /// See [`Phase::Detached`].
    Detached,
    /// See [`Phase::Detached`], where an export, a job or another node of QEMU still uses the backend.
    InUse,
}

/// A removal that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnplugRequest {
    /// When QEMU was last asked; `None` if it was not, because the guest is
    /// [not to be asked](super::guest_state::GuestState::unplug_blocked).
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
    pub(super) fn at_rest(presence: Presence) -> Self {
        match presence {
            Presence::Live => Self::Plugged { drop_at_boot: false },
            Presence::AddAfterReboot => Self::Deferred,
            Presence::RemoveAfterReboot => Self::Plugged { drop_at_boot: true },
        }
    }

    /// The removal that is under way.
    pub(super) fn request(&self) -> Option<&UnplugRequest> {
        match self {
            Self::Unplugging(request) | Self::Detached(Some(request)) => Some(request),
            Self::Deferred | Self::Plugging | Self::Plugged { .. } => None,
            Self::AbsentInGuest | Self::Detached(None) => None,
        }
    }

    /// The same without the details.
    pub(super) fn at(&self) -> At {
        match self {
            Self::Deferred => At::Deferred,
            Self::Plugging => At::Plugging,
            Self::Plugged { .. } => At::Plugged,
            Self::AbsentInGuest => At::AbsentInGuest,
            Self::Unplugging(_) => At::Unplugging,
            Self::Detached(Some(UnplugRequest { why: PendingReason::InUse(_), .. })) => At::InUse,
            Self::Detached(_) => At::Detached,
        }
    }

    /// Whether the guest has the device, as far as is known.
    pub(super) fn is_in_guest(&self) -> bool {
        matches!(self, Self::Plugged { .. } | Self::Unplugging(_))
    }
}
