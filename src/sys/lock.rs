//! Advisory locks on whole open files.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Takes the exclusive lock, or answers `EWOULDBLOCK` at once if another open file has it.
///
/// `nix::fcntl::Flock` does this too, but panics on drop when unlocking fails.
pub fn try_exclusive(file: BorrowedFd<'_>) -> nix::Result<()> {
    flock(file, libc::LOCK_EX | libc::LOCK_NB)
}

/// Gives the lock up. Closing every descriptor of the open file does so in any case.
pub fn unlock(file: BorrowedFd<'_>) {
    let _ = flock(file, libc::LOCK_UN);
}

fn flock(file: BorrowedFd<'_>, operation: i32) -> nix::Result<()> {
    // SAFETY: takes a descriptor that is open for the time of the call, and no pointer.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation) }).map(drop)
}
