//! What this host shows of a QEMU: its process, and the sockets of its monitors.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::model::Peer;
use crate::model::peer::{PeerState, Process, Socket, SocketKind};
use crate::qmp::address::MonitorAddress;
use crate::qmp::{MonitorName, Reached};
use crate::sys;

/// The QEMU at the other end, whose process had this id when it began to listen; 0 for one that the host
/// does not show.
pub fn look(reached: &Reached, pid: i32) -> Peer {
    let sockets = socket_of(reached).into_iter().collect();
    Peer { process: look_at_process(pid), sockets, first_thread: None }
}

fn socket_of(reached: &Reached) -> Option<Socket> {
    let nothing = Socket { path: PathBuf::new(), device: 0, inode: 0, made: 0 };
    match &reached.name {
        MonitorName::Path(path) if reached.name.is_file() => look_at_socket(path),
        MonitorName::Given => {
            let (device, inode) = reached.socket;
            Some(Socket { device, inode, ..nothing })
        }
        name => Some(Socket { path: name.to_string().into(), ..nothing }),
    }
}

/// What the host shows of it now.
pub fn state(peer: &Peer) -> PeerState {
    let listens: Vec<Option<bool>> = peer.sockets.iter().map(is_listened_at).collect();
    let somebody_listens = listens.contains(&Some(true));
    match &peer.process {
        Some(process) => match is_alive(process) {
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

/// `None` if it cannot be seen: `/proc` is missing, or is that of another PID namespace.
fn look_at_process(pid: i32) -> Option<Process> {
    if pid <= 0 || !is_proc_ours() {
        return None;
    }
    let namespace = std::fs::metadata("/proc/self/ns/pid").ok()?.ino();
    Some(Process { pid, start: started(pid)?.0, namespace, boot: boot_id()? })
}

/// `None` if that cannot be told from here.
fn is_alive(process: &Process) -> Option<bool> {
    if boot_id()? != process.boot {
        return Some(false);
    }
    let is_here = std::fs::metadata("/proc/self/ns/pid").ok()?.ino() == process.namespace;
    if !is_here || !is_proc_ours() {
        return None;
    }
    let lives = |(start, state): (u64, char)| start == process.start && !matches!(state, 'Z' | 'X');
    Some(started(process.pid).is_some_and(lives))
}

fn look_at_socket(path: &Path) -> Option<Socket> {
    let path = std::path::absolute(path).ok()?;
    let found = std::fs::metadata(&path).ok()?;
    Some(Socket { device: found.dev(), inode: found.ino(), made: made(&found), path })
}

/// Whether the path of a socket leads to it still, or it is a name, which leads to the present listener.
pub fn is_there(socket: &Socket) -> bool {
    match socket.kind() {
        SocketKind::File => look_at_socket(&socket.path).is_some_and(|found| found.is(socket)),
        SocketKind::Name => true,
        SocketKind::Connection => false,
    }
}

/// `None` if it is not there, or if that says nothing about this QEMU: another one may have the name by now,
/// and this network namespace does not have the names of others.
fn is_listened_at(socket: &Socket) -> Option<bool> {
    let refused = || MonitorAddress::of(&socket.path).and_then(|address| address.connect()).err();
    let is_file = socket.kind() == SocketKind::File;
    (is_file && is_there(socket)).then(|| refused() != Some(Errno::ECONNREFUSED))
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
    Some(sys::proc::read("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// When a process was started, and its state.
fn started(pid: i32) -> Option<(u64, char)> {
    parse_stat(&sys::proc::read(format!("/proc/{pid}/stat")).ok()?)
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

    #[test]
    fn what_has_become_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let reached = Reached {
            name: MonitorName::of(&path),
            socket: (1, 1),
            passes_descriptors: true,
            names_listener: true,
        };
        let known = look(&reached, own);
        let unseen = look(&reached, 0);
        assert_eq!((state(&known), state(&unseen)), (PeerState::Runs(Some(own)), PeerState::Runs(None)));
        let mut earlier = known.clone();
        earlier.process.as_mut().unwrap().start -= 1;
        assert_eq!(state(&earlier), PeerState::Ended);
        let mut rebooted = known.clone();
        rebooted.process.as_mut().unwrap().boot = "another".into();
        assert_eq!(state(&rebooted), PeerState::Ended);
        drop(listener);
        assert_eq!((state(&known), state(&unseen)), (PeerState::Unknown, PeerState::Ended));
        std::fs::remove_file(&path).unwrap();
        assert_eq!((state(&known), state(&unseen)), (PeerState::Unknown, PeerState::Unknown));
    }

    #[test]
    fn a_process_may_have_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_stat(&format!("7 (a) b (c)) {rest}")), Some((4711, 'S')));
        assert_eq!(parse_stat("7 (a) S 1 2"), None);
        assert_eq!(parse_stat(""), None);
    }
}
