//! The lock on a runtime file: one process and one handle at a time, and none left by a holder that died.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind as IoErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::dir::{RecordDir, suffixed, uninterrupted};
use super::file_kind::FileKind;
use super::leftover::{MAX_LOCK, is_lock};
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// The lock on a place; dropping it removes the lock file.
#[derive(Debug)]
pub struct Lock {
    file: File,
    record_dir: Arc<RecordDir>,
    name: OsString,
}

impl RecordDir {
    /// Takes the lock, or says who has it.
    pub fn lock(self: &Arc<Self>) -> Result<Lock> {
        let name = suffixed(self.file_name(FileKind::Record), ".lock");
        loop {
            let mut file = self.open_lock_file(&name)?;
            // Before it is read or written: by that name there may be a pipe, or a file that is also another
            // one.
            self.check_only_name(&self.check_file(&file, &name)?, &name)?;
            match uninterrupted(|| sys::lock::try_exclusive(file.as_fd())) {
                Ok(()) => {}
                Err(Errno::EWOULDBLOCK) => return Err(self.locked_by(file)),
                Err(errno) => return Err(Error::host(errno, format!("lock {}", self.path.display()))),
            }
            // The last holder removes the file: a lock on a removed file guards nothing.
            if !same_file(&file, &self.dir, &name)? {
                continue;
            }
            if !is_lock_file(&mut file) {
                return Err(self.in_the_way(&name));
            }
            // For whoever finds it locked. On a full disk it is a lock all the same.
            let holder = format!("{}\n", std::process::id());
            let _ = file.set_len(0).and_then(|()| file.write_all_at(holder.as_bytes(), 0));
            return Ok(Lock { file, record_dir: self.clone(), name });
        }
    }

    fn open_lock_file(&self, name: &OsStr) -> Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mode = Mode::from_bits_truncate(0o600);
        uninterrupted(|| openat(&self.dir, name, flags, mode))
            .map(File::from)
            .map_err(|errno| self.cannot_open(errno, name))
    }

    fn locked_by(&self, mut lock_file: File) -> Error {
        let mut text = [0; MAX_LOCK];
        let read = lock_file.read(&mut text).unwrap_or(0);
        let text = String::from_utf8_lossy(text.get(..read).unwrap_or_default()).into_owned();
        let holder = match text.trim().parse::<u32>() {
            Ok(pid) if pid == std::process::id() => "this process, through another handle".to_owned(),
            Ok(pid) => format!("process {pid}{}", process_name(pid)),
            Err(_) => "another process".to_owned(),
        };
        Error::new(
            ErrorKind::Locked,
            format!(
                "runtime file {} is locked by {holder}; one agent owns it at a time",
                self.path.display()
            ),
        )
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still held: whoever opened it meanwhile sees that it is gone and starts over.
        let _ = unlinkat(&self.record_dir.dir, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        // Said, not left to closing: a child that was forked meanwhile may still have the file open.
        sys::lock::unlock(self.file.as_fd());
    }
}

/// Whether there is nothing in it but what a lock file may have.
fn is_lock_file(file: &mut File) -> bool {
    let mut text = Vec::new();
    let most = u64::try_from(MAX_LOCK).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut text).is_ok() && is_lock(&text)
}

fn same_file(open: &File, dir: &OwnedFd, name: &OsStr) -> Result<bool> {
    let held: FileStat = fstat(open.as_fd()).map_err(|errno| Error::host(errno, "stat a lock file"))?;
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(Error::host(errno, "stat a lock file")),
    }
}

/// ` (name)` of a running process, empty if it cannot be told.
fn process_name(pid: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!(" ({})", name.trim()),
        Err(error) if error.kind() == IoErrorKind::NotFound => " (in another pid namespace)".to_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::trust::Trust;

    #[test]
    fn one_lock_at_a_time_and_no_file_left() {
        let dir = tempfile::tempdir().unwrap();
        let record_dir = RecordDir::open(&dir.path().join("web1.runtime"), Trust::Checked).unwrap();
        let lock = record_dir.lock().unwrap();
        let error = record_dir.lock().unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Locked, libc::EAGAIN));
        assert!(error.message().contains("this process, through another handle"), "{error}");
        drop(lock);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        drop(record_dir.lock().unwrap());
    }

    #[test]
    fn a_stale_lock_file_does_not_lock() {
        let dir = tempfile::tempdir().unwrap();
        let record_dir = RecordDir::open(&dir.path().join("web1.runtime"), Trust::Checked).unwrap();
        std::fs::write(dir.path().join("web1.runtime.lock"), "1\n").unwrap();
        drop(record_dir.lock().unwrap());
    }
}
