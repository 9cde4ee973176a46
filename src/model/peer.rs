//! Which QEMU a journal is about. A journal outlives its guest: what was meant for one QEMU is not carried out on the next.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A QEMU, as far as it can be told from another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its process, where it can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    /// The monitors over which its commands went.
    #[serde(default)]
    pub sockets: Vec<Socket>,
}

/// A process, which is another one if any of these differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: i32,
    /// Clock ticks from the start of the host to its own.
    start: u64,
    /// The PID namespace in which it has this number.
    namespace: u64,
    /// The host's run, by the kernel's name for it.
    boot: String,
}

/// A monitor's socket. Whoever listens anew at its path makes another file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Where it is.
    pub path: PathBuf,
    device: u64,
    inode: u64,
    /// When it was made, since inodes are used again: nanoseconds.
    made: i64,
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
    /// Whoever listens at this path, and had this process when it began to; 0 for one that cannot be seen.
    pub fn of(path: &Path, pid: i32) -> Self {
        Self { process: Process::see(pid), sockets: Socket::see(path).into_iter().collect() }
    }

    /// Compares what is known of both.
    pub fn compare(&self, other: &Self) -> PeerMatch {
        let pairs =
            || self.sockets.iter().flat_map(|own| other.sockets.iter().map(move |their| (own, their)));
        if pairs().any(|(own, their)| own.path == their.path && !own.is(their)) {
            return PeerMatch::Another;
        }
        let is_shared = pairs().any(|(own, their)| own.is(their));
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
        both.sockets
            .extend(self.sockets.iter().filter(|own| !other.sockets.iter().any(|o| own.is(o))).cloned());
        both
    }

    /// What the host shows of it now.
    pub fn peer_state(&self) -> PeerState {
        let listens: Vec<Option<bool>> = self.sockets.iter().map(Socket::is_listened_at).collect();
        let somebody_listens = listens.contains(&Some(true));
        match &self.process {
            Some(process) => match process.is_alive() {
                Some(false) => PeerState::Ended,
                Some(true) if somebody_listens => PeerState::Runs(Some(process.pid)),
                // It may be whoever made the socket for QEMU.
                Some(true) | None => PeerState::Unknown,
            },
            None if somebody_listens => PeerState::Runs(None),
            None if listens.contains(&Some(false)) => PeerState::Ended,
            None => PeerState::Unknown,
        }
    }
}

impl Process {
    /// `None` if it cannot be seen: `/proc` is missing, or is that of another PID namespace.
    fn see(pid: i32) -> Option<Self> {
        if pid <= 0 || !is_proc_ours() {
            return None;
        }
        let namespace = std::fs::metadata("/proc/self/ns/pid").ok()?.ino();
        Some(Self { pid, start: started(pid)?.0, namespace, boot: boot_id()? })
    }

    /// `None` if that cannot be told from here.
    fn is_alive(&self) -> Option<bool> {
        if boot_id()? != self.boot {
            return Some(false);
        }
        let is_here = std::fs::metadata("/proc/self/ns/pid").ok()?.ino() == self.namespace;
        if !is_here || !is_proc_ours() {
            return None;
        }
        let lives = |(start, state): (u64, char)| start == self.start && !matches!(state, 'Z' | 'X');
        Some(started(self.pid).is_some_and(lives))
    }
}

impl Socket {
    fn see(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let found = std::fs::metadata(&path).ok()?;
        Some(Self { device: found.dev(), inode: found.ino(), made: made(&found), path })
    }

    /// Whether it is the same file, whatever its path.
    pub fn is(&self, other: &Self) -> bool {
        (self.device, self.inode, self.made) == (other.device, other.inode, other.made)
    }

    /// Whether its path leads to it still.
    pub fn is_there(&self) -> bool {
        Self::see(&self.path).is_some_and(|found| found.is(self))
    }

    /// `None` if it is not there.
    fn is_listened_at(&self) -> Option<bool> {
        self.is_there().then(|| match UnixStream::connect(&self.path) {
            Ok(_) => true,
            Err(error) => error.kind() != std::io::ErrorKind::ConnectionRefused,
        })
    }
}

fn made(file: &Metadata) -> i64 {
    file.mtime().saturating_mul(1_000_000_000).saturating_add(file.mtime_nsec())
}

/// Whether `/proc` counts processes as the kernel does for this one.
fn is_proc_ours() -> bool {
    let own = std::fs::read_link("/proc/self").ok();
    own.and_then(|own| own.to_str()?.parse::<u32>().ok()) == Some(std::process::id())
}

fn boot_id() -> Option<String> {
    Some(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// When a process was started, and its state.
fn started(pid: i32) -> Option<(u64, char)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in brackets may contain anything; state is field 3, the start field 22.
fn parse_stat(text: &str) -> Option<(u64, char)> {
    let mut fields = text.get(text.rfind(')')?.checked_add(1)?..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn process(pid: i32, start: u64, namespace: u64, boot: &str) -> Option<Process> {
        Some(Process { pid, start, namespace, boot: boot.into() })
    }

    fn socket(path: &str, inode: u64) -> Socket {
        Socket { path: path.into(), device: 1, inode, made: 5 }
    }

    fn peer(process: Option<Process>, sockets: &[Socket]) -> Peer {
        Peer { process, sockets: sockets.to_vec() }
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
        ] {
            assert_eq!(known.compare(&other), expected, "{other:?}");
            assert_eq!(other.compare(&known), expected, "{other:?}");
        }
    }

    #[test]
    fn what_has_become_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let known = Peer::of(&path, own);
        let unseen = Peer::of(&path, 0);
        assert_eq!(
            (known.peer_state(), unseen.peer_state()),
            (PeerState::Runs(Some(own)), PeerState::Runs(None))
        );
        let mut earlier = known.clone();
        earlier.process.as_mut().unwrap().start -= 1;
        assert_eq!(earlier.peer_state(), PeerState::Ended);
        let mut rebooted = known.clone();
        rebooted.process.as_mut().unwrap().boot = "another".into();
        assert_eq!(rebooted.peer_state(), PeerState::Ended);
        drop(listener);
        assert_eq!((known.peer_state(), unseen.peer_state()), (PeerState::Unknown, PeerState::Ended));
        std::fs::remove_file(&path).unwrap();
        assert_eq!((known.peer_state(), unseen.peer_state()), (PeerState::Unknown, PeerState::Unknown));
    }

    #[test]
    fn a_process_may_have_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_stat(&format!("7 (a) b (c)) {rest}")), Some((4711, 'S')));
        assert_eq!(parse_stat("7 (a) S 1 2"), None);
        assert_eq!(parse_stat(""), None);
    }
}
