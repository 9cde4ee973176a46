//! The clock that a fake goes by: the real one, or one whose time passes only while nothing else happens.
//!
//! A virtual clock knows all threads of a test: those of the test, which are in the library's calls now and
//! then, and that behind the sockets. A thread of it runs, or waits for descriptors, for another thread or
//! for a moment, and all of those waits are made here. Time stands still while one runs. When all wait,
//! poll(2) is asked about the descriptors of all of them at once: if one shows something, whoever waits for
//! it is about to run. If none does, nothing can happen but that time passes: it jumps to the first moment
//! that somebody waits for. What one thread sends to another over a socket of this machine, or tells it here,
//! is there before it waits itself, so that there is nothing on its way that would not be seen.
//!
//! What waits outside, for a lock or for another program, counts as running.

mod gate;
mod world;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};

pub use gate::Gate;
use world::{Bell, World};

/// A clock, and where waits are made that it is to know of.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// None: the real one.
    world: Option<Arc<World>>,
}

/// A thread that is counted, and may not have begun yet.
#[derive(Debug)]
pub struct Ticket(Clock);

/// While this is there, the thread goes by a clock.
#[derive(Debug)]
pub struct Entered(Clock);

/// What the threads that wait here wait for; a name that no two things have at a time, such as an address.
pub type Key = usize;

thread_local! {
    static HERE: RefCell<Option<(Clock, Arc<Bell>)>> = const { RefCell::new(None) };
}

impl Clock {
    /// A clock whose time passes only while nothing else happens.
    pub fn new_virtual() -> Self {
        Self { world: Some(Arc::new(World::new())) }
    }

    /// The clock of this thread; the real one if it has entered none.
    pub fn of_this_thread() -> Self {
        HERE.with_borrow(|here| here.as_ref().map(|(clock, _)| clock.clone())).unwrap_or_default()
    }

    /// Whether its time is not the real one.
    pub fn is_virtual(&self) -> bool {
        self.world.is_some()
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.world.as_ref().map_or_else(Instant::now, |world| world.now())
    }

    /// Counts a thread more, which is to begin: time stands still until that thread has entered and waits.
    pub fn ticket(&self) -> Ticket {
        if let Some(world) = &self.world {
            world.begin();
        }
        Ticket(self.clone())
    }

    /// Waits until one of the descriptors shows something or the moment comes, as poll(2) does.
    pub fn poll(&self, fds: &mut [PollFd<'_>], until: Option<Instant>) -> nix::Result<()> {
        match &self.world {
            Some(world) => world.poll(&self.bell(), fds, until),
            None => match poll(fds, timeout(until)) {
                Ok(_) | Err(Errno::EINTR) => Ok(()),
                Err(errno) => Err(errno),
            },
        }
    }

    /// Waits until [`Clock::unpark`] or the moment. What `release` gives up is given up when nobody can miss
    /// this wait any more. Only on a virtual clock.
    pub fn park(&self, key: Key, until: Option<Instant>, release: impl FnOnce()) {
        let world = self.world.as_ref().expect("a virtual clock");
        world.park(&self.bell(), key, until, release);
    }

    /// Ends the wait of the thread that has waited longest for `key`, or of all of them.
    pub fn unpark(&self, key: Key, all: bool) {
        if let Some(world) = &self.world {
            world.unpark(key, all);
        }
    }

    /// Does nothing for a while.
    pub fn sleep(&self, time: Duration) {
        match &self.world {
            Some(world) => world.sleep(&self.bell(), time),
            None => std::thread::sleep(time),
        }
    }

    /// What this thread is woken by.
    fn bell(&self) -> Arc<Bell> {
        HERE.with_borrow(|here| match here {
            Some((clock, bell)) if clock.is(self) => bell.clone(),
            _ => panic!("a thread waits on a clock that does not know of it"),
        })
    }

    fn is(&self, other: &Self) -> bool {
        match (&self.world, &other.world) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Ticket {
    /// Makes this thread the one that was counted.
    pub fn enter(self) -> Entered {
        let bell = Arc::new(Bell::new());
        let before = HERE.replace(self.0.world.is_some().then(|| (self.0.clone(), bell)));
        assert!(before.is_none(), "a thread goes by one clock");
        Entered(self.0)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        HERE.set(None);
        if let Some(world) = &self.0.world {
            world.end();
        }
    }
}

/// Rounded up to the next millisecond, so that a wait does not spin through its last one.
fn timeout(until: Option<Instant>) -> PollTimeout {
    let Some(until) = until else { return PollTimeout::NONE };
    let millis = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
    PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
