//! Commands that have been sent and not been answered, and to which of them an answer belongs. Pure.

use std::collections::VecDeque;

use super::wire::{Reply, ReplyId};
use crate::error::{Error, Result};

/// Names a batch for as long as its connection lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(u64);

/// The outcome of several commands sent together.
#[derive(Debug)]
pub struct Batch {
    /// One entry per command; `None` when its answer never came.
    pub replies: Vec<Option<Reply>>,
    /// Why answers are missing.
    pub failure: Option<Error>,
}

impl Batch {
    /// None of `count` commands has an answer.
    pub fn failed(count: usize, error: Error) -> Self {
        Self { replies: std::iter::repeat_with(|| None).take(count).collect(), failure: Some(error) }
    }

    /// The answers to all of them, also those that refuse; an error if one is missing.
    pub fn all_replies(self) -> Result<Vec<Reply>> {
        let replies = self.replies.into_iter().map(|reply| reply.unwrap_or_else(|| Err(Error::no_reply())));
        self.failure.map_or_else(|| Ok(replies.collect()), Err)
    }

    /// The answer to the only command, which has this name.
    pub fn only_reply(self, name: &str) -> Reply {
        let missing = || self.failure.unwrap_or_else(Error::no_reply);
        let reply = self.replies.into_iter().next().flatten().unwrap_or_else(|| Err(missing()));
        reply.map_err(|error| error.with_step(name))
    }
}

/// One batch on its way: replies for the ids `first..first + replies.len()`, or in order if there are no ids.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: BatchId,
    pub(super) first: Option<u64>,
    /// The id of the first command instead, as long as it has not been answered: what comes before its answer
    /// is for an earlier client.
    pub(super) sync_id: Option<u64>,
    /// The first command leaves negotiation mode, and is not the caller's.
    pub(super) negotiates: bool,
    pub(super) replies: Vec<Option<Reply>>,
    pub(super) missing: usize,
    /// Memory in bytes that the replies take at most.
    pub(super) memory: usize,
    /// Why no more replies will come.
    pub(super) failure: Option<Error>,
}

impl Flight {
    /// Whether nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.missing == 0 || self.failure.is_some()
    }

    /// The empty place for a reply, if it is to one of these commands and has not come before.
    fn slot(&mut self, id: ReplyId) -> Option<&mut Option<Reply>> {
        let index = match (self.sync_id, self.first, id) {
            (Some(sync), _, ReplyId::Number(id)) if sync == id => 0,
            (Some(_), _, _) => return None,
            (None, Some(first), ReplyId::Number(id)) => usize::try_from(id.checked_sub(first)?).ok()?,
            (None, None, ReplyId::Absent) => self.replies.len().checked_sub(self.missing)?,
            _ => return None,
        };
        self.sync_id = None;
        self.replies.get_mut(index).filter(|slot| slot.is_none())
    }
}

/// All batches on their way over one connection, in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    flights: VecDeque<Flight>,
    last: u64,
}

impl InFlight {
    /// A batch of so many commands.
    pub(super) fn begin(&mut self, count: usize) -> Flight {
        self.last = self.last.wrapping_add(1);
        Flight {
            id: BatchId(self.last),
            first: None,
            sync_id: None,
            negotiates: false,
            replies: std::iter::repeat_with(|| None).take(count).collect(),
            missing: count,
            memory: 0,
            failure: None,
        }
    }

    pub(super) fn push(&mut self, flight: Flight) {
        self.flights.push_back(flight);
    }

    /// Whether any answer is still to come.
    pub(super) fn awaits(&self) -> bool {
        self.flights.iter().any(|flight| !flight.has_ended())
    }

    /// What comes before the first answer may be for an earlier client.
    pub(super) fn awaits_sync(&self) -> bool {
        self.flights.front().is_some_and(|flight| flight.sync_id.is_some())
    }

    /// Memory in bytes that the answers so far take at most.
    pub(super) fn memory(&self) -> usize {
        self.flights.iter().fold(0, |sum, flight| sum.saturating_add(flight.memory))
    }

    /// Puts a reply in its place; false if there is none.
    pub(super) fn take_in(&mut self, id: ReplyId, reply: Reply, memory: usize) -> bool {
        for flight in &mut self.flights {
            if let Some(slot) = flight.slot(id) {
                *slot = Some(reply);
                flight.missing -= 1;
                flight.memory = flight.memory.saturating_add(memory);
                return true;
            }
        }
        false
    }

    /// No more answers will come to any of them.
    pub(super) fn fail_all(&mut self, error: &Error) {
        for flight in self.flights.iter_mut().filter(|flight| !flight.has_ended()) {
            flight.failure = Some(error.clone());
        }
    }

    pub(super) fn has_ended(&self, id: BatchId) -> bool {
        self.flights.iter().find(|flight| flight.id == id).is_none_or(Flight::has_ended)
    }

    pub(super) fn remove(&mut self, id: BatchId) -> Option<Flight> {
        let at = self.flights.iter().position(|flight| flight.id == id)?;
        self.flights.remove(at)
    }
}
