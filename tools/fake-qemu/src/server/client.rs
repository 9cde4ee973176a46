//! One client: what it sends, and what it is told.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::poll::PollFlags;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use super::Ready;
use super::order::Order;
use crate::command::{Command, Event};
use crate::reaction::{Reacting, Reaction};
use crate::state::State;
use crate::wire::{self, CommandReader, Complete, Next};

/// Bytes read before others get their turn.
const BURST: usize = 4096;

/// The client of a monitor.
pub(crate) struct Client {
    socket: UnixStream,
    /// No other client has had it.
    pub(crate) number: u64,
    pub(crate) monitor: usize,
    reader: CommandReader,
    out: VecDeque<Out>,
    /// Said again and again.
    pub(super) endless: Option<Vec<u8>>,
    /// Closed once everything has been said.
    pub(super) closing: bool,
    /// With this command it fell silent.
    pub(super) waiting: Option<Order>,
    /// It talks to no QEMU.
    reacting: Option<Reacting>,
    /// Nothing more is said, and it knows.
    ended: bool,
}

struct Out {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Client {
    pub(super) fn new(socket: UnixStream, number: u64, monitor: usize) -> Self {
        Self {
            socket,
            number,
            monitor,
            reader: CommandReader::default(),
            out: VecDeque::new(),
            endless: None,
            closing: false,
            waiting: None,
            reacting: None,
            ended: false,
        }
    }

    /// One that talks to no QEMU.
    pub(super) fn reacting(socket: UnixStream, number: u64, monitor: usize, reaction: Reaction) -> Self {
        let mut client = Self::new(socket, number, monitor);
        let (reacting, opening) = Reacting::new(reaction);
        opening.into_iter().for_each(|piece| client.say(piece));
        client.reacting = Some(reacting);
        client
    }

    pub(super) fn say(&mut self, bytes: Vec<u8>) {
        self.say_with_fds(bytes, Vec::new());
    }

    pub(super) fn say_with_fds(&mut self, bytes: Vec<u8>, fds: Vec<OwnedFd>) {
        self.out.push_back(Out { bytes, fds });
    }

    pub(super) fn has_something_to_say(&self) -> bool {
        self.endless.is_some() || !self.out.is_empty() || self.is_to_end()
    }

    /// It is to hear that nothing more is said.
    fn is_to_end(&self) -> bool {
        !self.ended && self.reacting.as_ref().is_some_and(Reacting::is_over)
    }

    pub(super) fn is_done(&self) -> bool {
        self.closing && self.out.is_empty()
    }

    /// What is to be looked for on its socket. A hung QEMU does not even notice that its client has gone.
    pub(super) fn waits_for(&self, hung: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        if hung && !self.has_something_to_say() {
            return None;
        }
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, !hung && !self.closing);
        events.set(PollFlags::POLLOUT, self.has_something_to_say());
        Some((self.socket.as_fd(), events))
    }

    /// Reads and writes what it can; false when the client is gone. `others` gets the events for other
    /// monitors' clients.
    pub(super) fn get_on(&mut self, state: &mut State, ready: Ready, others: &mut Vec<Event>) -> bool {
        if ready.read && !self.read(state, others) {
            return false;
        }
        self.write()
    }

    fn write(&mut self) -> bool {
        if let Some(bytes) = self.endless.clone().filter(|_| self.out.is_empty()) {
            self.say(bytes);
        }
        while let Some(out) = self.out.front_mut() {
            let raw: Vec<RawFd> = out.fds.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&raw)];
            let control = if raw.is_empty() { &[][..] } else { &rights[..] };
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let parts = [IoSlice::new(&out.bytes)];
            match sendmsg::<UnixAddr>(self.socket.as_raw_fd(), &parts, control, flags, None) {
                Ok(count) => {
                    out.bytes.drain(..count);
                    out.fds.clear();
                }
                Err(errno) if wire::is_not_now(errno) => return true,
                Err(_) => return false,
            }
            if self.out.front().is_some_and(|out| out.bytes.is_empty()) {
                self.out.pop_front();
            }
        }
        if self.is_to_end() {
            self.ended = true;
            return self.socket.shutdown(Shutdown::Write).is_ok();
        }
        true
    }

    /// Takes no byte behind the end of a command before that command has been done: one that hangs takes no
    /// more.
    fn read(&mut self, state: &mut State, others: &mut Vec<Event>) -> bool {
        let mut block = [0; BURST];
        let mut left = BURST;
        while left > 0 && !state.hung && !self.closing {
            let taken = match wire::look(self.socket.as_fd(), &mut block[..left]) {
                Ok(Next::Plain(count)) => self.take_plain(state, &mut block[..count], others),
                Ok(Next::WithFds) => self.take_byte(state, others),
                Ok(Next::End) => return false,
                Err(errno) => Err(errno),
            };
            match taken {
                Ok(count) => left = left.saturating_sub(count),
                Err(errno) => return wire::is_not_now(errno),
            }
        }
        true
    }

    fn take_plain(
        &mut self,
        state: &mut State,
        bytes: &mut [u8],
        others: &mut Vec<Event>,
    ) -> nix::Result<usize> {
        let (count, complete) = self.reader.push_plain(bytes);
        wire::drop_bytes(self.socket.as_fd(), &mut bytes[..count])?;
        if let Some(complete) = complete {
            self.take(state, complete, others);
        }
        Ok(count)
    }

    fn take_byte(&mut self, state: &mut State, others: &mut Vec<Event>) -> nix::Result<usize> {
        let Some(arrived) = wire::read_byte(self.socket.as_fd())? else { return Ok(0) };
        match self.reader.push(arrived) {
            Ok(Some(complete)) => self.take(state, complete, others),
            Ok(None) => {}
            Err(wrong) => state.violations.push(wrong),
        }
        Ok(1)
    }

    fn take(&mut self, state: &mut State, complete: Complete, others: &mut Vec<Event>) {
        match &mut self.reacting {
            Some(reacting) => reacting.answer(&complete.value).into_iter().for_each(|piece| self.say(piece)),
            None => match Command::from_json(&complete.value) {
                Ok(command) => {
                    let order = Order::new(state, command, complete);
                    self.obey(state, order, others);
                }
                Err(error) => self.say(wire::reply(complete.value.get("id"), &Err(error))),
            },
        }
    }
}
