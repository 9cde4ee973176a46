//! Files that are either the old or the new version, never something between, and belong to one holder at a
//! time.
//!
//! Everything happens relative to one open directory, so a renamed or remounted path cannot split the runtime
//! file from its lock and journal.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::file_kind::FileKind;
use super::leftover;
use super::trust::{Identity, Kind, Trust};
use crate::error::{Error, ErrorKind, Result};
use crate::planted::{self, Fault};

/// Largest runtime file or journal read. 1,000 devices take some 300 KiB.
pub const MAX_FILE: u64 = 4 << 20;

/// A directory entry and its companions, not locked.
#[derive(Debug)]
pub struct RecordDir {
    pub(super) path: PathBuf,
    pub(super) dir: OwnedFd,
    /// Whose files are believed; anybody's if there is none.
    identity: Option<Identity>,
    record: Name,
    journal: Name,
    sidecar: Name,
}

/// What a part is called in its directory. Made once: an operation needs some ten of them.
#[derive(Debug)]
struct Name {
    own: OsString,
    temporary: OsString,
    /// How often the temporary file has been written: several new versions may have been staged, each over
    /// the one before.
    versions: AtomicU64,
}

impl Name {
    fn new(record: &OsStr, suffix: &str) -> Self {
        let own = suffixed(record, suffix);
        Self { temporary: suffixed(&own, ".new"), own, versions: AtomicU64::new(0) }
    }
}

impl RecordDir {
    /// Opens the directory of `path`; the file itself need not exist.
    pub fn open(path: &Path, trust: Trust) -> Result<Arc<Self>> {
        let name = path
            .file_name()
            .filter(|_| !path.as_os_str().as_bytes().ends_with(b"/"))
            .ok_or_else(|| Error::invalid(format!("runtime file path {path:?} names no file")))?;
        if let Some(suffix) = leftover::suffix_of(name.as_bytes()) {
            return Err(Error::invalid(format!(
                "runtime file path {path:?} ends in {suffix:?}, as a file that another record has beside it would; \
                 choose another name"
            )));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let dir = uninterrupted(|| nix::fcntl::open(parent, flags, Mode::empty()))
            .map_err(|errno| Error::host(errno, format!("open directory {}", parent.display())))?;
        let identity = (trust == Trust::Checked).then(Identity::of_process);
        if let Some(identity) = &identity {
            let stat = fstat(&dir)
                .map_err(|errno| Error::host(errno, format!("stat directory {}", parent.display())))?;
            check(identity, &stat, Kind::Directory, parent)?;
        }
        Ok(Arc::new(Self {
            path: path.to_owned(),
            dir,
            identity,
            record: Name::new(name, ""),
            journal: Name::new(name, ".journal"),
            sidecar: Name::new(name, ".kvm-hotplug"),
        }))
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn name_of(&self, file_kind: FileKind) -> &Name {
        match file_kind {
            FileKind::Record => &self.record,
            FileKind::Journal => &self.journal,
            FileKind::Sidecar => &self.sidecar,
        }
    }

    /// How often the new version of a part has been written.
    pub(super) fn versions(&self, file_kind: FileKind) -> &AtomicU64 {
        &self.name_of(file_kind).versions
    }

    pub(super) fn file_name(&self, file_kind: FileKind) -> &OsStr {
        &self.name_of(file_kind).own
    }

    /// The path of a part, for messages.
    pub fn part_path(&self, file_kind: FileKind) -> PathBuf {
        self.path.with_file_name(self.file_name(file_kind))
    }

    /// The path of a name in the directory, for messages.
    pub(super) fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.with_file_name(name)
    }

    /// The content of a part, `None` if it does not exist. Only a regular file of acceptable size is read,
    /// and no symbolic link is followed.
    pub fn read(&self, file_kind: FileKind) -> Result<Option<Vec<u8>>> {
        let name = self.file_name(file_kind);
        let Some((file, stat)) = self.open_file(name)? else { return Ok(None) };
        // A record may be linked to from a backup; it is never written in place. What lies beside one is made
        // here alone.
        if file_kind != FileKind::Record {
            self.check_only_name(&stat, name)?;
        }
        self.read_file(file, name).map(Some)
    }

    /// A regular file that can be believed, for reading.
    fn open_file(&self, name: &OsStr) -> Result<Option<(File, FileStat)>> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        match uninterrupted(|| openat(&self.dir, name, flags, Mode::empty())) {
            Ok(fd) => {
                let file = File::from(fd);
                let stat = self.check_file(&file, name)?;
                Ok(Some((file, stat)))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.cannot_open(errno, name)),
        }
    }

    pub(super) fn cannot_open(&self, errno: Errno, name: &OsStr) -> Error {
        let path = self.path_of(name);
        match errno {
            Errno::ELOOP => Error::invalid(format!(
                "{} is a symbolic link, which is not followed; name the file itself",
                path.display()
            ))
            .with_errno(libc::ELOOP),
            errno => Error::host(errno, format!("open {}", path.display())),
        }
    }

    /// Refuses what is no regular file, or cannot be believed.
    pub(super) fn check_file(&self, file: &File, name: &OsStr) -> Result<FileStat> {
        let path = self.path_of(name);
        let stat = fstat(file).map_err(|errno| Error::host(errno, format!("stat {}", path.display())))?;
        if !is_regular(&stat) {
            return Err(Error::invalid(format!("{} is not a regular file", path.display())));
        }
        if let Some(identity) = &self.identity {
            check(identity, &stat, Kind::File, &path)?;
        }
        Ok(stat)
    }

    /// Refuses a file that is also another one, which nobody who sees only this name knows of.
    pub(super) fn check_only_name(&self, stat: &FileStat, name: &OsStr) -> Result<()> {
        if stat.st_nlink > 1 {
            return Err(Error::invalid(format!(
                "{} has {} names (hard links), so that it may be another file as well; \
                 put a copy in its place, or remove it if it is of no use",
                self.path_of(name).display(),
                stat.st_nlink
            )));
        }
        Ok(())
    }

    fn read_file(&self, file: File, name: &OsStr) -> Result<Vec<u8>> {
        let path = self.path_of(name);
        let mut bytes = Vec::new();
        let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::host(error, format!("read {}", path.display())))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(too_large(&path));
        }
        Ok(bytes)
    }

    /// Whether the runtime file is there, whatever kind of file it is.
    pub fn exists(&self) -> bool {
        fstatat(&self.dir, self.file_name(FileKind::Record), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Refuses a runtime file that cannot be believed, before anything is made beside it.
    pub fn check_record(&self) -> Result<()> {
        let Some(identity) = &self.identity else { return Ok(()) };
        match fstatat(&self.dir, self.file_name(FileKind::Record), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if is_regular(&stat) => check(identity, &stat, Kind::File, &self.path),
            // Reading says what is wrong.
            _ => Ok(()),
        }
    }

    pub(super) fn write_temporary(&self, file_kind: FileKind, bytes: &[u8]) -> Result<()> {
        // What is larger could be written, and never read again.
        if bytes.len() as u64 > MAX_FILE {
            return Err(too_large(&self.part_path(file_kind)));
        }
        let temporary = self.temporary(file_kind);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mode = Mode::from_bits_truncate(0o600);
        let create = || uninterrupted(|| openat(&self.dir, temporary, flags, mode));
        let created = match create() {
            // A leftover of an earlier failure; the lock says that nobody is writing it now.
            Err(Errno::EEXIST) => self.remove_leftover(file_kind).map(|()| create())?,
            created => created,
        };
        let failed = |error| Error::host(error, format!("write {}", self.part_path(file_kind).display()));
        let mut file = created.map(File::from).map_err(|errno| failed(errno.into()))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
            // Best effort: the next to load the record removes it as well.
            let _ = self.unlink(temporary);
            failed(error)
        })
    }

    pub(super) fn sync(&self, file_kind: FileKind) -> Result<()> {
        if planted::has(Fault::DirectoryNotSynced) {
            return Ok(());
        }
        uninterrupted(|| nix::unistd::fsync(&self.dir)).map_err(|errno| {
            Error::host(errno, format!("sync the directory of {}", self.part_path(file_kind).display()))
        })?;
        planted::note_synced();
        Ok(())
    }

    /// Removes a part; one that is not there is fine.
    pub fn remove(&self, file_kind: FileKind) -> Result<()> {
        self.unlink(self.file_name(file_kind))
    }

    /// Removes what a process that died had staged and not committed. Only for the holder of the lock.
    pub fn remove_stale(&self) -> Result<()> {
        [FileKind::Record, FileKind::Journal, FileKind::Sidecar]
            .into_iter()
            .try_for_each(|file_kind| self.remove_leftover(file_kind))
    }

    /// Removes a new version that was not put in place. Whatever else has its name stays.
    fn remove_leftover(&self, file_kind: FileKind) -> Result<()> {
        let name = self.temporary(file_kind);
        let in_the_way = fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        if in_the_way.is_ok_and(|stat| is_directory(&stat)) {
            return Err(Error::host(Errno::EISDIR, format!("replace {}", self.path_of(name).display())));
        }
        let Some((file, stat)) = self.open_file(name)? else { return Ok(()) };
        self.check_only_name(&stat, name)?;
        if !leftover::is_new_version(file_kind, &self.read_file(file, name)?) {
            return Err(self.in_the_way(name));
        }
        self.unlink(name)
    }

    /// What is said of a file that is not this library's.
    pub(super) fn in_the_way(&self, name: &OsStr) -> Error {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "{} is not what belongs beside runtime file {}, and stays as it is; move it away",
                self.path_of(name).display(),
                self.path.display()
            ),
        )
    }

    pub(super) fn temporary(&self, file_kind: FileKind) -> &OsStr {
        &self.name_of(file_kind).temporary
    }

    pub(super) fn unlink(&self, name: &OsStr) -> Result<()> {
        match uninterrupted(|| unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir)) {
            Ok(()) => {
                planted::note_changed(name);
                Ok(())
            }
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::host(errno, format!("remove {}", self.path_of(name).display()))),
        }
    }
}

/// Makes a call again that a signal has interrupted: files on a network or in user space can be slow.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

fn is_regular(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}

fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// Refuses what others than this user and root can write.
fn check(identity: &Identity, stat: &FileStat, kind: Kind, path: &Path) -> Result<()> {
    identity.objection(stat, kind).map_or(Ok(()), |objection| {
        Err(Error::new(
            ErrorKind::Untrusted,
            format!(
                "{} {objection}, so that others than this user and root decide what it says; \
                 change its owner or mode, or say that it is to be trusted",
                path.display()
            ),
        ))
    })
}

pub(super) fn suffixed(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
}

fn too_large(path: &Path) -> Error {
    let limit = format!("{} is larger than {MAX_FILE} bytes", path.display());
    Error::new(ErrorKind::Limit, limit).with_errno(libc::EFBIG)
}

#[cfg(test)]
mod tests;
