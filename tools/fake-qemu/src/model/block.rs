//! Block nodes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Model, Node, SetFd};
use crate::command::{Answer, Descriptor, Effect, File, QmpError};

/// QEMU's limit, without the final NUL.
const MAX_NODE_NAME: usize = 31;

/// What is opened for a node.
#[derive(Default)]
struct Opened {
    sets: BTreeSet<u32>,
    children: Vec<(String, String, Value)>,
}

impl Model {
    pub(super) fn blockdev_add(&mut self, name: &str, arguments: &Value) -> Answer {
        if name.len() > MAX_NODE_NAME {
            return Err(QmpError::generic("Node name too long"));
        }
        if self.nodes.contains_key(name) {
            return Err(QmpError::generic(format!("Duplicate nodes with node-name='{name}'")));
        }
        let mut opened = Opened::default();
        self.open_files(arguments, false, &mut opened)?;
        for set in &opened.sets {
            self.fdsets.entry(*set).or_default().users.insert(name.into());
        }
        let size = self.own_set(arguments).map_or(0, |set| self.image(set).map_or(0, Descriptor::disk_size));
        let Opened { sets, children } = opened;
        self.nodes.insert(name.into(), Node { sets, size, options: arguments.clone(), children });
        Ok(json!({}))
    }

    /// Opens what a node and the nodes below it name; a backing image is read-only.
    fn open_files(&mut self, node: &Value, read_only: bool, opened: &mut Opened) -> Result<(), QmpError> {
        let read_only = read_only || node.get("read-only") == Some(&Value::Bool(true));
        if let Some(filename) = node.get("filename").and_then(Value::as_str) {
            opened.sets.insert(self.open_file(filename, read_only)?);
        }
        match node.get("file") {
            Some(file @ Value::Object(_)) => self.open_child("file", file, read_only, opened)?,
            _ if node.get("filename").is_some() => {}
            _ => return Err(QmpError::generic("A block device must be specified for \"file\"")),
        }
        match node.get("backing") {
            Some(backing @ Value::Object(_)) => self.open_child("backing", backing, true, opened),
            _ => Ok(()),
        }
    }

    fn open_child(
        &mut self,
        role: &str,
        child: &Value,
        read_only: bool,
        opened: &mut Opened,
    ) -> Result<(), QmpError> {
        self.open_files(child, read_only, opened)?;
        let given = child.get("node-name").and_then(Value::as_str).map(str::to_owned);
        let name = given.unwrap_or_else(|| {
            self.nodes_made += 1;
            format!("#block{:03}", self.nodes_made - 1)
        });
        opened.children.push((role.into(), name, child.clone()));
        Ok(())
    }

    fn open_file(&self, filename: &str, read_only: bool) -> Result<u32, QmpError> {
        let flags = if read_only { 0 } else { 2 };
        let failed =
            |why: &str| QmpError::generic(format!("Could not dup FD for {filename} flags {flags}: {why}"));
        let id = set_of(filename);
        let set =
            id.and_then(|id| self.fdsets.get(&id)).ok_or_else(|| failed("No such file or directory"))?;
        if !set.fds.iter().any(|fd| !fd.removed && fd.fd.writable != read_only) {
            return Err(failed("Permission denied"));
        }
        Ok(id.unwrap_or_default())
    }

    /// The set with the image of a node itself, and not of one behind it.
    fn own_set(&self, node: &Value) -> Option<u32> {
        let filename = node.get("filename").and_then(Value::as_str);
        filename.and_then(set_of).or_else(|| node.get("file").and_then(|file| self.own_set(file)))
    }

    fn image(&self, set: u32) -> Option<&Descriptor> {
        self.fdsets.get(&set).and_then(|set| set.fds.first()).map(|fd| &fd.fd)
    }

    /// Of raw images: the file follows.
    pub(super) fn block_resize(&mut self, name: &str, arguments: &Value) -> Answer {
        let Some(node) = self.nodes.get_mut(name) else {
            return Err(QmpError::generic(format!("Cannot find device='' nor node-name='{name}'")));
        };
        let Some(size) = arguments.get("size").and_then(Value::as_u64) else {
            return Err(QmpError::generic("Parameter 'size' is missing"));
        };
        node.size = size.next_multiple_of(512);
        let options = node.options.clone();
        let set = self.own_set(&options).or_else(|| self.nodes[name].sets.first().copied());
        let image = set.and_then(|set| self.image(set)).cloned();
        if let Some(Descriptor { number, file: File::Image { name, virtual_size: None, .. }, .. }) = image {
            self.effects.push(Effect::Truncate { number, length: size });
            self.set_length(&name, size);
        }
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
            return Err(QmpError::generic(format!("Failed to find node with node-name='{name}'")));
        }
        if self.devices.iter().any(|device| device.drive.as_deref() == Some(name)) {
            self.violations.push(format!("blockdev-del {name} while its device is in the guest"));
        }
        let exported = self.exports.values().chain(self.jobs.values()).any(|node| node == name);
        if exported || self.uses_node(name) {
            return Err(QmpError::generic(format!("Node {name} is in use")));
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

fn set_of(filename: &str) -> Option<u32> {
    filename.strip_prefix("/dev/fdset/").and_then(|id| id.parse().ok())
}
