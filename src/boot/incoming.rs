//! Where a migration comes in.

use std::os::fd::OwnedFd;

use crate::error::{Error, Result};

/// The longest path of a Unix socket, in bytes, the NUL at its end not counted.
pub(super) const MAX_SOCKET_PATH: usize = 107;

/// What QEMU waits for before it runs the guest.
#[derive(Debug)]
pub enum Incoming {
    /// For `migrate-incoming` on the monitor.
    Defer,
    /// For a TCP connection to this host and port: `192.0.2.7:4444`, `[2001:db8::7]:4444`, `:4444`.
    Tcp(String),
    /// For a connection to the Unix socket that it makes at this absolute path.
    Unix(String),
    /// For data on this descriptor, a connected socket or a pipe.
    Fd(OwnedFd),
}

impl Incoming {
    /// The argument of `-incoming`, with the descriptor to be passed, whose number `number` gives out.
    pub(super) fn into_argument(self, number: impl FnOnce(OwnedFd) -> u32) -> Result<String> {
        match self {
            Self::Defer => Ok("defer".to_owned()),
            Self::Tcp(address) => check_tcp(&address).map(|()| format!("tcp:{address}")),
            Self::Unix(path) => check_unix(&path).map(|()| format!("unix:{path}")),
            Self::Fd(fd) => Ok(format!("fd:{}", number(fd))),
        }
    }

    /// Refuses what QEMU would read as something else.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Defer | Self::Fd(_) => Ok(()),
            Self::Tcp(address) => check_tcp(address),
            Self::Unix(path) => check_unix(path),
        }
    }
}

/// QEMU's `inet_parse()` reads options behind a comma, and looks a port that is no number up by name.
fn check_tcp(address: &str) -> Result<()> {
    let bad = |why: &str| Err(Error::invalid(format!("incoming tcp address {address:?}: {why}")));
    let Some((host, port)) = address.rsplit_once(':') else {
        return bad("needs a port, as in 192.0.2.7:4444");
    };
    if port.is_empty() || port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return bad("the port is not a number");
    }
    if port.parse::<u16>().is_err() {
        return bad("the port is above 65535");
    }
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let (name, extra) = inside.map_or((host, ""), |inside| (inside, ":%"));
    if inside.is_some_and(str::is_empty) {
        return bad("has nothing between the brackets");
    }
    if name.contains(':') && inside.is_none() {
        return bad("an IPv6 address goes between brackets, as in [2001:db8::7]:4444");
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || ".-_".contains(*c) || extra.contains(*c))) {
        Some(odd) => bad(&format!("{odd:?} is in no host name")),
        None => Ok(()),
    }
}

fn check_unix(path: &str) -> Result<()> {
    let bad = |why: &str| Err(Error::invalid(format!("incoming socket path {path:?}: {why}")));
    match path {
        _ if !path.starts_with('/') => bad("must be absolute"),
        _ if path.contains('\0') => bad("contains a NUL"),
        _ if path.len() > MAX_SOCKET_PATH => bad("is longer than a socket's path can be"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(incoming: Incoming) -> Result<String> {
        incoming.into_argument(|_| 9)
    }

    #[test]
    fn arguments() {
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        let table = [
            (Incoming::Defer, "defer"),
            (Incoming::Tcp("192.0.2.7:4444".into()), "tcp:192.0.2.7:4444"),
            (Incoming::Tcp(":0".into()), "tcp::0"),
            (Incoming::Tcp("[2001:db8::7%eth0]:4444".into()), "tcp:[2001:db8::7%eth0]:4444"),
            (Incoming::Unix("/run/a b,c\n".into()), "unix:/run/a b,c\n"),
            (Incoming::Fd(fd), "fd:9"),
        ];
        for (incoming, argument) in table {
            incoming.check().unwrap();
            assert_eq!(text(incoming).unwrap(), argument);
        }
    }

    #[test]
    fn nothing_else_gets_in() {
        let tcp = [
            "",
            "host",
            "host:",
            "host:http",
            "host:65536",
            "host:1,to=9",
            "a,b:1",
            "a b:1",
            "::1:4444",
            "[]:1",
            "[a/b]:1",
            "-x\n:1",
            "host:+1",
            "host: 1",
        ];
        for address in tcp {
            assert!(text(Incoming::Tcp(address.into())).is_err(), "{address}");
        }
        for path in ["", "relative", "/a\0b", &format!("/{}", "x".repeat(107))] {
            assert!(text(Incoming::Unix(path.into())).is_err(), "{path}");
        }
    }
}
