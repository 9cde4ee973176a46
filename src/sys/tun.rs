//! The requests of `/dev/net/tun` (`linux/if_tun.h`).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_char, ifreq};
use nix::errno::Errno;

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
/// In the flags that [`get_iff`] answers: it stays when nobody has it open.
pub const PERSIST: u16 = 0x0800;
/// With [`set_queue`]: packets go to this queue as well.
const ATTACH_QUEUE: u16 = 0x0200;
/// In the flags that [`get_iff`] answers: no packets go to this queue.
pub const DETACHED_QUEUE: u16 = 0x0400;

mod raw {
    nix::ioctl_read_bad!(get_features, libc::TUNGETFEATURES, libc::c_uint);
    nix::ioctl_readwrite_bad!(set_iff, libc::TUNSETIFF, libc::ifreq);
    nix::ioctl_read_bad!(get_iff, libc::TUNGETIFF, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_queue, libc::TUNSETQUEUE, libc::ifreq);
    nix::ioctl_readwrite_bad!(get_address, libc::SIOCGIFHWADDR, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFHWADDR, libc::ifreq);
}

/// `TUNGETDEVNETNS` (Linux 5.4), which libc does not have: `_IO('T', 227)`.
const GET_NAMESPACE: libc::Ioctl = 0x54e3;

/// A request that names an interface, everything else zero. Fails on names the kernel has no room for.
fn request(name: &str) -> nix::Result<ifreq> {
    // SAFETY: `ifreq` is plain data (arrays, integers, a raw pointer in a union); all zeros is a valid value.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

/// The name the kernel wrote into a request.
fn name_of(request: &ifreq) -> String {
    let bytes: Vec<u8> =
        request.ifr_name.iter().map(|c| c.to_ne_bytes()).map_while(|[b]| (b != 0).then_some(b)).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The hardware address the kernel wrote into a request.
///
/// # Safety
/// The request has one, as SIOCGIFHWADDR leaves it.
unsafe fn address_of(request: &ifreq) -> [u8; 6] {
    // SAFETY: the caller vouches for a `sockaddr`; any bits are a valid one.
    let [a, b, c, d, e, f, ..] = unsafe { request.ifr_ifru.ifru_hwaddr }.sa_data;
    [a, b, c, d, e, f].map(|byte| u8::from_ne_bytes(byte.to_ne_bytes()))
}

/// Puts the hardware address of an Ethernet interface into a request.
fn put_address(request: &mut ifreq, address: [u8; 6]) {
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().zip(address) {
        *to = c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_hwaddr = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: data };
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
    Errno::result(done).map(drop)
}

/// Attaches a queue that was detached; `EINVAL` if it is attached.
pub fn attach_queue(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let mut request = request("")?;
    request.ifr_ifru.ifru_flags = i16::from_ne_bytes(ATTACH_QUEUE.to_ne_bytes());
    // SAFETY: the fd is open, the kernel reads one `ifreq`, which lives through the call.
    unsafe { raw::set_queue(fd.as_raw_fd(), &request) }.map(drop)
}

/// The hardware address of the interface behind the fd, in whatever network namespace it is.
pub fn address(fd: BorrowedFd<'_>) -> nix::Result<[u8; 6]> {
    let mut request = request("")?;
    // SAFETY: the fd is open, the kernel writes one `ifreq`, which lives through the call.
    unsafe { raw::get_address(fd.as_raw_fd(), &mut request) }?;
    // SAFETY: the request succeeded, so the kernel stored a `sockaddr`.
    Ok(unsafe { address_of(&request) })
}

/// Gives the interface behind the fd another hardware address.
pub fn set_address(fd: BorrowedFd<'_>, address: [u8; 6]) -> nix::Result<()> {
    let mut request = request("")?;
    put_address(&mut request, address);
    // SAFETY: the fd is open, the kernel reads one `ifreq`, which lives through the call.
    unsafe { raw::set_address(fd.as_raw_fd(), &request) }.map(drop)
}

/// The network namespace that the interface is in, close-on-exec. Needs CAP_NET_ADMIN there; macvtaps do not
/// know it.
pub fn namespace(fd: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    // SAFETY: the fd is open and the request has no argument.
    let number = Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), GET_NAMESPACE) })?;
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_request_and_long_ones_are_refused() {
        for name in ["", "lo", "x23456789012345"] {
            assert_eq!(name_of(&request(name).unwrap()), name);
        }
        assert_eq!(request("x234567890123456").err(), Some(Errno::ENAMETOOLONG));
    }
}
