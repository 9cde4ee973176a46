//! Advisory locks on open files.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

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

/// Whether somebody who has the file open as well has a lock of any kind on these bytes of it; a length of 0
/// is up to its end. Takes none.
pub fn is_taken(file: impl AsFd, start: libc::off_t, length: libc::off_t) -> nix::Result<bool> {
    let mut lock = libc::flock {
        l_type: short(libc::F_WRLCK),
        l_whence: short(libc::SEEK_SET),
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// The header has these as plain numbers, and the structure wants them short.
fn short(number: libc::c_int) -> libc::c_short {
    libc::c_short::try_from(number).unwrap_or_default()
}
