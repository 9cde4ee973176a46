//! Several operations on one guest, each written as a future: who may go on, who has the state of the guest,
//! what is waited for, and when a wait is over. Knows nothing of guests, sockets, files or clocks.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::answer::Answer;
use super::board::{Asked, Board, Cell, Need, Port, Purpose, Slot};
use super::io::{Effect, Given, Link, OpId};
use crate::error::{Error, Result};
use crate::mutex::lock;
use crate::qmp::{EventQueue, Queued};
use crate::store::Contents;

type Operation = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All operations of one guest.
pub(super) struct Operations<S> {
    board: Arc<Mutex<Board>>,
    cell: Cell<S>,
    running: Vec<Running>,
    /// Those that can go on.
    ready: VecDeque<OpId>,
    last: u64,
}

struct Running {
    op: OpId,
    operation: Operation,
    /// What it waits for; `None` while it can go on.
    asked: Option<Waits>,
}

/// What an operation waits for, without what the shell has been told.
#[derive(Clone, Copy, Debug)]
struct Waits {
    kind: Kind,
    until: Option<Instant>,
    cancelable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Turn(Purpose),
    News,
    Time,
    Shell,
}

/// What an operation would have the shell do.
#[derive(Debug)]
pub enum Demand {
    /// Do this, and give what comes of it.
    Perform(OpId, Effect),
    /// Give what has come of the operation's effect so far: it is not waited for any more, for this reason.
    GiveUp(OpId, Error),
}

impl<S> std::fmt::Debug for Operations<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operations").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

impl<S> Drop for Operations<S> {
    /// An operation that is dropped puts the state back, which knows where it belongs: neither would ever go.
    fn drop(&mut self) {
        self.running.clear();
        let state = lock(&self.cell).take();
        drop(state);
    }
}

impl<S> Operations<S> {
    pub(super) fn new(state: S, now: Instant) -> Self {
        let board = Board {
            now,
            events: EventQueue::default(),
            broken: Default::default(),
            slots: Vec::new(),
            contents: None,
            turns: VecDeque::new(),
            turns_taken: 0,
            connecting: None,
        };
        Self {
            board: Arc::new(Mutex::new(board)),
            cell: Arc::new(Mutex::new(Some(Box::new(state)))),
            running: Vec::new(),
            ready: VecDeque::new(),
            last: 0,
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }

    fn state_is_free(&self) -> bool {
        lock(&self.cell).is_some()
    }

    /// Looks at the state, if no operation has it.
    pub(super) fn with_state<T>(&self, look: impl FnOnce(&mut S) -> T) -> Option<T> {
        lock(&self.cell).as_deref_mut().map(look)
    }

    /// Whether QEMU has said something that no operation has taken in.
    pub(super) fn has_events(&self) -> bool {
        !self.board().events.is_empty()
    }

    /// Begins an operation; it goes on with the next [`Operations::poll`].
    pub(super) fn start<F>(&mut self, operation: impl FnOnce(Port, Cell<S>) -> F) -> OpId
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.last += 1;
        let op = OpId(self.last);
        self.board().slots.push((op, Slot::default()));
        let operation = Box::pin(operation(Port::new(self.board.clone(), op), self.cell.clone()));
        self.running.push(Running { op, operation, asked: None });
        self.ready.push_back(op);
        op
    }

    /// Lets operations go on until one of them needs the shell; `None` when all of them wait. Those that
    /// other calls wait for are left to those: what an operation does, it does in the thread of its call.
    pub(super) fn poll(&mut self, now: Instant, own: Option<OpId>) -> Option<Demand> {
        self.board().now = now;
        loop {
            if let Some(demand) = self.expire(now) {
                return Some(demand);
            }
            self.grant_turn();
            let mine = self.ready.iter().position(|op| Some(*op) == own || self.is_answered(*op))?;
            let op = self.ready.remove(mine)?;
            if let Some(demand) = self.go_on(op) {
                return Some(demand);
            }
        }
    }

    fn is_answered(&self, op: OpId) -> bool {
        self.board().slot(op).is_none_or(|slot| slot.is_answered)
    }

    /// Whether an operation can go on that another call waits for.
    pub(super) fn others_are_ready(&self, own: Option<OpId>) -> bool {
        self.ready.iter().any(|op| Some(*op) != own && !self.is_answered(*op))
    }

    /// What the caller is told, once.
    pub(super) fn answer(&mut self, op: OpId) -> Option<Result<Answer>> {
        let mut board = self.board();
        let answer = board.slot(op)?.answer.take();
        board
            .slots
            .retain(|(id, slot)| *id != op || !(slot.is_answered && slot.is_over && slot.answer.is_none()));
        answer
    }

    /// Lets the operation that has waited longest have the state, if it is free. It stays the first until it
    /// has taken it.
    fn grant_turn(&mut self) {
        let waits = |running: &Running| matches!(running.asked, Some(Waits { kind: Kind::Turn(_), .. }));
        if !self.running.iter().any(waits) || !self.state_is_free() {
            return;
        }
        let next = self.board().next_turn();
        let is_waiting = |op: &OpId| self.running.iter().any(|running| running.op == *op && waits(running));
        if let Some(op) = next.filter(is_waiting) {
            self.resolve(op, Given::Done);
        }
    }

    fn go_on(&mut self, op: OpId) -> Option<Demand> {
        let at = self.running.iter().position(|running| running.op == op)?;
        let running = self.running.get_mut(at)?;
        let was_free = lock(&self.cell).is_some();
        let taken = lock(&self.board).turns_taken;
        let polled = running.operation.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let had_state = !was_free || self.board().turns_taken != taken;
        if had_state && self.state_is_free() {
            let acted = self.board().slot(op).is_some_and(|slot| std::mem::take(&mut slot.has_acted));
            // One that was woken in vain wakes nobody: two of them would wake each other for ever.
            if acted || polled.is_ready() {
                self.tell_news(Some(op));
            }
        }
        if polled == Poll::Ready(()) {
            self.running.remove(at);
            let mut board = self.board();
            if let Some(slot) = board.slot(op) {
                slot.is_over = true;
            }
            board.turns.retain(|(waiting, _)| *waiting != op);
            board.slots.retain(|(id, slot)| *id != op || slot.answer.is_some());
            return None;
        }
        let mut board = lock(&self.board);
        let has_events = !board.events.is_empty();
        let slot = board.slot(op)?;
        // Every wait of an operation asks for something.
        let Asked { need, until, cancelable } = slot.asked.take()?;
        let is_cancelled = slot.cancelled;
        drop(board);
        let wait = |kind| Waits { kind, until, cancelable };
        let (waits, demand) = match need {
            Need::Turn(purpose) => (wait(Kind::Turn(purpose)), None),
            Need::News => (wait(Kind::News), None),
            Need::Time => (wait(Kind::Time), None),
            Need::Effect(effect) => (wait(Kind::Shell), Some(Demand::Perform(op, effect))),
        };
        if let Some(running) = self.running.get_mut(at) {
            running.asked = Some(waits);
        }
        match waits.kind {
            Kind::Turn(purpose) => self.board().wait_for_turn(op, purpose),
            Kind::News if has_events => self.resolve(op, Given::Done),
            _ => {}
        }
        if waits.cancelable && is_cancelled {
            return self.end_wait(op, Error::canceled()).or(demand);
        }
        demand
    }

    /// What the shell has done, or what came of it.
    pub(super) fn give(&mut self, op: OpId, given: Given) {
        if self.waits(op).is_some_and(|waits| waits.kind == Kind::Shell) {
            if let Some(slot) = self.board().slot(op) {
                slot.has_acted = true;
            }
            self.resolve(op, given);
        }
    }

    fn waits(&self, op: OpId) -> Option<Waits> {
        self.running.iter().find(|running| running.op == op)?.asked
    }

    fn resolve(&mut self, op: OpId, given: Given) {
        if let Some(running) = self.running.iter_mut().find(|running| running.op == op) {
            running.asked = None;
            self.ready.push_back(op);
            let mut board = lock(&self.board);
            if matches!(given, Given::Failed(_)) {
                board.turns.retain(|(waiting, _)| *waiting != op);
            }
            if let Some(slot) = board.slot(op) {
                slot.given = Some(given);
            }
        }
    }

    /// Something has happened that operations may wait for.
    fn tell_news(&mut self, but: Option<OpId>) {
        let waits = |running: &&Running| running.asked.is_some_and(|waits| waits.kind == Kind::News);
        let ops: Vec<OpId> = self.running.iter().filter(waits).map(|running| running.op).collect();
        ops.into_iter().filter(|op| Some(*op) != but).for_each(|op| self.resolve(op, Given::Done));
    }

    /// The record's file says this from now on.
    pub(super) fn tell_contents(&mut self, contents: Contents) {
        self.board().contents = Some(contents);
    }

    /// QEMU has said something unasked.
    pub(super) fn event(&mut self, kept: Queued) {
        match kept {
            Queued::Event(event) => self.board().events.push(event),
            Queued::Lost(count) => self.board().events.lose(count),
        }
        self.tell_news(None);
    }

    /// A connection has ended. That is news once, however often it is told.
    pub(super) fn disconnected(&mut self, link: Link) {
        let is_new = self.board().broken.insert(link);
        if is_new {
            self.tell_news(None);
        }
    }

    /// Nobody waits for its answer any more.
    pub(super) fn leave(&mut self, op: OpId) {
        if let Some(slot) = self.board().slot(op) {
            (slot.answer, slot.is_answered) = (None, true);
        }
    }

    /// Ends what the operation waits for, and whatever it waits for later, where a cancel may.
    pub(super) fn cancel(&mut self, op: OpId) -> Option<Demand> {
        if let Some(slot) = self.board().slot(op) {
            slot.cancelled = true;
        }
        match self.waits(op).is_some_and(|waits| waits.cancelable) {
            true => self.end_wait(op, Error::canceled()),
            false => None,
        }
    }

    fn end_wait(&mut self, op: OpId, error: Error) -> Option<Demand> {
        match self.waits(op)?.kind {
            Kind::Shell => {
                if let Some(running) = self.running.iter_mut().find(|running| running.op == op) {
                    running.asked =
                        running.asked.map(|waits| Waits { until: None, cancelable: false, ..waits });
                }
                Some(Demand::GiveUp(op, error))
            }
            _ => {
                self.resolve(op, Given::Failed(error));
                None
            }
        }
    }

    fn expire(&mut self, now: Instant) -> Option<Demand> {
        loop {
            let late = |running: &&Running| {
                running.asked.and_then(|waits| waits.until).is_some_and(|until| until <= now)
            };
            let Running { op, asked, .. } = self.running.iter().find(late)?;
            let op = *op;
            if asked.is_some_and(|waits| waits.kind == Kind::Time) {
                self.resolve(op, Given::Done);
            } else if let Some(demand) = self.end_wait(op, Error::deadline_passed()) {
                return Some(demand);
            }
        }
    }

    /// When the next wait is over, if nothing happens before.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.running.iter().filter_map(|running| running.asked?.until).min()
    }
}

#[cfg(test)]
mod tests;
