//! Does what the engine decides: connections, commands and their answers, events, time. The only code that
//! waits is the loop in [`super::Guest`] around this.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use nix::poll::PollFlags;

use super::call_lock::WaitFor;
use super::host::Host;
use super::poll_fd::PollFd;
use crate::clock::Clock;
use crate::engine::{Connected, Demand, Effect, Engine, Given, Link, OpId, StoreStep};
use crate::error::{Error, ErrorKind, Result};
use crate::mutex::lock;
use crate::qmp::{self, BatchId, Counters, Monitor, MonitorName};
use crate::store::{Committed, RecordFile};

/// The engine of a guest, and what it has no hands for.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) engine: Engine,
    monitors: Vec<(Link, Monitor)>,
    connecting: Vec<Connecting>,
    batches: Vec<Sent>,
    last_link: u64,
    host: Host,
    record: Arc<Mutex<RecordFile>>,
    pub(super) poll_fd: PollFd,
    /// The monitor of the guest, as opposed to one that an earlier agent used.
    main: Option<Link>,
    /// The socket of a QEMU that is being started, until it has greeted.
    starting: Option<MonitorName>,
    clock: Clock,
    /// What the next connection is, if the caller makes them.
    given: Option<OwnedFd>,
}

/// A connection that is not greeted yet.
#[derive(Debug)]
struct Connecting {
    op: OpId,
    name: MonitorName,
    monitor: Option<Monitor>,
    /// When the full listen queue, or the socket of a QEMU that is being started, is tried again.
    retry_at: Instant,
    /// Why the socket of a QEMU that is being started did not answer the last time.
    refused: Option<Error>,
}

/// Commands whose answers an operation waits for.
#[derive(Debug)]
struct Sent {
    op: OpId,
    link: Link,
    batch: BatchId,
}

impl Driver {
    pub(super) fn new(engine: Engine, poll_fd: PollFd, record: Arc<Mutex<RecordFile>>, clock: Clock) -> Self {
        Self {
            engine,
            monitors: Vec::new(),
            connecting: Vec::new(),
            batches: Vec::new(),
            last_link: 0,
            host: Host::default(),
            poll_fd,
            record,
            main: None,
            starting: None,
            clock,
            given: None,
        }
    }

    /// The next connection is over this socket.
    pub(super) fn give_connection(&mut self, fd: OwnedFd) {
        self.given = Some(fd);
    }

    /// The QEMU of this socket is being started: until it listens, connecting is tried again.
    pub(super) fn await_start(&mut self, socket: MonitorName) {
        self.starting = Some(socket);
    }

    fn may_yet_listen(&self, name: &MonitorName, error: &Error) -> bool {
        let not_yet = [libc::ENOENT, libc::ECONNREFUSED, libc::ECONNRESET];
        self.starting.as_ref() == Some(name) && not_yet.contains(&error.errno())
    }

    /// Lets this operation, and those that no call waits for, go on as far as they can without waiting.
    pub(super) fn drive(&mut self, own: Option<OpId>) {
        // A call on the record itself may have changed it.
        self.tell_contents();
        while let Some(demand) = self.engine.poll(self.clock.now(), own) {
            match demand {
                Demand::Perform(op, effect) => self.perform(op, effect),
                Demand::GiveUp(op, error) => self.give_up(op, error),
            }
        }
    }

    /// Ends what the operation waits for.
    pub(super) fn cancel(&mut self, op: OpId) {
        if let Some(Demand::GiveUp(op, error)) = self.engine.cancel(op) {
            self.give_up(op, error);
        }
    }

    /// No call waits for this operation any more: others go on with it.
    pub(super) fn leave(&mut self, op: OpId) {
        self.engine.leave(op);
        self.cancel(op);
        self.drive(None);
        self.show_news();
    }

    /// Makes the handle's descriptor readable while there is something to fetch or to do.
    pub(super) fn show_news(&mut self) {
        if let Some(news) = self.engine.has_news() {
            self.poll_fd.show(news);
        }
    }

    /// What a connection has cost.
    pub(super) fn counters(&self, link: Link) -> Counters {
        self.monitor(link).map(Monitor::counters).unwrap_or_default()
    }

    fn record(&self) -> MutexGuard<'_, RecordFile> {
        lock(&self.record)
    }

    fn tell_contents(&mut self) {
        let contents = self.record().contents().clone();
        self.engine.contents(contents);
    }

    fn write(&self, step: StoreStep) -> Result<Given> {
        let mut record = self.record();
        match step {
            StoreStep::Meet(peer) => {
                record.meet(peer);
                Ok(Given::Done)
            }
            StoreStep::Replace(next) => record.replace(*next).map(|()| Given::Done),
            StoreStep::Stage(next) => record.stage(*next).map(|staged| Given::Staged(staged.into())),
            StoreStep::Commit(staged) => Ok(match record.commit_staged(staged)? {
                Committed::InPlace => Given::Done,
                Committed::Outdated => Given::Outdated,
            }),
            StoreStep::Journal(journal) => record.put_journal(journal).map(|()| Given::Done),
        }
    }

    fn perform(&mut self, op: OpId, effect: Effect) {
        match effect {
            Effect::Connect(name) => {
                let now = self.clock.now();
                self.connecting.push(Connecting { op, name, monitor: None, retry_at: now, refused: None });
                self.go_on_connecting(now);
            }
            Effect::Watch(link) => {
                self.main = Some(link);
                let given = match self.monitor(link) {
                    Ok(monitor) => self.poll_fd.watch(monitor.as_fd()),
                    Err(error) => Err(error),
                };
                self.engine.give(op, given.map_or_else(Given::Failed, |()| Given::Done));
            }
            Effect::Identify(link) => {
                let peer = self.monitor(link).and_then(Monitor::who);
                self.engine.give(op, peer.map_or_else(Given::Failed, Given::Peer));
            }
            Effect::Close(link) => {
                self.monitors.retain(|(other, _)| *other != link);
                self.engine.give(op, Given::Done);
            }
            Effect::Read(link) => {
                let read = self.monitor_mut(link).and_then(Monitor::read_all);
                self.take_events();
                self.collect();
                self.engine.give(op, read.map_or_else(Given::Failed, |()| Given::Done));
            }
            Effect::ReadAll => {
                self.take_in(self.clock.now());
                self.engine.give(op, Given::Done);
            }
            Effect::Store(step) => {
                let given = self.write(step);
                // Before the operation goes on: what it reads is what is written.
                self.tell_contents();
                self.engine.give(op, given.unwrap_or_else(Given::Failed));
            }
            Effect::Host(step) => {
                let result = self.host.perform(step);
                self.engine.give(op, result.map_or_else(Given::Failed, Given::Host));
            }
            Effect::Run(link, commands) => match self.monitor_mut(link) {
                Ok(monitor) => {
                    let batch = monitor.submit(&commands);
                    self.batches.push(Sent { op, link, batch });
                    self.take_events();
                    self.collect();
                }
                Err(error) => self.engine.give(op, Given::Batch(qmp::Batch::failed(commands.len(), error))),
            },
        }
    }

    fn monitor(&self, link: Link) -> Result<&Monitor> {
        let found = self.monitors.iter().find(|(other, _)| *other == link);
        found.map(|(_, monitor)| monitor).ok_or_else(Error::monitor_lost)
    }

    fn monitor_mut(&mut self, link: Link) -> Result<&mut Monitor> {
        let found = self.monitors.iter_mut().find(|(other, _)| *other == link);
        found.map(|(_, monitor)| monitor).ok_or_else(Error::monitor_lost)
    }

    fn give_up(&mut self, op: OpId, error: Error) {
        if let Some(at) = self.batches.iter().position(|sent| sent.op == op) {
            let Sent { link, batch, .. } = self.batches.swap_remove(at);
            let batch = match self.monitor_mut(link) {
                Ok(monitor) => monitor.take(batch, || error),
                Err(lost) => qmp::Batch::failed(0, lost),
            };
            self.take_events();
            return self.engine.give(op, Given::Batch(batch));
        }
        let error = match self.connecting.iter().position(|connecting| connecting.op == op) {
            None => error,
            Some(at) => match self.connecting.swap_remove(at) {
                Connecting { monitor: Some(monitor), .. } => monitor.not_greeted(error),
                Connecting { name, refused, .. } if error.kind() == ErrorKind::Timeout => match refused {
                    Some(refused) => not_started(&refused),
                    None => qmp::queue_full(&name),
                },
                Connecting { .. } => error,
            },
        };
        self.engine.give(op, Given::Failed(error));
    }

    fn go_on_connecting(&mut self, now: Instant) {
        for mut connecting in std::mem::take(&mut self.connecting) {
            if connecting.monitor.is_none() && connecting.retry_at <= now {
                match self.begin_connecting(&connecting.name) {
                    Ok(monitor) => {
                        connecting.monitor = monitor;
                        connecting.refused = None;
                    }
                    Err(error) if self.may_yet_listen(&connecting.name, &error) => {
                        connecting.refused = Some(error);
                    }
                    Err(error) => {
                        self.engine.give(connecting.op, Given::Failed(error));
                        continue;
                    }
                }
                connecting.retry_at = now + qmp::RETRY;
            }
            match connecting.monitor.take() {
                Some(monitor) if monitor.is_greeted() => {
                    self.starting.take_if(|socket| *socket == connecting.name);
                    self.last_link += 1;
                    let link = Link(self.last_link);
                    let (version, pid) = (monitor.version(), monitor.peer().ok());
                    let reached = monitor.reached().clone();
                    self.monitors.push((link, monitor));
                    self.engine
                        .give(connecting.op, Given::Connected(Connected { link, version, pid, reached }));
                }
                monitor => self.connecting.push(Connecting { monitor, ..connecting }),
            }
        }
    }

    fn begin_connecting(&mut self, name: &MonitorName) -> Result<Option<Monitor>> {
        match name {
            MonitorName::Given => match self.given.take() {
                Some(fd) => Monitor::over(fd).map(Some),
                None => Err(qmp::reached::no_other_connection()),
            },
            name => Monitor::connect(name),
        }
    }

    /// Gives what has been answered to those that asked for it.
    fn collect(&mut self) {
        let mut at = 0;
        while let Some(Sent { op, link, batch }) = self.batches.get(at) {
            let (op, link, batch) = (*op, *link, *batch);
            let answered = match self.monitor_mut(link) {
                Ok(monitor) if !monitor.has_ended(batch) => {
                    at += 1;
                    continue;
                }
                Ok(monitor) => monitor.take(batch, Error::monitor_lost),
                Err(error) => qmp::Batch::failed(0, error),
            };
            self.batches.swap_remove(at);
            self.engine.give(op, Given::Batch(answered));
        }
        let broken = self.monitors.iter().filter(|(_, monitor)| monitor.is_broken());
        broken.for_each(|(link, _)| self.engine.disconnected(*link));
    }

    /// Hands on what the guest's monitor has said unasked. Another monitor of the same QEMU says the same.
    fn take_events(&mut self) {
        let main = self.main;
        for (link, monitor) in &mut self.monitors {
            while let Some(kept) = monitor.next_event() {
                if main.is_none_or(|main| main == *link) {
                    self.engine.event(kept);
                }
            }
        }
    }

    /// What a call that waits is woken by.
    pub(super) fn wait_for(&mut self, now: Instant) -> WaitFor {
        let mut wait_for = WaitFor::default();
        if let Some(at) = self.engine.next_timeout() {
            wait_for.until(at);
        }
        for (_, monitor) in self.monitors.iter_mut().filter(|(_, monitor)| !monitor.is_broken()) {
            let mut events = PollFlags::POLLIN;
            if monitor.has_unsent() {
                events |= PollFlags::POLLOUT;
            }
            match monitor.rest(now) {
                Some(rest) => wait_for.until(now + rest),
                None => wait_for.watch(monitor.descriptor(), events),
            }
        }
        for connecting in &self.connecting {
            match &connecting.monitor {
                Some(monitor) => wait_for.watch(monitor.descriptor(), PollFlags::POLLIN),
                None => wait_for.until(connecting.retry_at),
            }
        }
        wait_for
    }

    /// After a wait: a descriptor has shown something, or the time has come.
    pub(super) fn wake(&mut self, now: Instant, readable: bool) {
        match readable {
            true => self.take_in(now),
            false => self.go_on_connecting(now),
        }
    }

    /// Reads and writes what the sockets have and take now.
    pub(super) fn take_in(&mut self, now: Instant) {
        for (_, monitor) in self.monitors.iter_mut().filter(|(_, monitor)| !monitor.is_broken()) {
            if monitor.has_unsent() {
                monitor.write();
            }
            // An error is told of by what is waited for.
            let _ = monitor.read();
        }
        self.hear_greetings();
        self.go_on_connecting(now);
        self.take_events();
        self.collect();
    }

    fn hear_greetings(&mut self) {
        for mut connecting in std::mem::take(&mut self.connecting) {
            let Some(Err(error)) = connecting.monitor.as_mut().map(Monitor::read) else {
                self.connecting.push(connecting);
                continue;
            };
            if self.may_yet_listen(&connecting.name, &error) {
                // The one before it has ended, and had taken the connection.
                self.connecting.push(Connecting { monitor: None, refused: Some(error), ..connecting });
                continue;
            }
            let error = connecting.monitor.map_or(error.clone(), |monitor| monitor.not_greeted(error));
            self.engine.give(connecting.op, Given::Failed(error));
        }
    }
}

/// The error if a QEMU that is being started does not listen before the deadline.
fn not_started(refused: &Error) -> Error {
    let text = format!("QEMU did not begin to listen before the deadline: {}", refused.message());
    Error::new(ErrorKind::Timeout, text)
}
