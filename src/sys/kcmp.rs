//! Whether two descriptors are one (`kcmp(2)`).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// `KCMP_FILE`: compares two descriptors by what they lead to.
const FILE: libc::c_int = 0;

/// Whether both numbers of this process lead to one open file, as after `dup(2)`.
///
/// Where the kernel does not say (no CONFIG_KCMP, or a filter on system calls), the flags of the open file
/// do: one that is set through one number shows through the other.
pub fn is_same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> nix::Result<bool> {
    let [one, other] = [one.as_raw_fd(), other.as_raw_fd()];
    let process = std::process::id();
    // SAFETY: all arguments are integers.
    let order = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            process,
            process,
            FILE,
            libc::c_long::from(one),
            libc::c_long::from(other),
        )
    };
    match Errno::result(order) {
        Ok(order) => Ok(order == 0),
        Err(_) => shares_flags(one, other),
    }
}

/// By a flag that means nothing to a tap: it appends whatever it is told to send.
fn shares_flags(one: i32, other: i32) -> nix::Result<bool> {
    let (before, seen) = (flags(one)?, flags(other)?);
    if before != seen {
        return Ok(false);
    }
    set_flags(one, before ^ libc::O_APPEND)?;
    let same = flags(other).map(|after| after != seen);
    set_flags(one, before)?;
    same
}

fn flags(fd: i32) -> nix::Result<i32> {
    // SAFETY: F_GETFL has no argument, and a bad number is an error.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFL) })
}

fn set_flags(fd: i32, flags: i32) -> nix::Result<()> {
    // SAFETY: F_SETFL takes an integer, and a bad number is an error.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_duplicate_is_the_same_and_a_second_one_is_not() {
        let open = || std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        let (one, other) = (open(), open());
        let copy = one.try_clone().unwrap();
        let before = flags(one.as_raw_fd()).unwrap();
        for (fd, same) in [(&one, true), (&copy, true), (&other, false)] {
            assert_eq!(is_same_file(one.as_fd(), fd.as_fd()), Ok(same));
            let numbers = [one.as_raw_fd(), fd.as_raw_fd()];
            assert_eq!(shares_flags(numbers[0], numbers[1]), Ok(same));
            assert_eq!(flags(one.as_raw_fd()), Ok(before));
        }
    }
}
