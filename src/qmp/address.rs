//! Where a monitor listens: a Unix socket at a path of any length, or one with an abstract name.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::Mode;

/// What an address has room for, without the NUL behind it.
const ROOM: usize = 107;

/// An address, as long as it is needed.
#[derive(Debug)]
pub struct MonitorAddress {
    address: UnixAddr,
    /// The directory of a path that an address has no room for.
    _directory: Option<OwnedFd>,
}

impl MonitorAddress {
    /// `@name` is the abstract name that QEMU calls `path=name,abstract=on`. Of a longer path the directory
    /// is opened, and named by its descriptor; a path whose last part has no room even so is `ENAMETOOLONG`.
    pub fn of(path: &Path) -> nix::Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        if let Some(name) = bytes.strip_prefix(b"@") {
            return UnixAddr::new_abstract(name).map(|address| Self { address, _directory: None });
        }
        if bytes.len() <= ROOM {
            return UnixAddr::new(path).map(|address| Self { address, _directory: None });
        }
        let name = path.file_name().ok_or(Errno::ENAMETOOLONG)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(directory, flags, Mode::empty())?;
        let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        UnixAddr::new(&short).map(|address| Self { address, _directory: Some(directory) })
    }

    /// A stream socket that is connected to it, non-blocking; `None` while its listen queue is full.
    pub fn connect(&self) -> nix::Result<Option<OwnedFd>> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        loop {
            match connect(fd.as_raw_fd(), &self.address) {
                Ok(()) | Err(Errno::EISCONN) => return Ok(Some(fd)),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_paths_stay_and_abstract_names_have_no_path() {
        let address = MonitorAddress::of(Path::new("/run/qmp")).unwrap();
        assert_eq!(address.address.path(), Some(Path::new("/run/qmp")));
        let address = MonitorAddress::of(Path::new("@guest/qmp")).unwrap();
        assert_eq!(address.address.as_abstract(), Some(&b"guest/qmp"[..]));
    }

    #[test]
    fn long_paths_go_by_their_directory() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let address = MonitorAddress::of(&deep.join("qmp")).unwrap();
        let short = address.address.path().unwrap().to_owned();
        assert!(short.starts_with("/proc/self/fd") && short.ends_with("qmp"), "{}", short.display());
        assert!(std::fs::metadata(short.parent().unwrap()).unwrap().is_dir());
        assert_eq!(MonitorAddress::of(&deep.join("f".repeat(100))).unwrap_err(), Errno::ENAMETOOLONG);
        assert_eq!(MonitorAddress::of(&deep.join("none/qmp")).unwrap_err(), Errno::ENOENT);
    }
}
