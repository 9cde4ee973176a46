//! Opens one image file or block device in the very mode QEMU will ask for.
//!
//! No lock is ever taken here: QEMU takes its own on the file it gets, and they would live as long as any
//! duplicate of the descriptor does. A QEMU in a chroot without /dev/null takes none either: it probes for
//! locks by opening that file (measured, 7.2), and two such QEMUs write to one image without a word.

use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::identity::{Identity, Kind, identity};
use super::look::Look;
use crate::error::{Error, ErrorKind, Result};

/// Alignment of buffer, offset and length that O_DIRECT accepts everywhere, 4 KiB sectors included.
const DIRECT_ALIGN: usize = 4096;

/// How a file is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// O_RDONLY instead of O_RDWR.
    pub read_only: bool,
    /// O_DIRECT.
    pub direct: bool,
}

/// An open image file.
#[derive(Debug)]
pub struct Source {
    /// The file, close-on-exec, blocking.
    pub file: File,
    /// Regular file or block device, by fstat.
    pub kind: Kind,
    /// What it is, for comparison.
    pub identity: Identity,
    /// Length in bytes.
    pub length: u64,
}

impl Source {
    /// Opens what was looked at, without ever waiting for it.
    pub fn open(look: &Look, mode: Mode) -> Result<Self> {
        let file = look.open(open_flags(mode)).map_err(|error| open_error(error, mode))?;
        let metadata = file.metadata().map_err(|error| Error::host(error, "fstat"))?;
        let kind = Kind::of(&metadata)?;
        let identity = identity(kind, &metadata);
        if identity != look.identity {
            return Err(Error::new(
                ErrorKind::ImageRefused,
                "another file came in its place as it was opened",
            ));
        }
        make_blocking(&file, mode)?;
        let length = length(&file, kind, &metadata)?;
        Ok(Self { file, kind, identity, length })
    }

    /// Up to `length` bytes from the start of the file; fewer when it ends before.
    pub fn read_head(&self, length: usize) -> Result<Vec<u8>> {
        read(&self.file, 0, length).map_err(|error| Error::host(error, "read the image header"))
    }

    /// The last `length` bytes of the file, or all of a shorter one; at most 4 KiB.
    pub fn read_tail(&self, length: usize) -> Result<Vec<u8>> {
        let wanted = self.length.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        let align = u64::try_from(DIRECT_ALIGN).unwrap_or(u64::MAX);
        let offset = wanted / align * align;
        let mut tail = read(&self.file, offset, 2 * DIRECT_ALIGN)
            .map_err(|error| Error::host(error, "read the end of the image"))?;
        let before = usize::try_from(wanted - offset).unwrap_or(usize::MAX).min(tail.len());
        tail.drain(..before);
        Ok(tail)
    }
}

fn open_flags(mode: Mode) -> OFlag {
    let access = if mode.read_only { OFlag::O_RDONLY } else { OFlag::O_RDWR };
    // O_NONBLOCK: without /proc the path is followed again, and should it have become a fifo, opening it must
    // not hang.
    let flags = access | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    if mode.direct { flags | OFlag::O_DIRECT } else { flags }
}

fn open_error(error: io::Error, mode: Mode) -> Error {
    let advice = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::ETXTBSY) if !mode.read_only => {
            "open for writing (set read_only if the guest needs no more than to read it)"
        }
        Some(libc::EINVAL) if mode.direct => {
            "open with O_DIRECT (its file system has none: use cache writeback, writethrough or unsafe)"
        }
        _ => "open",
    };
    Error::host(error, advice)
}

/// Of what it was opened with, this is what can be changed.
fn make_blocking(file: &File, mode: Mode) -> Result<()> {
    let flags = if mode.direct { OFlag::O_DIRECT } else { OFlag::empty() };
    fcntl(file, FcntlArg::F_SETFL(flags)).map_err(|error| Error::host(error, "fcntl"))?;
    Ok(())
}

fn length(mut file: &File, kind: Kind, metadata: &Metadata) -> Result<u64> {
    match kind {
        Kind::File => Ok(metadata.len()),
        Kind::HostDevice => {
            file.seek(SeekFrom::End(0)).map_err(|error| Error::host(error, "read the device size"))
        }
    }
}

/// Reads `length` bytes from `offset` on, a multiple of the alignment, or what there is of them; through the
/// very descriptor QEMU gets: a second one without O_DIRECT would leave its blocks in the page cache, which
/// goes stale on a device that another host writes to.
fn read(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let length = length.next_multiple_of(DIRECT_ALIGN);
    let mut buffer = vec![0; length + DIRECT_ALIGN];
    let start = buffer.as_ptr().align_offset(DIRECT_ALIGN);
    let mut filled = 0;
    // A read that ends off the alignment met the end of the file; asking on from there is EINVAL on some file
    // systems.
    while filled < length && filled % DIRECT_ALIGN == 0 {
        let window = buffer.get_mut(start + filled..start + length).ok_or(io::ErrorKind::OutOfMemory)?;
        let next = offset.saturating_add(u64::try_from(filled).map_err(io::Error::other)?);
        match file.read_at(window, next) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(start + filled);
    buffer.drain(..start);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    const RW: Mode = Mode { read_only: false, direct: false };
    const RO: Mode = Mode { read_only: true, direct: false };

    /// A directory whose file system takes O_DIRECT, which /tmp need not.
    fn dir() -> tempfile::TempDir {
        tempfile::tempdir_in("/var/tmp").unwrap()
    }

    fn open(path: &Path, mode: Mode) -> Result<Source> {
        Source::open(&Look::at(path)?, mode)
    }

    fn flags(source: &Source) -> OFlag {
        OFlag::from_bits_retain(fcntl(&source.file, FcntlArg::F_GETFL).unwrap())
    }

    #[test]
    fn opens_in_the_mode_asked_for() {
        let dir = dir();
        let path = dir.path().join("a.img");
        std::fs::write(&path, [7; 5000]).unwrap();
        for read_only in [false, true] {
            for direct in [false, true] {
                let source = open(&path, Mode { read_only, direct }).unwrap();
                let flags = flags(&source);
                let access = if read_only { OFlag::O_RDONLY } else { OFlag::O_RDWR };
                assert_eq!(flags & OFlag::O_ACCMODE, access);
                assert_eq!(flags.contains(OFlag::O_DIRECT), direct);
                assert!(!flags.contains(OFlag::O_NONBLOCK));
                assert_eq!(fcntl(&source.file, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
                assert_eq!((source.kind, source.length), (Kind::File, 5000));
                assert_eq!(source.read_head(65536).unwrap(), [7; 5000]);
                assert_eq!(source.read_head(4096).unwrap(), [7; 4096]);
                assert_eq!(source.read_tail(1024).unwrap(), [7; 1024]);
                assert_eq!(source.read_tail(4096).unwrap(), [7; 4096]);
            }
        }
    }

    fn assert_refused(path: &Path, mode: Mode, kind: ErrorKind, says: &str) {
        let error = open(path, mode).expect_err(says);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(says), "{error} lacks {says:?}");
    }

    #[test]
    fn refuses_what_is_no_disk_at_once() {
        let dir = dir();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for mode in [RO, RW] {
            assert_refused(dir.path(), mode, ErrorKind::Invalid, "a directory");
            assert_refused(&fifo, mode, ErrorKind::Invalid, "a fifo");
            assert_refused(&socket, mode, ErrorKind::Invalid, "a socket");
            assert_refused(Path::new("/dev/null"), mode, ErrorKind::Invalid, "a character device");
            assert_refused(&dir.path().join("none"), mode, ErrorKind::NotFound, "open: No such file");
        }
    }

    #[test]
    fn advice_fits_the_refusal() {
        let direct = Mode { direct: true, ..RO };
        let error = open_error(io::Error::from_raw_os_error(libc::EINVAL), direct);
        assert!(error.message().contains("use cache writeback"), "{error}");
        // A running program cannot be opened for writing, by root neither.
        let program = std::env::current_exe().unwrap();
        assert_refused(&program, RW, ErrorKind::Host, "set read_only");
        assert!(open(&program, RO).is_ok());
        for errno in [libc::EACCES, libc::EPERM, libc::EROFS] {
            let error = || io::Error::from_raw_os_error(errno);
            assert!(open_error(error(), RW).message().contains("set read_only"));
            assert!(!open_error(error(), RO).message().contains("read_only"));
            assert_eq!(open_error(error(), RW).errno(), errno);
        }
    }

    #[test]
    fn identity_sees_through_links() {
        let dir = dir();
        let [a, b, link, hard] = ["a", "b", "link", "hard"].map(|name| dir.path().join(name));
        std::fs::write(&a, "").unwrap();
        std::fs::write(&b, "").unwrap();
        std::os::unix::fs::symlink(&a, &link).unwrap();
        std::fs::hard_link(&a, &hard).unwrap();
        let identity = |path| open(path, RO).unwrap().identity;
        assert_eq!(identity(&a), identity(&link));
        assert_eq!(identity(&a), identity(&hard));
        assert_ne!(identity(&a), identity(&b));
    }
}
