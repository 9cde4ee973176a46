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

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Error, ErrorKind, Result};

/// Largest runtime file or journal read. 1,000 devices take some 300 KiB.
pub const MAX_FILE: u64 = 4 << 20;

/// The names a record has in its directory, besides its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The runtime file itself.
    Record,
    /// What was about to be done, and removals the guest has not granted.
    Journal,
    /// What the format of the runtime file has no room for.
    Companion,
}

/// A directory entry and its companions, not locked.
#[derive(Debug)]
pub struct Place {
    pub(super) path: PathBuf,
    pub(super) dir: OwnedFd,
    record: Name,
    journal: Name,
    companion: Name,
}

/// What a part is called in its directory. Made once: an operation needs some ten of them.
#[derive(Debug)]
struct Name {
    own: OsString,
    temporary: OsString,
}

impl Name {
    fn new(record: &OsStr, suffix: &str) -> Self {
        let own = suffixed(record, suffix);
        Self { temporary: suffixed(&own, ".new"), own }
    }
}

/// A new version, complete and synced under temporary names.
#[derive(Debug)]
#[must_use = "a staged file takes effect only when committed"]
pub struct Staged {
    place: Arc<Place>,
    /// In the order in which they are put in place.
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    part: Part,
    step: Step,
    /// It may stay whatever becomes of the rest.
    may_stay: bool,
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

impl Place {
    /// Opens the directory of `path`; the file itself need not exist.
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        let name = path
            .file_name()
            .filter(|_| !path.as_os_str().as_bytes().ends_with(b"/"))
            .ok_or_else(|| Error::invalid(format!("runtime file path {path:?} names no file")))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let dir = uninterrupted(|| nix::fcntl::open(parent, flags, Mode::empty()))
            .map_err(|errno| Error::host(errno, format!("open directory {}", parent.display())))?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            dir,
            record: Name::new(name, ""),
            journal: Name::new(name, ".journal"),
            companion: Name::new(name, ".kvm-hotplug"),
        }))
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn name_of(&self, part: Part) -> &Name {
        match part {
            Part::Record => &self.record,
            Part::Journal => &self.journal,
            Part::Companion => &self.companion,
        }
    }

    pub(super) fn file_name(&self, part: Part) -> &OsStr {
        &self.name_of(part).own
    }

    /// The path of a part, for messages.
    pub fn part_path(&self, part: Part) -> PathBuf {
        self.path.with_file_name(self.file_name(part))
    }

    /// The content of a part, `None` if it does not exist. Only a regular file of acceptable size is read, and no
    /// symbolic link is followed.
    pub fn read(&self, part: Part) -> Result<Option<Vec<u8>>> {
        let path = self.part_path(part);
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let name = self.file_name(part);
        let fd = match uninterrupted(|| openat(&self.dir, name, flags, Mode::empty())) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => {
                return Err(Error::invalid(format!(
                    "{} is a symbolic link, which is not followed; name the file itself",
                    path.display()
                ))
                .with_errno(libc::ELOOP));
            }
            Err(errno) => return Err(Error::host(errno, format!("open {}", path.display()))),
        };
        let stat = fstat(&fd).map_err(|errno| Error::host(errno, format!("stat {}", path.display())))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(Error::invalid(format!("{} is not a regular file", path.display())));
        }
        let mut bytes = Vec::new();
        let read = File::from(fd).take(MAX_FILE + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::host(error, format!("read {}", path.display())))?;
        if bytes.len() as u64 > MAX_FILE {
            let limit = format!("{} is larger than {MAX_FILE} bytes", path.display());
            return Err(Error::new(ErrorKind::Limit, limit).with_errno(libc::EFBIG));
        }
        Ok(Some(bytes))
    }

    /// Whether the runtime file is there, whatever kind of file it is.
    pub fn exists(&self) -> bool {
        fstatat(&self.dir, self.file_name(Part::Record), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Writes a new version of a part beside the old one and syncs it, so that only a rename is left to do.
    pub fn stage(self: &Arc<Self>, part: Part, bytes: &[u8]) -> Result<Staged> {
        let mut staged = self.stage_nothing();
        staged.add(part, Some(bytes))?;
        Ok(staged)
    }

    /// To begin with; parts are put in place in the order in which they are added.
    pub fn stage_nothing(self: &Arc<Self>) -> Staged {
        Staged { place: self.clone(), changes: Vec::new() }
    }

    fn write_temporary(&self, part: Part, bytes: &[u8]) -> Result<()> {
        let temporary = self.temporary(part);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mode = Mode::from_bits_truncate(0o600);
        let create = || uninterrupted(|| openat(&self.dir, temporary, flags, mode));
        let created = match create() {
            // A leftover of an earlier failure; the lock says that nobody is writing it now.
            Err(Errno::EEXIST) => self.unlink(temporary).map(|()| create())?,
            created => created,
        };
        let written = created
            .map_err(std::io::Error::from)
            .map(File::from)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written.map_err(|error| Error::host(error, format!("write {}", self.part_path(part).display())))
    }

    /// Puts a staged version in place, for good: it survives a power failure from here on. If that cannot be made
    /// sure, the old version is put back; if not even that, the error names what is left.
    ///
    /// `flags` are for the runtime file itself; `old` is what a part had before, `None` if it did not exist.
    pub fn settle(
        self: &Arc<Self>,
        mut staged: Staged,
        flags: RenameFlags,
        old: impl Fn(Part) -> Result<Option<Vec<u8>>>,
    ) -> Result<()> {
        let Some(last) = staged.changes.last().map(|change| change.part) else { return Ok(()) };
        let done = staged.commit(flags);
        let Err(error) = done.and_then(|()| self.sync(last)) else { return Ok(()) };
        let mut left = Vec::new();
        for change in staged.changes.iter().rev().filter(|change| change.step == Step::Done) {
            if self.put_back(change.part, old(change.part)).is_ok() {
                continue;
            }
            if !change.may_stay {
                let path = self.part_path(change.part);
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

    fn put_back(self: &Arc<Self>, part: Part, old: Result<Option<Vec<u8>>>) -> Result<()> {
        match old? {
            Some(bytes) => self.stage(part, &bytes)?.commit(RenameFlags::empty()),
            None => self.remove(part),
        }
    }

    fn sync(&self, part: Part) -> Result<()> {
        uninterrupted(|| nix::unistd::fsync(&self.dir)).map_err(|errno| {
            Error::host(errno, format!("sync the directory of {}", self.part_path(part).display()))
        })
    }

    /// Removes a part; one that is not there is fine.
    pub fn remove(&self, part: Part) -> Result<()> {
        self.unlink(self.file_name(part))
    }

    /// Removes what a process that died had staged and not committed. Only for the holder of the lock.
    pub fn remove_stale(&self) -> Result<()> {
        [Part::Record, Part::Journal, Part::Companion]
            .into_iter()
            .try_for_each(|part| self.unlink(self.temporary(part)))
    }

    fn temporary(&self, part: Part) -> &OsStr {
        &self.name_of(part).temporary
    }

    fn unlink(&self, name: &OsStr) -> Result<()> {
        match uninterrupted(|| unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir)) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => {
                Err(Error::host(errno, format!("remove {}", self.path.with_file_name(name).display())))
            }
        }
    }
}

impl Staged {
    /// Stages another part to go with it: a new version, or that it goes.
    pub fn add(&mut self, part: Part, bytes: Option<&[u8]>) -> Result<()> {
        let step = if bytes.is_some() { Step::Rename } else { Step::Remove };
        self.changes.push(Change { part, step, may_stay: false });
        bytes.map_or(Ok(()), |bytes| self.place.write_temporary(part, bytes))
    }

    /// The same for a version that does no harm beside the old versions of the others.
    pub fn add_harmless(&mut self, part: Part, bytes: &[u8]) -> Result<()> {
        self.changes.push(Change { part, step: Step::Rename, may_stay: true });
        self.place.write_temporary(part, bytes)
    }

    fn commit(&mut self, flags: RenameFlags) -> Result<()> {
        for change in &mut self.changes {
            let flags = if change.part == Part::Record { flags } else { RenameFlags::empty() };
            match change.step {
                Step::Rename => self.place.rename(change.part, flags)?,
                Step::Remove => self.place.remove(change.part)?,
                Step::Done => {}
            }
            change.step = Step::Done;
        }
        Ok(())
    }
}

impl Place {
    fn rename(&self, part: Part, flags: RenameFlags) -> Result<()> {
        let (from, to) = (self.temporary(part), self.file_name(part));
        match uninterrupted(|| renameat2(&self.dir, from, &self.dir, to, flags)) {
            Ok(()) => Ok(()),
            Err(Errno::EEXIST) => {
                let text = format!("{} exists already", self.part_path(part).display());
                Err(Error::new(ErrorKind::Conflict, text))
            }
            Err(errno) => Err(Error::host(errno, format!("replace {}", self.part_path(part).display()))),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for change in self.changes.iter().filter(|change| change.step == Step::Rename) {
            // Best effort: the next stage removes it as well.
            let _ = self.place.unlink(self.place.temporary(change.part));
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

pub(super) fn suffixed(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(place: &Arc<Place>, staged: Staged, flags: RenameFlags, old: &[u8]) -> Result<()> {
        let before = |part| Ok((part == Part::Record && !old.is_empty()).then(|| old.to_vec()));
        place.settle(staged, flags, before)
    }

    fn replace(place: &Arc<Place>, bytes: &[u8]) -> Result<()> {
        settle(place, place.stage(Part::Record, bytes)?, RenameFlags::empty(), b"")
    }

    fn place() -> (tempfile::TempDir, Arc<Place>) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(&dir.path().join("web1.runtime")).unwrap();
        (dir, place)
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replace_leaves_one_file_of_mode_0600() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, place) = place();
        assert_eq!(place.read(Part::Record).unwrap(), None);
        replace(&place, b"one").unwrap();
        replace(&place, b"two").unwrap();
        assert_eq!(place.read(Part::Record).unwrap().unwrap(), b"two");
        assert_eq!(names(&dir), ["web1.runtime"]);
        let mode = std::fs::metadata(dir.path().join("web1.runtime")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_uncommitted_stage_changes_nothing() {
        let (dir, place) = place();
        replace(&place, b"old").unwrap();
        drop(place.stage(Part::Record, b"new").unwrap());
        assert_eq!(place.read(Part::Record).unwrap().unwrap(), b"old");
        assert_eq!(names(&dir), ["web1.runtime"]);
        let staged = place.stage(Part::Record, b"new").unwrap();
        let error = settle(&place, staged, RenameFlags::RENAME_NOREPLACE, b"old").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(place.read(Part::Record).unwrap().unwrap(), b"old");
    }

    /// Two parts are replaced together or not at all.
    #[test]
    fn what_cannot_be_put_in_place_takes_the_rest_back() {
        let (dir, place) = place();
        replace(&place, b"old").unwrap();
        let both = || {
            let mut staged = place.stage(Part::Record, b"new").unwrap();
            staged.add(Part::Companion, Some(b"beside")).unwrap();
            staged
        };
        let obstacle = dir.path().join("web1.runtime.kvm-hotplug");
        std::fs::create_dir_all(obstacle.join("full")).unwrap();
        let error = settle(&place, both(), RenameFlags::empty(), b"old").unwrap_err();
        assert!(error.left().is_empty() && error.message().contains("web1.runtime.kvm-hotplug"), "{error}");
        assert_eq!(place.read(Part::Record).unwrap().unwrap(), b"old");
        std::fs::remove_dir_all(obstacle).unwrap();
        assert_eq!(names(&dir), ["web1.runtime"]);
        settle(&place, both(), RenameFlags::empty(), b"old").unwrap();
        assert_eq!(place.read(Part::Record).unwrap().unwrap(), b"new");
        assert_eq!(place.read(Part::Companion).unwrap().unwrap(), b"beside");
        let mut staged = place.stage(Part::Record, b"newer").unwrap();
        staged.add(Part::Companion, None).unwrap();
        settle(&place, staged, RenameFlags::empty(), b"new").unwrap();
        assert_eq!(names(&dir), ["web1.runtime"]);
    }

    #[test]
    fn links_and_odd_files_are_refused() {
        let (dir, place) = place();
        std::fs::write(dir.path().join("real"), "x").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("web1.runtime")).unwrap();
        let error = place.read(Part::Record).unwrap_err();
        assert_eq!(error.errno(), libc::ELOOP);
        std::fs::remove_file(dir.path().join("web1.runtime")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("web1.runtime"), Mode::S_IRWXU).unwrap();
        assert_eq!(place.read(Part::Record).unwrap_err().kind(), ErrorKind::Invalid);
        assert!(Place::open(Path::new("/")).is_err());
        assert!(Place::open(Path::new("/tmp/x/")).is_err());
        assert_eq!(Place::open(Path::new("/nowhere/x")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn size_cap() {
        let (dir, place) = place();
        let file = File::create(dir.path().join("web1.runtime")).unwrap();
        file.set_len(MAX_FILE + 1).unwrap();
        let error = place.read(Part::Record).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Limit, libc::EFBIG));
    }
}
