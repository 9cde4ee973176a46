//! Lets one call at a time into a handle, each waiting no longer than its own deadline.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::deadline::{Cancel, Deadline};
use crate::error::{Error, ErrorKind, Result};

/// A value that belongs to one call at a time.
#[derive(Debug)]
pub(super) struct CallLock<T> {
    state: Mutex<State>,
    freed: Condvar,
    value: Mutex<T>,
    cancel: Arc<Cancel>,
}

#[derive(Debug, Default)]
struct State {
    holder: Option<usize>,
    waiting: usize,
    dead: bool,
}

/// The right to use the value; giving it up lets the next call in.
pub(super) struct CallGuard<'a, T> {
    call_lock: &'a CallLock<T>,
    value: Option<MutexGuard<'a, T>>,
}

impl<T> CallLock<T> {
    pub(super) fn new(value: T) -> Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            freed: Condvar::new(),
            value: Mutex::new(value),
            cancel: Arc::new(Cancel::new()?),
        })
    }

    /// A deadline that [`Gate::cancel`] ends for the call that is inside.
    pub(super) fn deadline(&self, timeout: Duration) -> Deadline {
        Deadline::after(timeout).with_cancel(self.cancel.clone())
    }

    /// Waits for the call that is inside. A log callback that calls back into its own handle is told so, rather than
    /// left to wait for itself.
    pub(super) fn enter(&self, deadline: &Deadline) -> Result<CallGuard<'_, T>> {
        let me = this_thread();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(holder) = state.holder {
            if holder == me {
                let text = "called back into the handle whose call is running on this very thread";
                return Err(Error::new(ErrorKind::State, text).with_errno(libc::EDEADLK));
            }
            deadline
                .check()
                .map_err(|error| error.context("another call on this handle is still running"))?;
            state.waiting += 1;
            let (next, _) =
                self.freed.wait_timeout(state, deadline.left()).unwrap_or_else(PoisonError::into_inner);
            state = next;
            state.waiting -= 1;
        }
        if state.dead {
            let text = "an internal error has disabled this handle; close it";
            return Err(Error::new(ErrorKind::Panic, text));
        }
        state.holder = Some(me);
        drop(state);
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(CallGuard { call_lock: self, value: Some(value) })
    }

    /// Cancels the call that is inside, and no later one; false if there is none.
    pub(super) fn cancel(&self) -> bool {
        // Under the lock, so that the call cannot leave in between and hand its cancel on to the next one.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.holder.is_some() {
            self.cancel.set();
        }
        state.holder.is_some()
    }
}

/// A number that no other living thread has. `std::thread::current()` is not asked: it leaves something to be destroyed
/// when the thread ends, by code that `dlclose` may have taken away by then.
fn this_thread() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

impl<T> CallGuard<'_, T> {
    /// The value.
    pub(super) fn get(&mut self) -> Result<&mut T> {
        self.value.as_deref_mut().ok_or_else(|| Error::new(ErrorKind::State, "the call has ended"))
    }
}

impl<T> Drop for CallGuard<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        let mut state = self.call_lock.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.holder = None;
        self.call_lock.cancel.clear();
        // Half a change may be in the value now; nobody else gets to see it.
        state.dead |= std::thread::panicking();
        let waiting = state.waiting;
        drop(state);
        // To wake nobody is a system call as well.
        if waiting > 0 {
            self.call_lock.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(20))
    }

    #[test]
    fn one_at_a_time_within_the_deadline() {
        let call_lock = Arc::new(CallLock::new(0).unwrap());
        let mut pass = call_lock.enter(&soon()).unwrap();
        *pass.get().unwrap() = 1;
        assert_eq!(call_lock.enter(&soon()).err().unwrap().errno(), libc::EDEADLK);
        let other = call_lock.clone();
        let error = std::thread::spawn(move || other.enter(&soon()).err().unwrap()).join().unwrap();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(call_lock.cancel());
        assert_eq!(call_lock.deadline(LONG).check().unwrap_err().kind(), ErrorKind::Canceled);
        drop(pass);
        assert!(!call_lock.cancel());
        assert!(call_lock.deadline(LONG).check().is_ok(), "the next call is not cancelled");
        let other = call_lock.clone();
        let value = std::thread::spawn(move || *other.enter(&soon()).unwrap().get().unwrap()).join().unwrap();
        assert_eq!(value, 1);
    }

    #[test]
    fn a_panic_inside_closes_the_gate_for_good() {
        let call_lock = Arc::new(CallLock::new(0).unwrap());
        let other = call_lock.clone();
        let _ = std::thread::spawn(move || {
            let _pass = other.enter(&soon()).unwrap();
            panic!("on purpose");
        })
        .join();
        assert_eq!(call_lock.enter(&soon()).err().unwrap().kind(), ErrorKind::Panic);
    }
}
