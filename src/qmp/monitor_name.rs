//! What a monitor is called: where it listens, or that the caller has a connection to it.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where a monitor is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MonitorName {
    /// A Unix socket: a path, or `@name` for an abstract name.
    Path(PathBuf),
    /// A TCP port. The host is a name or an address, the latter without brackets.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A port of a host or guest on the same machine.
    Vsock {
        /// The context id: 2 is the host, 1 this system.
        cid: u32,
        /// Port.
        port: u32,
    },
    /// Nowhere: the caller has connected to it, and gives the socket.
    Given,
}

impl MonitorName {
    /// The monitor that a caller has named. If there is a file of that path, it is the path, also if it has
    /// the form of a port.
    pub fn of(text: &Path) -> Self {
        match Self::from_text(text) {
            Self::Path(path) => Self::Path(path),
            _ if text.symlink_metadata().is_ok() => Self::Path(text.to_owned()),
            port => port,
        }
    }

    /// By its form alone: `vsock:CID:PORT`, `host:port` or `[address]:port`. What has a slash in it, is empty
    /// in one of its parts or has another form is a path.
    pub fn from_text(text: &Path) -> Self {
        let port = text.to_str().filter(|text| !text.starts_with('@')).and_then(|text| {
            if text.contains('/') { None } else { parse_vsock(text).or_else(|| parse_tcp(text)) }
        });
        port.unwrap_or_else(|| Self::Path(text.to_owned()))
    }

    /// Whether its socket is a file, which another listener makes anew.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::Path(path) if !path.as_os_str().as_bytes().starts_with(b"@"))
    }
}

fn parse_vsock(text: &str) -> Option<MonitorName> {
    let (cid, port) = text.strip_prefix("vsock:")?.split_once(':')?;
    Some(MonitorName::Vsock { cid: number(cid)?, port: number(port)? })
}

fn parse_tcp(text: &str) -> Option<MonitorName> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '[', ']']),
    };
    let port = number(port).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)?;
    is_host.then(|| MonitorName::Tcp { host: bare.unwrap_or(host).to_owned(), port })
}

/// Decimal digits only.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl From<PathBuf> for MonitorName {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl fmt::Display for MonitorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
            Self::Given => f.write_str("(the caller's socket)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> MonitorName {
        MonitorName::Tcp { host: host.into(), port }
    }

    #[test]
    fn what_a_text_means() {
        for (text, name) in [
            ("localhost:4444", tcp("localhost", 4444)),
            ("192.0.2.7:1", tcp("192.0.2.7", 1)),
            ("[::1]:65535", tcp("::1", 65535)),
            ("vsock:2:1024", MonitorName::Vsock { cid: 2, port: 1024 }),
            ("vsock:4294967295:0", MonitorName::Vsock { cid: u32::MAX, port: 0 }),
        ] {
            assert_eq!(MonitorName::from_text(Path::new(text)), name, "{text}");
            assert_eq!(name.to_string(), text);
            assert!(!name.is_file());
        }
        for text in [
            "/run/qmp:1",
            "./qmp:1",
            "qmp",
            "qmp:",
            ":1",
            "qmp:0",
            "qmp:65536",
            "qmp:+1",
            "qmp: 1",
            "::1:5",
            "[qmp]:5",
            "[::1]:",
            "[::1]",
            "vsock:2:x",
            "vsock:2:4294967296",
            "a:b:1",
            "",
        ] {
            assert_eq!(MonitorName::from_text(Path::new(text)), MonitorName::Path(text.into()), "{text}");
        }
        let name = MonitorName::from_text(Path::new("@name:5"));
        assert!(matches!(name, MonitorName::Path(_)) && !name.is_file());
        assert!(MonitorName::from_text(Path::new("/run/qmp")).is_file());
    }

    #[test]
    fn a_file_is_meant_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guest:4444");
        std::fs::write(&path, "").unwrap();
        assert_eq!(MonitorName::of(&path), MonitorName::Path(path.clone()));
        assert_eq!(MonitorName::of(Path::new("no-such-file:4444")), tcp("no-such-file", 4444));
    }
}
