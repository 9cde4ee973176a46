//! Which backing files an image may have: the caller's choice, for a whole record or for one disk.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chain::Vouched;
use super::identity::Kind;
use super::look::{Look, is_beneath};
use crate::error::{Error, ErrorKind, Result};

/// Most paths one rule may name.
pub const MAX_PATHS: usize = 64;

/// Where the files beneath an image may be. The image itself is what the caller names, and no rule is about
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackingRule {
    /// Those that were recorded; of an image nobody has vouched for, only files beneath the image's own
    /// directory.
    #[default]
    OwnDirectory,
    /// Nowhere: the image has none.
    Forbidden,
    /// These and no others, from the image down.
    Files(Vec<PathBuf>),
    /// Beneath one of these directories.
    Directories(Vec<PathBuf>),
}

impl BackingRule {
    /// Refuses paths that name nothing.
    pub fn validate(&self) -> Result<()> {
        let (Self::Files(paths) | Self::Directories(paths)) = self else { return Ok(()) };
        if paths.is_empty() || paths.len() > MAX_PATHS {
            return Err(Error::invalid(format!("backing: name 1 to {MAX_PATHS} paths, not {}", paths.len())));
        }
        paths.iter().try_for_each(|path| super::path::check(path).map_err(|error| error.context("backing")))
    }

    /// Before anything is looked at: whether the image may have a layer there at all.
    pub(super) fn check_name(&self, index: usize, name: &Path) -> Result<()> {
        match self {
            Self::Forbidden => Err(refused(format!(
                "it names {name:?} as its backing file, and backing files are forbidden"
            ))),
            Self::Files(files) if index > files.len() => Err(refused(format!(
                "it names {name:?} as a backing file, and the chain that is allowed ends with {:?}",
                files.last().map_or(Path::new(""), PathBuf::as_path)
            ))),
            Self::OwnDirectory | Self::Files(_) | Self::Directories(_) => Ok(()),
        }
    }

    /// Before it is opened: whether layer `index`, 1 for the first below the image, may be what was found.
    pub(super) fn check_layer(&self, index: usize, top: &Look, found: &Look, vouched: Vouched) -> Result<()> {
        let refuse = |why: String| Err(refused(format!("it has the backing file {:?}, {why}", found.real)));
        match self {
            Self::Forbidden => refuse("and backing files are forbidden".to_owned()),
            Self::OwnDirectory if vouched == Vouched::ByRecord => Ok(()),
            Self::OwnDirectory => match own_directory(top) {
                _ if found.kind == Kind::HostDevice => refuse(format!("which is a block device; {ADVICE}")),
                None => refuse(format!("and the image lies in no directory of its own; {ADVICE}")),
                Some(own) if is_beneath(&found.real, own) => Ok(()),
                Some(own) => {
                    refuse(format!("which is not beneath {own:?}, the directory of the image; {ADVICE}"))
                }
            },
            Self::Files(files) => match files.get(index.saturating_sub(1)) {
                Some(file) if is_same(file, found)? => Ok(()),
                Some(file) => refuse(format!("and {file:?} is the one that is allowed there")),
                None => refuse("and the chain that is allowed ends above it".to_owned()),
            },
            Self::Directories(directories) => {
                for directory in directories {
                    if is_beneath(&found.real, &real_directory(directory)?) {
                        return Ok(());
                    }
                }
                refuse(format!("which is beneath none of the directories that are allowed: {directories:?}"))
            }
        }
    }

    /// After the last layer: whether there should be more.
    pub(super) fn check_end(&self, found: usize) -> Result<()> {
        match self {
            Self::Files(files) => match files.get(found.saturating_sub(1)) {
                Some(missing) => Err(refused(format!(
                    "its headers do not name {missing:?}, which the chain was said to have"
                ))),
                None => Ok(()),
            },
            Self::OwnDirectory | Self::Forbidden | Self::Directories(_) => Ok(()),
        }
    }
}

const ADVICE: &str = "if it is right, name it, or a directory that it lies beneath, as allowed for this disk";

/// A block device has none that means anything: /dev has the disks of everybody. Neither has what lies in the
/// root.
fn own_directory(top: &Look) -> Option<&Path> {
    let own = top.real.parent().filter(|_| top.kind == Kind::File)?;
    own.parent().map(|_| own)
}

fn is_same(named: &Path, found: &Look) -> Result<bool> {
    let named = Look::at(named)
        .map_err(|error| error.context(format!("{named:?}, which is allowed as a backing file")))?;
    Ok(named.identity == found.identity)
}

fn real_directory(directory: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(directory).map_err(|error| {
        Error::host(error, format!("resolve {directory:?}, beneath which backing files are allowed"))
    })
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::ImageRefused, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_name_nothing() {
        let rule =
            |paths: &[&str]| BackingRule::Directories(paths.iter().map(PathBuf::from).collect()).validate();
        assert!(rule(&["/srv", "/var"]).is_ok());
        for bad in [&[][..], &["srv"], &["/srv", ""], &["/s\0v"], &["/srv"; MAX_PATHS + 1]] {
            assert_eq!(rule(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
        }
        assert!(BackingRule::Forbidden.validate().is_ok());
    }

    #[test]
    fn written_and_read() {
        for (rule, text) in [
            (BackingRule::OwnDirectory, r#""own_directory""#),
            (BackingRule::Forbidden, r#""forbidden""#),
            (BackingRule::Files(vec!["/a".into()]), r#"{"files":["/a"]}"#),
            (BackingRule::Directories(vec!["/a".into()]), r#"{"directories":["/a"]}"#),
        ] {
            assert_eq!(serde_json::to_string(&rule).unwrap(), text);
            assert_eq!(serde_json::from_str::<BackingRule>(text).unwrap(), rule);
        }
    }
}
