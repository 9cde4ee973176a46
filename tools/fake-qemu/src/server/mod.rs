//! The thread behind the sockets: one client of each monitor at a time, timers, and what is said to whom.

mod client;
mod order;

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::MutexGuard;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use crate::command::Event;
use crate::script::Greeting;
use crate::state::{Happened, Later, Shared, State, Timer};
use crate::wire;
use client::Client;

/// A monitor's socket and its client of the moment.
struct Port {
    listener: UnixListener,
    client: Option<Client>,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ready {
    connection: bool,
    pub(crate) read: bool,
    write: bool,
}

impl Ready {
    fn any(self) -> bool {
        self.connection || self.read || self.write
    }
}

/// Serves until told to quit, or until a client has QEMU quit.
pub(crate) fn serve(shared: &Shared, listeners: Vec<UnixListener>) {
    let mut ports: Vec<Port> =
        listeners.into_iter().map(|listener| Port { listener, client: None }).collect();
    loop {
        let mut state = shared.lock();
        if state.quit {
            return;
        }
        run_timers(&mut state, &mut ports);
        let hang_up = std::mem::take(&mut state.hang_up);
        for port in &mut ports {
            if hang_up || port.client.as_ref().is_some_and(Client::is_done) {
                leave(&mut state, port);
            }
        }
        let all_said =
            ports.iter().all(|port| port.client.as_ref().is_none_or(|client| !client.has_something_to_say()));
        if state.model.ended && all_said {
            ports.iter_mut().for_each(|port| leave(&mut state, port));
            state.tell(Happened::Ended);
            return;
        }
        let ready = wait(shared, state, &ports);
        let mut state = shared.lock();
        if !ready.iter().any(|ready| ready.any()) {
            state.idle += 1;
        }
        for (number, ready) in ready.into_iter().enumerate() {
            get_on(&mut state, &mut ports, number, ready);
        }
    }
}

fn get_on(state: &mut State, ports: &mut [Port], number: usize, ready: Ready) {
    let port = &mut ports[number];
    if ready.connection {
        port.client = arrive(state, &port.listener, number).or(port.client.take());
    }
    let Some(client) = port.client.as_mut() else { return };
    let mut others = Vec::new();
    if !client.get_on(state, ready, &mut others) {
        leave(state, port);
    }
    say_to_all(state, ports, &others, Some(number));
}

fn wait(shared: &Shared, state: MutexGuard<'_, State>, ports: &[Port]) -> Vec<Ready> {
    let own = state.timers.iter().map(|timer| timer.at);
    let guest = state.model.next_timeout().map(|at| state.at(at));
    let (clock, until) = (state.clock.clone(), own.chain(guest).min());
    let (accepting, hung) = (state.accepting, state.hung);
    drop(state);
    let mut fds = vec![PollFd::new(shared.wake.as_fd(), PollFlags::POLLIN)];
    let mut places = Vec::new();
    for port in ports {
        let wanted = match &port.client {
            None if accepting => Some((port.listener.as_fd(), PollFlags::POLLIN)),
            None => None,
            Some(client) => client.waits_for(hung),
        };
        places.push(wanted.map(|_| fds.len()));
        fds.extend(wanted.map(|(fd, events)| PollFd::new(fd, events)));
    }
    clock.poll(&mut fds, until).unwrap_or_else(|errno| panic!("poll: {errno}"));
    let _ = shared.wake.read();
    let seen = |place: Option<usize>| {
        place.and_then(|place| fds.get(place)?.revents()).unwrap_or(PollFlags::empty())
    };
    let ready = |(port, place): (&Port, Option<usize>)| {
        let seen = seen(place);
        let readable = seen.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR);
        Ready {
            connection: port.client.is_none() && readable,
            read: port.client.is_some() && readable && !hung,
            write: port.client.is_some() && seen.contains(PollFlags::POLLOUT),
        }
    };
    ports.iter().zip(places).map(ready).collect()
}

fn arrive(state: &mut State, listener: &UnixListener, monitor: usize) -> Option<Client> {
    // Since the descriptors were waited for, it may have been told to leave clients in the queue.
    if !state.accepting {
        return None;
    }
    let socket = match listener.accept() {
        Ok((socket, _)) => socket,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
        Err(error) => panic!("accept: {error}"),
    };
    socket.set_nonblocking(true).expect("a socket that does not block");
    state.connections += 1;
    state.hung = false;
    state.model.connect(monitor);
    let number = state.connections;
    if let Some(reaction) = state.reaction.as_mut().map(std::mem::take) {
        return Some(Client::reacting(socket, number, monitor, reaction));
    }
    let mut greeting = state.greeting.pieces.clone();
    if greeting.is_empty() {
        let version = state.model.version;
        greeting.push((Duration::ZERO, Greeting::text((version.0, version.1, version.2))));
    }
    let mut at = state.clock.now();
    for (after, bytes) in greeting {
        at += after;
        state.timers.push(Timer { at, connection: number, what: Later::Say(bytes) });
    }
    state.tell(Happened::Came);
    Some(Client::new(socket, number, monitor))
}

fn leave(state: &mut State, port: &mut Port) {
    if let Some(client) = port.client.take() {
        state.timers.retain(|timer| timer.connection != client.number);
        state.hung = false;
        state.model.disconnect(client.monitor);
        state.follow();
        state.tell(Happened::Gone);
    }
}

fn run_timers(state: &mut State, ports: &mut [Port]) {
    let now = state.clock.now();
    let (mut due, rest): (Vec<Timer>, Vec<Timer>) =
        std::mem::take(&mut state.timers).into_iter().partition(|timer| timer.at <= now);
    state.timers = rest;
    due.sort_by_key(|timer| timer.at);
    for Timer { connection, what, .. } in due {
        match what {
            Later::Say(bytes) => {
                let clients = ports.iter_mut().filter_map(|port| port.client.as_mut());
                let meant = clients.filter(|client| connection == 0 || client.number == connection);
                meant.for_each(|client| client.say(bytes.clone()));
            }
            Later::Grant(id) => _ = state.model.grant(&id),
            Later::Refuse(id) => _ = state.model.guest_refuses(&id),
            Later::Resume => resume(state, ports),
        }
        tell_events(state, ports);
    }
    let now = state.now();
    state.model.advance(now);
    tell_events(state, ports);
}

/// What the guest did by itself.
fn tell_events(state: &mut State, ports: &mut [Port]) {
    let events = state.model.take_events();
    state.follow();
    say_to_all(state, ports, &events, None);
}

fn resume(state: &mut State, ports: &mut [Port]) {
    state.hung = false;
    for number in 0..ports.len() {
        let mut others = Vec::new();
        if let Some(client) = ports[number].client.as_mut() {
            client.go_on(state, &mut others);
        }
        say_to_all(state, ports, &others, Some(number));
    }
}

/// Events reach clients that have left negotiation mode; nobody keeps them for later.
fn say_to_all(state: &State, ports: &mut [Port], events: &[Event], but: Option<usize>) {
    let clients = ports.iter_mut().filter_map(|port| port.client.as_mut());
    for client in clients.filter(|client| but != Some(client.monitor) && state.model.hears(client.monitor)) {
        events.iter().for_each(|event| client.say(wire::event(event, state.event_time)));
    }
}
