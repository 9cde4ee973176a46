//! Random bytes from the kernel.

use nix::errno::Errno;

use crate::error::{Error, Result};

/// `N` bytes from the kernel's generator.
///
/// Never waits: a host whose generator has no seed yet (the first moments after boot) answers with an error.
pub fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    fill(&mut bytes, getrandom).map_err(|errno| Error::host(errno, "get random bytes from the kernel"))?;
    Ok(bytes)
}

/// Asks `source` until all is filled: a signal may cut a request short.
fn fill(mut rest: &mut [u8], source: impl Fn(&mut [u8]) -> nix::Result<usize>) -> nix::Result<()> {
    while !rest.is_empty() {
        match source(rest) {
            Ok(0) => return Err(Errno::EIO),
            Ok(got) => rest = rest.get_mut(got..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Fills the front of `bytes` and tells how much of it.
fn getrandom(bytes: &mut [u8]) -> nix::Result<usize> {
    // SAFETY: pointer and length are those of one exclusively borrowed slice, which is only written to.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    Errno::result(got).and_then(|got| usize::try_from(got).map_err(|_| Errno::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_interrupted_answers_are_continued() {
        let calls = std::cell::Cell::new(0);
        let source = |bytes: &mut [u8]| {
            calls.set(calls.get() + 1);
            if calls.get() % 2 == 0 {
                return Err(Errno::EINTR);
            }
            let got = bytes.len().min(3);
            bytes[..got].fill(calls.get());
            Ok(got)
        };
        let mut bytes = [0; 8];
        fill(&mut bytes, source).unwrap();
        assert_eq!(bytes, [1, 1, 1, 3, 3, 3, 5, 5]);
        assert_eq!(fill(&mut bytes, |_| Ok(0)), Err(Errno::EIO));
        assert_eq!(fill(&mut bytes, |_| Err(Errno::EAGAIN)), Err(Errno::EAGAIN));
    }

    #[test]
    fn every_byte_is_filled_in() {
        let mut seen = [false; 600];
        for _ in 0..8 {
            let bytes = random_bytes::<600>().unwrap();
            seen.iter_mut().zip(bytes).for_each(|(seen, byte)| *seen |= byte != 0);
        }
        assert!(seen.iter().all(|seen| *seen), "a byte stayed zero eight times");
        assert_ne!(random_bytes::<16>().unwrap(), random_bytes::<16>().unwrap());
    }
}
