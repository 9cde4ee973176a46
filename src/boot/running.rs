//! Whether the guest of a record runs already, as far as its host shows it: somebody listens at a socket of
//! its command, or its pid file is locked. A second QEMU would take such a socket away from the first one,
//! which nobody could reach then.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt::PeerCredentials,
};

use crate::error::{Error, ErrorKind, Result};
use crate::model::option::read;
use crate::sorted;
use crate::sys;

/// What a running QEMU keeps hold of on its host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hold {
    /// It listens at a Unix socket of this path.
    Socket(String),
    /// It listens at a Unix socket of this name, which is no file.
    Abstract(String),
    /// It locks this file, with its pid inside.
    PidFile(String),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// The process, where it can be seen.
    pub(super) pid: Option<i32>,
    /// What it does that the guest's QEMU would do, in words.
    doing: String,
}

impl Running {
    pub(super) fn text(&self) -> String {
        let who = match self.pid {
            Some(pid) => format!("process {pid}{}", name_of(pid)),
            None => "another process".to_owned(),
        };
        format!(
            "the guest runs already: {who} {}; end it first, or give the new one sockets and files of its own",
            self.doing
        )
    }

    pub(super) fn refusal(&self) -> Error {
        Error::new(ErrorKind::State, self.text()).with_errno(libc::EBUSY)
    }
}

/// The first sign of a running guest: at `monitor`, the caller's own idea of where it would answer, or at
/// what the command names. Connections are closed at once, and nothing is sent.
pub(super) fn find(command: &[String], monitor: Option<&Path>) -> Result<Option<Running>> {
    if let Some(path) = monitor {
        let address = UnixAddr::new(path).map_err(|errno| {
            Error::invalid(format!(
                "the monitor's path {} is no path of a socket: {}",
                path.display(),
                errno.desc()
            ))
        })?;
        if let Some(pid) = listener(&address, &path.display().to_string())? {
            return Ok(Some(Running {
                pid,
                doing: format!("listens at the monitor's socket {}", path.display()),
            }));
        }
    }
    for hold in holds(command) {
        let found = match &hold {
            // QEMU could not listen there either.
            Hold::Socket(path) => match UnixAddr::new(Path::new(path)) {
                Ok(address) => listener(&address, path)?.map(|pid| (pid, format!("listens at {path}"))),
                Err(_) => None,
            },
            Hold::Abstract(name) => match UnixAddr::new_abstract(name.as_bytes()) {
                Ok(address) => listener(&address, name)?.map(|pid| (pid, format!("listens at {name}"))),
                Err(_) => None,
            },
            Hold::PidFile(path) => {
                locked_by(path)?.map(|pid| (pid, format!("has the pid file {path} locked")))
            }
        };
        if let Some((pid, doing)) = found {
            return Ok(Some(Running { pid, doing: format!("{doing}, as the command would") }));
        }
    }
    Ok(None)
}

/// What a QEMU of this command would keep hold of.
fn holds(command: &[String]) -> Vec<Hold> {
    let mut holds = Vec::new();
    let mut arguments = command.iter().skip(1);
    while let Some(argument) = arguments.next() {
        let Some(option) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            continue;
        };
        match option {
            "qmp" | "qmp-pretty" | "monitor" | "serial" | "parallel" | "gdb" | "vnc" => {
                let text = arguments.next().map_or("", String::as_str);
                if let Some(rest) = text.strip_prefix("unix:") {
                    let members = sorted::map(read(rest, "path"));
                    let always = option == "vnc";
                    holds.extend(socket_of(&members, always));
                }
            }
            "chardev" => {
                let text = arguments.next().map_or("", String::as_str);
                let members = sorted::map(read(text, "backend"));
                if members.get("backend").is_some_and(|backend| backend == "socket") {
                    holds.extend(socket_of(&members, false));
                }
            }
            "pidfile" => holds.extend(arguments.next().cloned().map(Hold::PidFile)),
            _ => {}
        }
    }
    holds
}

type Members = std::collections::BTreeMap<String, String>;

fn socket_of(members: &Members, always_listens: bool) -> Option<Hold> {
    let is_on =
        |key: &str| members.get(key).is_some_and(|word| matches!(word.as_str(), "on" | "yes" | "true" | "y"));
    let path = members.get("path")?.clone();
    if !(always_listens || is_on("server")) {
        return None;
    }
    // With `tight=off` the name goes on with zeros up to the longest there can be.
    let tight =
        !members.get("tight").is_some_and(|word| matches!(word.as_str(), "off" | "no" | "false" | "n"));
    match is_on("abstract") {
        false => Some(Hold::Socket(path)),
        true => tight.then_some(Hold::Abstract(path)),
    }
}

/// Who listens there, if anybody does.
fn listener(address: &UnixAddr, name: &str) -> Result<Option<Option<i32>>> {
    let doing = || format!("connect to {name}, to see whether the guest runs");
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(|errno| Error::host(errno, "create a socket"))?;
    loop {
        match connect(fd.as_raw_fd(), address) {
            Ok(()) => {
                let peer = getsockopt(&fd, PeerCredentials).ok().map(|peer| peer.pid());
                return Ok(Some(peer.filter(|pid| *pid > 0)));
            }
            // Its queue of those that wait is full.
            Err(Errno::EAGAIN) => return Ok(Some(None)),
            Err(Errno::EINTR) => {}
            // No such file, no socket, one of another kind, or one that nobody listens at any more.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ECONNREFUSED | Errno::EPROTOTYPE | Errno::ELOOP) => {
                return Ok(None);
            }
            Err(errno) => return Err(Error::host(errno, doing())),
        }
    }
}

/// Who has the pid file locked, if anybody has: QEMU does for as long as it runs.
fn locked_by(path: &str) -> Result<Option<Option<i32>>> {
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let Ok(file) = opened else { return Ok(None) };
    let is_locked = sys::lock::is_taken(&file, 0, 0)
        .map_err(|errno| Error::host(errno, format!("look whether the pid file {path} is locked")))?;
    let pid = || std::fs::read_to_string(path).ok()?.trim().parse().ok();
    Ok(is_locked.then(pid))
}

/// ` (name)` of a process, empty if it cannot be seen.
fn name_of(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() { name } else { format!(" ({name})") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn command(words: &[&str]) -> Vec<String> {
        std::iter::once("qemu").chain(words.iter().copied()).map(str::to_owned).collect()
    }

    #[test]
    fn sockets_that_a_command_listens_at() {
        let socket = |path: &str| Hold::Socket(path.to_owned());
        let table: [(&[&str], &[Hold]); 10] = [
            (&["-qmp", "unix:/a/qmp,server=on,wait=off"], &[socket("/a/qmp")]),
            (&["-qmp", "unix:/a,,b,server,nowait"], &[socket("/a,b")]),
            (&["--monitor", "unix:/m,server"], &[socket("/m")]),
            (&["-qmp", "unix:/a/qmp"], &[]),
            (&["-qmp", "tcp:localhost:4444,server=on"], &[]),
            (&["-chardev", "socket,id=c,path=/c,server=on", "-mon", "chardev=c"], &[socket("/c")]),
            (&["-chardev", "socket,id=c,path=n,server=on,abstract=on"], &[Hold::Abstract("n".into())]),
            (&["-chardev", "pty,id=c", "-chardev", "socket,id=d,path=/d,server=off"], &[]),
            (&["-vnc", "unix:/v", "-pidfile", "/p"], &[socket("/v"), Hold::PidFile("/p".into())]),
            (&["-qmp"], &[]),
        ];
        for (words, expected) in table {
            assert_eq!(holds(&command(words)), expected, "{words:?}");
        }
    }

    #[test]
    fn a_listener_is_a_running_guest_and_a_left_over_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let monitor = format!("unix:{},server=on", path.display());
        let command = command(&["-qmp", &monitor]);
        assert_eq!(find(&command, None).unwrap(), None);
        let listening = UnixListener::bind(&path).unwrap();
        for (command, monitor) in [(&command, None), (&Vec::new(), Some(path.as_path()))] {
            let found = find(command, monitor).unwrap().unwrap();
            assert_eq!(found.pid, i32::try_from(std::process::id()).ok());
            assert_eq!(found.refusal().errno(), libc::EBUSY);
            assert!(found.text().contains(&path.display().to_string()), "{}", found.text());
        }
        drop(listening);
        assert_eq!(find(&command, Some(&path)).unwrap(), None);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(find(&command, Some(&path)).unwrap(), None);
        let error = find(&[], Some(Path::new(&"x".repeat(200)))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_locked_pid_file_is_a_running_guest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid").display().to_string();
        let command = command(&["-pidfile", &path]);
        assert_eq!(find(&command, None).unwrap(), None);
        std::fs::write(&path, "4711\n").unwrap();
        assert_eq!(find(&command, None).unwrap(), None);
        let held = File::options().read(true).write(true).open(&path).unwrap();
        // As QEMU takes it.
        let lock = libc::flock { l_type: 1, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
        nix::fcntl::fcntl(&held, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).unwrap();
        assert_eq!(find(&command, None).unwrap().unwrap().pid, Some(4711));
    }
}
