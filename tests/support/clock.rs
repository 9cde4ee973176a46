//! The clock of a case. With the feature `planted-faults` it is a virtual one: the calls of the library, the
//! fake QEMU and the case itself go by it, and its time passes only while none of them has anything else to
//! do. So nothing takes as long as it says, a busy machine makes no deadline pass, and how long something
//! took is exact. Without the feature it is the real one.
//!
//! What a case does itself has to go by it as well: it sleeps, asks the time and starts threads here and not
//! in `std`, which `tests/layers.rs` holds it to. What waits for something else, such as the kernel or
//! another program, counts as at work.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use super::fake::clock::{Clock, Entered, Gate, Ticket};

/// Runs a case on a clock of its own.
pub fn of_its_own(case: impl FnOnce()) {
    let clock = if cfg!(feature = "planted-faults") { Clock::new_virtual() } else { Clock::default() };
    let _thread = Thread::enter(clock.ticket());
    case();
}

/// Runs a case on the real clock.
pub fn the_real_one(case: impl FnOnce()) {
    case();
}

/// Whether this thread goes by another clock than the real one.
pub fn is_virtual() -> bool {
    Clock::of_this_thread().is_virtual()
}

/// The time.
pub fn now() -> Instant {
    Clock::of_this_thread().now()
}

/// The time since then.
pub fn since(start: Instant) -> Duration {
    now().saturating_duration_since(start)
}

pub fn sleep(time: Duration) {
    Clock::of_this_thread().sleep(time);
}

/// A thread that goes by a clock.
struct Thread {
    _entered: Entered,
}

impl Thread {
    fn enter(ticket: Ticket) -> Self {
        let entered = ticket.enter();
        #[cfg(feature = "planted-faults")]
        library::goes_by(Clock::of_this_thread());
        Self { _entered: entered }
    }
}

/// Threads that all end before [`scope`] does.
pub struct Scope<'scope, 'env> {
    inner: &'scope std::thread::Scope<'scope, 'env>,
    clock: Clock,
    ends: Mutex<Vec<Gate>>,
}

/// A thread of a [`Scope`].
pub struct Waiting<'scope, T> {
    inner: ScopedJoinHandle<'scope, T>,
    end: Gate,
}

/// As `std::thread::scope`, for threads that go by this thread's clock.
pub fn scope<'env, T>(body: impl for<'scope> FnOnce(&Scope<'scope, 'env>) -> T) -> T {
    std::thread::scope(|inner| {
        let scope = Scope { inner, clock: Clock::of_this_thread(), ends: Mutex::default() };
        // If it fails, the others wait for a time that has to pass.
        let result = catch_unwind(AssertUnwindSafe(|| body(&scope)));
        scope.ends.into_inner().unwrap().iter().for_each(Gate::pass);
        result.unwrap_or_else(|failure| resume_unwind(failure))
    })
}

impl<'scope> Scope<'scope, '_> {
    pub fn spawn<T: Send + 'scope>(&self, work: impl FnOnce() -> T + Send + 'scope) -> Waiting<'scope, T> {
        let (ticket, end) = (self.clock.ticket(), Gate::new());
        self.ends.lock().unwrap().push(end.clone());
        let last = Hold(end.clone());
        let inner = self.inner.spawn(move || {
            let _thread = Thread::enter(ticket);
            let _last = last;
            work()
        });
        Waiting { inner, end }
    }
}

impl<T> Waiting<'_, T> {
    pub fn join(self) -> std::thread::Result<T> {
        self.end.pass();
        self.inner.join()
    }

    pub fn is_finished(&self) -> bool {
        self.end.is_open()
    }
}

/// Keeps a gate shut for as long as it is there.
pub struct Hold(pub Gate);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[cfg(feature = "planted-faults")]
mod library {
    use std::sync::Arc;

    use kvm_hotplug::clock::{StandIn, stand_in};
    use nix::poll::PollFd;

    use super::*;

    #[derive(Debug)]
    struct OfTheCase(Clock);

    /// Handles that this thread opens go by the clock.
    pub(super) fn goes_by(clock: Clock) {
        stand_in(clock.is_virtual().then(|| Arc::new(OfTheCase(clock)) as Arc<dyn StandIn>));
    }

    impl StandIn for OfTheCase {
        fn now(&self) -> Instant {
            self.0.now()
        }

        fn poll(&self, fds: &mut [PollFd<'_>], until: Option<Instant>) -> nix::Result<()> {
            self.0.poll(fds, until)
        }

        fn park(&self, key: usize, until: Instant, release: &mut dyn FnMut()) {
            self.0.park(key, Some(until), release);
        }

        fn unpark(&self, key: usize, all: bool) {
            self.0.unpark(key, all);
        }
    }
}
