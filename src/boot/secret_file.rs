//! A file in memory that QEMU reads a secret from. Its mode lets QEMU open it again under another user, which
//! a pipe would not; and no name leads to it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::disk::Secret;
use crate::error::{Error, Result};

/// What `/proc` shows as its name.
const NAME: &str = "kvm-hotplug-secret";

/// A file with the secret, which nobody can write to.
pub(super) fn make(secret: &Secret) -> Result<OwnedFd> {
    let failed = |error: std::io::Error| Error::host(error, "make a file in memory for a secret");
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(NAME, flags).map_err(|errno| failed(errno.into()))?);
    file.write_all(secret.bytes()).map_err(failed)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all())).map_err(|errno| failed(errno.into()))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn it_is_read_under_its_number_and_not_written() {
        let file = make(&Secret::new(b"pass\xff").unwrap()).unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // QEMU opens the file by its path, so that it reads from the beginning.
        for _ in 0..2 {
            assert_eq!(std::fs::read(&path).unwrap(), b"pass\xff");
        }
        assert!(std::fs::write(&path, "other").is_err());
    }
}
