//! A running fake: the handle that a test has, and what it shares with the thread behind the socket.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use serde_json::Value;

use crate::command::Event;
use crate::host::Held;
use crate::model::{Machine, Model, Monitor};
use crate::script::{Act, Greeting, Planned, Script};
use crate::server;
use crate::wire;

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
    start: Instant,
}

impl State {
    /// The time as the model knows it.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
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
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running fake. Dropping it ends the thread, and fails the test if the client broke a rule of the protocol.
pub struct FakeQemu {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    paths: Vec<PathBuf>,
    directory: Option<Directory>,
}

/// A temporary directory, which goes with what is in it.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl FakeQemu {
    /// In a temporary directory.
    pub fn start(setup: Setup) -> Self {
        let name = std::env::temp_dir().join("fake-qemu-XXXXXX");
        let directory = Directory(nix::unistd::mkdtemp(&name).expect("a temporary directory"));
        let name = |number| if number == 0 { "qmp".to_owned() } else { format!("qmp{number}") };
        let paths = (0..setup.monitors).map(|number| directory.0.join(name(number))).collect();
        let mut fake = Self::listen(setup, paths, None).expect("a socket in a temporary directory");
        fake.directory = Some(directory);
        fake
    }

    /// On sockets at these paths, one for each monitor. What is there already is replaced.
    pub fn listen(setup: Setup, paths: Vec<PathBuf>, watcher: Option<Watcher>) -> std::io::Result<Self> {
        let listeners = paths.iter().map(|path| listen_at(path, setup.backlog)).collect::<Result<_, _>>()?;
        let mut model = Model::new(setup.machine, setup.version.into());
        (model.run_state, model.numbered) = (setup.run_state, setup.numbered);
        let monitor = |(number, path): (usize, &PathBuf)| {
            Monitor::new(&format!("compat_monitor{number}"), &path.to_string_lossy())
        };
        model.monitors = paths.iter().enumerate().map(monitor).collect();
        let state = State {
            model,
            held: Held::default(),
            script: Script::default(),
            greeting: setup.greeting,
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
            event_time: setup.event_time,
            start: Instant::now(),
        };
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let shared = Arc::new(Shared { state: Mutex::new(state), wake });
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || server::serve(&shared, listeners)
        });
        Ok(Self { shared, thread: Some(thread), paths, directory: None })
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        self.path_of(0)
    }

    /// The socket of a monitor.
    pub fn path_of(&self, monitor: usize) -> &Path {
        &self.paths[monitor]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// Looks at the model, or changes it behind the client's back.
    pub fn model<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        let mut state = self.lock();
        let done = look(&mut state.model);
        state.follow();
        drop(state);
        self.poke();
        done
    }

    /// The next command of this name, after `skip` others of the same name, goes this way.
    pub fn fault(&self, command: &str, skip: usize, act: Act) {
        self.lock().script.add(command, skip, Planned::Act(act));
    }

    /// The same behind those that are planned for this name already.
    pub fn next_fault(&self, command: &str, act: Act) {
        let mut state = self.lock();
        let skip = state.script.waiting(command);
        state.script.add(command, skip, Planned::Act(act));
    }

    /// Runs `hook` when the next command of this name has come in, before anything else is done with it.
    pub fn hook(&self, command: &str, skip: usize, hook: impl FnOnce() + Send + 'static) {
        self.lock().script.add(command, skip, Planned::Hook(Box::new(hook)));
    }

    /// Faults that have not come to pass.
    pub fn faults_left(&self) -> usize {
        self.lock().script.rules.len()
    }

    /// Forgets all of them.
    pub fn clear_faults(&self) {
        self.lock().script.rules.clear();
    }

    /// What the next clients are told first.
    pub fn greet(&self, greeting: Greeting) {
        self.lock().greeting = greeting;
    }

    /// The commands since the last call, and forgets them.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.lock().seen)
    }

    /// Names of the commands since the last call, and forgets them.
    pub fn take_names(&self) -> Vec<String> {
        self.take_seen().into_iter().map(|seen| seen.name).collect()
    }

    /// What the client did that no client may do. Taking them keeps them from failing the test.
    pub fn take_violations(&self) -> Vec<String> {
        let mut state = self.lock();
        let mut all = std::mem::take(&mut state.violations);
        all.append(&mut state.model.violations);
        all
    }

    /// Clients served so far.
    pub fn connections(&self) -> u64 {
        self.lock().connections
    }

    /// File descriptors of this process that belong to the fake now and did not when it was new.
    pub fn fds_held(&self) -> usize {
        let state = self.lock();
        state.held.count() + state.model.monitors.iter().filter(|monitor| monitor.connected).count()
    }

    /// Sends an event.
    pub fn emit(&self, name: &str, data: Value) {
        let time = self.lock().event_time;
        self.say(wire::event(&Event::new(name, data), time));
    }

    /// Sends bytes as they are.
    pub fn say(&self, bytes: impl Into<Vec<u8>>) {
        self.later(Duration::ZERO, Later::Say(bytes.into()));
    }

    /// The guest lets go of a device, asked or not.
    pub fn grant(&self, id: &str) {
        self.later(Duration::ZERO, Later::Grant(id.into()));
    }

    /// The guest refuses to let go of a device.
    pub fn refuse(&self, id: &str) {
        self.later(Duration::ZERO, Later::Refuse(id.into()));
    }

    /// Does something after a while.
    pub fn later(&self, after: Duration, what: Later) {
        self.lock().timers.push(Timer { at: Instant::now() + after, connection: 0, what });
        self.poke();
    }

    /// Ends a hang: what the client sent meanwhile is read now.
    pub fn resume(&self) {
        self.later(Duration::ZERO, Later::Resume);
    }

    /// Closes the connection.
    pub fn hang_up(&self) {
        self.lock().hang_up = true;
        self.poke();
        self.settle();
    }

    /// Whether new clients are served; those that are not wait in the listen queue.
    pub fn accept(&self, accepting: bool) {
        self.lock().accepting = accepting;
        self.poke();
    }

    /// Waits until the serving thread has nothing more to do at the moment.
    pub fn settle(&self) {
        assert!(self.settles_within(Duration::from_secs(5)), "the fake monitor does not come to rest");
    }

    /// The same, but no longer than this; false if it has more to do then.
    pub fn settles_within(&self, patience: Duration) -> bool {
        let start = self.lock().idle;
        self.poke();
        let patience = Instant::now() + patience;
        while self.lock().idle < start + 2 {
            if Instant::now() >= patience {
                return false;
            }
            self.poke();
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// The whole of QEMU's state, one line a thing.
    pub fn snapshot(&self) -> Vec<String> {
        self.lock().model.snapshot()
    }

    fn poke(&self) {
        let _ = self.shared.wake.write(1);
    }
}

impl Drop for FakeQemu {
    fn drop(&mut self) {
        self.lock().quit = true;
        self.poke();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the fake monitor panicked");
            assert_eq!(self.take_violations(), Vec::<String>::new(), "rules of the protocol were broken");
        }
    }
}

fn listen_at(path: &Path, backlog: i32) -> std::io::Result<UnixListener> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let address = UnixAddr::new(path)?;
    let _ = std::fs::remove_file(path);
    bind(fd.as_raw_fd(), &address)?;
    listen(&fd, Backlog::new(backlog).map_err(|_| Errno::EINVAL)?)?;
    let listener = UnixListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok(listener)
}
