//! Renaming within a directory.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

/// Gives a file of a directory another name there, whatever has that name.
pub fn replace(dir: BorrowedFd<'_>, from: &OsStr, to: &OsStr) -> nix::Result<()> {
    rename(dir, from, to, 0)
}

/// The same, but `EEXIST` if something has the name; `EINVAL` if the file system does not know how.
pub fn rename_new(dir: BorrowedFd<'_>, from: &OsStr, to: &OsStr) -> nix::Result<()> {
    rename(dir, from, to, libc::RENAME_NOREPLACE)
}

fn rename(dir: BorrowedFd<'_>, from: &OsStr, to: &OsStr, flags: libc::c_uint) -> nix::Result<()> {
    let text = |name: &OsStr| CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL);
    let (from, to) = (text(from)?, text(to)?);
    let dir = dir.as_raw_fd();
    // SAFETY: the directory is open, and both names end in NUL and live through the call.
    #[cfg(target_env = "gnu")]
    let done = unsafe { libc::renameat2(dir, from.as_ptr(), dir, to.as_ptr(), flags) };
    // musl has no function for it.
    // SAFETY: as above.
    #[cfg(not(target_env = "gnu"))]
    let done = unsafe { libc::syscall(libc::SYS_renameat2, dir, from.as_ptr(), dir, to.as_ptr(), flags) };
    Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_one_of_them_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(folder.path()).unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), name).unwrap();
        let (new, old) = (OsStr::new("new"), OsStr::new("old"));
        write("new");
        write("old");
        assert_eq!(rename_new(dir.as_fd(), new, old), Err(Errno::EEXIST));
        replace(dir.as_fd(), new, old).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("old")).unwrap(), "new");
        rename_new(dir.as_fd(), old, new).unwrap();
        assert_eq!(replace(dir.as_fd(), old, new), Err(Errno::ENOENT));
        assert_eq!(replace(dir.as_fd(), new, OsStr::new("a\0b")), Err(Errno::EINVAL));
    }
}
