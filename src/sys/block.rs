//! What block devices and file systems say of themselves (`linux/fs.h`, `xfs_fs.h`).

use std::os::fd::{AsRawFd, BorrowedFd};

/// `BLKROGET`, which is not in `libc`.
const BLKROGET: u16 = 0x125e;

/// `struct dioattr` of XFS.
#[repr(C)]
#[derive(Debug, Default)]
pub struct DirectIo {
    memory_alignment: u32,
    smallest: u32,
    largest: u32,
}

mod raw {
    nix::ioctl_read_bad!(is_read_only, super::BLKROGET, libc::c_int);
    nix::ioctl_read!(xfs_direct_io, b'X', 30, super::DirectIo);
}

/// Whether the kernel writes nothing to this block device.
pub fn is_read_only(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut answer = 0;
    // SAFETY: the fd is open, the kernel writes one int, which lives through the call.
    unsafe { raw::is_read_only(fd.as_raw_fd(), &mut answer) }?;
    Ok(answer != 0)
}

/// The smallest unit of O_DIRECT in this file, in bytes, if XFS says.
pub fn xfs_direct_unit(fd: BorrowedFd<'_>) -> nix::Result<u32> {
    let mut answer = DirectIo::default();
    // SAFETY: the fd is open, the kernel writes one struct of this layout, which lives through the call.
    unsafe { raw::xfs_direct_io(fd.as_raw_fd(), &mut answer) }?;
    Ok(answer.smallest)
}
