//! Replies that have not come yet, and to which command one that comes belongs.

use super::wire::{Reply, ReplyId};
use crate::error::Error;

/// Replies as they come in: for the ids `first..first + replies.len()`, or in order if there are no ids.
#[derive(Debug)]
pub(super) struct PendingReplies {
    pub(super) first: Option<u64>,
    /// The id of the first command instead, as long as it has not been answered: what comes before its answer is for
    /// others.
    pub(super) sync_id: Option<u64>,
    pub(super) replies: Vec<Option<Reply>>,
    pub(super) missing: usize,
    /// Memory in bytes that the replies take at most.
    pub(super) memory_estimate: usize,
}

/// Commands that are sent, whose replies are collected as they come.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) pending: PendingReplies,
    /// Why no more replies will come.
    pub(super) failure: Option<Error>,
}

impl InFlight {
    /// Whether nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.pending.missing == 0 || self.failure.is_some()
    }
}

impl PendingReplies {
    /// Nobody waits for anything.
    pub(super) fn nothing() -> Self {
        Self::replies(0, None)
    }

    /// This many, of which the first may be announced by an id of its own.
    pub(super) fn replies(count: usize, sync_id: Option<u64>) -> Self {
        let replies = std::iter::repeat_with(|| None).take(count).collect();
        Self { first: None, sync_id, replies, missing: count, memory_estimate: 0 }
    }

    /// The empty place for a reply, if it is to one of these commands and has not come before.
    pub(super) fn slot(&mut self, id: ReplyId) -> Option<&mut Option<Reply>> {
        let index = match (self.sync_id, self.first, id) {
            (Some(sync_id), _, ReplyId::Number(id)) if sync_id == id => 0,
            (Some(_), _, _) => return None,
            (None, Some(first), ReplyId::Number(id)) => usize::try_from(id.checked_sub(first)?).ok()?,
            (None, None, ReplyId::Absent) => self.replies.len().checked_sub(self.missing)?,
            _ => return None,
        };
        self.sync_id = None;
        self.replies.get_mut(index).filter(|slot| slot.is_none())
    }
}
