//! The requests of `/dev/net/tun` (`linux/if_tun.h`).

use std::os::fd::{AsRawFd, BorrowedFd};

use super::netif::{name_of, request};

/// An Ethernet interface, as opposed to [`TUN`].
pub const TAP: u16 = 0x0002;
/// An interface of bare IP packets.
pub const TUN: u16 = 0x0001;
/// No 4-byte protocol header before each packet.
pub const NO_PI: u16 = 0x1000;
/// A virtio-net header before each packet, which is what lets guests use checksum and segmentation offload.
pub const VNET_HDR: u16 = 0x4000;
/// More than one fd may be attached, each a queue.
pub const MULTI_QUEUE: u16 = 0x0100;
/// Create only: refuse a name that exists.
pub const EXCL: u16 = 0x8000;

mod raw {
    nix::ioctl_read_bad!(get_features, libc::TUNGETFEATURES, libc::c_uint);
    nix::ioctl_readwrite_bad!(set_iff, libc::TUNSETIFF, libc::ifreq);
    nix::ioctl_read_bad!(get_iff, libc::TUNGETIFF, libc::ifreq);
}

/// The interface flags this kernel knows.
pub fn features(fd: BorrowedFd<'_>) -> nix::Result<u32> {
    let mut features = 0;
    // SAFETY: the fd is open, the kernel writes one unsigned int, which lives through the call.
    unsafe { raw::get_features(fd.as_raw_fd(), &mut features) }?;
    Ok(features)
}

/// Creates the interface `name` (one `%d` in it becomes a number), or joins it, and returns its name.
pub fn set_iff(fd: BorrowedFd<'_>, name: &str, flags: u16) -> nix::Result<String> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = i16::from_ne_bytes(flags.to_ne_bytes());
    // SAFETY: the fd is open, the kernel reads and writes one `ifreq`, which lives through the call.
    unsafe { raw::set_iff(fd.as_raw_fd(), &mut request) }?;
    Ok(name_of(&request))
}

/// The name and flags of the interface behind a tun, tap or macvtap fd. The kernel refuses any other fd,
/// since no other driver has a request of this number.
pub fn get_iff(fd: BorrowedFd<'_>) -> nix::Result<(String, u16)> {
    let mut request = request("")?;
    // SAFETY: the fd is open, the kernel writes one `ifreq`, which lives through the call.
    unsafe { raw::get_iff(fd.as_raw_fd(), &mut request) }?;
    // SAFETY: TUNGETIFF succeeded, so the kernel stored the flags; any bits are a valid integer.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((name_of(&request), u16::from_ne_bytes(flags.to_ne_bytes())))
}

/// Lets `uid` attach to the interface without CAP_NET_ADMIN.
pub fn set_owner(fd: BorrowedFd<'_>, uid: u32) -> nix::Result<()> {
    // SAFETY: the fd is open and TUNSETOWNER takes its argument by value.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOWNER, libc::c_ulong::from(uid)) };
    nix::errno::Errno::result(done).map(drop)
}
