//! What a fake is started with, and what the handle and the thread behind the socket share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use serde_json::Value;

use crate::clock::Clock;
use crate::host::Held;
use crate::model::{Machine, Model};
use crate::reaction::Reaction;
use crate::script::{Greeting, Script};

/// How the fake QEMU is started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The machine type.
    pub machine: Machine,
    /// QEMU's version.
    pub version: (u32, u32, u32),
    /// `running`, `prelaunch`, `paused` and so on.
    pub run_state: String,
    /// The firmware has numbered the buses.
    pub numbered: bool,
    /// Said to each new client.
    pub greeting: Greeting,
    /// Clients that may wait while one is served; QEMU allows one.
    pub backlog: i32,
    /// Sockets, each of a monitor of its own.
    pub monitors: usize,
    /// What every event says of the time, since 1970; the clock's if there is none.
    pub event_time: Option<Duration>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            machine: Machine::Pc,
            version: (7, 2, 22),
            run_state: "running".into(),
            numbered: true,
            greeting: Greeting::default(),
            backlog: 1,
            monitors: 1,
            event_time: Some(Duration::from_secs(1_700_000_000)),
        }
    }
}

/// One command as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Such as `device_add`.
    pub name: String,
    /// An object.
    pub arguments: Value,
    /// File descriptors that came with its first byte.
    pub fds: usize,
    /// Bytes it took, without white space around it.
    pub bytes: usize,
}

/// What happened, for a program that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened<'a> {
    /// A client has come.
    Came,
    /// It has gone, or its connection was closed.
    Gone,
    /// A command was done.
    Done(&'a Seen),
    /// It was refused.
    Refused(&'a Seen),
    /// With this command QEMU stops to read and to say anything.
    Silent(&'a Seen),
    /// A client had QEMU quit.
    Ended,
}

/// Called by the thread behind the socket.
pub type Watcher = Box<dyn Fn(Happened<'_>) + Send>;

/// Everything behind the socket. Locked by the serving thread for each command, and by the test to look.
pub(crate) struct State {
    pub(crate) model: Model,
    pub(crate) held: Held,
    pub(crate) script: Script,
    pub(crate) greeting: Greeting,
    /// For the next client, if clients are to talk to no QEMU.
    pub(crate) reaction: Option<Reaction>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) violations: Vec<String>,
    pub(crate) timers: Vec<Timer>,
    pub(crate) connections: u64,
    /// Nothing is read from a client any more.
    pub(crate) hung: bool,
    pub(crate) accepting: bool,
    pub(crate) hang_up: bool,
    pub(crate) quit: bool,
    pub(crate) idle: u64,
    pub(crate) watcher: Option<Watcher>,
    pub(crate) event_time: Option<Duration>,
    pub(crate) clock: Clock,
    start: Instant,
}

impl State {
    pub(crate) fn new(
        model: Model,
        greeting: Greeting,
        watcher: Option<Watcher>,
        event_time: Option<Duration>,
    ) -> Self {
        let clock = Clock::of_this_thread();
        Self {
            model,
            held: Held::default(),
            script: Script::default(),
            greeting,
            reaction: None,
            seen: Vec::new(),
            violations: Vec::new(),
            timers: Vec::new(),
            connections: 0,
            hung: false,
            accepting: true,
            hang_up: false,
            quit: false,
            idle: 0,
            watcher,
            event_time,
            start: clock.now(),
            clock,
        }
    }

    /// The time as the model knows it.
    pub(crate) fn now(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.start)
    }

    /// A time as the model knows it, on the clock.
    pub(crate) fn at(&self, time: Duration) -> Instant {
        self.start + time
    }

    pub(crate) fn tell(&self, what: Happened<'_>) {
        if let Some(watcher) = &self.watcher {
            watcher(what);
        }
    }

    /// Files and descriptors follow the model.
    pub(crate) fn follow(&mut self) {
        for effect in self.model.take_effects() {
            self.violations.extend(self.held.apply(&effect).err());
        }
        self.held.close_all_but_of(&self.model);
    }
}

/// Something to be done later, by the serving thread.
pub(crate) struct Timer {
    pub(crate) at: Instant,
    /// Only while this client is connected; 0 for any.
    pub(crate) connection: u64,
    pub(crate) what: Later,
}

/// What can be done later.
#[derive(Clone, Debug)]
pub enum Later {
    /// Bytes to the client.
    Say(Vec<u8>),
    /// The guest lets go of a device.
    Grant(String),
    /// The guest refuses to.
    Refuse(String),
    /// The client is read again.
    Resume,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) wake: EventFd,
}

impl Shared {
    pub(crate) fn new(state: State) -> std::io::Result<Self> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { state: Mutex::new(state), wake })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
