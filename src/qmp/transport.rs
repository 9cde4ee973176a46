//! The socket: bytes and file descriptors out, bytes in, never blocking.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, UnixAddr, getsockopt, recv, sendmsg, sockopt::PeerCredentials,
};

use super::address::MonitorAddress;
use super::dial::{Dial, Progress};
use super::monitor_name::MonitorName;
use super::peer::Peer;
use super::reached::Reached;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::descriptor::Descriptor;

/// One read takes at most this much, so that a flood is noticed between reads.
const READ: usize = 16 << 10;

/// One read of an answer that says little, as most do: 16 KiB of zeros for each would cost more than the rest
/// of it.
const SHORT_READ: usize = 512;

/// A full listen queue has no readiness to wait for; it is to be tried again this often.
pub const RETRY: Duration = Duration::from_millis(10);

/// A stream socket that is connected, or about to be. It never blocks.
#[derive(Debug)]
pub(super) struct Transport {
    fd: Descriptor,
    reached: Reached,
    /// While it is not known to be connected.
    dial: Option<Dial>,
}

/// A run of bytes that one `sendmsg` may carry: an fd belongs to the first byte of its own command.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) fd: Option<BorrowedFd<'a>>,
}

impl Transport {
    /// Connects to a monitor that listens; `None` while its listen queue is full.
    pub(super) fn connect(name: &MonitorName) -> Result<Option<Self>> {
        let dial = match name {
            MonitorName::Path(path) => return connect_to_path(name, path),
            MonitorName::Tcp { host, port } => Dial::tcp(name, host, *port)?,
            MonitorName::Vsock { cid, port } => Dial::vsock(name, *cid, *port),
            MonitorName::Given => return Err(super::reached::no_other_connection()),
        };
        Self::dial(name, dial).map(Some)
    }

    fn dial(name: &MonitorName, mut dial: Dial) -> Result<Self> {
        let fd = dial.next()?;
        Ok(Self { reached: Reached::by_name(name), fd: fd.into(), dial: Some(dial) })
    }

    /// Talks over a connection that the caller has made.
    pub(super) fn over(fd: OwnedFd) -> Result<Self> {
        Ok(Self { reached: Reached::given(&fd)?, fd: fd.into(), dial: None })
    }

    /// What the connection is like.
    pub(super) fn reached(&self) -> &Reached {
        &self.reached
    }

    /// What a deadline means that passes before the connection is made; `None` if it is.
    pub(super) fn not_connected(&self) -> Option<Error> {
        self.dial.as_ref()?.not_connected(self.fd.as_fd())
    }

    /// The process that listened, in this process's numbers; an error if it cannot be seen from here.
    pub(super) fn peer(&self) -> Result<i32> {
        let unseen = || Error::host(Errno::ESRCH, "see who the monitor is");
        self.who()?.pid.ok_or_else(unseen)
    }

    /// The socket, to wait on.
    pub(super) fn descriptor(&self) -> Descriptor {
        self.fd.clone()
    }

    /// Who listened, as far as the kernel tells of a socket of this kind.
    pub(super) fn who(&self) -> Result<Peer> {
        if !self.reached.names_listener {
            return Ok(Peer { pid: None, uid: None });
        }
        let peer = getsockopt(&self.fd, PeerCredentials);
        let peer = peer.map_err(|errno| Error::host(errno, "ask who the monitor is"))?;
        Ok(Peer::new(
            peer.pid(),
            peer.uid(),
            &crate::sys::proc::read("/proc/self/uid_map").unwrap_or_default(),
        ))
    }

    /// Whether there is a connection by now.
    fn is_connected(&mut self) -> Result<bool> {
        let Some(dial) = &mut self.dial else { return Ok(true) };
        match dial.look(self.fd.as_fd())? {
            Progress::Waits => Ok(false),
            Progress::Connected => {
                self.dial = None;
                Ok(true)
            }
            Progress::Instead(fd) => {
                self.fd = fd.into();
                Ok(false)
            }
        }
    }

    /// Writes as much of `segment` as the socket takes now; zero when it is full. The caller drops the fd
    /// from what remains: it went with the first byte.
    pub(super) fn write(&self, segment: &Segment<'_>) -> Result<usize> {
        let raw = segment.fd.map(|fd| [fd.as_raw_fd()]);
        let rights = raw.as_ref().map(|fds| [ControlMessage::ScmRights(fds)]);
        let control = rights.as_ref().map_or(&[][..], |rights| &rights[..]);
        loop {
            let sent = sendmsg::<UnixAddr>(
                self.fd.as_fd().as_raw_fd(),
                &[IoSlice::new(segment.bytes)],
                control,
                MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
                None,
            );
            match sent {
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN) => return Ok(0),
                Err(Errno::EINTR) => {}
                Err(errno @ (Errno::EPIPE | Errno::ECONNRESET)) => return Err(lost(errno)),
                Err(errno) => return Err(Error::host(errno, "write to the monitor")),
            }
        }
    }

    /// Reads what is there and gives it to `sink`, in one or two pieces; false when nothing was. File
    /// descriptors that a peer sends along are closed by the kernel, because no room is offered for them.
    pub(super) fn read(&mut self, mut sink: impl FnMut(&[u8])) -> Result<bool> {
        if !self.is_connected()? {
            return Ok(false);
        }
        match self.read_into(&mut [0; SHORT_READ], &mut sink)? {
            0 => return Ok(false),
            SHORT_READ => self.read_more(&mut sink),
            _ => {}
        }
        Ok(true)
    }

    // Not in line, so that its room on the stack is not touched before it is needed.
    #[inline(never)]
    fn read_more(&self, sink: &mut impl FnMut(&[u8])) {
        // The end of the connection is met again by the next read; what came before it is used first.
        let _ = self.read_into(&mut [0; READ - SHORT_READ], sink);
    }

    fn read_into(&self, scratch: &mut [u8], sink: &mut impl FnMut(&[u8])) -> Result<usize> {
        loop {
            match recv(self.fd.as_fd().as_raw_fd(), scratch, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => {
                    return Err(Error::new(
                        ErrorKind::MonitorLost,
                        "the monitor closed the connection; QEMU may have exited",
                    ));
                }
                Ok(count) => {
                    sink(scratch.get(..count).unwrap_or_default());
                    return Ok(count);
                }
                Err(Errno::EAGAIN) => return Ok(0),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(lost(errno)),
            }
        }
    }
}

fn connect_to_path(name: &MonitorName, path: &Path) -> Result<Option<Transport>> {
    let doing = || format!("connect to the monitor at {name}");
    let address = MonitorAddress::of(path).map_err(|errno| match errno {
        Errno::ENAMETOOLONG => Error::invalid(format!(
            "the last part of the monitor socket path {name} is too long for a socket's address; use a shorter one"
        ))
        .with_errno(libc::ENAMETOOLONG),
        other => Error::host(other, doing()),
    })?;
    let fd = address.connect().map_err(|errno| Error::host(errno, doing()))?;
    let transport = |fd: OwnedFd| Transport { reached: Reached::by_name(name), fd: fd.into(), dial: None };
    Ok(fd.map(transport))
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What it means that the listen queue has been full until the deadline: it has a client before us that is
/// not served either.
pub fn queue_full(name: &MonitorName) -> Error {
    Error::new(
        ErrorKind::MonitorBusy,
        format!(
            "connect to the monitor at {name}: its listen queue was full until the deadline; it is serving another client, or QEMU \
             is stopped; a monitor serves one client at a time"
        ),
    )
}

fn lost(errno: Errno) -> Error {
    Error::new(ErrorKind::MonitorLost, format!("the connection to the monitor broke: {}", errno.desc()))
        .with_errno(errno as i32)
}
