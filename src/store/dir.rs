//! Files that are either the old or the new version, never something between, and belong to one holder at a time.
//!
//! Everything happens relative to one open directory, so a renamed or remounted path cannot split the runtime file
//! from its lock and journal.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat2};
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
    /// How often the temporary file has been written: several new versions may have been staged, each over the one before.
    versions: AtomicU64,
}

impl Name {
    fn new(record: &OsStr, suffix: &str) -> Self {
        let own = suffixed(record, suffix);
        Self { temporary: suffixed(&own, ".new"), own, versions: AtomicU64::new(0) }
    }
}

/// A new version, complete and synced under temporary names.
#[derive(Debug)]
#[must_use = "a staged file takes effect only when committed"]
pub struct Staged {
    record_dir: Arc<RecordDir>,
    /// In the order in which they are put in place.
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    file_kind: FileKind,
    step: Step,
    over: Over,
    /// It may stay whatever becomes of the rest.
    may_stay: bool,
    /// Which version of the temporary file it is.
    version: u64,
}

/// What a new version takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Nothing: a file that has come to lie there is not this library's, and stays.
    Nothing,
    /// The old version, which was read or written through this handle.
    Old,
}

/// What is to become of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its new version lies beside it.
    Rename,
    /// It is to go.
    Remove,
    /// It is in place, or gone.
    Done,
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

    /// The content of a part, `None` if it does not exist. Only a regular file of acceptable size is read, and no
    /// symbolic link is followed.
    pub fn read(&self, file_kind: FileKind) -> Result<Option<Vec<u8>>> {
        let name = self.file_name(file_kind);
        let Some((file, stat)) = self.open_file(name)? else { return Ok(None) };
        // A record may be linked to from a backup; it is never written in place. What lies beside one is made here alone.
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
            let limit = format!("{} is larger than {MAX_FILE} bytes", path.display());
            return Err(Error::new(ErrorKind::Limit, limit).with_errno(libc::EFBIG));
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

    /// Writes a new version of a part beside the old one and syncs it, so that only a rename is left to do.
    pub fn stage(self: &Arc<Self>, file_kind: FileKind, bytes: &[u8], over: Over) -> Result<Staged> {
        let mut staged = self.stage_nothing();
        staged.add(file_kind, bytes, over)?;
        Ok(staged)
    }

    /// To begin with; parts are put in place in the order in which they are added.
    pub fn stage_nothing(self: &Arc<Self>) -> Staged {
        Staged { record_dir: self.clone(), changes: Vec::new() }
    }

    fn write_temporary(&self, file_kind: FileKind, bytes: &[u8]) -> Result<()> {
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

    /// Puts a staged version in place, for good: it survives a power failure from here on. If that cannot be made
    /// sure, the old version is put back; if not even that, the error names what is left.
    ///
    /// `old` is what a part had before, `None` if it did not exist.
    pub fn settle(
        self: &Arc<Self>,
        mut staged: Staged,
        old: impl Fn(FileKind) -> Result<Option<Vec<u8>>>,
    ) -> Result<()> {
        let Some(last) = staged.changes.last().map(|change| change.file_kind) else { return Ok(()) };
        let done = staged.commit();
        let Err(error) = done.and_then(|()| self.sync(last)) else { return Ok(()) };
        let mut left = Vec::new();
        for change in staged.changes.iter().rev().filter(|change| change.step == Step::Done) {
            if self.put_back(change.file_kind, old(change.file_kind)).is_ok() {
                continue;
            }
            if !change.may_stay {
                let path = self.part_path(change.file_kind);
                left.push(format!(
                    "{}: changed, but may be the old one again after a power failure",
                    path.display()
                ));
            }
            // What went before it is for this version as well.
            break;
        }
        if left.is_empty() { Err(error) } else { Err(error.with_undo(left)) }
    }

    fn put_back(self: &Arc<Self>, file_kind: FileKind, old: Result<Option<Vec<u8>>>) -> Result<()> {
        match old? {
            Some(bytes) => self.stage(file_kind, &bytes, Over::Old)?.commit(),
            None => self.remove(file_kind),
        }
    }

    fn sync(&self, file_kind: FileKind) -> Result<()> {
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

    fn temporary(&self, file_kind: FileKind) -> &OsStr {
        &self.name_of(file_kind).temporary
    }

    fn unlink(&self, name: &OsStr) -> Result<()> {
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

impl Staged {
    /// Stages a new version of another part, to go with it.
    pub fn add(&mut self, file_kind: FileKind, bytes: &[u8], over: Over) -> Result<()> {
        self.write(Change { file_kind, step: Step::Rename, over, may_stay: false, version: 0 }, bytes)
    }

    /// The same for a version that does no harm beside the old versions of the others.
    pub fn add_harmless(&mut self, file_kind: FileKind, bytes: &[u8], over: Over) -> Result<()> {
        self.write(Change { file_kind, step: Step::Rename, over, may_stay: true, version: 0 }, bytes)
    }

    /// Another part is to go.
    pub fn remove(&mut self, file_kind: FileKind) {
        self.changes.push(Change {
            file_kind,
            step: Step::Remove,
            over: Over::Old,
            may_stay: false,
            version: 0,
        });
    }

    fn write(&mut self, change: Change, bytes: &[u8]) -> Result<()> {
        let versions = &self.record_dir.name_of(change.file_kind).versions;
        let version = versions.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.record_dir.write_temporary(change.file_kind, bytes)?;
        self.changes.push(Change { version, ..change });
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        for change in &mut self.changes {
            match change.step {
                Step::Rename => self.record_dir.rename(change.file_kind, change.over)?,
                Step::Remove => self.record_dir.remove(change.file_kind)?,
                Step::Done => {}
            }
            change.step = Step::Done;
        }
        Ok(())
    }
}

impl RecordDir {
    fn rename(&self, file_kind: FileKind, over: Over) -> Result<()> {
        let renamed = match over {
            Over::Old => self.rename_as(file_kind, RenameFlags::empty()),
            // A file system on a network may not know how.
            Over::Nothing => match self.rename_as(file_kind, RenameFlags::RENAME_NOREPLACE) {
                Err(Errno::EINVAL) if self.is_free(file_kind) => {
                    self.rename_as(file_kind, RenameFlags::empty())
                }
                Err(Errno::EINVAL) => Err(Errno::EEXIST),
                renamed => renamed,
            },
        };
        match renamed {
            Ok(()) => Ok(()),
            Err(Errno::EEXIST) => {
                let text = format!("{} exists already", self.part_path(file_kind).display());
                Err(Error::new(ErrorKind::Conflict, text))
            }
            Err(errno) => Err(Error::host(errno, format!("replace {}", self.part_path(file_kind).display()))),
        }
    }

    fn rename_as(&self, file_kind: FileKind, flags: RenameFlags) -> nix::Result<()> {
        let (from, to) = (self.temporary(file_kind), self.file_name(file_kind));
        uninterrupted(|| renameat2(&self.dir, from, &self.dir, to, flags))?;
        planted::note_changed(to);
        Ok(())
    }

    fn is_free(&self, file_kind: FileKind) -> bool {
        let stat = fstatat(&self.dir, self.file_name(file_kind), AtFlags::AT_SYMLINK_NOFOLLOW);
        stat.is_err_and(|errno| errno == Errno::ENOENT)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let is_latest = |change: &&Change| {
            self.record_dir.name_of(change.file_kind).versions.load(Ordering::Relaxed) == change.version
        };
        for change in self.changes.iter().filter(|change| change.step == Step::Rename).filter(is_latest) {
            // Best effort: the next stage removes it as well.
            let _ = self.record_dir.unlink(self.record_dir.temporary(change.file_kind));
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

#[cfg(test)]
mod tests;
