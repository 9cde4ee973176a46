//! The clock that the calls of a handle go by, and the waits that they make: poll(2) and condition variables,
//! against the monotonic clock. With the feature `planted-faults`, a test may put another clock in its place,
//! one whose time passes only while nothing else happens. Without the feature there is none to put there, and
//! nothing is left of the question.

use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout};

use crate::mutex::lock;

/// A clock of a test's own, and the waits of those that go by it.
pub trait StandIn: Debug + Send + Sync {
    /// The time.
    fn now(&self) -> Instant;
    /// Waits until one of the descriptors shows something, or the moment comes.
    fn poll(&self, fds: &mut [PollFd<'_>], until: Option<Instant>) -> nix::Result<()>;
    /// Waits until [`StandIn::unpark`] with this key, or the moment. What `release` gives up is given up when
    /// no `unpark` can miss this wait any more.
    fn park(&self, key: usize, until: Instant, release: &mut dyn FnMut());
    /// Ends the wait of one of those that wait with this key, or of all of them.
    fn unpark(&self, key: usize, all: bool);
}

/// Some moment to count from, for tests of what decides: those are told the time, and have no clock.
#[cfg(test)]
pub(crate) fn any_moment() -> Instant {
    Instant::now()
}

/// What the time is and where one waits, for all calls of a handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    #[cfg(feature = "planted-faults")]
    stand_in: Option<Arc<dyn StandIn>>,
}

#[cfg(feature = "planted-faults")]
thread_local! {
    static STAND_IN: std::cell::RefCell<Option<Arc<dyn StandIn>>> = const { std::cell::RefCell::new(None) };
}

/// Handles that this thread opens from now on go by this clock; by the monotonic one, if there is none.
#[cfg(feature = "planted-faults")]
pub fn stand_in(clock: Option<Arc<dyn StandIn>>) {
    STAND_IN.set(clock);
}

impl Clock {
    /// The one that handles of this thread go by.
    #[inline]
    pub(crate) fn of_this_thread() -> Self {
        Self {
            #[cfg(feature = "planted-faults")]
            stand_in: STAND_IN.with_borrow(Clone::clone),
        }
    }

    #[inline]
    fn stand_in(&self) -> Option<&Arc<dyn StandIn>> {
        #[cfg(feature = "planted-faults")]
        let stand_in = self.stand_in.as_ref();
        #[cfg(not(feature = "planted-faults"))]
        let stand_in = None;
        stand_in
    }

    /// The time.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        match self.stand_in() {
            Some(clock) => clock.now(),
            None => Instant::now(),
        }
    }

    /// Waits until one of the descriptors shows something, or the moment comes; sometimes for less than that.
    #[inline]
    pub(crate) fn poll(&self, fds: &mut [PollFd<'_>], until: Option<Instant>) -> nix::Result<()> {
        if let Some(clock) = self.stand_in() {
            return clock.poll(fds, until);
        }
        match nix::poll::poll(fds, poll_timeout(until)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Waits until somebody notifies of the condition, or for so long; sometimes for less than that.
    #[inline]
    pub(crate) fn wait<'a, T>(
        &self,
        condition: &Condvar,
        mutex: &'a Mutex<T>,
        locked: MutexGuard<'a, T>,
        left: Duration,
    ) -> MutexGuard<'a, T> {
        let Some(clock) = self.stand_in() else {
            return condition.wait_timeout(locked, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        let mut locked = Some(locked);
        clock.park(key(condition), clock.now() + left, &mut || drop(locked.take()));
        lock(mutex)
    }

    /// Ends the wait of one of those that wait for the condition.
    #[inline]
    pub(crate) fn notify_one(&self, condition: &Condvar) {
        match self.stand_in() {
            Some(clock) => clock.unpark(key(condition), false),
            None => condition.notify_one(),
        }
    }

    /// Ends the waits of all of them.
    #[inline]
    pub(crate) fn notify_all(&self, condition: &Condvar) {
        match self.stand_in() {
            Some(clock) => clock.unpark(key(condition), true),
            None => condition.notify_all(),
        }
    }
}

/// Tells a condition from all others that there are.
fn key(condition: &Condvar) -> usize {
    std::ptr::from_ref(condition).addr()
}

/// Rounded up to the next millisecond, so that a wait does not spin through its last one.
fn poll_timeout(until: Option<Instant>) -> PollTimeout {
    let Some(until) = until else { return PollTimeout::NONE };
    let left = until.saturating_duration_since(Instant::now());
    let millis = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}
