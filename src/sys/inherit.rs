//! Descriptors under the numbers that a child process expects.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// The same file under a number of `least` or more, close-on-exec.
pub fn duplicate_above(fd: BorrowedFd<'_>, least: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the descriptor is open, and the command takes an integer.
    let number = Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) })?;
    // SAFETY: just made, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Puts a descriptor at this very number, not close-on-exec, in the place of what is there. For a child
/// process between fork and exec: async-signal-safe.
pub fn place(fd: impl AsFd, number: RawFd) -> Result<(), Errno> {
    loop {
        // SAFETY: the descriptor is open, and a bad number is an error.
        match Errno::result(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) }) {
            Ok(_) => return Ok(()),
            // The kernel says it while another thread is just opening that number.
            Err(Errno::EINTR | Errno::EBUSY) => {}
            Err(errno) => return Err(errno),
        }
    }
}
