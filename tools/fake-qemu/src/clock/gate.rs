//! What one thread waits for until another one lets it through.

use std::sync::{Arc, Mutex};

use super::{Clock, lock};

/// Shut until it is opened, and open from then on. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    clock: Clock,
    is_open: Arc<Mutex<bool>>,
    opened: Arc<std::sync::Condvar>,
}

impl Gate {
    /// For threads that go by this thread's clock.
    pub fn new() -> Self {
        Self { clock: Clock::of_this_thread(), is_open: Arc::default(), opened: Arc::default() }
    }

    /// Lets all through.
    pub fn open(&self) {
        *lock(&self.is_open) = true;
        self.opened.notify_all();
        self.clock.unpark(self.key(), true);
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        *lock(&self.is_open)
    }

    /// Waits until it is.
    pub fn pass(&self) {
        let mut is_open = lock(&self.is_open);
        while !*is_open {
            if self.clock.world.is_some() {
                self.clock.park(self.key(), None, || drop(is_open));
                is_open = lock(&self.is_open);
            } else {
                is_open = self.opened.wait(is_open).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
        }
    }

    fn key(&self) -> usize {
        Arc::as_ptr(&self.is_open).addr()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
