//! A disk's source as QEMU describes it: a block node, which QEMU's interface calls `BlockdevOptions`, with
//! the nodes below it. The caller writes each of them out; no header of an image adds one.
//!
//! Of each node the library knows what it is: a file or block device, which the library opens and passes as a
//! descriptor; a format or a filter over other nodes; or something that QEMU opens by itself, as a network
//! does. What a member means is left to QEMU.

pub mod common;
mod drivers;
mod walk;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::chain::MAX_LAYERS;
use super::source::Mode;
use crate::error::{Error, Result, errno};
use crate::sorted::object;
pub(super) use walk::FileNode;
use walk::{At, Role};

/// The longest text that is read, in bytes.
pub const MAX_BYTES: usize = 16384;

/// How members of QEMU's that a request sets are called in it.
const SET_BY_REQUEST: &[(&str, &str)] = &[
    ("auto-read-only", "read_only"),
    ("cache", "cache"),
    ("detect-zeroes", "detect_zeroes"),
    ("discard", "discard"),
    ("read-only", "read_only"),
];

/// A block node and those below it, without names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Description(Map<String, Value>);

impl Description {
    /// From JSON text.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_BYTES {
            let text = format!("source: it has {} bytes, at most {MAX_BYTES} are read", text.len());
            return Err(Error::invalid(text).with_errno(errno::E2BIG));
        }
        let read = serde_json::from_str(text);
        let description =
            Self(read.map_err(|error| Error::invalid(format!("source: it is no JSON object: {error}")))?);
        description.check()?;
        Ok(description)
    }

    /// Of what is known to be one.
    pub(super) fn of<const N: usize>(members: [(&str, Value); N]) -> Self {
        Self(object(members.into_iter().filter(|(_, value)| !value.is_null())))
    }

    /// Refuses what is no description, or would have QEMU open what nobody has named.
    pub fn check(&self) -> Result<()> {
        let mut files = 0;
        walk::visit(&self.0, &At::top(Mode { read_only: false, direct: false }), &mut |node, at| {
            at.check(node)?;
            files += usize::from(walk::file_of(node, at).is_some());
            Ok(())
        })?;
        if files > MAX_LAYERS {
            return Err(Error::invalid(format!(
                "source: it has {files} files, at most {MAX_LAYERS} are allowed"
            )));
        }
        let set = SET_BY_REQUEST.iter().find(|(member, _)| self.0.contains_key(*member));
        match set {
            Some((member, setting)) => Err(Error::invalid(format!(
                "source: {member}: of the node that the device uses it is set by the request itself: use {setting}"
            ))),
            None => Ok(()),
        }
    }

    /// The driver of the node that the device uses.
    pub fn driver(&self) -> &str {
        self.0.get("driver").and_then(Value::as_str).unwrap_or_default()
    }

    /// QEMU's way to write it as the name of a file.
    pub fn file_name(&self) -> String {
        format!("json:{}", Value::from(self.0.clone()))
    }

    /// As JSON.
    pub fn to_value(&self) -> Value {
        self.0.clone().into()
    }

    /// The files and block devices in it, in the order in which [`Self::filled`] takes them.
    pub(super) fn files(&self, mode: Mode) -> Vec<FileNode<'_>> {
        let mut found = Vec::new();
        // Nothing refuses here.
        let _ = walk::visit(&self.0, &At::top(mode), &mut |node, at| {
            found.extend(walk::file_of(node, at));
            Ok(())
        });
        found
    }

    /// The files that the guest uses itself, and those that are below another image.
    pub fn paths(&self, is_below: bool) -> impl Iterator<Item = &Path> {
        let all = self.files(Mode { read_only: false, direct: false });
        all.into_iter().filter(move |file| file.is_below == is_below).map(|file| file.path)
    }

    /// The nodes that QEMU opens by itself, as they are.
    pub fn opened_by_qemu(&self) -> Vec<&Map<String, Value>> {
        let mut found = Vec::new();
        let _ = walk::visit(&self.0, &At::top(Mode { read_only: false, direct: false }), &mut |node, at| {
            if at.role == Role::Remote {
                found.push(node);
            }
            Ok(())
        });
        found
    }

    /// What QEMU is told: the files have these names for it, no image says by itself what is below it, and
    /// files that say nothing of it are read and written in this way of I/O.
    pub(super) fn filled<'a>(
        &self,
        mut names: impl Iterator<Item = &'a str>,
        aio: Option<&str>,
    ) -> Map<String, Value> {
        let mut node = self.0.clone();
        walk::fill(&mut node, &mut names, aio);
        node
    }
}

#[cfg(test)]
mod tests;
