//! The threads of a virtual clock: who runs, and who waits for what.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Key, lock};

/// All that goes by one virtual clock.
#[derive(Debug)]
pub(super) struct World(Mutex<State>);

#[derive(Debug)]
struct State {
    now: Instant,
    /// Threads that do not wait here.
    running: usize,
    /// Those that do, in the order in which they began to.
    waits: Vec<Wait>,
    last_wait: u64,
    /// Nothing can happen any more, for this reason.
    stuck: Option<String>,
}

/// A thread that waits. Whoever ends its wait takes it off the list and counts it as running, before the
/// thread itself knows.
#[derive(Debug)]
struct Wait {
    number: u64,
    fds: Vec<(RawFd, PollFlags)>,
    key: Option<Key>,
    until: Option<Instant>,
    bell: Arc<Bell>,
}

/// Wakes one thread.
#[derive(Debug)]
pub(super) struct Bell(EventFd);

impl Bell {
    pub(super) fn new() -> Self {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Self(EventFd::from_value_and_flags(0, flags).expect("an eventfd"))
    }
}

impl World {
    pub(super) fn new() -> Self {
        let (now, waits) = (Instant::now(), Vec::new());
        Self(Mutex::new(State { now, running: 0, waits, last_wait: 0, stuck: None }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    pub(super) fn now(&self) -> Instant {
        self.lock().now
    }

    /// A thread more.
    pub(super) fn begin(&self) {
        self.lock().running += 1;
    }

    /// A thread less.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.running -= 1;
        state.go_on();
    }

    pub(super) fn poll(
        &self,
        bell: &Arc<Bell>,
        fds: &mut [PollFd<'_>],
        until: Option<Instant>,
    ) -> nix::Result<()> {
        let mut state = self.lock();
        let has_come = until.is_some_and(|until| until <= state.now);
        if look(fds)? > 0 || has_come {
            return Ok(());
        }
        let watched = fds.iter().map(|fd| (fd.as_fd().as_raw_fd(), fd.events())).collect();
        let number = state.wait(bell, watched, None, until);
        self.wait_out(state, number, bell, fds)?;
        look(fds).map(drop)
    }

    pub(super) fn park(&self, bell: &Arc<Bell>, key: Key, until: Option<Instant>, release: impl FnOnce()) {
        let mut state = self.lock();
        let number = state.wait(bell, Vec::new(), Some(key), until);
        release();
        self.wait_out(state, number, bell, &mut []).expect("nothing but the bell is polled");
    }

    pub(super) fn sleep(&self, bell: &Arc<Bell>, time: Duration) {
        let mut state = self.lock();
        let until = state.now + time;
        let number = state.wait(bell, Vec::new(), None, Some(until));
        self.wait_out(state, number, bell, &mut []).expect("nothing but the bell is polled");
    }

    pub(super) fn unpark(&self, key: Key, all: bool) {
        let mut state = self.lock();
        let mut left = if all { usize::MAX } else { 1 };
        state.wake(|wait| {
            let is_meant = wait.key == Some(key) && left > 0;
            left -= usize::from(is_meant);
            is_meant
        });
    }

    /// From here on this thread waits, whatever it seems to have been woken by, until its wait is off the
    /// list.
    fn wait_out(
        &self,
        mut state: MutexGuard<'_, State>,
        number: u64,
        bell: &Bell,
        fds: &mut [PollFd<'_>],
    ) -> nix::Result<()> {
        state.go_on();
        drop(state);
        loop {
            let mut all = vec![PollFd::new(bell.0.as_fd(), PollFlags::POLLIN)];
            all.extend(fds.iter().map(|fd| PollFd::new(fd.as_fd(), fd.events())));
            let polled = poll(&mut all, PollTimeout::NONE);
            let mut state = self.lock();
            if state.waits.iter().all(|wait| wait.number != number) {
                let _ = bell.0.read();
                let stuck = state.stuck.clone();
                drop(state);
                return stuck.map_or(Ok(()), |stuck| panic!("{stuck}"));
            }
            // Another thread may have taken what the descriptor has shown. Then this one has not been woken.
            let failed = polled.map(drop).err().filter(|errno| *errno != Errno::EINTR);
            let shown = failed.map_or_else(|| look(fds), Err);
            if shown != Ok(0) {
                state.take(number);
                return shown.map(drop);
            }
        }
    }
}

impl State {
    /// A thread that ran waits.
    fn wait(
        &mut self,
        bell: &Arc<Bell>,
        fds: Vec<(RawFd, PollFlags)>,
        key: Option<Key>,
        until: Option<Instant>,
    ) -> u64 {
        self.last_wait += 1;
        let number = self.last_wait;
        self.waits.push(Wait { number, fds, key, until, bell: bell.clone() });
        self.running -= 1;
        number
    }

    /// A thread that waited runs.
    fn take(&mut self, number: u64) {
        self.waits.retain(|wait| wait.number != number);
        self.running += 1;
    }

    /// Ends waits for those who wait.
    fn wake(&mut self, mut is_meant: impl FnMut(&Wait) -> bool) {
        let (woken, rest): (Vec<Wait>, Vec<Wait>) =
            std::mem::take(&mut self.waits).into_iter().partition(|wait| is_meant(wait));
        self.waits = rest;
        self.running += woken.len();
        for wait in woken {
            wait.bell.0.write(1).expect("a bell rings");
        }
    }

    /// Lets time pass if nothing else can happen. If that cannot either, all that wait are told so, and fail.
    fn go_on(&mut self) {
        if self.running > 0 || self.waits.is_empty() || self.shows_something() {
            return;
        }
        let Some(first) = self.waits.iter().filter_map(|wait| wait.until).min() else {
            self.stuck = Some(format!("all threads wait, and none of them for a moment: {:#?}", self.waits));
            return self.wake(|_| true);
        };
        self.now = self.now.max(first);
        let now = self.now;
        self.wake(|wait| wait.until.is_some_and(|until| until <= now));
    }

    /// Whether a thread that waits is about to run.
    fn shows_something(&self) -> bool {
        let all = self.waits.iter().flat_map(|wait| &wait.fds);
        let mut fds: Vec<PollFd<'_>> = all.map(|(fd, events)| watched(*fd, *events)).collect();
        look(&mut fds).expect("poll of what is polled already") > 0
    }
}

/// A descriptor of a thread that waits.
#[allow(unsafe_code)]
fn watched<'a>(fd: RawFd, events: PollFlags) -> PollFd<'a> {
    // SAFETY: the thread has it borrowed until its wait is off the list, which nobody takes it off meanwhile:
    // the list is locked.
    PollFd::new(unsafe { BorrowedFd::borrow_raw(fd) }, events)
}

/// How many of them show something now.
fn look(fds: &mut [PollFd<'_>]) -> nix::Result<i32> {
    loop {
        match poll(fds, PollTimeout::ZERO) {
            Err(Errno::EINTR) => {}
            looked => return looked,
        }
    }
}
