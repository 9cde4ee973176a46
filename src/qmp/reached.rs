//! What a connection to a monitor is like: what it is called, and what can be passed over it.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::{SockType, SockaddrStorage, UnixAddr, getpeername, getsockopt, sockopt};
use nix::sys::stat::fstat;

use super::monitor_name::MonitorName;
use crate::error::{Error, Result};

/// A connection, as far as it matters to those who talk over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Where the same monitor can be reached again; [`MonitorName::Given`] if nowhere.
    pub name: MonitorName,
    /// Which socket it is at this end, if the caller made the connection: file system and inode. Zeros if the
    /// name says where it leads.
    pub socket: (u64, u64),
    /// Whether descriptors can be passed over it.
    pub passes_descriptors: bool,
    /// Whether the kernel tells who listens.
    pub names_listener: bool,
}

impl Reached {
    /// A connection to a monitor of this name.
    pub(super) fn by_name(name: &MonitorName) -> Self {
        let is_unix = matches!(name, MonitorName::Path(_));
        Self { name: name.clone(), socket: (0, 0), passes_descriptors: is_unix, names_listener: is_unix }
    }

    /// A connection that the caller has made.
    pub fn given(fd: &OwnedFd) -> Result<Self> {
        let refuse = |errno: Errno, what: &str| {
            let text = format!("fd {}, the connection to the monitor: {what}", fd.as_raw_fd());
            Error::invalid(text).with_errno(errno as i32)
        };
        let of_kernel = |errno: Errno| match errno {
            Errno::ENOTSOCK => refuse(errno, "is not a socket"),
            Errno::ENOTCONN => refuse(errno, "is not connected"),
            other => refuse(other, other.desc()),
        };
        if getsockopt(fd, sockopt::SockType).map_err(of_kernel)? != SockType::Stream {
            return Err(refuse(Errno::EPROTOTYPE, "is no stream socket"));
        }
        let peer = getpeername::<SockaddrStorage>(fd.as_raw_fd()).map_err(of_kernel)?;
        let reached = |name, passes_descriptors, names_listener| {
            Ok(Self { name, socket: identity(fd), passes_descriptors, names_listener })
        };
        let tcp = |address: IpAddr, port| {
            reached(MonitorName::Tcp { host: address.to_string(), port }, false, false)
        };
        if let Some(address) = peer.as_unix_addr() {
            let name = name_of(address);
            // Of a pair of sockets the kernel knows who made it, who is neither end.
            let is_named = address.path().is_some() || address.as_abstract().is_some();
            return reached(name, true, is_named);
        }
        if let Some(address) = peer.as_sockaddr_in() {
            return tcp(address.ip().into(), address.port());
        }
        if let Some(address) = peer.as_sockaddr_in6() {
            return tcp(address.ip().into(), address.port());
        }
        match peer.as_vsock_addr() {
            Some(address) => {
                reached(MonitorName::Vsock { cid: address.cid(), port: address.port() }, false, false)
            }
            None => Err(refuse(Errno::EAFNOSUPPORT, "is neither a Unix, a TCP nor a vsock socket")),
        }
    }
}

/// A relative path begins in the directory of the listener, which the library does not know.
fn name_of(address: &UnixAddr) -> MonitorName {
    if let Some(name) = address.as_abstract() {
        let bytes = [b"@", name].concat();
        return MonitorName::Path(PathBuf::from(std::ffi::OsString::from_vec(bytes)));
    }
    match address.path().filter(|path| path.is_absolute()) {
        Some(path) => MonitorName::Path(path.to_owned()),
        None => MonitorName::Given,
    }
}

fn identity(fd: &OwnedFd) -> (u64, u64) {
    fstat(fd).map_or((0, 0), |stat| (stat.st_dev, stat.st_ino))
}

/// What calls are told when the caller's connection is lost.
pub fn no_other_connection() -> Error {
    let text = "the connection to the monitor, which the caller made, is lost, and the library cannot make another one: give it \
                one with kvm_hotplug_give_connection(), or close the guest and open it again";
    Error::new(crate::error::ErrorKind::MonitorLost, text).with_errno(libc::ENOTCONN)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    #[test]
    fn what_a_caller_may_give() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let _listener = UnixListener::bind(&path).unwrap();
        let unix = Reached::given(&UnixStream::connect(&path).unwrap().into()).unwrap();
        assert_eq!(unix.name, MonitorName::Path(path));
        assert!(unix.passes_descriptors && unix.names_listener);

        let (one, other) = UnixStream::pair().unwrap();
        let pair = Reached::given(&one.into()).unwrap();
        assert_eq!(pair.name, MonitorName::Given);
        assert!(pair.passes_descriptors && !pair.names_listener);
        assert_ne!(pair.socket, Reached::given(&other.into()).unwrap().socket);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let tcp = Reached::given(&TcpStream::connect(("127.0.0.1", port)).unwrap().into()).unwrap();
        assert_eq!(tcp.name, MonitorName::Tcp { host: "127.0.0.1".into(), port });
        assert!(!tcp.passes_descriptors && !tcp.names_listener);

        for (fd, errno, words) in [
            (OwnedFd::from(listener), libc::ENOTCONN, "is not connected"),
            (UnixDatagram::pair().unwrap().0.into(), libc::EPROTOTYPE, "is no stream socket"),
            (UdpSocket::bind("127.0.0.1:0").unwrap().into(), libc::EPROTOTYPE, "is no stream socket"),
            (std::fs::File::open("/dev/null").unwrap().into(), libc::ENOTSOCK, "is not a socket"),
        ] {
            let error = Reached::given(&fd).unwrap_err();
            assert_eq!(error.errno(), errno, "{error}");
            assert!(error.message().contains(words), "{error}");
        }
    }
}
