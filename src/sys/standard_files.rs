//! Which of its standard files a program was started without. Rust's runtime opens /dev/null in their place
//! before main, so that results would go there, and nobody would know that they are lost.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

/// A bit for each that was closed.
static CLOSED: AtomicU32 = AtomicU32::new(0);

// SAFETY: of the type that the loader calls before main; the function needs nothing that is not there then.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = note;

extern "C" fn note() {
    for fd in libc::STDIN_FILENO..=libc::STDERR_FILENO {
        // SAFETY: takes integers, and a number that is not open is an error.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
}

/// Whether this standard file was closed when the program was started.
pub fn was_closed(fd: RawFd) -> bool {
    (CLOSED.load(Ordering::Relaxed) >> fd) & 1 == 1
}
