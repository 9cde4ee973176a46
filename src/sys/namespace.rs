//! Network namespaces of threads.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Moves the calling thread, and no other one of this process, into a network namespace. Needs CAP_SYS_ADMIN
/// in both of their user namespaces; `EINVAL` for what is no network namespace.
pub fn enter_network(namespace: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the fd is open, and the call touches no memory.
    let done = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    Errno::result(done).map(drop)
}
