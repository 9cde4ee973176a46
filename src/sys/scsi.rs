//! The SCSI generic interface of a block device (`scsi/sg.h`).

use std::os::fd::{AsRawFd, BorrowedFd};

/// `SG_GET_VERSION_NUM`, which is not in `libc`.
const SG_GET_VERSION_NUM: u16 = 0x2282;

mod raw {
    nix::ioctl_read_bad!(get_version, super::SG_GET_VERSION_NUM, libc::c_int);
}

/// The version of the interface, such as 30536 for 3.5.36. A block device that takes no SCSI commands has
/// none, and answers an error.
pub fn generic_version(fd: BorrowedFd<'_>) -> nix::Result<i32> {
    let mut version = 0;
    // SAFETY: the fd is open, the kernel writes one int, which lives through the call.
    unsafe { raw::get_version(fd.as_raw_fd(), &mut version) }?;
    Ok(version)
}
