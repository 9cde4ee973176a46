//! Which QEMU a journal is about. A journal outlives its guest: what was meant for one QEMU is not carried
//! out on the next.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A QEMU, as far as it can be told from another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its process, where it can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The monitors over which its commands went.
    #[serde(default)]
    pub sockets: Vec<Socket>,
    /// The thread of its first processor, by its own count. It is asked for where the process cannot be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_thread: Option<i64>,
}

/// A process, which is another one if any of these differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Clock ticks from the start of the host to its own.
    pub start: u64,
    /// The PID namespace in which it has this number.
    pub namespace: u64,
    /// The host's run, by the kernel's name for it.
    pub boot: String,
}

/// A monitor's socket. Whoever listens anew at its path makes another file.
///
/// An abstract name, a TCP port and a vsock port have no inode: a listener cannot be told from the one
/// before. A connection that a caller made to a monitor without a name has no path, and the
/// inode is that of the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Where it is.
    pub path: PathBuf,
    /// The file system that it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
    /// When it was made, since inodes are used again: nanoseconds.
    pub made: i64,
}

/// What a socket of the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// A file.
    File,
    /// An abstract name or a port.
    Name,
    /// A connection that the caller made, which the library cannot make again.
    Connection,
}

/// How two descriptions of a QEMU go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerMatch {
    /// It is the same process.
    Same,
    /// It is another one.
    Another,
    /// Nobody can tell.
    Unknown,
}

/// What has become of a QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It runs.
    Runs(Option<i32>),
    /// It has ended.
    Ended,
    /// Nobody can tell from here.
    Unknown,
}

impl Peer {
    /// Compares what is known of both.
    pub fn compare(&self, other: &Self) -> PeerMatch {
        let pairs =
            || self.sockets.iter().flat_map(|own| other.sockets.iter().map(move |their| (own, their)));
        let is_replaced = |(own, their): (&Socket, &Socket)| {
            own.kind() == SocketKind::File && own.path == their.path && !own.is(their)
        };
        let threads = self.first_thread.zip(other.first_thread);
        // Equal numbers prove nothing: in a container each QEMU may count alike.
        if pairs().any(is_replaced) || threads.is_some_and(|(own, their)| own != their) {
            return PeerMatch::Another;
        }
        let is_shared = pairs().any(|(own, their)| own.kind() != SocketKind::Name && own.is(their));
        match (&self.process, &other.process) {
            (Some(own), Some(their)) if own.boot != their.boot => PeerMatch::Another,
            (Some(own), Some(their)) if own.namespace == their.namespace => match own == their {
                true => PeerMatch::Same,
                false => PeerMatch::Another,
            },
            _ if is_shared => PeerMatch::Same,
            _ => PeerMatch::Unknown,
        }
    }

    /// With the monitors of the other one, which is the same QEMU.
    pub fn and(&self, other: &Self) -> Self {
        let mut both = other.clone();
        both.first_thread = both.first_thread.or(self.first_thread);
        both.sockets
            .extend(self.sockets.iter().filter(|own| !other.sockets.iter().any(|o| own.is(o))).cloned());
        both
    }
}

impl Socket {
    /// What it is.
    pub fn kind(&self) -> SocketKind {
        if self.inode == 0 {
            SocketKind::Name
        } else if self.path.as_os_str().is_empty() {
            SocketKind::Connection
        } else {
            SocketKind::File
        }
    }

    /// Whether it is the same file, by any path, the same connection, or the same name.
    pub fn is(&self, other: &Self) -> bool {
        let number = |socket: &Self| (socket.device, socket.inode, socket.made);
        let is_name = self.kind() == SocketKind::Name;
        number(self) == number(other) && (!is_name || self.path == other.path)
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        match self.kind() {
            SocketKind::Connection => "the other end of a connection that a caller made".into(),
            SocketKind::File | SocketKind::Name => self.path.display().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, start: u64, namespace: u64, boot: &str) -> Option<Process> {
        Some(Process { pid, start, namespace, boot: boot.into() })
    }

    fn socket(path: &str, inode: u64) -> Socket {
        Socket { path: path.into(), device: 1, inode, made: 5 }
    }

    fn peer(process: Option<Process>, sockets: &[Socket]) -> Peer {
        Peer { process, sockets: sockets.to_vec(), first_thread: None }
    }

    fn port(name: &str) -> Socket {
        Socket { path: name.into(), device: 0, inode: 0, made: 0 }
    }

    fn connection(inode: u64) -> Socket {
        Socket { path: PathBuf::new(), device: 9, inode, made: 0 }
    }

    fn thread(number: i64) -> Peer {
        Peer { first_thread: Some(number), ..peer(None, &[port("localhost:4444")]) }
    }

    #[test]
    fn who_is_who_without_files() {
        use PeerMatch::{Another, Same, Unknown};
        for (own, their, expected) in [
            (thread(7), thread(7), Unknown),
            (thread(7), thread(8), Another),
            (thread(7), peer(None, &[port("localhost:4445")]), Unknown),
            (peer(None, &[connection(3)]), peer(None, &[connection(3)]), Same),
            (peer(None, &[connection(3)]), peer(None, &[connection(4)]), Unknown),
            (peer(None, &[connection(3)]), peer(None, &[socket("/q", 3)]), Unknown),
        ] {
            assert_eq!(own.compare(&their), expected, "{own:?} {their:?}");
            assert_eq!(their.compare(&own), expected, "{own:?} {their:?}");
        }
        let kinds = [port("@name"), connection(3), socket("/q", 3)].map(|socket| socket.kind());
        assert_eq!(kinds, [SocketKind::Name, SocketKind::Connection, SocketKind::File]);
        assert!(port("@name").is(&port("@name")) && !port("@name").is(&port("@other")));
        assert_eq!(thread(7).and(&peer(None, &[])).first_thread, Some(7));
    }

    #[test]
    fn who_is_who() {
        use PeerMatch::{Another, Same, Unknown};
        let known = peer(process(7, 100, 1, "a"), &[socket("/q", 3)]);
        for (other, expected) in [
            (peer(process(7, 100, 1, "a"), &[socket("/q", 3)]), Same),
            (peer(process(7, 100, 1, "a"), &[socket("/second", 4)]), Same),
            (peer(process(7, 100, 1, "a"), &[]), Same),
            (peer(process(7, 101, 1, "a"), &[socket("/second", 4)]), Another),
            (peer(process(8, 100, 1, "a"), &[socket("/second", 4)]), Another),
            (peer(process(7, 100, 1, "b"), &[socket("/second", 4)]), Another),
            // A socket that was made anew; inodes are used again.
            (peer(process(7, 100, 1, "a"), &[socket("/q", 4)]), Another),
            (peer(None, &[Socket { made: 6, ..socket("/q", 3) }]), Another),
            // Seen from another PID namespace.
            (peer(process(1, 100, 2, "a"), &[socket("/q", 3)]), Same),
            (peer(process(1, 100, 2, "a"), &[socket("/second", 4)]), Unknown),
            (peer(None, &[socket("/elsewhere/q", 3)]), Same),
            (peer(None, &[socket("/second", 4)]), Unknown),
            (peer(None, &[]), Unknown),
            // A port is not proof of who listens there, and neither is a thread's number.
            (peer(None, &[port("localhost:4444")]), Unknown),
            (thread(7), Unknown),
        ] {
            assert_eq!(known.compare(&other), expected, "{other:?}");
            assert_eq!(other.compare(&known), expected, "{other:?}");
        }
    }
}
