//! Descriptors that are handed on without being looked at.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

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
