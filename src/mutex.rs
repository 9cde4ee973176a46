//! Mutexes whose value is whole at any time, also when a thread has panicked with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The value, whatever has become of the thread that had it before.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
