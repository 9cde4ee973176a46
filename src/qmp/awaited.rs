//! Replies that have not come yet, and to which command one that comes belongs.

use super::wire::{Reply, ReplyId};
use crate::error::Error;

/// Replies as they come in: for the ids `first..first + replies.len()`, or in order if there are no ids.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) first: Option<u64>,
    /// The id of the first command instead, as long as it has not been answered: what comes before its answer is for
    /// others.
    pub(super) herald: Option<u64>,
    pub(super) replies: Vec<Option<Reply>>,
    pub(super) missing: usize,
    /// Memory in bytes that the replies take at most.
    pub(super) weight: usize,
}

/// Commands that are sent, whose replies are collected as they come.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) awaited: Awaited,
    /// Why no more replies will come.
    pub(super) failure: Option<Error>,
}

impl Begun {
    /// Whether nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.awaited.missing == 0 || self.failure.is_some()
    }
}

impl Awaited {
    /// Nobody waits for anything.
    pub(super) fn nothing() -> Self {
        Self::replies(0, None)
    }

    /// This many, of which the first may be announced by an id of its own.
    pub(super) fn replies(count: usize, herald: Option<u64>) -> Self {
        let replies = std::iter::repeat_with(|| None).take(count).collect();
        Self { first: None, herald, replies, missing: count, weight: 0 }
    }

    /// The empty place for a reply, if it is to one of these commands and has not come before.
    pub(super) fn slot(&mut self, id: ReplyId) -> Option<&mut Option<Reply>> {
        let index = match (self.herald, self.first, id) {
            (Some(herald), _, ReplyId::Number(id)) if herald == id => 0,
            (Some(_), _, _) => return None,
            (None, Some(first), ReplyId::Number(id)) => usize::try_from(id.checked_sub(first)?).ok()?,
            (None, None, ReplyId::Absent) => self.replies.len().checked_sub(self.missing)?,
            _ => return None,
        };
        self.herald = None;
        self.replies.get_mut(index).filter(|slot| slot.is_none())
    }
}
