//! fdsets and block nodes.

use std::collections::BTreeSet;

use nix::fcntl::OFlag;
use serde_json::{Value, json};

use super::model::{Answer, Model, Node, SetFd};
use super::wire::{Held, QmpError};

/// QEMU's limit, without the final NUL.
const MAX_NODE_NAME: usize = 31;

impl Model {
    pub(super) fn add_fd(&mut self, arguments: &Value, fd: Option<Held>) -> Answer {
        let Some(fd) = fd else {
            return Err(QmpError::generic("No file descriptor supplied via SCM_RIGHTS"));
        };
        let free = (0..).find(|id| !self.fdsets.contains_key(id)).unwrap();
        let id = fdset_id(arguments).unwrap_or(free);
        let opaque = arguments.get("opaque").and_then(Value::as_str).map(str::to_owned);
        let number = fd.0;
        self.fdsets.entry(id).or_default().fds.push(SetFd { fd, opaque, removed: false });
        Ok(json!({ "fdset-id": id, "fd": number }))
    }

    pub(super) fn remove_fd(&mut self, arguments: &Value) -> Answer {
        let id = fdset_id(arguments).unwrap_or(u32::MAX);
        let Some(set) = self.fdsets.get_mut(&id) else {
            return Err(QmpError::generic(format!("File descriptor named 'fdset-id:{id}' not found")));
        };
        set.fds.iter_mut().for_each(|fd| fd.removed = true);
        self.sweep_fdsets(false);
        Ok(json!({}))
    }

    /// Before QEMU 9.1, descriptors that nothing has duplicated go with the last client; only a running guest's do.
    pub(super) fn last_client_left(&mut self) {
        self.sweep_fdsets(self.version < (9, 1, 0));
    }

    fn sweep_fdsets(&mut self, unused_too: bool) {
        let running = self.is_running();
        for set in self.fdsets.values_mut().filter(|_| running) {
            let unused = unused_too && set.users.is_empty();
            set.fds.retain(|fd| !(fd.removed || unused));
        }
        self.fdsets.retain(|_, set| !(set.fds.is_empty() && set.users.is_empty()));
    }

    pub(super) fn query_fdsets(&self) -> Value {
        let describe = |fd: &SetFd| match &fd.opaque {
            Some(opaque) => json!({ "fd": fd.fd.0, "opaque": opaque }),
            None => json!({ "fd": fd.fd.0 }),
        };
        let sets = self.fdsets.iter().map(
            |(id, set)| json!({ "fdset-id": id, "fds": set.fds.iter().map(describe).collect::<Vec<_>>() }),
        );
        sets.collect()
    }

    pub(super) fn query_nodes(&self) -> Value {
        let describe = |(name, node): (&String, &Node)| {
            let image = json!({ "virtual-size": node.size, "actual-size": 0 });
            json!({ "node-name": name, "ro": false, "image": image })
        };
        self.nodes.iter().map(describe).collect()
    }

    pub(super) fn query_exports(&self) -> Value {
        let export = |(id, node): (&String, &String)| json!({ "id": id, "type": "nbd", "node-name": node, "shutting-down": false });
        self.exports.iter().map(export).collect()
    }

    /// Devices, and the node that each uses: as it was plugged in, since nobody changes that here.
    pub(super) fn query_graph(&self) -> Value {
        let (mut nodes, mut edges) = (Vec::new(), Vec::new());
        for (number, name) in self.nodes.keys().enumerate() {
            nodes.push(json!({ "id": number, "type": "block-driver", "name": name }));
        }
        for (device, number) in self.devices.iter().zip(self.nodes.len()..) {
            let (Some(id), Some(drive)) = (&device.id, &device.drive) else { continue };
            let Some(child) = self.nodes.keys().position(|name| name == drive) else { continue };
            let path = format!("/machine/peripheral/{id}/virtio-backend");
            nodes.push(json!({ "id": number, "type": "block-backend", "name": path }));
            edges.push(
                json!({ "parent": number, "child": child, "name": "root", "perm": [], "shared-perm": [] }),
            );
        }
        json!({ "nodes": nodes, "edges": edges })
    }

    pub(super) fn blockdev_add(&mut self, name: &str, arguments: &Value) -> Answer {
        if name.len() > MAX_NODE_NAME {
            return Err(QmpError::generic("Node name too long"));
        }
        if self.nodes.contains_key(name) {
            return Err(QmpError::generic(format!("Duplicate nodes with node-name='{name}'")));
        }
        let mut sets = BTreeSet::new();
        self.open_files(arguments, false, &mut sets)?;
        for set in &sets {
            self.fdsets.entry(*set).or_default().users.insert(name.into());
        }
        let size = sets.first().map_or(0, |set| self.file_size(*set));
        self.nodes.insert(name.into(), Node { sets, size });
        Ok(json!({}))
    }

    /// Opens what a node and the nodes below it name; a backing image is read-only.
    fn open_files(&self, node: &Value, read_only: bool, sets: &mut BTreeSet<u32>) -> Result<(), QmpError> {
        let read_only = read_only || node.get("read-only") == Some(&Value::Bool(true));
        if let Some(filename) = node.get("filename").and_then(Value::as_str) {
            sets.insert(self.open_file(filename, read_only)?);
        }
        match node.get("file") {
            Some(file @ Value::Object(_)) => self.open_files(file, read_only, sets)?,
            _ if node.get("filename").is_some() => {}
            _ => return Err(QmpError::generic("A block device must be specified for \"file\"")),
        }
        match node.get("backing") {
            Some(backing @ Value::Object(_)) => self.open_files(backing, true, sets),
            _ => Ok(()),
        }
    }

    fn open_file(&self, filename: &str, read_only: bool) -> Result<u32, QmpError> {
        let flags = if read_only { 0 } else { 2 };
        let failed =
            |why: &str| QmpError::generic(format!("Could not dup FD for {filename} flags {flags}: {why}"));
        let id = filename.strip_prefix("/dev/fdset/").and_then(|id| id.parse().ok());
        let set =
            id.and_then(|id| self.fdsets.get(&id)).ok_or_else(|| failed("No such file or directory"))?;
        let wanted = if read_only { OFlag::O_RDONLY } else { OFlag::O_RDWR };
        if !set.fds.iter().any(|fd| !fd.removed && fd.fd.flags() & OFlag::O_ACCMODE == wanted) {
            return Err(failed("Permission denied"));
        }
        Ok(id.unwrap_or_default())
    }

    /// The size of a raw image, rounded up to whole sectors; QEMU looks once.
    fn file_size(&self, set: u32) -> u64 {
        let fd = self.fdsets.get(&set).and_then(|set| set.fds.first());
        let length = |fd: &SetFd| std::fs::metadata(format!("/proc/self/fd/{}", fd.fd.0)).unwrap().len();
        fd.map_or(0, length).next_multiple_of(512)
    }

    /// Of raw images: the file follows.
    pub(super) fn block_resize(&mut self, name: &str, arguments: &Value) -> Answer {
        let size = arguments.get("size").and_then(Value::as_u64).unwrap();
        let Some(node) = self.nodes.get_mut(name) else {
            return Err(QmpError::generic(format!("Cannot find device='' nor node-name='{name}'")));
        };
        node.size = size.next_multiple_of(512);
        let fd = node.sets.first().and_then(|set| self.fdsets.get(set)).and_then(|set| set.fds.first());
        if let Some(fd) = fd {
            let path = format!("/proc/self/fd/{}", fd.fd.0);
            std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(size).unwrap();
        }
        Ok(json!({}))
    }

    pub(super) fn blockdev_del(&mut self, name: &str) -> Answer {
        if !self.nodes.contains_key(name) {
            return Err(QmpError::generic(format!("Failed to find node with node-name='{name}'")));
        }
        if self.devices.iter().any(|device| device.drive.as_deref() == Some(name)) {
            self.violations.push(format!("blockdev-del {name} while its device is in the guest"));
            return Err(QmpError::generic(format!("Node {name} is in use")));
        }
        if self.exports.values().any(|node| node == name) {
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

fn fdset_id(arguments: &Value) -> Option<u32> {
    arguments.get("fdset-id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok())
}
