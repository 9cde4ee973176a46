//! Connecting to a TCP or vsock port without waiting.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, VsockAddr, connect, getpeername,
    getsockopt, setsockopt, socket, sockopt,
};

use super::monitor_name::MonitorName;
use crate::error::{Error, ErrorKind, Result};

/// A connection that is being made, to one address of several.
#[derive(Debug)]
pub(super) struct Dial {
    name: MonitorName,
    left: VecDeque<Address>,
}

#[derive(Debug)]
enum Address {
    Tcp(SockaddrStorage),
    Vsock(VsockAddr),
}

impl Dial {
    /// All addresses of a host. The system's resolver looks a name up; the deadline does not end
    /// that.
    pub(super) fn tcp(name: &MonitorName, host: &str, port: u16) -> Result<Self> {
        let found = (host, port).to_socket_addrs().map_err(|error| {
            let text = format!("connect to the monitor at {name}: the host name is not known: {error}");
            Error::new(ErrorKind::NotFound, text)
        })?;
        let address = |address: SocketAddr| match address {
            SocketAddr::V4(address) => Address::Tcp(address.into()),
            SocketAddr::V6(address) => Address::Tcp(address.into()),
        };
        Ok(Self { name: name.clone(), left: found.map(address).collect() })
    }

    /// The one address of a vsock port.
    pub(super) fn vsock(name: &MonitorName, cid: u32, port: u32) -> Self {
        Self { name: name.clone(), left: VecDeque::from([Address::Vsock(VsockAddr::new(cid, port))]) }
    }

    /// Begins with the next address that does not fail at once.
    pub(super) fn next(&mut self) -> Result<OwnedFd> {
        let mut last = Errno::EADDRNOTAVAIL;
        while let Some(address) = self.left.pop_front() {
            match begin(&address) {
                Ok(fd) => return Ok(fd),
                Err(errno) => last = errno,
            }
        }
        Err(self.failed(last))
    }

    /// Whether the connection is made by now; an error if it failed and there is no other address. A
    /// descriptor that is answered takes the place of the one that was given.
    pub(super) fn look(&mut self, fd: BorrowedFd<'_>) -> Result<Progress> {
        let errno = getsockopt(&fd, sockopt::SocketError).map_or_else(|errno| errno, Errno::from_raw);
        match (errno, self.left.is_empty()) {
            (Errno::UnknownErrno, _) if is_connected(fd) => Ok(Progress::Connected),
            (Errno::UnknownErrno, _) => Ok(Progress::Waits),
            (errno, true) => Err(self.failed(errno)),
            (_, false) => self.next().map(Progress::Instead),
        }
    }

    fn failed(&self, errno: Errno) -> Error {
        Error::host(errno, format!("connect to the monitor at {}", self.name))
    }

    /// What it means that there is no connection at the deadline; `None` if there is one.
    pub(super) fn not_connected(&self, fd: BorrowedFd<'_>) -> Option<Error> {
        if is_connected(fd) {
            return None;
        }
        let text =
            format!("connect to the monitor at {}: the host did not answer before the deadline", self.name);
        Some(Error::new(ErrorKind::Timeout, text))
    }
}

fn is_connected(fd: BorrowedFd<'_>) -> bool {
    getpeername::<SockaddrStorage>(fd.as_raw_fd()).is_ok()
}

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// It is made.
    Connected,
    /// It is not decided.
    Waits,
    /// It failed; this one, to another address, is under way.
    Instead(OwnedFd),
}

fn begin(address: &Address) -> nix::Result<OwnedFd> {
    match address {
        Address::Vsock(address) => connect_with(new_socket(AddressFamily::Vsock)?, address),
        Address::Tcp(address) => {
            let fd = new_socket(address.family().unwrap_or(AddressFamily::Unspec))?;
            // A command is to be on its way at once, and the end of a host that is gone is to be heard of.
            setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
            setsockopt(&fd, sockopt::KeepAlive, &true)?;
            connect_with(fd, address)
        }
    }
}

fn new_socket(family: AddressFamily) -> nix::Result<OwnedFd> {
    socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

fn connect_with(fd: OwnedFd, address: &dyn SockaddrLike) -> nix::Result<OwnedFd> {
    match connect(fd.as_raw_fd(), address) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(fd),
        Err(errno) => Err(errno),
    }
}
