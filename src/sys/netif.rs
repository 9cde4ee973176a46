//! Interface requests (`struct ifreq`) on network interfaces.

use std::os::fd::{AsRawFd, OwnedFd};

use libc::{c_char, ifreq};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

mod raw {
    use libc::ifreq;

    // linux/sockios.h; libc has these two for Android only.
    const SIOCBRADDIF: u64 = 0x89a2;
    const SIOCBRDELIF: u64 = 0x89a3;

    nix::ioctl_readwrite_bad!(get_index, libc::SIOCGIFINDEX, ifreq);
    nix::ioctl_readwrite_bad!(get_address, libc::SIOCGIFHWADDR, ifreq);
    nix::ioctl_readwrite_bad!(get_flags, libc::SIOCGIFFLAGS, ifreq);
    nix::ioctl_readwrite_bad!(set_flags, libc::SIOCSIFFLAGS, ifreq);
    nix::ioctl_readwrite_bad!(get_mtu, libc::SIOCGIFMTU, ifreq);
    nix::ioctl_readwrite_bad!(set_mtu, libc::SIOCSIFMTU, ifreq);
    nix::ioctl_readwrite_bad!(add_port, SIOCBRADDIF, ifreq);
    nix::ioctl_readwrite_bad!(del_port, SIOCBRDELIF, ifreq);
}

/// A request that names an interface, everything else zero. Fails on names the kernel has no room for.
pub(super) fn request(name: &str) -> nix::Result<ifreq> {
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
pub(super) fn name_of(request: &ifreq) -> String {
    let bytes: Vec<u8> =
        request.ifr_name.iter().map(|c| c.to_ne_bytes()).map_while(|[b]| (b != 0).then_some(b)).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The hardware address the kernel wrote into a request.
///
/// # Safety
/// The request has one, as SIOCGIFHWADDR leaves it.
pub(super) unsafe fn address_of(request: &ifreq) -> [u8; 6] {
    // SAFETY: the caller vouches for a `sockaddr`; any bits are a valid one.
    let [a, b, c, d, e, f, ..] = unsafe { request.ifr_ifru.ifru_hwaddr }.sa_data;
    [a, b, c, d, e, f].map(|byte| u8::from_ne_bytes(byte.to_ne_bytes()))
}

/// Puts the hardware address of an Ethernet interface into a request.
pub(super) fn put_address(request: &mut ifreq, address: [u8; 6]) {
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().zip(address) {
        *to = c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_hwaddr = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: data };
}

/// A socket through which interfaces of the calling thread's network namespace are asked and changed.
#[derive(Debug)]
pub struct Control(OwnedFd);

impl Control {
    /// Any socket will do; local ones exist wherever a monitor socket does, with or without IP.
    pub fn new() -> nix::Result<Self> {
        socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map(Self)
    }

    /// The interface's index; `ENODEV` when there is none of this name.
    pub fn index(&self, name: &str) -> nix::Result<i32> {
        let mut request = request(name)?;
        // SAFETY: the fd is open, the kernel reads and writes one `ifreq`, which lives through the call.
        unsafe { raw::get_index(self.0.as_raw_fd(), &mut request) }?;
        // SAFETY: SIOCGIFINDEX succeeded, so the kernel stored an index; any bits are a valid integer.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }

    /// The hardware address, as an Ethernet interface has it.
    pub fn address(&self, name: &str) -> nix::Result<[u8; 6]> {
        let mut request = request(name)?;
        // SAFETY: the fd is open, the kernel reads and writes one `ifreq`, which lives through the call.
        unsafe { raw::get_address(self.0.as_raw_fd(), &mut request) }?;
        // SAFETY: SIOCGIFHWADDR succeeded, so the kernel stored a `sockaddr`.
        Ok(unsafe { address_of(&request) })
    }

    /// The MTU in bytes.
    pub fn mtu(&self, name: &str) -> nix::Result<u32> {
        let mut request = request(name)?;
        // SAFETY: the fd is open, the kernel reads and writes one `ifreq`, which lives through the call.
        unsafe { raw::get_mtu(self.0.as_raw_fd(), &mut request) }?;
        // SAFETY: SIOCGIFMTU succeeded, so the kernel stored an MTU; any bits are a valid integer.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        u32::try_from(mtu).map_err(|_| Errno::ERANGE)
    }

    /// Sets the MTU in bytes; `EINVAL` outside of what the driver takes.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> nix::Result<()> {
        let mut request = request(name)?;
        request.ifr_ifru.ifru_mtu = i32::try_from(mtu).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the fd is open, the kernel reads and writes one `ifreq`, which lives through the call.
        unsafe { raw::set_mtu(self.0.as_raw_fd(), &mut request) }.map(drop)
    }

    /// Sets the interface administratively up, its other flags untouched.
    pub fn set_up(&self, name: &str) -> nix::Result<()> {
        let mut request = request(name)?;
        // SAFETY: the fd is open, the kernel reads and writes one `ifreq`, which lives through the call.
        unsafe { raw::get_flags(self.0.as_raw_fd(), &mut request) }?;
        // SAFETY: SIOCGIFFLAGS succeeded, so the kernel stored the flags; any bits are a valid integer.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        let up = i16::try_from(libc::IFF_UP).map_err(|_| Errno::EINVAL)?;
        request.ifr_ifru.ifru_flags = flags | up;
        // SAFETY: as above; the name is still in place, the flags were just set.
        unsafe { raw::set_flags(self.0.as_raw_fd(), &mut request) }.map(drop)
    }

    /// Makes the interface with index `port` a port of `bridge`.
    pub fn add_port(&self, bridge: &str, port: i32) -> nix::Result<()> {
        let mut request = request(bridge)?;
        request.ifr_ifru.ifru_ifindex = port;
        // SAFETY: the fd is open, the kernel reads one `ifreq`, which lives through the call.
        unsafe { raw::add_port(self.0.as_raw_fd(), &mut request) }.map(drop)
    }

    /// Takes the interface with index `port` out of `bridge`.
    pub fn del_port(&self, bridge: &str, port: i32) -> nix::Result<()> {
        let mut request = request(bridge)?;
        request.ifr_ifru.ifru_ifindex = port;
        // SAFETY: the fd is open, the kernel reads one `ifreq`, which lives through the call.
        unsafe { raw::del_port(self.0.as_raw_fd(), &mut request) }.map(drop)
    }
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

    #[test]
    fn loopback_answers() {
        let control = Control::new().unwrap();
        assert_eq!(control.index("lo"), Ok(1));
        assert_eq!(control.address("lo"), Ok([0; 6]));
        assert!(control.mtu("lo").unwrap() >= 1280);
        assert_eq!(control.index("nosuchif"), Err(Errno::ENODEV));
    }
}
