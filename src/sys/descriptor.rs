//! Descriptors that are handed on without being looked at.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::error::{Error, Result};

/// A descriptor with any number of holders, closed by the last one. Whoever decides can hold it and name it
/// in a command; only whoever does can look at it.
#[derive(Clone, Debug)]
pub struct Descriptor(Arc<OwnedFd>);

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Self(Arc::new(fd))
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A duplicate of a descriptor that is known by its number, close-on-exec. `what` names it in errors.
pub fn duplicate(number: RawFd, what: &str) -> Result<OwnedFd> {
    if number < 0 {
        return Err(Error::invalid(format!("{what}: {number} is no file descriptor")).with_errno(libc::EBADF));
    }
    // SAFETY: not -1; whether it is open is what the duplication finds out, and nothing is done to it
    // otherwise.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed
        .try_clone_to_owned()
        .map_err(|error| Error::host(error, format!("{what}: duplicate fd {number}")))
}
