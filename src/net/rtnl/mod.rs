//! The kernel's routing socket: what is this link, change it, delete it, limit it.
//!
//! Links are looked up here and not in sysfs, since sysfs shows the network namespace of whoever mounted it.

mod message;
mod port;
mod traffic;
mod wire;

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::bandwidth::Bandwidth;
use super::port::{PortFlags, PortSettings};
use crate::error::{Error, ErrorKind, Result};
use message::Reply;
pub(super) use message::{Change, LinkInfo, LinkKind, LinkState};
pub(super) use traffic::Found;

/// A request about a link.
type LinkRequest = message::Request;

/// Several times what a link with every attribute takes; statistics of virtual functions are not asked for.
const MAX_REPLY: usize = 32 * 1024;

/// More than a status with the whole request behind it, which is the answer to an order.
const STATUS_REPLY: usize = 256;

/// More than the kernel says at once of a list.
const LIST_REPLY: usize = 16 * 1024;

/// Some links say 1.5 KiB.
const USUAL_REPLY: usize = 4 * 1024;

/// A socket through which links of the calling thread's network namespace are asked and changed.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    /// Opens one.
    pub(super) fn open() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
            .map(Self)
            .map_err(|errno| Error::host(errno, "open a routing socket"))
    }

    /// The link with this index.
    pub(super) fn link(&self, index: i32) -> Result<LinkInfo> {
        self.ask(&message::get(index), || format!("query interface {index}"))
    }

    /// The link with this name, or with this alternative name.
    pub(super) fn named(&self, name: &str) -> Result<LinkInfo> {
        self.ask(&message::get_named(name), || format!("query interface {name}"))
    }

    /// Changes the link with this index.
    pub(super) fn set(&self, index: i32, change: &Change) -> Result<()> {
        self.order(&message::set(index, change), || format!("change interface {index}"))
    }

    /// Deletes the link with this index. Returns once it is gone, which for a tap takes about 15 ms.
    pub(super) fn delete(&self, index: i32) -> Result<()> {
        self.order(&message::delete(index), || format!("delete interface {index}"))
    }

    /// Has a bridge treat a port as it is asked for. Where VLANs are, the port has those and no others.
    pub(super) fn set_port(&self, index: i32, settings: &PortSettings) -> Result<()> {
        let doing = || format!("set the port of interface {index}");
        let flags = PortFlags::wanted(Some(settings));
        self.order(&port::set_flags(index, flags), doing)?;
        if settings.has_vlans() {
            let all = port::set_vlans(index, settings);
            all.iter().try_for_each(|request| {
                self.order(request, || format!("set the VLANs of interface {index}"))
            })?;
        }
        Ok(())
    }

    /// What limits what leaves the interface.
    pub(super) fn root_discipline(&self, index: i32) -> Result<Found> {
        self.look(&traffic::get_root(index)).map_err(|error| error.context("query the queueing discipline"))
    }

    /// Limits what leaves the interface; instead of the library's own limit if it has one.
    pub(super) fn limit_egress(&self, index: i32, limit: Bandwidth, has_own: bool) -> Result<()> {
        self.tell(&traffic::limit_egress(index, limit, has_own))
    }

    /// Takes the library's limit of what leaves the interface away.
    pub(super) fn free_egress(&self, index: i32) -> Result<()> {
        self.tell(&traffic::free_egress(index))
    }

    /// What limits what enters the interface, with its handle.
    pub(super) fn ingress_filter(&self, index: i32) -> Result<Option<(u32, Bandwidth)>> {
        let mut own = None;
        self.list(&traffic::get_own_filters(index), |handle, found| {
            if let Found::Own(limit) = found {
                own = Some((handle, limit));
            }
        })
        .map_err(|error| error.context("query the filters"))?;
        Ok(own)
    }

    /// Limits what enters the interface, among the filters that others may have there; by the filter with
    /// this handle, if the library has one.
    pub(super) fn limit_ingress(&self, index: i32, limit: Bandwidth, handle: Option<u32>) -> Result<()> {
        match self.tell(&traffic::add_ingress(index)) {
            Err(error) if error.errno() != libc::EEXIST => return Err(error),
            _ => {}
        }
        self.tell(&traffic::limit_ingress(index, limit, handle.unwrap_or_default()))
    }

    /// Takes the library's limit of what enters the interface away, and the place of filters if no other is
    /// there.
    pub(super) fn free_ingress(&self, index: i32) -> Result<()> {
        let gone = self.tell(&traffic::delete_filter(index));
        gone.or_else(|error| if is_absence(error.errno()) { Ok(()) } else { Err(error) })?;
        let mut others = 0;
        self.list(&traffic::get_filters(index), |_, _| others += 1)?;
        if others == 0 {
            // Another kind of place, such as clsact, stays.
            let _ = self.tell(&traffic::delete_ingress(index));
        }
        Ok(())
    }

    /// Says what is in a list, which the kernel makes part by part.
    fn list(&self, request: &traffic::Request, mut each: impl FnMut(u32, Found)) -> Result<()> {
        self.send(request.bytes())?;
        let mut buffer = vec![0; LIST_REPLY];
        loop {
            for message in wire::messages(self.receive(&mut buffer)?) {
                match traffic::decode(message) {
                    Some(traffic::Reply::Found(handle, found)) => each(handle, found),
                    Some(traffic::Reply::End | traffic::Reply::Status(0)) => return Ok(()),
                    Some(traffic::Reply::Status(errno)) => {
                        return Err(Error::host(Errno::from_raw(errno), "list"));
                    }
                    None => return Err(malformed()),
                }
            }
        }
    }

    /// The answer and then an acknowledgement, or an errno alone.
    fn look(&self, request: &traffic::Request) -> Result<Found> {
        self.send(request.bytes())?;
        let mut found = Found::Nothing;
        let mut buffer = [0; USUAL_REPLY];
        loop {
            match traffic::decode(self.receive(&mut buffer)?) {
                Some(traffic::Reply::Found(_, answer)) => found = answer,
                Some(traffic::Reply::Status(0)) => return Ok(found),
                Some(traffic::Reply::Status(errno)) if is_absence(errno) => return Ok(Found::Nothing),
                Some(traffic::Reply::Status(errno)) => return Err(Error::host(Errno::from_raw(errno), "tc")),
                Some(traffic::Reply::End) | None => return Err(malformed()),
            }
        }
    }

    /// The kernel does it, or says why not.
    fn tell(&self, request: &traffic::Request) -> Result<()> {
        self.send(request.bytes())?;
        match traffic::decode(self.receive(&mut [0; USUAL_REPLY])?) {
            Some(traffic::Reply::Status(0)) => Ok(()),
            Some(traffic::Reply::Status(errno)) => Err(Error::host(Errno::from_raw(errno), "limit the tap")),
            _ => Err(malformed()),
        }
    }

    fn ask(&self, request: &LinkRequest, doing: impl Fn() -> String) -> Result<LinkInfo> {
        match self.exchange(request).map_err(|error| error.context(doing()))? {
            Reply::Link(link) => Ok(link),
            Reply::Status(0) => Err(malformed().context(doing())),
            Reply::Status(errno) => Err(refused(errno, doing())),
        }
    }

    fn order(&self, request: &LinkRequest, doing: impl Fn() -> String) -> Result<()> {
        let reply = self.exchange_within(&mut [0; STATUS_REPLY], request);
        match reply.map_err(|error| error.context(doing()))? {
            Reply::Status(0) => Ok(()),
            Reply::Status(errno) => Err(refused(errno, doing())),
            Reply::Link(_) => Err(malformed().context(doing())),
        }
    }

    /// With room for what the kernel says of any but an unusual link, and then with more.
    fn exchange(&self, request: &LinkRequest) -> Result<Reply> {
        match self.exchange_within(&mut [0; USUAL_REPLY], request) {
            Err(error) if error.kind() == ErrorKind::Limit => {
                self.exchange_within(&mut vec![0; MAX_REPLY], request)
            }
            reply => reply,
        }
    }

    fn exchange_within(&self, buffer: &mut [u8], request: &LinkRequest) -> Result<Reply> {
        self.send(request.bytes())?;
        message::decode(self.receive(buffer)?).ok_or_else(malformed)
    }

    fn send(&self, request: Option<&[u8]>) -> Result<()> {
        let request = request.ok_or_else(|| Error::invalid("a name of an interface is too long"))?;
        send(self.0.as_raw_fd(), request, MsgFlags::empty())
            .map(drop)
            .map_err(|errno| Error::host(errno, "send on the routing socket"))
    }

    /// The kernel has queued its answer when send returns, so nothing is waited for.
    fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
        let length = recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC)
            .map_err(|errno| Error::host(errno, "receive on the routing socket"))?;
        let room = buffer.len();
        buffer.get(..length).ok_or_else(|| {
            let text = format!("the kernel's answer has {length} bytes, over {room}");
            Error::new(ErrorKind::Limit, text)
        })
    }
}

/// The kernel has no such discipline or filter, or only one that it does not tell of.
fn is_absence(errno: i32) -> bool {
    matches!(errno, libc::ENOENT | libc::EINVAL)
}

/// The link may have gone since its index was looked up.
fn refused(errno: i32, doing: String) -> Error {
    let error = Error::host(Errno::from_raw(errno), doing);
    if errno == libc::ENODEV { error.with_kind(ErrorKind::NotFound) } else { error }
}

fn malformed() -> Error {
    Error::new(ErrorKind::Protocol, "the kernel's answer on the routing socket is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_agrees_on_loopback() {
        let socket = Socket::open().unwrap();
        let link = socket.link(1).unwrap();
        assert_eq!((link.index, link.name.as_str(), link.master), (1, "lo", None));
        assert!(link.mtu >= 1280);
        assert_eq!(socket.named("lo").unwrap(), link);
        assert_eq!(socket.link(i32::MAX).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(socket.named("nosuchif").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(socket.delete(i32::MAX).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(socket.set(i32::MAX, &Change::default()).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
