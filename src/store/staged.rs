//! New versions of the files of a record: written beside the old ones, put in place together, and taken back
//! where that fails.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use super::dir::{RecordDir, uninterrupted};
use super::file_kind::FileKind;
use crate::error::{Error, ErrorKind, Result};
use crate::planted;
use crate::sys::rename;

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

    /// Puts a staged version in place, for good: it survives a power failure from here on. If that cannot be
    /// made sure, the old version is put back; if not even that, the error names what is left.
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

    fn rename(&self, file_kind: FileKind, over: Over) -> Result<()> {
        let renamed = match over {
            Over::Old => self.rename_as(file_kind, rename::replace),
            // A file system on a network may not know how.
            Over::Nothing => match self.rename_as(file_kind, rename::rename_new) {
                Err(Errno::EINVAL) if self.is_free(file_kind) => self.rename_as(file_kind, rename::replace),
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

    fn rename_as(
        &self,
        file_kind: FileKind,
        rename: impl Fn(BorrowedFd<'_>, &OsStr, &OsStr) -> nix::Result<()>,
    ) -> nix::Result<()> {
        let (from, to) = (self.temporary(file_kind), self.file_name(file_kind));
        uninterrupted(|| rename(self.dir.as_fd(), from, to))?;
        planted::note_changed(to);
        Ok(())
    }

    fn is_free(&self, file_kind: FileKind) -> bool {
        let stat = fstatat(&self.dir, self.file_name(file_kind), AtFlags::AT_SYMLINK_NOFOLLOW);
        stat.is_err_and(|errno| errno == Errno::ENOENT)
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
        let versions = self.record_dir.versions(change.file_kind);
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

impl Drop for Staged {
    fn drop(&mut self) {
        let is_latest = |change: &&Change| {
            self.record_dir.versions(change.file_kind).load(Ordering::Relaxed) == change.version
        };
        for change in self.changes.iter().filter(|change| change.step == Step::Rename).filter(is_latest) {
            // Best effort: the next stage removes it as well.
            let _ = self.record_dir.unlink(self.record_dir.temporary(change.file_kind));
        }
    }
}
