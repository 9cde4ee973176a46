//! Looks at a file before it is opened. The name may come from an image, which a stranger or a guest has
//! written, so nothing is opened for reading or writing until it is known what it is.
//!
//! The file is found once, as an `O_PATH` descriptor, with which nothing can be read or written and nothing
//! happens to a device. What is opened later is that very file, by that descriptor, whatever its name leads
//! to by then.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use nix::sys::statfs::fstatfs;

use super::filesystem;
use super::identity::{Identity, Kind, identity};
use crate::error::{Error, ErrorKind, Result};

/// What a name leads to, not opened yet.
#[derive(Debug)]
pub struct Look {
    handle: File,
    name: PathBuf,
    /// Regular file or block device.
    pub kind: Kind,
    /// Which file it is.
    pub identity: Identity,
    /// Its path without links, as the kernel has it.
    pub real: PathBuf,
}

impl Look {
    /// Finds what `path` leads to, and refuses what cannot be a disk: other kinds of files, files that the
    /// kernel makes up, and whatever a magic link of /proc leads to, such as the descriptors of a process.
    pub fn at(path: &Path) -> Result<Self> {
        let handle = File::from(find(path)?);
        let metadata = handle.metadata().map_err(|error| Error::host(error, "stat"))?;
        let kind = Kind::of(&metadata)?;
        if kind == Kind::File {
            refuse_made_up(&handle)?;
        }
        let real = real_path(&handle, path)?;
        Ok(Self { identity: identity(kind, &metadata), handle, name: path.to_owned(), kind, real })
    }

    /// Opens the file that was looked at.
    pub(super) fn open(&self, flags: OFlag) -> io::Result<File> {
        let own = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        match nix::fcntl::open(own.as_str(), flags, Mode::empty()) {
            // No /proc here: by name, to be compared with what was looked at.
            Err(Errno::ENOENT) => Ok(resolve(&self.name, flags).map(File::from)?),
            opened => Ok(opened.map(File::from)?),
        }
    }

    /// What stays the same of a volume when it gets another device number: the device mapper's UUID.
    pub fn volume(&self) -> Option<String> {
        let Identity::Device(number) = self.identity else { return None };
        let (major, minor) = (libc::major(number), libc::minor(number));
        let text = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/dm/uuid")).ok()?;
        Some(text.trim_end().to_owned()).filter(|uuid| !uuid.is_empty())
    }
}

fn find(path: &Path) -> Result<OwnedFd> {
    resolve(path, OFlag::O_PATH).map_err(|errno| match errno {
        Errno::ELOOP => Error::new(
            ErrorKind::ImageRefused,
            "it leads through a magic link of /proc, or through too many symbolic links; name the file itself",
        )
        .with_errno(libc::ELOOP),
        errno => Error::host(errno, "open"),
    })
}

/// Follows symbolic links, but no magic ones: those of `/proc/PID/fd` lead to what a process has open, memory
/// included.
fn resolve(path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    loop {
        match openat2(AT_FDCWD, path, how) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Linux before 5.6 has no such call, and some sandboxes say EPERM to every call that they do not
            // know. A magic link that is named can be told without it; one behind a symbolic link leads to a
            // file that is looked at like any other.
            Err(Errno::ENOSYS | Errno::EPERM) => return resolve_by_name(path, flags),
            found => return found,
        }
    }
}

fn resolve_by_name(path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    if is_in_proc(path) {
        return Err(Errno::ELOOP);
    }
    nix::fcntl::open(path, flags, Mode::empty())
}

fn is_in_proc(path: &Path) -> bool {
    let mut parts = path.components().skip(1);
    parts.next().is_some_and(|first| first.as_os_str() == "proc")
}

/// Files that the kernel makes up as they are read say "regular file" of themselves, such as the memory of a
/// process.
fn refuse_made_up(handle: &File) -> Result<()> {
    let found = fstatfs(handle).map_err(|errno| Error::host(errno, "fstatfs"))?;
    match filesystem::made_up(i128::from(found.filesystem_type().0)) {
        None => Ok(()),
        Some(name) => Err(Error::new(
            ErrorKind::ImageRefused,
            format!(
                "it is a file of {name}, which the kernel makes up; a disk needs a file with data of its own"
            ),
        )),
    }
}

fn real_path(handle: &File, name: &Path) -> Result<PathBuf> {
    let own = format!("/proc/self/fd/{}", handle.as_raw_fd());
    match std::fs::read_link(own) {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == io::ErrorKind::NotFound => canonical(handle, name),
        Err(error) => Err(Error::host(error, "read the path of an open file")),
    }
}

/// Without /proc.
fn canonical(handle: &File, name: &Path) -> Result<PathBuf> {
    let failed = |error| Error::host(error, "resolve");
    let real = std::fs::canonicalize(name).map_err(failed)?;
    let (found, own) =
        (std::fs::symlink_metadata(&real).map_err(failed)?, handle.metadata().map_err(failed)?);
    if (found.dev(), found.ino()) != (own.dev(), own.ino()) {
        return Err(Error::new(ErrorKind::ImageRefused, "its name leads to another file each time"));
    }
    Ok(real)
}

/// Whether it lies beneath a directory, both without links.
pub fn is_beneath(real: &Path, directory: &Path) -> bool {
    // A file that has been deleted, or that is not reachable from here, has such words in its path.
    let bytes = real.as_os_str().as_bytes();
    bytes.starts_with(b"/") && !bytes.ends_with(b" (deleted)") && real.starts_with(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_refused(path: &Path, says: &str) {
        let error = Look::at(path).expect_err(says);
        assert_eq!(error.kind(), ErrorKind::ImageRefused, "{error}");
        assert!(error.message().contains(says), "{error} lacks {says:?}");
    }

    #[test]
    fn what_the_kernel_makes_up_is_no_image() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        for name in ["/proc/self/mem", "/proc/self/environ", "/proc/1/../self/maps", "/proc/version"] {
            assert_refused(Path::new(name), "a file of procfs");
        }
        assert_refused(Path::new("/sys/kernel/profiling"), "a file of sysfs");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/proc/self/mem", &link).unwrap();
        assert_refused(&link, "a file of procfs");
    }

    #[test]
    fn magic_links_are_not_followed() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "secret").unwrap();
        let open = File::open(&file).unwrap();
        let magic = format!("/proc/self/fd/{}", open.as_raw_fd());
        std::os::unix::fs::symlink(&magic, &link).unwrap();
        for path in
            [Path::new(&magic), &link, Path::new("/proc/self/exe"), Path::new("/proc/self/root/etc/passwd")]
        {
            assert_refused(path, "magic link");
        }
    }

    /// As on Linux before 5.6.
    #[test]
    fn without_openat2_nothing_in_proc_is_taken() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "").unwrap();
        let find = |path: &Path| resolve_by_name(path, OFlag::O_PATH | OFlag::O_CLOEXEC).map(File::from);
        for path in ["/proc/self/mem", "//proc/self/fd/0", "/./proc/self/exe", "/proc/self/root/etc/passwd"] {
            assert_eq!(find(Path::new(path)).err(), Some(Errno::ELOOP), "{path}");
        }
        std::os::unix::fs::symlink("/proc/self/mem", &link).unwrap();
        assert!(refuse_made_up(&find(&link).unwrap()).is_err());
        assert!(refuse_made_up(&find(&file).unwrap()).is_ok());
    }

    #[test]
    fn the_file_that_was_looked_at_is_the_one_that_is_opened() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let [file, other, link] = ["file", "other", "link"].map(|name| dir.path().join(name));
        std::fs::write(&file, "file").unwrap();
        std::fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let look = Look::at(&link).unwrap();
        assert_eq!(look.real, file.canonicalize().unwrap());
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("other", &link).unwrap();
        let opened = look.open(OFlag::O_RDONLY | OFlag::O_CLOEXEC).unwrap();
        assert_eq!(io::read_to_string(opened).unwrap(), "file");
    }

    #[test]
    fn beneath() {
        let is = |real: &str, directory: &str| is_beneath(Path::new(real), Path::new(directory));
        assert!(is("/srv/a/b", "/srv"));
        assert!(!is("/srv2/a", "/srv"));
        assert!(!is("/srv/a (deleted)", "/srv"));
        assert!(!is("(unreachable)/srv/a", "/srv"));
    }
}
