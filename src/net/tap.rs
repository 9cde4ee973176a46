//! Taps that are made for a NIC.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use once_cell::sync::OnceCell;

use super::MAX_QUEUES;
use super::bandwidth::Limits;
use super::given::check_queues;
use super::identity::TapIdentity;
use super::limits;
use super::link::{Interfaces, Setting};
use super::mac;
use super::port::PortSettings;
use super::rtnl::LinkInfo;
use super::spec::check_tap_name;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{IfName, MacAddr};
use crate::sys::tun;

/// Where the kernel offers taps.
const DEVICE: &str = "/dev/net/tun";
/// The kernel's own pattern, used when no name is given.
const DEFAULT_NAME: &str = "tap%d";
/// What the kernel gives a new tap: ETH_DATA_LEN.
pub(super) const NEW_MTU: u32 = 1500;
/// The tun driver's limit: 65535 less an Ethernet header (drivers/net/tun.c).
const MAX_MTU: u32 = 65521;
/// How often a name that is taken is asked for again: the kernel tells nobody that it is free.
const NAME_POLL: Duration = Duration::from_millis(2);

/// What a new tap shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapRequest {
    /// An exact name, or a pattern with one `%d` that the kernel replaces by a number; `None` is `tap%d`.
    pub name: Option<String>,
    /// Queues, each with an fd of its own: 1 to 256.
    pub queues: u16,
    /// Whether packets carry a virtio-net header, without which the guest has no offloads.
    pub vnet_hdr: bool,
    /// A user who may attach to the tap without CAP_NET_ADMIN.
    pub owner: Option<u32>,
    /// The bridge it becomes a port of.
    pub bridge: Option<IfName>,
    /// MTU in bytes, 68 to 65521; `None` is the bridge's, or else 1500.
    pub mtu: Option<u32>,
    /// The address of the guest's NIC, which the tap's own is made of.
    pub guest: Option<MacAddr>,
    /// How much the guest may receive and send.
    pub limits: Limits,
    /// What its bridge does with its frames.
    pub port: Option<Box<PortSettings>>,
}

/// A tap that lives as long as one of its fds is open, here or in QEMU.
#[derive(Debug)]
pub struct Tap {
    /// Its name.
    pub name: IfName,
    /// Which of that name.
    pub identity: TapIdentity,
    /// One fd per queue, close-on-exec and non-blocking.
    pub fds: Vec<OwnedFd>,
}

/// The host's tap device, and what was found out about it.
#[derive(Debug)]
pub struct TunDevice {
    path: PathBuf,
    /// Asked once, of the first fd that is open anyway; a failure is not remembered.
    features: OnceCell<u32>,
}

impl Default for TunDevice {
    fn default() -> Self {
        Self::at(DEVICE)
    }
}

impl TunDevice {
    /// A tap device at another path than `/dev/net/tun`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), features: OnceCell::new() }
    }

    /// Makes a tap, configures it, joins it to its bridge and sets it up. After a failure there is no tap.
    pub fn open(&self, request: &TapRequest) -> Result<Tap> {
        self.open_within(request, Duration::ZERO)
    }

    /// The same; an interface that has the name is given `patience` to go.
    pub fn open_within(&self, request: &TapRequest, patience: Duration) -> Result<Tap> {
        let pattern = check(request)?;
        let first = self.queue()?;
        let flags = self.flags(first.as_fd(), request)?;
        let end = Instant::now() + patience;
        let name = loop {
            match attach(first.as_fd(), pattern, flags | tun::EXCL) {
                Err(error) if error.kind() == ErrorKind::Conflict && Instant::now() < end => {
                    thread::sleep(NAME_POLL);
                }
                attached => break attached?,
            }
        };
        // The tap exists from here on; dropping its fds takes it back.
        let name = IfName::parse(&name)?;
        let host = Interfaces::open()?;
        let (identity, link) = set_address(&host, &name, first.as_fd(), request.guest)?;
        let mut tap = Tap { identity, name, fds: vec![first] };
        self.join_queues(&mut tap, request, flags)
            .and_then(|()| configure(&host, &link, &tap, request))
            .map_err(|error| error.context(format!("tap {}", tap.name)).with_undo(Vec::new()))?;
        Ok(tap)
    }

    /// Whether taps can be asked for here at all.
    pub fn check(&self) -> Result<()> {
        self.queue().map(drop)
    }

    fn queue(&self) -> Result<OwnedFd> {
        // The standard library adds O_CLOEXEC.
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&self.path);
        file.map(OwnedFd::from).map_err(|source| self.cannot_open(source))
    }

    fn cannot_open(&self, source: std::io::Error) -> Error {
        let advice = match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
                "load the driver (modprobe tun) and let this process see the device"
            }
            Some(libc::EACCES | libc::EPERM) => {
                "give this process access to the device; making taps also needs CAP_NET_ADMIN"
            }
            Some(libc::EMFILE) => {
                "every queue takes one: raise the limit of this process (RLIMIT_NOFILE), or ask for fewer queues"
            }
            _ => return Error::host(source, format!("open {}", self.path.display())),
        };
        let errno = source.raw_os_error().unwrap_or(libc::EIO);
        let why = Errno::from_raw(errno).desc();
        let kind = if errno == libc::EMFILE { ErrorKind::Host } else { ErrorKind::Unavailable };
        Error::new(kind, format!("open {}: {why}; {advice}", self.path.display())).with_errno(errno)
    }

    fn flags(&self, fd: BorrowedFd<'_>, request: &TapRequest) -> Result<u16> {
        let features = *self.features.get_or_try_init(|| {
            tun::features(fd).map_err(|errno| {
                Error::host(errno, format!("ask {} for its features", self.path.display()))
                    .with_kind(ErrorKind::Unavailable)
                    .with_errno(errno as i32)
            })
        })?;
        let optional = [
            (request.vnet_hdr, tun::VNET_HDR, "virtio-net headers"),
            (request.queues > 1, tun::MULTI_QUEUE, "several queues"),
        ];
        let mut flags = tun::TAP | tun::NO_PI;
        for (_, flag, what) in optional.into_iter().filter(|(wanted, ..)| *wanted) {
            if features & u32::from(flag) == 0 {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("this kernel's taps do not know {what}; ask for a tap without"),
                ));
            }
            flags |= flag;
        }
        Ok(flags)
    }

    fn join_queues(&self, tap: &mut Tap, request: &TapRequest, flags: u16) -> Result<()> {
        for _ in 1..request.queues {
            let fd = self.queue()?;
            attach(fd.as_fd(), tap.name.as_str(), flags)?;
            tap.fds.push(fd);
        }
        match request.queues {
            1 => Ok(()),
            // A rename between two of the calls above would have made a second tap under the old name.
            _ => check_queues(&tap.fds).map(drop),
        }
    }
}

/// Checks a request and returns the name or pattern to ask for.
fn check(request: &TapRequest) -> Result<&str> {
    if !(1..=MAX_QUEUES).contains(&request.queues) {
        return Err(Error::invalid(format!(
            "tap with {} queues: 1 to {MAX_QUEUES} are allowed",
            request.queues
        )));
    }
    let Some(name) = request.name.as_deref() else { return Ok(DEFAULT_NAME) };
    check_tap_name(name).map(|()| name)
}

/// Makes or joins an interface and returns its name.
fn attach(fd: BorrowedFd<'_>, name: &str, flags: u16) -> Result<String> {
    tun::set_iff(fd, name, flags).map_err(|errno| {
        let doing = format!("make tap {name}");
        match errno {
            Errno::EBUSY => Error::new(
                ErrorKind::Conflict,
                format!(
                    "{doing}: an interface of this name exists; choose another, or pass the fds of that tap"
                ),
            ),
            Errno::EPERM => Error::host(errno, format!("{doing}: needs CAP_NET_ADMIN")),
            _ => Error::host(errno, doing),
        }
    })
}

fn configure(host: &Interfaces, link: &LinkInfo, tap: &Tap, request: &TapRequest) -> Result<()> {
    if let (Some(uid), Some(fd)) = (request.owner, tap.fds.first()) {
        tun::set_owner(fd.as_fd(), uid).map_err(|errno| Error::host(errno, format!("set owner {uid}")))?;
    }
    // Before it joins the bridge: a bridge follows its smallest port, and one more NIC must not shrink it.
    let bridge = request.bridge.as_ref().map(|bridge| host.bridge(bridge)).transpose()?;
    let mtu = Some(mtu_on(request.mtu, bridge.as_ref()));
    let port = request.port.as_deref();
    let setting = Setting { mtu, bridge: request.bridge.as_ref(), up: true, port };
    if !request.limits.is_none() {
        limits::set(host, link.index, &request.limits)?;
    }
    host.set_link(link, bridge.as_ref(), &tap.name, &setting)
}

/// Gives a new tap an address that is higher than those of other interfaces: a bridge that was given none
/// takes the lowest of its ports', and whoever talks to the host over it would lose it with each tap that
/// comes or goes.
fn set_address(
    host: &Interfaces,
    name: &IfName,
    fd: BorrowedFd<'_>,
    guest: Option<MacAddr>,
) -> Result<(TapIdentity, LinkInfo)> {
    let address = mac::of_tap(guest, || host.identity_of(name).map(|random| random.address))?;
    tun::set_address(fd, address.bytes())
        .map_err(|errno| Error::host(errno, format!("give tap {name} the address {address}")))?;
    let link = host.link(name)?;
    Ok((TapIdentity { index: link.index, address }, link))
}

/// The MTU of a tap that was asked for one or not, on this bridge or on none.
pub(super) fn mtu_on(asked: Option<u32>, bridge: Option<&LinkInfo>) -> u32 {
    asked.or(bridge.map(|bridge| bridge.mtu.min(MAX_MTU))).unwrap_or(NEW_MTU)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> TapRequest {
        TapRequest {
            name: Some(name.into()),
            queues: 1,
            vnet_hdr: true,
            owner: None,
            bridge: None,
            mtu: None,
            guest: None,
            limits: Limits::default(),
            port: None,
        }
    }

    #[test]
    fn names_and_patterns() {
        for good in ["tap0", "tap%d", "%d", "a%db", "x23456789012345", "x234567890123%d"] {
            assert_eq!(check(&named(good)).unwrap(), good);
        }
        for bad in ["", "tap%d%d", "tap%s", "a b", "tap%", "x234567890123456", "x2345678901234%d", "a/b"] {
            assert_eq!(check(&named(bad)).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
        }
        assert_eq!(check(&TapRequest { name: None, ..named("") }).unwrap(), "tap%d");
    }

    #[test]
    fn queue_counts() {
        for (queues, good) in [(0, false), (1, true), (256, true), (257, false)] {
            assert_eq!(check(&TapRequest { queues, ..named("t") }).is_ok(), good, "{queues}");
        }
    }
}
