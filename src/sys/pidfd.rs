//! Descriptors of other processes (`pidfd_open(2)`, `pidfd_getfd(2)`; Linux 5.6).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// A descriptor that stands for a process, close-on-exec.
pub fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: both arguments are integers.
    let number = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    owned(number)
}

/// The file behind descriptor `number` of that process, under a new number here, close-on-exec. Takes the
/// right to trace the process (CAP_SYS_PTRACE, if it is another user's).
pub fn get(process: impl AsFd, number: RawFd) -> Result<OwnedFd, Errno> {
    let process = process.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open, the other arguments are integers, and a bad number is an error.
    let number = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, number, 0) })?;
    owned(number)
}

/// What a symbolic link says, in the buffer given and cut to it.
pub fn read_link<'a>(directory: impl AsFd, name: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let directory = directory.as_fd().as_raw_fd();
    let (text, room) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the descriptor is open, the name ends in a zero, and the kernel writes at most as much as there
    // is room for.
    let length = Errno::result(unsafe { libc::readlinkat(directory, name.as_ptr(), text, room) })?;
    let length = usize::try_from(length).map_err(|_| Errno::EIO)?;
    buffer.get(..length).ok_or(Errno::EIO)
}

fn owned(number: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = RawFd::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
