//! A running fake: the handle that a test has.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use serde_json::Value;

use crate::command::Event;
use crate::model::{Model, Monitor};
use crate::reaction::Reaction;
use crate::script::{Act, Greeting, Planned};
use crate::server;
use crate::state::{Later, Seen, Setup, Shared, State, Timer, Watcher};
use crate::wire;

/// A running fake. Dropping it ends the thread, and fails the test if the client broke a rule of the
/// protocol.
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

    /// On sockets at these paths, one for each monitor. What is there already is replaced. It goes by this
    /// thread's clock.
    pub fn listen(setup: Setup, paths: Vec<PathBuf>, watcher: Option<Watcher>) -> std::io::Result<Self> {
        let listeners = paths.iter().map(|path| listen_at(path, setup.backlog)).collect::<Result<_, _>>()?;
        let mut model = Model::new(setup.machine, setup.version.into());
        (model.run_state, model.numbered) = (setup.run_state, setup.numbered);
        let monitor = |(number, path): (usize, &PathBuf)| {
            Monitor::new(&format!("compat_monitor{number}"), &path.to_string_lossy())
        };
        model.monitors = paths.iter().enumerate().map(monitor).collect();
        let state = State::new(model, setup.greeting, watcher, setup.event_time);
        let clock = state.clock.clone();
        let shared = Arc::new(Shared::new(state)?);
        let ticket = clock.ticket();
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || {
                let _entered = ticket.enter();
                server::serve(&shared, listeners);
            }
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

    /// From now on clients talk to no QEMU: the next one gets to hear this, and each after that nothing but
    /// the end.
    pub fn react(&self, reaction: Reaction) {
        self.lock().reaction = Some(reaction);
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
        let mut state = self.lock();
        let at = state.clock.now() + after;
        state.timers.push(Timer { at, connection: 0, what });
        drop(state);
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
        assert!(self.settles_within(Duration::from_secs(60)), "the fake monitor does not come to rest");
    }

    /// The same, but no longer than this; false if it has more to do then.
    pub fn settles_within(&self, patience: Duration) -> bool {
        let (start, clock) = {
            let state = self.lock();
            (state.idle, state.clock.clone())
        };
        self.poke();
        let patience = clock.now() + patience;
        while self.lock().idle < start + 2 {
            if clock.now() >= patience {
                return false;
            }
            self.poke();
            clock.sleep(Duration::from_millis(1));
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
