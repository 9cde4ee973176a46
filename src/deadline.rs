//! One absolute deadline for a whole call, which a second thread can cut short.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Error, Result};

/// Lets another thread end a wait. Setting it is safe at any time; it stays set until cleared.
#[derive(Debug)]
pub struct Cancel {
    set: AtomicBool,
    wake: EventFd,
}

impl Cancel {
    /// Needs one file descriptor.
    pub fn new() -> Result<Self> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| Error::host(errno, "create an eventfd for cancelling"))?;
        Ok(Self { set: AtomicBool::new(false), wake })
    }

    /// Ends the current wait, if any, and every later one until [`Cancel::clear`].
    pub fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        // A full counter would already be readable, so a failed write changes nothing.
        let _ = self.wake.write(1);
    }

    /// Forgets an earlier [`Cancel::set`].
    pub fn clear(&self) {
        if self.set.swap(false, Ordering::SeqCst) {
            let _ = self.wake.read();
        }
    }

    /// Whether the current call is to end.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }
}

/// When a call has to answer, and what may end it sooner.
#[derive(Clone, Debug)]
pub struct Deadline {
    at: Instant,
    cancel: Option<Arc<Cancel>>,
}

impl Deadline {
    /// `timeout` from now. A timeout too long for the clock is cut to about 30 years.
    pub fn after(timeout: Duration) -> Self {
        let now = Instant::now();
        let at = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(1_000_000_000));
        Self { at, cancel: None }
    }

    /// The same deadline, ended early by `cancel`.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Arc<Cancel>) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// The same moment without the cancel: what has begun to be undone is undone to the end.
    #[must_use]
    pub fn uncancelable(&self) -> Self {
        Self { at: self.at, cancel: None }
    }

    /// The moment `margin` before this one, or now if that has passed: leaves time for a closing question.
    #[must_use]
    pub fn earlier_by(&self, margin: Duration) -> Self {
        let at = self.at.checked_sub(margin).unwrap_or(self.at).max(Instant::now());
        Self { at: at.min(self.at), cancel: self.cancel.clone() }
    }

    /// This deadline or `limit` from now, whichever comes first.
    #[must_use]
    pub fn at_most(&self, limit: Duration) -> Self {
        let other = Self::after(limit);
        Self { at: self.at.min(other.at), cancel: self.cancel.clone() }
    }

    /// Time left; zero once passed.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Fails when the deadline has passed or the call was cancelled.
    pub fn check(&self) -> Result<()> {
        if self.cancel.as_ref().is_some_and(|cancel| cancel.is_set()) {
            return Err(Error::canceled());
        }
        if self.left().is_zero() {
            return Err(Error::deadline_passed());
        }
        Ok(())
    }

    /// Waits until `fd` shows one of `events`; a hang-up counts as all of them.
    pub fn wait_for(&self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<()> {
        loop {
            self.check()?;
            let wanted = PollFd::new(fd, events);
            let [seen, _] = match &self.cancel {
                Some(cancel) => self.poll([wanted, PollFd::new(cancel.wake.as_fd(), PollFlags::POLLIN)])?,
                None => self.poll([wanted]).map(|[seen]| [seen, false])?,
            };
            if seen {
                return Ok(());
            }
        }
    }

    /// Waits once, and says which of them show something.
    fn poll<const N: usize>(&self, mut fds: [PollFd<'_>; N]) -> Result<[bool; N]> {
        match nix::poll::poll(&mut fds, self.poll_timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::host(errno, "poll the monitor socket")),
        }
        Ok(fds.map(|fd| fd.revents().is_some_and(|seen| !seen.is_empty())))
    }

    /// Sleeps for `pause`, or less if the deadline or a cancel comes first.
    pub fn pause(&self, pause: Duration) -> Result<()> {
        let wake = Self::after(pause);
        while !wake.left().is_zero() {
            self.check()?;
            let timeout = self.at_most(wake.left()).poll_timeout();
            let mut fds: Vec<PollFd<'_>> = self
                .cancel
                .iter()
                .map(|cancel| PollFd::new(cancel.wake.as_fd(), PollFlags::POLLIN))
                .collect();
            match nix::poll::poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::host(errno, "wait")),
            }
        }
        self.check()
    }

    /// Rounded up to the next millisecond, so that a wait does not spin through its last one.
    fn poll_timeout(&self) -> PollTimeout {
        let left = self.left();
        let millis = left.as_micros().div_ceil(1000);
        PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn cancel_ends_a_wait_and_is_told_from_the_deadline() {
        let cancel = Arc::new(Cancel::new().unwrap());
        let quiet = Cancel::new().unwrap();
        let deadline = Deadline::after(Duration::from_secs(60)).with_cancel(cancel.clone());
        let waker = std::thread::spawn({
            let cancel = cancel.clone();
            move || cancel.set()
        });
        let error = deadline.wait_for(quiet.wake.as_fd(), PollFlags::POLLIN).unwrap_err();
        waker.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::Canceled);
        assert!(deadline.uncancelable().check().is_ok());
        cancel.clear();
        assert!(deadline.check().is_ok());
        let past = Deadline::after(Duration::ZERO);
        assert_eq!(
            past.wait_for(quiet.wake.as_fd(), PollFlags::POLLIN).unwrap_err().kind(),
            ErrorKind::Timeout
        );
    }

    #[test]
    fn huge_timeouts_do_not_overflow() {
        assert!(Deadline::after(Duration::MAX).check().is_ok());
    }
}
