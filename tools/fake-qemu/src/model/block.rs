//! Block nodes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{BelowNode, Model, Node, SetFd};
use crate::command::{Answer, Descriptor, Effect, File, QmpError};

/// QEMU's limit, without the final NUL.
const MAX_NODE_NAME: usize = 31;

/// Drivers over files.
const DRIVERS: [&str; 8] =
    ["copy-on-read", "file", "host_cdrom", "host_device", "luks", "qcow2", "raw", "throttle"];

/// Drivers that need no file.
const REMOTE: [&str; 3] = ["nbd", "null-aio", "null-co"];

/// Drivers whose module is not installed.
const IN_MODULES: [&str; 5] = ["https", "iscsi", "nfs", "rbd", "ssh"];

/// Of a disk behind a network that does not say, in bytes.
const REMOTE_SIZE: u64 = 1 << 20;

/// What is opened for a node.
#[derive(Default)]
struct Opened {
    sets: BTreeSet<u32>,
    below: Vec<BelowNode>,
}

/// A node that is to be opened.
struct Wanted<'a> {
    name: String,
    options: &'a Value,
    read_only: bool,
}

impl Model {
    pub(super) fn blockdev_add(&mut self, name: &str, arguments: &Value) -> Answer {
        self.check_driver(arguments)?;
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Err(QmpError::generic(match self.version.has_old_texts() {
                true => "Invalid node name".into(),
                false => format!("Invalid node-name: '{name}'"),
            }));
        }
        if name.len() > MAX_NODE_NAME {
            return Err(QmpError::generic("Node name too long"));
        }
        if self.nodes.contains_key(name) {
            return Err(QmpError::generic(if self.version.has_old_texts() {
                "Duplicate node name".into()
            } else {
                format!("Duplicate nodes with node-name='{name}'")
            }));
        }
        self.check_group(arguments)?;
        let mut opened = Opened::default();
        self.open_below(&Wanted { name: name.into(), options: arguments, read_only: false }, &mut opened)?;
        for set in &opened.sets {
            self.fdsets.entry(*set).or_default().users.insert(name.into());
        }
        let (size, options) = (self.size_of(arguments), arguments.clone());
        let Opened { sets, below } = opened;
        self.nodes.insert(name.into(), Node { sets, size, options, below });
        Ok(json!({}))
    }

    /// Whether it has the driver. Those of modules are in the schema of every QEMU, and in none as it is
    /// modelled.
    fn check_driver(&self, options: &Value) -> Result<(), QmpError> {
        let driver = options.get("driver").and_then(Value::as_str).unwrap_or_default();
        if DRIVERS.contains(&driver) || REMOTE.contains(&driver) {
            return Ok(());
        }
        Err(QmpError::generic(match self.version.has_old_texts() {
            _ if IN_MODULES.contains(&driver) => format!("Unknown driver '{driver}'"),
            true => format!("Invalid parameter '{driver}'"),
            false => format!("Parameter 'driver' does not accept value '{driver}'"),
        }))
    }

    /// Opens what a node and the nodes below it name; a backing image is read-only.
    fn open_below(&mut self, node: &Wanted<'_>, opened: &mut Opened) -> Result<(), QmpError> {
        self.check_named(node.options)?;
        let read_only = node.read_only || node.options.get("read-only") == Some(&Value::Bool(true));
        let filename = node.options.get("filename").and_then(Value::as_str);
        if let Some(filename) = filename {
            opened.sets.insert(self.open_file(filename, read_only)?);
        } else if !is_remote(node.options) && !node.options.get("file").is_some_and(Value::is_object) {
            return Err(QmpError::generic("Parameter 'file' is missing"));
        }
        for (role, read_only) in [("file", read_only), ("backing", true), ("data-file", read_only)] {
            let Some(options) = node.options.get(role).filter(|options| options.is_object()) else {
                continue;
            };
            let child = Wanted { name: self.node_name(options), options, read_only };
            let mut shown = options.clone();
            if read_only {
                shown["read-only"] = true.into();
            }
            opened.below.push(BelowNode {
                name: child.name.clone(),
                parent: node.name.clone(),
                role: role.into(),
                size: self.size_of(options),
                options: shown,
            });
            self.open_below(&child, opened)?;
        }
        Ok(())
    }

    /// The name that the client gave, or one that nobody else has.
    pub(super) fn node_name(&mut self, options: &Value) -> String {
        let given = options.get("node-name").and_then(Value::as_str).map(str::to_owned);
        given.unwrap_or_else(|| {
            self.nodes_made += 1;
            format!("#block{:03}", self.nodes_made - 1)
        })
    }

    /// Of a node over an image of its own: a format's own size, and of all others the whole file.
    fn size_of(&self, options: &Value) -> u64 {
        if is_remote(options) {
            return options.get("size").and_then(Value::as_u64).unwrap_or(REMOTE_SIZE);
        }
        // What passes everything on.
        if let Some(file) = options.get("file").filter(|_| options.get("driver") == Some(&json!("throttle")))
        {
            return self.size_of(file);
        }
        let image = Self::own_set(options).and_then(|set| self.image(set));
        let is_format = options.get("driver").and_then(Value::as_str) == Some("qcow2");
        image.map_or(0, |image| if is_format { image.disk_size() } else { image.file_size() })
    }

    fn open_file(&self, filename: &str, read_only: bool) -> Result<u32, QmpError> {
        let flags = if read_only { 0 } else { 2 };
        let failed = |errno: &str, explained: String| {
            let text = format!("Could not dup FD for {filename} flags {flags}: {errno}");
            QmpError::generic(if self.version.explains_fdsets() { explained } else { text })
        };
        let id = set_of(filename);
        let Some(set) = id.and_then(|id| self.fdsets.get(&id)) else {
            return Err(failed("No such file or directory", format!("Failed to find fdset {filename}")));
        };
        if !set.fds.iter().any(|fd| !fd.removed && fd.fd.writable != read_only) {
            let explained = format!("Failed to find file descriptor with matching flags=0x{flags}");
            return Err(failed("Permission denied", explained));
        }
        Ok(id.unwrap_or_default())
    }

    /// The set with the image of a node itself, and not of one behind it.
    fn own_set(node: &Value) -> Option<u32> {
        let filename = node.get("filename").and_then(Value::as_str);
        filename.and_then(set_of).or_else(|| node.get("file").and_then(Self::own_set))
    }

    fn image(&self, set: u32) -> Option<&Descriptor> {
        self.fdsets.get(&set).and_then(|set| set.fds.first()).map(|fd| &fd.fd)
    }

    /// Of raw images: the file follows.
    pub(super) fn block_resize(&mut self, name: &str, arguments: &Value) -> Answer {
        let drive = arguments.get("device").and_then(Value::as_str).unwrap_or_default();
        let name = &self.drives.get(drive).map_or(name, String::as_str).to_owned();
        let Some(node) = self.nodes.get(name).cloned() else {
            return Err(QmpError::generic(if self.version.has_old_texts() {
                format!("Cannot find device={drive} nor node_name={name}")
            } else {
                format!("Cannot find device='{drive}' nor node-name='{name}'")
            }));
        };
        let Some(size) = arguments.get("size").and_then(Value::as_u64) else {
            return Err(QmpError::generic("Parameter 'size' is missing"));
        };
        let sectors = size.next_multiple_of(512);
        let image = Self::own_set(&node.options).and_then(|set| self.image(set)).cloned();
        let is_raw = node.options.get("driver").and_then(Value::as_str) != Some("qcow2");
        if let Some(Descriptor { number, file: File::Image { name, .. }, .. }) = image.filter(|_| is_raw) {
            self.effects.push(Effect::Truncate { number, length: size });
            self.set_length(&name, size);
        }
        let node = self.nodes.entry(name.clone()).or_default();
        node.size = sectors;
        node.below
            .iter_mut()
            .filter(|below| is_raw && below.role == "file")
            .for_each(|below| below.size = sectors);
        Ok(json!({}))
    }

    fn set_length(&mut self, file: &str, size: u64) {
        let all = self.fdsets.values_mut().flat_map(|set| &mut set.fds);
        for SetFd { fd, .. } in all {
            match &mut fd.file {
                File::Image { name, length, .. } if name == file => *length = size,
                _ => {}
            }
        }
    }

    pub(super) fn blockdev_del(&mut self, name: &str) -> Answer {
        if !self.nodes.contains_key(name) {
            return Err(QmpError::generic(if self.version.has_old_texts() {
                format!("Cannot find node {name}")
            } else {
                format!("Failed to find node with node-name='{name}'")
            }));
        }
        if self.devices.iter().any(|device| self.node_of(device) == Some(name)) {
            self.violations.push(format!("blockdev-del {name} while its device is in the guest"));
        }
        let exported = self.exports.values().chain(self.jobs.values()).any(|node| node == name);
        if exported || self.uses_node(name) {
            return Err(QmpError::generic(format!("Node {name} is in use")));
        }
        if self.nodes.values().any(|node| node.options.get("file").and_then(Value::as_str) == Some(name)) {
            return Err(QmpError::generic(format!("Block device {name} is in use")));
        }
        for set in self.nodes.remove(name).unwrap_or_default().sets {
            if let Some(set) = self.fdsets.get_mut(&set) {
                set.users.remove(name);
            }
        }
        self.sweep_fdsets(false);
        Ok(json!({}))
    }
}

fn is_remote(options: &Value) -> bool {
    options.get("driver").and_then(Value::as_str).is_some_and(|driver| REMOTE.contains(&driver))
}

fn set_of(filename: &str) -> Option<u32> {
    filename.strip_prefix("/dev/fdset/").and_then(|id| id.parse().ok())
}
