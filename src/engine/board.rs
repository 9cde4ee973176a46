//! What operations and the engine have in common: the time, what QEMU has said unasked, and for each
//! operation what it asks for and what it is given. Operations are futures that nobody but the engine polls;
//! this is how they wait.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Instant;

use super::answer::Answer;
use super::io::{Effect, Given, Link, OpId};
use crate::error::{Error, ErrorKind, Result};
use crate::mutex::lock;
use crate::qmp::{EventQueue, Queued};
use crate::store::Contents;

/// The state of the guest, when no operation has it.
pub(super) type Cell<S> = Arc<Mutex<Option<Box<S>>>>;

/// What an operation waits for.
#[derive(Debug)]
pub(super) enum Need {
    /// The state of the guest, which one operation has at a time.
    Turn(Purpose),
    /// An event of QEMU's, or that another operation has done something.
    News,
    /// The time.
    Time,
    /// Something that only the shell can do.
    Effect(Effect),
}

/// What an operation wants the state of the guest for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To talk to QEMU: not before the operation that connects to its monitor, if one does, has come to the
    /// end of that.
    Talk,
    /// To look at what is known.
    Look,
}

/// A need, with how long it is waited for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) need: Need,
    /// When it is given up; `None` for what takes as long as it takes.
    pub(super) until: Option<Instant>,
    /// A cancel ends it.
    pub(super) cancelable: bool,
}

/// What an operation and the engine have to say to each other.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) asked: Option<Asked>,
    pub(super) given: Option<Given>,
    pub(super) cancelled: bool,
    /// What the caller is told. The operation may go on without the caller.
    pub(super) answer: Option<Result<Answer>>,
    pub(super) is_answered: bool,
    pub(super) is_over: bool,
    /// Since others were told of it, the shell has done something for it, or it has taken in what QEMU said.
    pub(super) has_acted: bool,
}

#[derive(Debug)]
pub(super) struct Board {
    pub(super) now: Instant,
    pub(super) events: EventQueue,
    /// Connections that have ended and are not closed yet.
    pub(super) broken: BTreeSet<Link>,
    pub(super) slots: Vec<(OpId, Slot)>,
    /// What the record's file says, once it has been told.
    pub(super) contents: Option<Contents>,
    /// Those that wait for the state, in the order in which they asked.
    pub(super) turns: VecDeque<(OpId, Purpose)>,
    /// The operation that waits for a new connection to say something.
    pub(super) connecting: Option<OpId>,
    /// How often one has got it.
    pub(super) turns_taken: u64,
}

impl Board {
    pub(super) fn slot(&mut self, op: OpId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|(id, _)| *id == op).map(|(_, slot)| slot)
    }

    /// The operation has the state when all that asked for it before, and may have it now, have had it.
    pub(super) fn wait_for_turn(&mut self, op: OpId, purpose: Purpose) {
        if !self.turns.iter().any(|(waiting, _)| *waiting == op) {
            self.turns.push_back((op, purpose));
        }
    }

    /// Who of those that wait has the state next.
    pub(super) fn next_turn(&self) -> Option<OpId> {
        let may = |(op, purpose): &&(OpId, Purpose)| self.may_have_turn(*op, *purpose);
        self.turns.iter().find(may).map(|(op, _)| *op)
    }

    fn may_have_turn(&self, op: OpId, purpose: Purpose) -> bool {
        purpose == Purpose::Look || !self.is_another_connecting(op)
    }

    fn is_another_connecting(&self, op: OpId) -> bool {
        self.connecting.is_some_and(|connecting| connecting != op)
    }
}

/// The board as an operation sees it.
#[derive(Clone, Debug)]
pub(super) struct Port {
    board: Arc<Mutex<Board>>,
    op: OpId,
}

impl Port {
    pub(super) fn new(board: Arc<Mutex<Board>>, op: OpId) -> Self {
        Self { board, op }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }

    /// The time, as the shell has told it.
    pub(super) fn now(&self) -> Instant {
        self.board().now
    }

    /// The state, if no operation has it, and none that may have it has asked for it before this one.
    pub(super) fn take_state<S>(&self, cell: &Cell<S>, purpose: Purpose) -> Option<Box<S>> {
        let mut board = self.board();
        let is_next = board.next_turn().is_none_or(|next| next == self.op);
        if !is_next || !board.may_have_turn(self.op, purpose) {
            return None;
        }
        let state = lock(cell).take()?;
        board.turns.retain(|(waiting, _)| *waiting != self.op);
        board.turns_taken += 1;
        Some(state)
    }

    /// From now on no other operation talks to QEMU, until [`Port::end_connecting`].
    pub(super) fn begin_connecting(&self) {
        self.board().connecting = Some(self.op);
    }

    /// A new connection has said something, or is not waited for any more.
    pub(super) fn end_connecting(&self) {
        self.board().connecting = None;
    }

    /// Whether another operation waits for a new connection to say something.
    pub(super) fn is_another_connecting(&self) -> bool {
        self.board().is_another_connecting(self.op)
    }

    /// What the record's file says.
    pub(super) fn contents(&self) -> Option<Contents> {
        self.board().contents.clone()
    }

    /// Whether somebody has cancelled this operation.
    pub(super) fn is_cancelled(&self) -> bool {
        self.board().slot(self.op).is_some_and(|slot| slot.cancelled)
    }

    /// Whether the connection has ended, or another operation is the only one to talk over it.
    pub(super) fn is_closed(&self, link: Link) -> bool {
        let board = self.board();
        board.broken.contains(&link) || board.is_another_connecting(self.op)
    }

    /// The connection is closed, and its number not used again.
    pub(super) fn forget(&self, link: Link) {
        self.board().broken.remove(&link);
    }

    /// The oldest event that nobody has taken in.
    pub(super) fn next_event(&self) -> Option<Queued> {
        let mut board = self.board();
        let event = board.events.pop()?;
        if let Some(slot) = board.slot(self.op) {
            slot.has_acted = true;
        }
        Some(event)
    }

    /// Whether there is one.
    pub(super) fn has_events(&self) -> bool {
        !self.board().events.is_empty()
    }

    /// Tells the caller how it went. Whatever the operation does afterwards, no call waits for.
    pub(super) fn answer(&self, answer: Result<Answer>) {
        if let Some(slot) = self.board().slot(self.op).filter(|slot| !slot.is_answered) {
            (slot.answer, slot.is_answered) = (Some(answer), true);
        }
    }

    /// Asks, and waits until it is given.
    pub(super) async fn ask(&self, asked: Asked) -> Given {
        let mut asked = Some(asked);
        poll_fn(|_| match self.board().slot(self.op) {
            Some(slot) => {
                if asked.is_some() {
                    slot.asked = asked.take();
                }
                slot.given.take().map_or(Poll::Pending, Poll::Ready)
            }
            None => Poll::Ready(Given::Failed(Error::new(ErrorKind::State, "the operation has ended"))),
        })
        .await
    }

    /// Has the shell do something that takes as long as it takes.
    pub(super) async fn perform(&self, effect: Effect) -> Given {
        self.ask(Asked { need: Need::Effect(effect), until: None, cancelable: false }).await
    }

    /// Waits, and says why the wait ended if that was not its time.
    pub(super) async fn wait(&self, need: Need, until: Instant, cancelable: bool) -> Result<()> {
        match self.ask(Asked { need, until: Some(until), cancelable }).await {
            Given::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }
}
