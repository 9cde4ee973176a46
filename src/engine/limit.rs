//! When an operation has to answer, and whether a cancel ends it sooner. Knows no clock: the time is an
//! argument.

use std::time::{Duration, Instant};

/// One absolute deadline for a whole operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
    cancelable: bool,
}

impl Deadline {
    /// `timeout` from `now`. A timeout too long for the clock is cut to about 30 years.
    pub fn after(now: Instant, timeout: Duration) -> Self {
        let at = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(1_000_000_000));
        Self { at, cancelable: true }
    }

    /// The moment.
    pub fn at(self) -> Instant {
        self.at
    }

    /// Whether a cancel ends it sooner.
    pub fn is_cancelable(self) -> bool {
        self.cancelable
    }

    /// The same moment without the cancel: what has begun to be undone is undone to the end.
    #[must_use]
    pub fn uncancelable(self) -> Self {
        Self { cancelable: false, ..self }
    }

    /// The moment `margin` before this one, or now if that has passed: leaves time for a closing question.
    #[must_use]
    pub fn earlier_by(self, now: Instant, margin: Duration) -> Self {
        let at = self.at.checked_sub(margin).unwrap_or(self.at).max(now);
        Self { at: at.min(self.at), ..self }
    }

    /// This deadline or `limit` from now, whichever comes first.
    #[must_use]
    pub fn at_most(self, now: Instant, limit: Duration) -> Self {
        Self { at: self.at.min(Self::after(now, limit).at), ..self }
    }

    /// Time left; zero once passed.
    pub fn left(self, now: Instant) -> Duration {
        self.at.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::any_moment;

    #[test]
    fn limits_and_margins() {
        let now = any_moment();
        let second = Duration::from_secs(1);
        let deadline = Deadline::after(now, 10 * second);
        assert_eq!(deadline.at_most(now, second).left(now), second);
        assert_eq!(deadline.at_most(now + 9 * second, 5 * second).left(now), 10 * second);
        assert_eq!(deadline.earlier_by(now, second).left(now), 9 * second);
        assert_eq!(deadline.earlier_by(now, 11 * second).left(now), Duration::ZERO);
        assert_eq!(deadline.left(now + 11 * second), Duration::ZERO);
        assert!(!Deadline::after(now, Duration::MAX).left(now).is_zero());
        assert!(deadline.is_cancelable() && !deadline.uncancelable().is_cancelable());
    }
}
