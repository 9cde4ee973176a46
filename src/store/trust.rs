//! Whether a file can be believed: who owns it, and who else may write it. What it says is carried out with
//! this process's rights. Pure but for asking who this process is.

use nix::sys::stat::FileStat;
use nix::unistd::{getegid, geteuid, getgroups};

/// Whether the owner and mode of a record's files count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// They do: only this user and root may be able to write them.
    #[default]
    Checked,
    /// The caller says that they are to be believed whoever can write them.
    Given,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    user: u32,
    /// Groups whose members may write what this user believes.
    groups: Vec<u32>,
}

/// What is looked at: anybody may make files in a directory with the sticky bit, but not replace those of
/// others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
}

const ROOT: u32 = 0;
const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

impl Identity {
    /// This process. A service user works with its groups in directories of theirs. Root is a member of
    /// groups that are for something else, so only root's own group counts, and the one that it was started
    /// with.
    pub fn of_process() -> Self {
        let user = geteuid().as_raw();
        let mut groups = vec![ROOT, getegid().as_raw()];
        if user != ROOT {
            let more = getgroups().unwrap_or_default();
            groups.extend(more.into_iter().map(nix::unistd::Gid::as_raw));
        }
        Self { user, groups }
    }

    /// Why something is not to be believed.
    pub fn objection(&self, stat: &FileStat, kind: Kind) -> Option<String> {
        let (owner, group, mode) = (stat.st_uid, stat.st_gid, stat.st_mode);
        if owner != self.user && owner != ROOT {
            return Some(format!("belongs to user {owner}"));
        }
        if kind == Kind::Directory && mode & STICKY != 0 {
            return None;
        }
        if mode & OTHERS_WRITE != 0 {
            return Some(format!("can be written by everybody (mode {:04o})", mode & 0o7777));
        }
        let is_group_foreign = mode & GROUP_WRITES != 0 && !self.groups.contains(&group);
        is_group_foreign.then(|| format!("can be written by group {group} (mode {:04o})", mode & 0o7777))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(owner: u32, group: u32, mode: u32) -> FileStat {
        let mut stat = nix::sys::stat::stat("/").unwrap();
        (stat.st_uid, stat.st_gid, stat.st_mode) = (owner, group, mode);
        stat
    }

    #[test]
    fn who_may_write_is_who_is_believed() {
        let root = Identity { user: 0, groups: vec![0, 7] };
        let agent = Identity { user: 500, groups: vec![0, 500, 600] };
        let cases = [
            // owner, group, mode, kind, root objects, the agent objects
            (0, 0, 0o600, Kind::File, false, false),
            (0, 600, 0o640, Kind::File, false, false),
            (0, 0, 0o660, Kind::File, false, false),
            (0, 7, 0o660, Kind::File, false, true),
            (0, 600, 0o660, Kind::File, true, false),
            (0, 0, 0o666, Kind::File, true, true),
            (0, 0, 0o602, Kind::File, true, true),
            (0, 0, 0o1666, Kind::File, true, true),
            (500, 500, 0o600, Kind::File, true, false),
            (501, 0, 0o600, Kind::File, true, true),
            (65534, 0, 0o600, Kind::File, true, true),
            (0, 0, 0o750, Kind::Directory, false, false),
            (0, 0, 0o777, Kind::Directory, true, true),
            (0, 0, 0o1777, Kind::Directory, false, false),
            (501, 0, 0o1777, Kind::Directory, true, true),
            (0, 600, 0o2770, Kind::Directory, true, false),
            (0, 600, 0o3770, Kind::Directory, false, false),
            (500, 500, 0o700, Kind::Directory, true, false),
        ];
        for (owner, group, mode, kind, by_root, by_agent) in cases {
            let file = stat(owner, group, mode);
            let case = format!("{owner}:{group} {mode:o} {kind:?}");
            assert_eq!(root.objection(&file, kind).is_some(), by_root, "{case}");
            assert_eq!(agent.objection(&file, kind).is_some(), by_agent, "{case}");
        }
    }
}
