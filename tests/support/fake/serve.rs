//! The thread behind the socket: one client at a time, timers, and the faults of the script.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde_json::{Value, json};

use super::script::{Act, Greeting, Planned};
use super::wire::{self, Arrived, CommandReader, Complete, Held, QmpError};
use super::{Later, Seen, Shared, State, Timer};

/// Bytes read before others get their turn.
const BURST: usize = 4096;

/// The client of the moment.
struct Client {
    socket: UnixStream,
    number: u64,
    reader: CommandReader,
    negotiated: bool,
    out: VecDeque<Out>,
    endless: Option<Vec<u8>>,
    /// Closed once everything has been said.
    closing: bool,
}

struct Out {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until told to quit.
pub fn serve(shared: &Shared, listener: UnixListener) {
    listener.set_nonblocking(true).unwrap();
    let mut client: Option<Client> = None;
    loop {
        let mut state = lock(shared);
        if state.quit {
            return;
        }
        run_timers(&mut state, client.as_mut());
        if std::mem::take(&mut state.hang_up) || client.as_ref().is_some_and(Client::is_done) {
            leave(&mut state, &mut client);
        }
        let ready = wait(shared, state, &listener, client.as_ref());
        let mut state = lock(shared);
        if ready.none() {
            state.idle += 1;
        }
        if ready.connection {
            client = arrive(&mut state, &listener).or(client);
        }
        let gone = match client.as_mut() {
            Some(client) => !client.get_on(&mut state, &ready),
            None => false,
        };
        if gone {
            leave(&mut state, &mut client);
        }
    }
}

struct Ready {
    connection: bool,
    read: bool,
    write: bool,
}

impl Ready {
    fn none(&self) -> bool {
        !(self.connection || self.read || self.write)
    }
}

fn wait(
    shared: &Shared,
    state: MutexGuard<'_, State>,
    listener: &UnixListener,
    client: Option<&Client>,
) -> Ready {
    let due = state.timers.iter().map(|timer| timer.at).min();
    let (accepting, hung) = (state.accepting, state.hung);
    drop(state);
    let mut fds = vec![PollFd::new(shared.wake.as_fd(), PollFlags::POLLIN)];
    match client {
        None if accepting => fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN)),
        None => {}
        // A hung QEMU does not even notice that its client has gone.
        Some(client) if hung && !client.has_something_to_say() => {}
        Some(client) => {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, !hung && !client.closing);
            events.set(PollFlags::POLLOUT, client.has_something_to_say());
            fds.push(PollFd::new(client.socket.as_fd(), events));
        }
    }
    let wait = due.map_or(Duration::from_secs(1), |due| due.saturating_duration_since(Instant::now()));
    let wait = i32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(1000).min(1000);
    match poll(&mut fds, PollTimeout::try_from(wait).unwrap()) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => panic!("poll: {errno}"),
    }
    let seen = fds.get(1).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
    let _ = shared.wake.read();
    let readable = seen.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR);
    Ready {
        connection: client.is_none() && readable,
        read: client.is_some() && readable && !hung,
        write: client.is_some() && seen.contains(PollFlags::POLLOUT),
    }
}

fn arrive(state: &mut State, listener: &UnixListener) -> Option<Client> {
    let socket = match listener.accept() {
        Ok((socket, _)) => socket,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
        Err(error) => panic!("accept: {error}"),
    };
    socket.set_nonblocking(true).unwrap();
    state.connections += 1;
    state.connected = true;
    state.hung = false;
    let number = state.connections;
    let mut greeting = state.greeting.pieces.clone();
    if greeting.is_empty() {
        greeting.push((Duration::ZERO, Greeting::text(state.model.version)));
    }
    let mut at = Instant::now();
    for (after, bytes) in greeting {
        at += after;
        state.timers.push(Timer { at, connection: number, what: Later::Say(bytes) });
    }
    Some(Client {
        socket,
        number,
        reader: CommandReader::default(),
        negotiated: false,
        out: VecDeque::new(),
        endless: None,
        closing: false,
    })
}

fn leave(state: &mut State, client: &mut Option<Client>) {
    if let Some(client) = client.take() {
        state.timers.retain(|timer| timer.connection != client.number);
        state.connected = false;
        state.hung = false;
        state.model.last_client_left();
    }
}

fn run_timers(state: &mut State, mut client: Option<&mut Client>) {
    let now = Instant::now();
    let mut due: Vec<Timer> = Vec::new();
    let mut rest = Vec::new();
    for timer in std::mem::take(&mut state.timers) {
        if timer.at <= now { due.push(timer) } else { rest.push(timer) }
    }
    state.timers = rest;
    due.sort_by_key(|timer| timer.at);
    for timer in due {
        match timer.what {
            Later::Say(bytes) => {
                if let Some(client) = client.as_deref_mut() {
                    client.say(bytes);
                }
            }
            Later::Grant(id) => state.model.grant(&id),
            Later::Refuse(id) => state.model.guest_refuses(&id),
            Later::Resume => state.hung = false,
        }
        pass_on_events(state, client.as_deref_mut());
    }
}

/// Events reach a client that has left negotiation mode; nobody keeps them for later.
fn pass_on_events(state: &mut State, client: Option<&mut Client>) {
    let events = std::mem::take(&mut state.model.events);
    let later = std::mem::take(&mut state.model.later);
    let now = Instant::now();
    state.timers.extend(later.into_iter().map(|(after, what)| Timer {
        at: now + after,
        connection: 0,
        what,
    }));
    if let Some(client) = client.filter(|client| client.negotiated) {
        events.into_iter().for_each(|(name, data)| client.say(wire::event(&name, data)));
    }
}

impl Client {
    fn say(&mut self, bytes: Vec<u8>) {
        self.out.push_back(Out { bytes, fds: Vec::new() });
    }

    fn has_something_to_say(&self) -> bool {
        self.endless.is_some() || !self.out.is_empty()
    }

    fn is_done(&self) -> bool {
        self.closing && self.out.is_empty()
    }

    /// Reads and writes what it can; false when the client is gone.
    fn get_on(&mut self, state: &mut State, ready: &Ready) -> bool {
        if ready.read && !self.read(state) {
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
        true
    }

    fn read(&mut self, state: &mut State) -> bool {
        for _ in 0..BURST {
            if state.hung || self.closing {
                return true;
            }
            match wire::read_byte(self.socket.as_fd()) {
                Ok(Some(arrived)) => self.take(state, arrived),
                Err(errno) if wire::is_not_now(errno) => return true,
                Ok(None) | Err(_) => return false,
            }
        }
        true
    }

    fn take(&mut self, state: &mut State, arrived: Arrived) {
        match self.reader.push(arrived) {
            Ok(Some(command)) => self.command(state, command),
            Ok(None) => {}
            Err(wrong) => state.violations.push(wrong),
        }
    }

    fn command(&mut self, state: &mut State, mut command: Complete) {
        let text = |key: &str| command.value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = text("execute");
        let arguments = command.value.get("arguments").cloned().unwrap_or_else(|| json!({}));
        let wanted = usize::from(matches!(name.as_str(), "getfd" | "add-fd"));
        if command.fds.len() != wanted {
            state.violations.push(format!("{name} came with {} descriptors", command.fds.len()));
        }
        state.seen.push(Seen {
            name: name.clone(),
            arguments: arguments.clone(),
            fds: command.fds.len(),
            bytes: command.bytes,
        });
        let mut act = None;
        for planned in state.script.due(&name) {
            match planned {
                Planned::Hook(hook) => hook(),
                Planned::Act(planned) => act = Some(planned),
            }
        }
        let fd = (!command.fds.is_empty()).then(|| command.fds.swap_remove(0));
        let id = command.value.get("id").cloned();
        self.answer(state, Order { name, arguments, id, fd }, act);
    }

    fn answer(&mut self, state: &mut State, mut order: Order, act: Option<Act>) {
        match &act {
            Some(Act::Refuse(text)) => {
                self.say(wire::reply(order.id.as_ref(), &Err(QmpError::generic(text.as_str()))));
                return;
            }
            Some(Act::CloseBefore) => {
                self.closing = true;
                return;
            }
            Some(Act::HangBefore) => {
                state.hung = true;
                return;
            }
            _ => {}
        }
        let answer = self.execute(state, &mut order);
        self.give(state, order.id.as_ref(), act, &answer);
        pass_on_events(state, Some(self));
    }

    fn execute(&mut self, state: &mut State, order: &mut Order) -> Result<Value, QmpError> {
        match (order.name.as_str(), self.negotiated) {
            ("qmp_capabilities", _) => {
                self.negotiated = true;
                Ok(json!({}))
            }
            (_, false) => Err(QmpError {
                class: "CommandNotFound".into(),
                desc: "Expecting capabilities negotiation with 'qmp_capabilities'".into(),
            }),
            (name, true) => state.model.execute(name, &order.arguments, order.fd.take()),
        }
    }

    fn give(
        &mut self,
        state: &mut State,
        id: Option<&Value>,
        act: Option<Act>,
        answer: &Result<Value, QmpError>,
    ) {
        let reply = wire::reply(id, answer);
        let later = |after| Timer {
            at: Instant::now() + after,
            connection: self.number,
            what: Later::Say(reply.clone()),
        };
        match act {
            None | Some(Act::Refuse(_) | Act::CloseBefore | Act::HangBefore) => {
                // Events that a guest causes while the command runs come before its answer.
                let early = std::mem::take(&mut state.model.early);
                early.into_iter().for_each(|(name, data)| self.say(wire::event(&name, data)));
                self.say(reply);
            }
            Some(Act::CloseAfter) => self.closing = true,
            Some(Act::HangAfter) => state.hung = true,
            Some(Act::Stall(time)) => {
                state.hung = true;
                let resume = Timer { what: Later::Resume, ..later(time) };
                state.timers.extend([later(time), resume]);
            }
            Some(Act::AnswerLate(time)) => state.timers.push(later(time)),
            Some(Act::LoseAnswer) => {}
            Some(Act::RefuseAfter(text)) => {
                self.say(wire::reply(id, &Err(QmpError::generic(text.as_str()))));
            }
            Some(Act::Return(value)) => self.say(wire::reply(id, &Ok(value))),
            Some(Act::CutAt(length)) => {
                self.say(reply.get(..length).unwrap_or(&reply).to_vec());
                self.closing = true;
            }
            Some(Act::AnswerTwice) => self.say(reply.repeat(2)),
            Some(Act::AnswerWithId(id)) => self.say(wire::reply(Some(&id), answer)),
            Some(Act::Around(before, after)) => self.say([before, reply, after].concat()),
            Some(Act::Instead(bytes)) => self.say(bytes),
            Some(Act::Endless(bytes)) => self.endless = Some(bytes),
            Some(Act::WithFds(count)) => {
                let fds = (0..count).map(|_| File::open("/dev/null").unwrap().into()).collect();
                self.out.push_back(Out { bytes: reply, fds });
            }
        }
    }
}

struct Order {
    name: String,
    arguments: Value,
    id: Option<Value>,
    fd: Option<Held>,
}
