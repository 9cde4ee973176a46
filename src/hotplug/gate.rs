//! Lets one call at a time into a handle, each waiting no longer than its own deadline.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// A value that belongs to one call at a time.
#[derive(Debug)]
pub(super) struct Gate<T> {
    state: Mutex<State>,
    freed: Condvar,
    value: Mutex<T>,
}

#[derive(Debug, Default)]
struct State {
    holder: Option<ThreadId>,
    dead: bool,
}

/// The right to use the value; giving it up lets the next call in.
pub(super) struct Pass<'a, T> {
    gate: &'a Gate<T>,
    value: Option<MutexGuard<'a, T>>,
}

impl<T> Gate<T> {
    pub(super) fn new(value: T) -> Self {
        Self { state: Mutex::default(), freed: Condvar::new(), value: Mutex::new(value) }
    }

    /// Waits for the call that is inside. A log callback that calls back into its own handle is told so, rather than
    /// left to wait for itself.
    pub(super) fn enter(&self, deadline: &Deadline) -> Result<Pass<'_, T>> {
        let me = std::thread::current().id();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(holder) = state.holder {
            if holder == me {
                let text = "called back into the handle whose call is running on this very thread";
                return Err(Error::new(ErrorKind::State, text).with_errno(libc::EDEADLK));
            }
            deadline
                .check()
                .map_err(|error| error.context("another call on this handle is still running"))?;
            let (next, _) =
                self.freed.wait_timeout(state, deadline.left()).unwrap_or_else(PoisonError::into_inner);
            state = next;
        }
        if state.dead {
            let text = "an internal error has disabled this handle; close it";
            return Err(Error::new(ErrorKind::Panic, text));
        }
        state.holder = Some(me);
        drop(state);
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Pass { gate: self, value: Some(value) })
    }

    /// Whether a call is inside now; `then` runs before it can leave.
    pub(super) fn if_busy(&self, then: impl FnOnce()) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.holder.is_some() {
            then();
        }
        state.holder.is_some()
    }
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
        let mut state = self.gate.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.holder = None;
        // Half a change may be in the value now; nobody else gets to see it.
        state.dead |= std::thread::panicking();
        drop(state);
        self.gate.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(20))
    }

    #[test]
    fn one_at_a_time_within_the_deadline() {
        let gate = Arc::new(Gate::new(0));
        let mut pass = gate.enter(&soon()).unwrap();
        *pass.get().unwrap() = 1;
        assert_eq!(gate.enter(&soon()).err().unwrap().errno(), libc::EDEADLK);
        let other = gate.clone();
        let error = std::thread::spawn(move || other.enter(&soon()).err().unwrap()).join().unwrap();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(gate.if_busy(|| {}));
        drop(pass);
        assert!(!gate.if_busy(|| panic!("nobody is inside")));
        let other = gate.clone();
        let value = std::thread::spawn(move || *other.enter(&soon()).unwrap().get().unwrap()).join().unwrap();
        assert_eq!(value, 1);
    }

    #[test]
    fn a_panic_inside_closes_the_gate_for_good() {
        let gate = Arc::new(Gate::new(0));
        let other = gate.clone();
        let _ = std::thread::spawn(move || {
            let _pass = other.enter(&soon()).unwrap();
            panic!("on purpose");
        })
        .join();
        assert_eq!(gate.enter(&soon()).err().unwrap().kind(), ErrorKind::Panic);
    }
}
