//! Goes through the nodes of a description, from the top down, always in the same order.

use std::path::Path;

use serde_json::{Map, Value};

use super::drivers::{self, Driver};
use crate::disk::path;
use crate::disk::source::Mode;
use crate::error::{Error, Result};
use crate::sanitize::readable;

/// How many nodes may be above each other.
const MAX_DEPTH: usize = 16;

/// A file or block device in a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::disk) struct FileNode<'a> {
    /// Its absolute path.
    pub(in crate::disk) path: &'a Path,
    /// QEMU's driver for it.
    pub(in crate::disk) driver: &'a str,
    /// How QEMU looks for it in its fdset.
    pub(in crate::disk) mode: Mode,
    /// The node is below another image, which the guest writes to instead.
    pub(in crate::disk) is_below: bool,
    /// What is said of a qcow2 image whose file it is.
    pub(in crate::disk) qcow2: Option<Qcow2Members>,
}

/// What a description says of a qcow2 image besides its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::disk) struct Qcow2Members {
    /// What is below it, also if that is nothing.
    pub(in crate::disk) backing: bool,
    /// The file with its data.
    pub(in crate::disk) data_file: bool,
}

/// Where a node is.
pub(super) struct At {
    /// Which member of which members, for errors.
    name: String,
    depth: usize,
    /// What the node is to those who go through them.
    pub(super) role: Role,
    /// How QEMU opens it: what a node does not say, it has from the one above.
    mode: Mode,
    is_below: bool,
    qcow2: Option<Qcow2Members>,
}

/// What a node is; unknown is one of a driver that may not be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Local,
    Remote,
    Inner,
    Unknown,
}

impl At {
    /// The node that the device uses.
    pub(super) fn top(mode: Mode) -> Self {
        let name = "source".to_owned();
        Self { name, depth: 1, role: Role::Unknown, mode, is_below: false, qcow2: None }
    }

    fn child(&self, node: &Map<String, Value>, member: &str) -> Self {
        let mode = mode_of(node, self.mode);
        let is_backing = member == "backing";
        Self {
            name: format!("{}.{member}", self.name),
            depth: self.depth + 1,
            role: Role::Unknown,
            mode: Mode { read_only: is_backing || mode.read_only, ..mode },
            is_below: is_backing || self.is_below,
            qcow2: (driver_of(node) == Some(Driver::Qcow2) && member == "file").then(|| Qcow2Members {
                backing: node.contains_key("backing"),
                data_file: node.contains_key("data-file"),
            }),
        }
    }

    fn refuse<T>(&self, why: &str) -> Result<T> {
        Err(Error::invalid(format!("{}: {why}", self.name)))
    }

    /// Refuses a node that the library cannot vouch for.
    pub(super) fn check(&self, node: &Map<String, Value>) -> Result<()> {
        if self.depth > MAX_DEPTH {
            return self.refuse("there are more than 16 nodes above each other");
        }
        let Some(name) = node.get("driver").and_then(Value::as_str) else {
            return self.refuse("it has no driver; each node names its own");
        };
        let Some(driver) = Driver::named(name) else {
            let text = format!("driver {} is not supported; these are: {}", readable(name), drivers::names());
            return self.refuse(&text);
        };
        if driver != Driver::Remote && node.contains_key("auto-read-only") {
            return self.refuse("auto-read-only: a descriptor is open for one of both; use read-only");
        }
        for (member, value) in node {
            let is_node = driver.children().contains(&member.as_str());
            let at = Self { name: format!("{}.{}", self.name, readable(member)), ..Self::top(self.mode) };
            match (member.as_str(), value) {
                ("node-name", _) => return at.refuse("the library gives names itself; leave it out"),
                ("filename", value) if driver == Driver::Local => check_path(value, &at)?,
                ("backing", Value::Null) | (_, Value::Object(_)) if is_node => {}
                (_, Value::String(_)) if is_node => {
                    return at.refuse("a node that QEMU has already is not taken; describe it here");
                }
                _ if is_node => return at.refuse("a node is described by an object"),
                (_, value) => at.check_plain(value)?,
            }
        }
        match driver {
            Driver::Local if !node.contains_key("filename") => self.refuse("it has no filename"),
            Driver::Over | Driver::Qcow2 if !node.contains_key("file") => self.refuse("it has no file"),
            _ if self.qcow2.is_some() && !driver.children().is_empty() => self.refuse(
                "the file of a qcow2 is a file, a block device or what QEMU opens by itself: between them, nobody \
                 could see which other files its header names",
            ),
            _ => Ok(()),
        }
    }

    /// Nodes are only where they are looked for.
    fn check_plain(&self, value: &Value) -> Result<()> {
        match value {
            Value::Object(members) => {
                if members.contains_key("driver") || members.contains_key("node-name") {
                    return self.refuse("a node is not supported here");
                }
                members.values().try_for_each(|value| self.check_plain(value))
            }
            Value::Array(values) => values.iter().try_for_each(|value| self.check_plain(value)),
            Value::String(text) if text.contains('\0') => self.refuse("there is a NUL in it"),
            _ => Ok(()),
        }
    }
}

fn check_path(value: &Value, at: &At) -> Result<()> {
    match value.as_str() {
        Some(name) => path::check(Path::new(name)).map_err(|error| error.context(&at.name)),
        None => at.refuse("it is no text"),
    }
}

fn driver_of(node: &Map<String, Value>) -> Option<Driver> {
    Driver::named(node.get("driver")?.as_str()?)
}

/// How QEMU opens a node that would be opened like this if it said nothing (`bdrv_inherited_options()` in
/// QEMU's block.c).
fn mode_of(node: &Map<String, Value>, inherited: Mode) -> Mode {
    let flag = |value: Option<&Value>, otherwise| value.and_then(Value::as_bool).unwrap_or(otherwise);
    let direct = node.get("cache").and_then(|cache| cache.get("direct"));
    Mode {
        read_only: flag(node.get("read-only"), inherited.read_only),
        direct: flag(direct, inherited.direct),
    }
}

/// Goes through a node and those below it.
pub(super) fn visit<'a>(
    node: &'a Map<String, Value>,
    at: &At,
    found: &mut impl FnMut(&'a Map<String, Value>, &At) -> Result<()>,
) -> Result<()> {
    let driver = driver_of(node);
    let role = match driver {
        None => Role::Unknown,
        Some(Driver::Local) => Role::Local,
        Some(Driver::Remote) => Role::Remote,
        Some(Driver::Over | Driver::Qcow2) => Role::Inner,
    };
    let here = At { name: at.name.clone(), role, ..*at };
    found(node, &here)?;
    let members = driver.map_or(&[][..], Driver::children);
    for (member, child) in members.iter().filter_map(|member| Some((member, node.get(*member)?))) {
        if let Value::Object(child) = child {
            visit(child, &here.child(node, member), found)?;
        }
    }
    Ok(())
}

/// The file of a node, if it is one of the host.
pub(super) fn file_of<'a>(node: &'a Map<String, Value>, at: &At) -> Option<FileNode<'a>> {
    let text = |member: &str| node.get(member).and_then(Value::as_str);
    (at.role == Role::Local).then_some(())?;
    Some(FileNode {
        path: Path::new(text("filename")?),
        driver: text("driver")?,
        mode: mode_of(node, at.mode),
        is_below: at.is_below,
        qcow2: at.qcow2,
    })
}

/// Puts these names in place of those of the files.
pub(super) fn fill<'a>(
    node: &mut Map<String, Value>,
    names: &mut impl Iterator<Item = &'a str>,
    aio: Option<&str>,
) {
    let Some(driver) = driver_of(node) else { return };
    if driver == Driver::Local {
        names.next().and_then(|name| node.insert("filename".into(), name.into()));
        if let Some(aio) = aio.filter(|_| !node.contains_key("aio")) {
            node.insert("aio".into(), aio.into());
        }
    }
    if driver == Driver::Qcow2 && !node.contains_key("backing") {
        node.insert("backing".into(), Value::Null);
    }
    for member in driver.children() {
        if let Some(Value::Object(child)) = node.get_mut(*member) {
            fill(child, names, aio);
        }
    }
}
