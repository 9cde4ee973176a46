//! Who of several threads works on a handle, who of them waits for the monitor, and how a cancel reaches
//! those that wait.
//!
//! One thread at a time has the value. A call that has to wait leaves it to others meanwhile: one of those
//! that wait polls the descriptors for all of them, and the others are told when something concerns them.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, AsRawFd};

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::mutex::lock;
use crate::sys::descriptor::Descriptor;

/// A value that belongs to one call at a time.
#[derive(Debug)]
pub(super) struct CallLock<T> {
    state: Mutex<State>,
    freed: Condvar,
    changed: Condvar,
    value: Mutex<T>,
    wake: EventFd,
    clock: Clock,
}

#[derive(Debug, Default)]
struct State {
    holder: Option<usize>,
    /// Threads that wait for the value.
    waiting: usize,
    /// Threads that wait for something to happen.
    sleeping: usize,
    /// One thread polls for all that sleep.
    has_poller: bool,
    /// What it polls.
    polled: WaitFor,
    /// Counts what has happened.
    news: u64,
    dead: bool,
    /// Calls that are inside.
    calls: Vec<Inside>,
    last_call: u64,
}

#[derive(Debug)]
struct Inside {
    number: u64,
    thread: usize,
    cancelled: bool,
    /// The call has seen that it is.
    has_seen: bool,
}

/// A call, from its beginning to its end.
#[derive(Debug)]
pub(super) struct Call<'a, T> {
    lock: &'a CallLock<T>,
    number: u64,
}

/// The right to use the value; giving it up lets the next call in.
pub(super) struct Pass<'a, T> {
    lock: &'a CallLock<T>,
    value: Option<MutexGuard<'a, T>>,
}

/// What a call that waits wants to be woken by.
#[derive(Clone, Debug, Default)]
pub(super) struct WaitFor {
    /// As a rule there is one, for which nothing is allocated.
    first: Option<(Descriptor, PollFlags)>,
    others: Vec<(Descriptor, PollFlags)>,
    until: Option<Instant>,
}

impl<T> CallLock<T> {
    /// Needs one file descriptor. Its calls go by `clock`.
    pub(super) fn new(value: T, clock: Clock) -> Result<Self> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| Error::host(errno, "create an eventfd for waking calls"))?;
        Ok(Self {
            state: Mutex::default(),
            freed: Condvar::new(),
            changed: Condvar::new(),
            value: Mutex::new(value),
            wake,
            clock,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Begins a call, which a cancel ends from now on.
    pub(super) fn begin(&self) -> Call<'_, T> {
        let mut state = self.state();
        state.last_call += 1;
        let number = state.last_call;
        state.calls.push(Inside { number, thread: this_thread(), cancelled: false, has_seen: false });
        Call { lock: self, number }
    }

    /// Waits for the thread that has the value. A log callback that calls back into its own handle is told
    /// so, rather than left to wait for itself.
    pub(super) fn enter(&self, until: Instant) -> Result<Pass<'_, T>> {
        let me = this_thread();
        let mut state = self.state();
        while let Some(holder) = state.holder {
            if holder == me {
                let text = "called back into the handle whose call is running on this very thread";
                return Err(Error::new(ErrorKind::State, text).with_errno(libc::EDEADLK));
            }
            let left = until.saturating_duration_since(self.clock.now());
            if left.is_zero() {
                let error = Error::deadline_passed();
                return Err(error.context("another call on this handle is still running"));
            }
            state.waiting += 1;
            state = self.clock.wait(&self.freed, &self.state, state, left);
            state.waiting -= 1;
        }
        if state.dead {
            let text = "an internal error has disabled this handle; close it";
            return Err(Error::new(ErrorKind::Panic, text));
        }
        state.holder = Some(me);
        drop(state);
        let value = lock(&self.value);
        Ok(Pass { lock: self, value: Some(value) })
    }

    /// Cancels the calls that are inside, or that of one thread, and no later ones; false if there are none.
    pub(super) fn cancel(&self, thread: Option<usize>) -> bool {
        let mut state = self.state();
        let mut any = false;
        for call in state.calls.iter_mut().filter(|call| thread.is_none_or(|thread| call.thread == thread)) {
            (call.cancelled, any) = (true, true);
        }
        if any {
            self.wake_all(&mut state);
        }
        any
    }

    /// Something may have happened that calls wait for.
    pub(super) fn tell_if(&self, happened: bool) {
        let mut state = self.state();
        if happened && (state.sleeping > 0 || state.has_poller) {
            self.wake_all(&mut state);
        }
    }

    /// Enters as a call that is inside already: nobody stays in for long.
    pub(super) fn enter_again(&self) -> Result<Pass<'_, T>> {
        self.enter(self.clock.now() + LONG)
    }

    fn wake_all(&self, state: &mut State) {
        state.news = state.news.wrapping_add(1);
        if state.has_poller {
            // A full counter would already be readable, so a failed write changes nothing.
            let _ = self.wake.write(1);
        }
        if state.sleeping > 0 {
            self.clock.notify_all(&self.changed);
        }
    }
}

impl<'a, T> Call<'a, T> {
    /// Whether the call has been cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        let mut state = self.lock.state();
        let cancelled = state.calls.iter_mut().find(|call| call.number == self.number && call.cancelled);
        cancelled.map(|call| call.has_seen = true).is_some()
    }

    /// Gives the value to others, and waits until one of the descriptors shows something, which is answered,
    /// the time comes, another thread tells of something, or a cancel comes.
    pub(super) fn wait(&self, pass: Pass<'a, T>, wait_for: &WaitFor) -> Result<bool> {
        let mut state = self.lock.state();
        let is_mine = |call: &&Inside| call.number == self.number;
        // A cancel may have come since the call has looked for one, when there was nobody to be woken.
        if state.calls.iter().find(is_mine).is_some_and(|call| call.cancelled && !call.has_seen) {
            return Ok(false);
        }
        let seen = state.news;
        let polls = !std::mem::replace(&mut state.has_poller, true);
        if polls {
            state.polled = wait_for.clone();
        } else if !state.polled.watches_the_same(wait_for) {
            // There is a new connection, or more to write: the thread that polls is to look again.
            let _ = self.lock.wake.write(1);
        }
        drop(state);
        drop(pass);
        if polls {
            let polled = poll(&self.lock.clock, &self.lock.wake, wait_for);
            let mut state = self.lock.state();
            state.has_poller = false;
            state.polled = WaitFor::default();
            // One of them polls from now on, or all are done.
            if state.sleeping > 0 {
                self.lock.clock.notify_all(&self.lock.changed);
            }
            return polled;
        }
        let (lock, mut state) = (self.lock, self.lock.state());
        state.sleeping += 1;
        while state.news == seen && state.has_poller {
            let left = wait_for.until.map_or(LONG, |until| until.saturating_duration_since(lock.clock.now()));
            if left.is_zero() {
                break;
            }
            state = lock.clock.wait(&lock.changed, &lock.state, state, left);
        }
        state.sleeping -= 1;
        Ok(false)
    }
}

impl WaitFor {
    /// Also wakes when this descriptor shows one of these.
    pub(super) fn watch(&mut self, fd: Descriptor, events: PollFlags) {
        match &mut self.first {
            Some(_) => self.others.push((fd, events)),
            first => *first = Some((fd, events)),
        }
    }

    /// Whether both wake when the same descriptors show the same.
    fn watches_the_same(&self, other: &Self) -> bool {
        let all = |wait_for: &Self| {
            let watched = wait_for.first.iter().chain(&wait_for.others);
            watched.map(|(fd, events)| (fd.as_fd().as_raw_fd(), *events)).collect::<Vec<_>>()
        };
        match (&self.first, &other.first) {
            (Some((fd, events)), Some((other_fd, other_events)))
                if self.others.is_empty() && other.others.is_empty() =>
            {
                fd.as_fd().as_raw_fd() == other_fd.as_fd().as_raw_fd() && events == other_events
            }
            _ => all(self) == all(other),
        }
    }

    /// Wakes at this time, if nothing happens before.
    pub(super) fn until(&mut self, at: Instant) {
        self.until = Some(self.until.map_or(at, |until| until.min(at)));
    }
}

/// As good as for ever.
const LONG: Duration = Duration::from_secs(3600);

/// Whether one of the descriptors shows something.
fn poll(clock: &Clock, wake: &EventFd, wait_for: &WaitFor) -> Result<bool> {
    let flag = PollFd::new(wake.as_fd(), PollFlags::POLLIN);
    match (&wait_for.first, wait_for.others.is_empty()) {
        (Some(first), true) => poll_all(clock, &mut [flag, watched(first)], wake, wait_for.until),
        (first, _) => {
            let mut fds = vec![flag];
            fds.extend(first.iter().chain(&wait_for.others).map(watched));
            poll_all(clock, &mut fds, wake, wait_for.until)
        }
    }
}

fn watched((fd, events): &(Descriptor, PollFlags)) -> PollFd<'_> {
    PollFd::new(fd.as_fd(), *events)
}

fn poll_all(clock: &Clock, fds: &mut [PollFd<'_>], wake: &EventFd, until: Option<Instant>) -> Result<bool> {
    clock.poll(fds, until).map_err(|errno| Error::host(errno, "poll the monitor socket"))?;
    let shows = |fd: &PollFd<'_>| fd.revents().is_some_and(|seen| !seen.is_empty());
    if fds.first().is_some_and(shows) {
        let _ = wake.read();
    }
    Ok(fds.iter().skip(1).any(shows))
}

/// A number that no other living thread has. `std::thread::current()` is not asked: it leaves something to be
/// destroyed when the thread ends, by code that `dlclose` may have taken away by then.
pub(super) fn this_thread() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

impl<T> Pass<'_, T> {
    /// The value.
    pub(super) fn get(&mut self) -> Result<&mut T> {
        self.value.as_deref_mut().ok_or_else(|| Error::new(ErrorKind::State, "the call has ended"))
    }
}

impl<T> Drop for Pass<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        let mut state = self.lock.state();
        state.holder = None;
        // Half a change may be in the value now; nobody else gets to see it.
        if std::thread::panicking() {
            state.dead = true;
            self.lock.wake_all(&mut state);
            self.lock.clock.notify_all(&self.lock.freed);
        }
        let waiting = state.waiting;
        drop(state);
        // To wake nobody is a system call as well.
        if waiting > 0 {
            self.lock.clock.notify_one(&self.lock.freed);
        }
    }
}

impl<T> Drop for Call<'_, T> {
    fn drop(&mut self) {
        self.lock.state().calls.retain(|call| call.number != self.number);
    }
}

#[cfg(test)]
mod tests;
