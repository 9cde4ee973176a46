//! Random bytes from the kernel.

use crate::error::{Error, Result};

/// `N` bytes from the kernel's generator.
///
/// Never waits: a host whose generator has no seed yet (the first moments after boot) answers with an error.
pub fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    let mut rest = bytes.as_mut_slice();
    while !rest.is_empty() {
        let got = fill(rest).map_err(|errno| Error::host(errno, "get random bytes from the kernel"))?;
        rest = rest.get_mut(got..).unwrap_or_default();
    }
    Ok(bytes)
}

/// Fills the front of `bytes` and tells how much of it; a signal may cut long requests short.
fn fill(bytes: &mut [u8]) -> nix::Result<usize> {
    loop {
        // SAFETY: pointer and length are those of one exclusively borrowed slice, which is only written to.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
        match nix::errno::Errno::result(got) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(got) => return usize::try_from(got).map_err(|_| nix::errno::Errno::EIO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
