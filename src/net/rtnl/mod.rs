//! The kernel's routing socket: what is this link, change it, delete it.
//!
//! Links are looked up here and not in sysfs, since sysfs shows the network namespace of whoever mounted it.

mod message;

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::error::{Error, ErrorKind, Result};
pub(super) use message::{Change, LinkInfo, LinkKind};
use message::{Message, Reply};

/// Several times what a link with every attribute takes; statistics of virtual functions are not asked for.
const MAX_REPLY: usize = 32 * 1024;

/// More than a status with the whole request behind it, which is the answer to an order.
const STATUS_REPLY: usize = 256;

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

    fn ask(&self, request: &Message, doing: impl Fn() -> String) -> Result<LinkInfo> {
        match self.exchange(request).map_err(|error| error.context(doing()))? {
            Reply::Link(link) => Ok(link),
            Reply::Status(0) => Err(malformed().context(doing())),
            Reply::Status(errno) => Err(refused(errno, doing())),
        }
    }

    fn order(&self, request: &Message, doing: impl Fn() -> String) -> Result<()> {
        let reply = self.exchange_within(&mut [0; STATUS_REPLY], request);
        match reply.map_err(|error| error.context(doing()))? {
            Reply::Status(0) => Ok(()),
            Reply::Status(errno) => Err(refused(errno, doing())),
            Reply::Link(_) => Err(malformed().context(doing())),
        }
    }

    /// With room for what the kernel says of any but an unusual link, and then with more.
    fn exchange(&self, request: &Message) -> Result<Reply> {
        match self.exchange_within(&mut [0; USUAL_REPLY], request) {
            Err(error) if error.kind() == ErrorKind::Limit => {
                self.exchange_within(&mut vec![0; MAX_REPLY], request)
            }
            reply => reply,
        }
    }

    fn exchange_within(&self, buffer: &mut [u8], request: &Message) -> Result<Reply> {
        let request = request.bytes().ok_or_else(|| Error::invalid("a name of an interface is too long"))?;
        send(self.0.as_raw_fd(), request, MsgFlags::empty())
            .map_err(|errno| Error::host(errno, "send on the routing socket"))?;
        // The kernel has queued its answer when send returns, so nothing is waited for.
        let length = recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC)
            .map_err(|errno| Error::host(errno, "receive on the routing socket"))?;
        let reply = buffer.get(..length).ok_or_else(|| {
            let text = format!("the kernel's answer has {length} bytes, over {}", buffer.len());
            Error::new(ErrorKind::Limit, text)
        })?;
        message::decode(reply).ok_or_else(malformed)
    }
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
