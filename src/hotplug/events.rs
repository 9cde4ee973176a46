//! News about a guest's devices, kept until the caller fetches them.

use std::collections::VecDeque;

use crate::qmp::readable;
use crate::runtime::{Device, DeviceKind};

/// Events kept before the oldest are dropped and counted.
const MAX_KEPT: usize = 1024;

/// One piece of news.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub what: What,
    /// To which device; `None` for news about the guest as a whole.
    pub device: Option<Subject>,
    /// Details for people.
    pub text: String,
}

/// The device an event is about, as it was then.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Its id.
    pub id: String,
    /// NIC or disk.
    pub kind: DeviceKind,
    /// Which attachment of that id.
    pub generation: u64,
}

/// Kinds of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A device of an interrupted add is in the guest and recorded now.
    Added,
    /// A device is gone; its storage or tap may be torn down.
    Removed,
    /// A device is gone because the guest let go of it unasked; its storage or tap may be torn down.
    RemovedByGuest,
    /// The guest refused to let go of a device; it stays.
    Refused,
    /// A removal is waiting for the guest.
    Pending,
    /// An interrupted add was taken back.
    Undone,
    /// The connection to the monitor is gone; the next call makes a new one.
    MonitorLost,
    /// This many events were dropped because nobody fetched them.
    Lost(u64),
}

/// A bounded queue.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    kept: VecDeque<Event>,
    lost: u64,
}

impl EventLog {
    /// Adds news about one device.
    pub(super) fn device(&mut self, what: What, device: &Device, text: impl Into<String>) {
        let subject =
            Subject { id: device.id.to_string(), kind: device.kind(), generation: device.generation };
        self.push(Event { what, device: Some(subject), text: text.into() });
    }

    /// Adds news about the guest.
    pub(super) fn guest(&mut self, what: What, text: impl Into<String>) {
        self.push(Event { what, device: None, text: text.into() });
    }

    /// The text may quote what QEMU says, and QEMU may say a lot.
    fn push(&mut self, mut event: Event) {
        event.text = readable(&event.text);
        if self.kept.len() >= MAX_KEPT {
            self.kept.pop_front();
            self.lost = self.lost.saturating_add(1);
        }
        self.kept.push_back(event);
    }

    /// The oldest event; a notice about dropped ones comes first, since they were older.
    pub(super) fn pop(&mut self) -> Option<Event> {
        match std::mem::take(&mut self.lost) {
            0 => self.kept.pop_front(),
            lost => Some(Event {
                what: What::Lost(lost),
                device: None,
                text: format!("{lost} events were dropped because they were not fetched"),
            }),
        }
    }

    /// How many [`EventLog::pop`] would yield.
    pub(super) fn len(&self) -> usize {
        self.kept.len() + usize::from(self.lost > 0)
    }

    /// Whether there is nothing to fetch.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way_and_are_counted() {
        let mut log = EventLog::default();
        (0..MAX_KEPT + 3).for_each(|n| log.guest(What::MonitorLost, n.to_string()));
        assert_eq!(log.len(), MAX_KEPT + 1);
        assert_eq!(log.pop().unwrap().what, What::Lost(3));
        assert_eq!(log.pop().unwrap().text, "3");
    }
}
