//! A QEMU monitor without a QEMU: a Unix socket served by one thread, behind it a small model that executes commands
//! the way QEMU 7.2 does, error texts included, and a script that makes any command go wrong in any way.
//!
//! Stands on its own: it knows nothing of the library under test and can be taken into any other project's tests.
//!
//! ```text
//! FakeQemu (handle for the test)  ──  serve (thread: socket, timers)  ──  script (faults)  ──  model (what QEMU has)
//! ```

mod block;
mod device;
mod model;
mod net;
mod script;
mod serve;
mod show;
mod wire;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use serde_json::{Value, json};

pub use model::{Dev, Machine, Model, Netdev, UnplugBehaviour};
pub use script::{ANY, Act, Greeting};
pub use wire::Held;

use script::{Rule, Script};

/// How the fake QEMU is started.
#[derive(Clone, Debug)]
pub struct Setup {
    pub machine: Machine,
    pub version: (u32, u32, u32),
    /// `running`, `prelaunch`, `paused` and so on.
    pub run_state: String,
    /// The firmware has numbered the buses.
    pub numbered: bool,
    /// Said to each new client.
    pub greeting: Greeting,
    /// Clients that may wait while one is served; QEMU allows one.
    pub backlog: i32,
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
        }
    }
}

/// One command as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub name: String,
    pub arguments: Value,
    /// File descriptors that came with its first byte.
    pub fds: usize,
    /// Bytes it took, without white space around it.
    pub bytes: usize,
}

/// Everything behind the socket. Locked by the serving thread for each command, and by the test to look.
pub struct State {
    pub model: Model,
    pub(self) script: Script,
    pub(self) greeting: Greeting,
    pub(self) seen: Vec<Seen>,
    pub(self) violations: Vec<String>,
    pub(self) timers: Vec<Timer>,
    pub(self) connections: u64,
    pub(self) connected: bool,
    /// Nothing is read from the client any more.
    pub(self) hung: bool,
    pub(self) accepting: bool,
    pub(self) hang_up: bool,
    pub(self) quit: bool,
    pub(self) idle: u64,
}

/// Something to be done later, by the serving thread.
pub struct Timer {
    pub(self) at: Instant,
    /// Only while this client is connected; 0 for any.
    pub(self) connection: u64,
    pub(self) what: Later,
}

/// What can be done later.
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

struct Shared {
    state: Mutex<State>,
    wake: EventFd,
}

/// A running fake. Dropping it ends the thread, and fails the test if the client broke a rule of the protocol.
pub struct FakeQemu {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl FakeQemu {
    pub fn start(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&fd, Backlog::new(setup.backlog).unwrap()).unwrap();
        let listener = UnixListener::from(fd);
        let state = State {
            model: Model::new(&setup),
            script: Script::default(),
            greeting: setup.greeting,
            seen: Vec::new(),
            violations: Vec::new(),
            timers: Vec::new(),
            connections: 0,
            connected: false,
            hung: false,
            accepting: true,
            hang_up: false,
            quit: false,
            idle: 0,
        };
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
        let shared = Arc::new(Shared { state: Mutex::new(state), wake });
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || serve::serve(&shared, listener)
        });
        Self { shared, thread: Some(thread), path, _dir: dir }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(self) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the model, or changes it behind the client's back.
    pub fn model<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        let done = look(&mut self.lock().model);
        self.poke();
        done
    }

    /// The next command of this name, after `skip` others of the same name, goes this way.
    pub fn fault(&self, command: &str, skip: usize, act: Act) {
        self.lock().script.rules.push(Rule::new(command, skip, act));
    }

    /// Runs `hook` when the next command of this name has come in, before anything else is done with it.
    pub fn hook(&self, command: &str, skip: usize, hook: impl FnOnce() + Send + 'static) {
        self.lock().script.rules.push(Rule::hook(command, skip, Box::new(hook)));
    }

    /// Faults that have not come to pass.
    pub fn faults_left(&self) -> usize {
        self.lock().script.rules.len()
    }

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
        state.model.fds_held() + usize::from(state.connected)
    }

    /// Sends an event.
    pub fn emit(&self, name: &str, data: Value) {
        self.say(wire::event(name, data));
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
        let start = self.lock().idle;
        self.poke();
        let patience = Instant::now() + Duration::from_secs(5);
        while self.lock().idle < start + 2 {
            assert!(Instant::now() < patience, "the fake monitor does not come to rest");
            self.poke();
            std::thread::sleep(Duration::from_millis(1));
        }
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

/// The data of `DEVICE_DELETED` for a device with an id.
pub fn deleted(id: &str) -> Value {
    json!({ "device": id, "path": format!("/machine/peripheral/{id}") })
}
