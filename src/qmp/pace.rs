//! How fast what nobody asked for is read: a peer that says it without end must not take a processor for as
//! long as a call waits. While nothing is read the socket fills up, and the peer waits. Pure but for the
//! clock.

use std::time::{Duration, Instant};

/// Unasked messages that are read without a rest, in [`WINDOW`]. The removal of 27 NICs at once says some 60.
const MOST: usize = 128;

/// Messages that are further apart than this are no storm.
const WINDOW: Duration = Duration::from_millis(100);

/// The shortest rest. A guest's word that a device is gone is not read before it is over.
const REST: Duration = Duration::from_millis(10);

/// The rest is so many times as long as the messages before it took, and no longer than [`WINDOW`]: a slow
/// machine rests longer.
const TIMES: u32 = 4;

/// Counts what nobody asked for.
#[derive(Debug, Default)]
pub(super) struct Pace {
    heard: usize,
    since: Option<Instant>,
}

impl Pace {
    /// One message more.
    pub(super) fn note(&mut self) {
        self.heard = self.heard.saturating_add(1);
    }

    /// How long nothing is to be read now; called before each wait.
    pub(super) fn rest(&mut self, now: Instant) -> Option<Duration> {
        let began = *self.since.get_or_insert(now);
        let took = now.saturating_duration_since(began);
        if self.heard >= MOST {
            let rest = took.saturating_mul(TIMES).clamp(REST, WINDOW);
            *self = Self { heard: 0, since: now.checked_add(rest) };
            return Some(rest);
        }
        if took > WINDOW {
            *self = Self::default();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_has_to_rest_and_a_chat_has_not() {
        let mut pace = Pace::default();
        let start = Instant::now();
        for n in 0..10 {
            (0..MOST).for_each(|_| pace.note());
            assert_eq!(pace.rest(start), Some(REST), "{n}");
            assert_eq!(pace.rest(start), None);
        }
        // What took long is followed by a long rest, and no longer one than the window.
        let end = start + REST;
        (0..MOST).for_each(|_| pace.note());
        assert_eq!(pace.rest(end + Duration::from_millis(20)), Some(Duration::from_millis(80)));
        (0..MOST).for_each(|_| pace.note());
        assert_eq!(pace.rest(end + Duration::from_millis(150)), Some(WINDOW));
        let start = end + Duration::from_millis(250);
        for n in 0..10_000u64 {
            pace.note();
            assert_eq!(pace.rest(start + Duration::from_millis(n)), None, "{n}");
        }
    }
}
