//! Events, kept in arrival order up to a bound.

use std::collections::VecDeque;

use serde_json::{Value, json};

/// Events kept before new ones are dropped and counted.
const MAX_EVENTS: usize = 512;

/// Memory in bytes that the kept events may take.
const MAX_BYTES: usize = 2 << 20;

/// One QMP event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its QMP name, such as `DEVICE_DELETED`.
    pub name: String,
    /// Its `data` member, or null.
    pub data: Value,
    /// Its `timestamp` member: seconds and microseconds of QEMU's clock.
    pub timestamp: Value,
    /// Memory in bytes it takes at most.
    pub size: usize,
}

impl Event {
    /// A string member of the data.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.data.get(key).and_then(Value::as_str)
    }

    /// A boolean member of the data; false if it is not there.
    pub fn flag(&self, key: &str) -> bool {
        self.data.get(key).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The event as QEMU sent it, its members aside that are none of `event`, `data` and `timestamp`.
    pub fn to_json(&self) -> Value {
        json!({ "event": self.name, "data": self.data, "timestamp": self.timestamp })
    }
}

/// What the queue yields: events in order, and a notice where some are missing.
#[derive(Clone, Debug, PartialEq)]
pub enum Queued {
    /// The next event.
    Event(Event),
    /// This many events after the last one were dropped: ask the guest instead of trusting the queue.
    Lost(u64),
}

/// A bounded first-in-first-out queue; a flood drops the newest and leaves a notice.
#[derive(Debug, Default)]
pub struct EventQueue {
    events: VecDeque<Event>,
    bytes: usize,
    lost: u64,
}

impl EventQueue {
    /// Keeps `event`, or counts it as lost when the queue is full or has not yet reported earlier losses.
    pub fn push(&mut self, event: Event) {
        if self.lost > 0 || self.events.len() >= MAX_EVENTS || self.bytes + event.size > MAX_BYTES {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        self.bytes += event.size;
        self.events.push_back(event);
    }

    /// Counts events that were lost on the way here.
    pub fn lose(&mut self, count: u64) {
        self.lost = self.lost.saturating_add(count);
    }

    /// The next event or loss notice.
    pub fn pop(&mut self) -> Option<Queued> {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.size;
            return Some(Queued::Event(event));
        }
        match std::mem::take(&mut self.lost) {
            0 => None,
            lost => Some(Queued::Lost(lost)),
        }
    }

    /// Whether [`EventQueue::pop`] would yield nothing.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.lost == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> Event {
        Event { name: format!("E{n}"), data: Value::Null, timestamp: Value::Null, size: 40 }
    }

    #[test]
    fn a_flood_keeps_the_oldest_and_says_how_many_are_missing() {
        let mut queue = EventQueue::default();
        (0..MAX_EVENTS + 7).for_each(|n| queue.push(event(n)));
        for n in 0..MAX_EVENTS {
            assert_eq!(queue.pop(), Some(Queued::Event(event(n))));
        }
        queue.push(event(9999));
        assert_eq!(queue.pop(), Some(Queued::Lost(8)), "the notice keeps its place in the order");
        assert!(queue.is_empty());
        queue.push(event(1));
        assert_eq!(queue.pop(), Some(Queued::Event(event(1))));
    }

    #[test]
    fn large_events_are_bounded_by_bytes() {
        let mut queue = EventQueue::default();
        (0..10).for_each(|n| queue.push(Event { size: MAX_BYTES / 4, ..event(n) }));
        let kept = std::iter::from_fn(|| queue.pop()).filter(|k| matches!(k, Queued::Event(_))).count();
        assert_eq!(kept, 4);
    }
}
