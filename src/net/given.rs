//! Taps that the caller opened: what they are, whether the guest has them already, and what QEMU expects of
//! them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::stat;

use super::MAX_QUEUES;
use super::identity::{GivenTap, TapIdentity};
use super::link::Interfaces;
use super::spec::NicSpec;
use crate::error::{Error, Result};
use crate::ids::{IfName, MacAddr};
use crate::sys::{kcmp, tun};

/// The network namespace of the calling thread.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// What the kernel says of a tap's fd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapInfo {
    /// The interface behind the fd.
    pub name: IfName,
    /// Whether it takes more than one queue.
    pub multi_queue: bool,
    /// Whether packets carry a virtio-net header.
    pub vnet_hdr: bool,
}

/// What can be seen of the tap behind `fd`, which is called `name`.
fn look(fd: BorrowedFd<'_>, name: &IfName) -> GivenTap {
    let address = tun::address(fd).ok().and_then(|address| MacAddr::from_bytes(address).ok());
    let netns = tun::namespace(fd).ok().and_then(|netns| stat::fstat(&netns).ok()).map(|stat| stat.st_ino);
    let own = stat::stat(OWN_NAMESPACE).ok().map(|stat| stat.st_ino);
    let here = Interfaces::open().and_then(|host| host.identity_of(name)).ok();
    let is_here = |here: &TapIdentity| match netns {
        Some(netns) => own == Some(netns),
        None => Some(here.address) == address,
    };
    GivenTap { index: here.filter(is_here).map(|here| here.index), address, netns }
}

/// The tap of a request, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The interface.
    pub name: IfName,
    /// Which of that name.
    pub tap: GivenTap,
}

impl Given {
    /// Checks that a caller's fds are the queues of one tap, and says which.
    pub fn check<F: AsFd>(fds: &[F]) -> Result<Self> {
        let name = check_queues(fds)?;
        let tap = fds.first().map(|fd| look(fd.as_fd(), &name)).unwrap_or_default();
        Ok(Self { name, tap })
    }

    /// Whether this is a descriptor of the tap, under the name that it has.
    pub fn is_behind(&self, fd: BorrowedFd<'_>) -> bool {
        self.tap.is(&self.name, &look(fd, &self.name), &self.name)
    }

    /// Whether a recorded NIC is over this tap.
    pub fn is_of(&self, spec: &NicSpec) -> bool {
        let Some(name) = &spec.ifname else { return false };
        let recorded = match (&spec.given_tap, &spec.tap_identity) {
            (Some(given), _) => given.clone(),
            (None, Some(own)) => GivenTap { index: Some(own.index), address: Some(own.address), netns: None },
            (None, None) => GivenTap::default(),
        };
        self.tap.is(&self.name, &recorded, name)
    }
}

/// A tap that somebody has open.
#[derive(Clone, Debug)]
pub struct Open {
    /// Which it is.
    pub tap: GivenTap,
    /// It stays when nobody has it open.
    pub persistent: bool,
    /// Whether packets carry a virtio-net header.
    pub vnet_hdr: bool,
}

/// What there is to see of the tap behind a descriptor.
pub fn look_at(fd: BorrowedFd<'_>) -> Result<Open> {
    let TapInfo { name, vnet_hdr, .. } = inspect(fd)?;
    let flags = tun::get_iff(fd).map(|(_, flags)| flags);
    let flags = flags.map_err(|errno| Error::host(errno, format!("look at tap {name}")))?;
    Ok(Open { tap: look(fd, &name), persistent: flags & tun::PERSIST != 0, vnet_hdr })
}

/// Has packets go to every one of a tap's queues, before QEMU gets them. The driver of the guest's last NIC
/// over this tap may have left some of them detached: QEMU takes each one for attached, and ends when it
/// cannot detach it (7.2 to 11.1).
pub fn attach_queues(fds: &[impl AsFd]) -> Result<()> {
    for fd in fds {
        let Err(errno) = tun::attach_queue(fd.as_fd()) else { continue };
        let failed = || Error::host(errno, format!("attach queue fd {} of a tap", fd.as_fd().as_raw_fd()));
        // "Invalid" is also said of a queue that is attached.
        let (_, flags) = tun::get_iff(fd.as_fd()).map_err(|_| failed())?;
        if errno != Errno::EINVAL || flags & tun::DETACHED_QUEUE != 0 {
            return Err(failed());
        }
    }
    Ok(())
}

/// What is behind a caller's fd: a tap's or a macvtap's queue, or an error.
pub fn inspect(fd: BorrowedFd<'_>) -> Result<TapInfo> {
    let bad = |why: &str| Error::invalid(format!("fd {} is not a tap: {why}", fd.as_fd().as_raw_fd()));
    let (name, flags) = tun::get_iff(fd).map_err(|errno| bad(errno.desc()))?;
    if flags & tun::TAP == 0 {
        return Err(bad(&format!("interface {name} carries IP packets (tun), not Ethernet frames")));
    }
    Ok(TapInfo {
        name: IfName::parse(&name)?,
        multi_queue: flags & tun::MULTI_QUEUE != 0,
        vnet_hdr: flags & tun::VNET_HDR != 0,
    })
}

/// Checks that a caller's fds are the queues of one tap, and returns its name.
pub fn check_queues<F: AsFd>(fds: &[F]) -> Result<IfName> {
    let count = fds.len();
    let Some(first) = fds.first().filter(|_| count <= usize::from(MAX_QUEUES)) else {
        return Err(Error::invalid(format!("{count} tap fds: 1 to {MAX_QUEUES} are allowed")));
    };
    let tap = inspect(first.as_fd())?;
    fds.iter().try_for_each(|fd| check_queue(&tap, fd.as_fd()))?;
    if count > 1 && !tap.multi_queue {
        return Err(Error::invalid(format!(
            "{count} fds for interface {}, which was not made for several queues (IFF_MULTI_QUEUE)",
            tap.name
        )));
    }
    for (position, fd) in fds.iter().enumerate() {
        for earlier in fds.iter().take(position) {
            check_not_twice(earlier.as_fd(), fd.as_fd())?;
        }
    }
    Ok(tap.name)
}

/// QEMU switches a queue off by its descriptor, and ends when that fails because it was done by another
/// number.
fn check_not_twice(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<()> {
    let numbers = [one, other].map(|fd| fd.as_fd().as_raw_fd());
    let same = kcmp::is_same_file(one, other)
        .map_err(|errno| Error::host(errno, format!("compare tap fds {} and {}", numbers[0], numbers[1])))?;
    if !same {
        return Ok(());
    }
    let text = format!(
        "a queue is given twice, as tap fds {} and {}; each of them is to be opened by itself",
        numbers[0], numbers[1]
    );
    Err(Error::invalid(text))
}

fn check_queue(tap: &TapInfo, fd: BorrowedFd<'_>) -> Result<()> {
    let other = inspect(fd)?;
    let number = fd.as_fd().as_raw_fd();
    if other.name != tap.name {
        return Err(Error::invalid(format!(
            "tap fd {number} belongs to interface {}, the first one to {}; a NIC's fds are queues of one tap",
            other.name, tap.name
        )));
    }
    if other != *tap {
        return Err(Error::invalid(format!(
            "tap fd {number} of interface {} was opened with other flags than the first one",
            tap.name
        )));
    }
    Ok(())
}
