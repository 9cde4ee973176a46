//! What QEMU's block graph says: which node a device reads and writes, and who else uses a node. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::disk::{DiskSpec, node};
use crate::model::{BackendNames, Device, Spec};
use crate::qmp::Command;
use crate::sanitize::readable;

/// Most nodes and edges that are looked at, and the longest name: 250 disks with chains of 16 images have
/// fewer.
const MOST: usize = 16384;
const LONGEST: usize = 256;

/// How far a node is followed up or down. A chain has 16 images, each of which is two nodes, and filters
/// between them.
const DEPTH: usize = 64;

/// Drivers whose nodes pass everything on to the one node below: what the guest writes goes there.
const FILTERS: &[&str] = &[
    "backup-top",
    "blkdebug",
    "blklogwrites",
    "blkreplay",
    "blkverify",
    "commit_top",
    "compress",
    "copy-before-write",
    "copy-on-read",
    "mirror_top",
    "preallocate",
    "throttle",
];

/// The answer to [`question`].
#[derive(Debug, Default)]
pub(crate) struct BlockGraph {
    nodes: BTreeMap<u64, Node>,
    edges: Vec<Edge>,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A block node.
    Block,
    /// A job, called as the job is.
    Job,
    /// What a device, an export or the monitor uses a node by.
    Backend,
}

#[derive(Debug)]
struct Edge {
    parent: u64,
    child: u64,
    name: String,
}

/// One image of a disk: its node, and that of the file below it, if it has one of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageNodes {
    /// What the device, or the image above, reads.
    pub(crate) format: String,
    /// What reads the file.
    pub(crate) file: Option<String>,
}

/// What a disk's device reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Top<'a> {
    /// The guest does not have it, or QEMU does not say.
    Unknown,
    /// The node of the disk.
    Own,
    /// Another node, of this name.
    Other(&'a str),
}

/// Somebody who uses a block node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// A job, by its id, and its type if that is known.
    Job(String, String),
    /// An export, by its id, and its type.
    Export(String, String),
    /// A node that has it below itself.
    Node(String),
    /// A device of the guest.
    Device(String),
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Job(id, kind) if kind.is_empty() => write!(f, "block job {id}"),
            Self::Job(id, kind) => write!(f, "block job {id} ({kind})"),
            Self::Export(id, kind) if kind == "nbd" => write!(f, "NBD export {id}"),
            Self::Export(id, kind) => write!(f, "{kind} export {id}"),
            Self::Node(name) => write!(f, "block node {name} above it"),
            Self::Device(name) => write!(f, "device {name}"),
        }
    }
}

impl Holder {
    /// Whether it is the device with this id, or a part of it.
    pub(super) fn is_device(&self, id: &str) -> bool {
        matches!(self, Self::Device(name) if is_part_of(name, id))
    }
}

/// QEMU calls a device by its id, or by its QOM path if it is a part of the one with the id; and by the name
/// of its drive if it was started with `-drive`.
pub(super) fn is_part_of(name: &str, id: &str) -> bool {
    let path = name.strip_prefix("/machine/peripheral/").and_then(|rest| rest.strip_prefix(id));
    name == id || path.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The question for the graph. It costs QEMU no I/O, unlike those for nodes and their images, and is answered
/// by QEMU 4.0 and later.
pub(crate) fn question() -> Command {
    Command::with("x-debug-query-block-graph", &[])
}

/// The questions for who uses nodes: the graph, then exports, then jobs.
pub(super) fn holder_questions() -> [Command; 3] {
    [question(), Command::with("query-block-exports", &[]), Command::with("query-block-jobs", &[])]
}

impl BlockGraph {
    /// Takes what can be understood; a QEMU that has no such answer has an empty graph.
    pub(crate) fn read(reply: &Value) -> Self {
        let list = |key: &str| reply.get(key).and_then(Value::as_array).into_iter().flatten().take(MOST);
        let mut nodes = BTreeMap::new();
        for node in list("nodes") {
            let text = |key: &str| node.get(key).and_then(Value::as_str);
            let kind = match text("type") {
                Some("block-driver") => Kind::Block,
                Some("block-job") => Kind::Job,
                Some("block-backend") => Kind::Backend,
                _ => continue,
            };
            let name = text("name").filter(|name| name.len() <= LONGEST);
            if let (Some(id), Some(name)) = (node.get("id").and_then(Value::as_u64), name) {
                nodes.insert(id, Node { kind, name: readable(name) });
            }
        }
        let edge = |edge: &Value| {
            let number = |key: &str| edge.get(key).and_then(Value::as_u64);
            let name = edge.get("name").and_then(Value::as_str).filter(|name| name.len() <= LONGEST)?;
            let name = name.to_owned();
            Some(Edge { parent: number("parent")?, child: number("child")?, name })
        };
        Self { nodes, edges: list("edges").filter_map(edge).collect() }
    }

    fn find(&self, kind: Kind, is_it: impl Fn(&str) -> bool) -> Option<u64> {
        let found = self.nodes.iter().find(|(_, node)| node.kind == kind && is_it(&node.name));
        found.map(|(id, _)| *id)
    }

    fn children(&self, id: u64) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.parent == id)
    }

    fn name(&self, id: u64) -> Option<&str> {
        self.nodes.get(&id).map(|node| node.name.as_str())
    }

    /// The node that a disk's device reads and writes; `None` if the device is not there, or uses none.
    fn top(&self, device: &Device) -> Option<u64> {
        let is_it = |name: &str| match &device.backend {
            Some(BackendNames::Drive(drive)) => name == drive.as_str(),
            _ => is_part_of(name, device.id.as_str()),
        };
        let backend = self.find(Kind::Backend, is_it)?;
        self.children(backend).find(|edge| edge.name == "root").map(|edge| edge.child)
    }

    /// The images of a device from the top down, whose drive has this name; `None` if it has none, or nodes
    /// between them that are no images.
    pub(crate) fn images(&self, device: &str, drive: &str) -> Option<Vec<ImageNodes>> {
        let is_backend = |name: &str| is_part_of(name, device) || name == drive;
        let backend = self.find(Kind::Backend, is_backend)?;
        let mut at = self.children(backend).find(|edge| edge.name == "root").map(|edge| edge.child);
        let mut images = Vec::new();
        while let Some(id) = at.filter(|_| images.len() < DEPTH) {
            let below = |name: &str| self.children(id).find(|edge| edge.name == name).map(|edge| edge.child);
            if self.children(id).any(|edge| edge.name != "file" && edge.name != "backing") {
                return None;
            }
            let file = below("file");
            if file.is_some_and(|file| self.children(file).next().is_some()) {
                return None;
            }
            let file = file.and_then(|file| self.name(file)).map(str::to_owned);
            images.push(ImageNodes { format: self.name(id)?.to_owned(), file });
            at = below("backing");
        }
        (!images.is_empty() && at.is_none()).then_some(images)
    }

    /// What the device of this disk uses. A disk that was started with `-drive` has a node of another name
    /// from the start, which counts as its own unless there is an image below it that is not recorded.
    pub(super) fn top_of(&self, device: &Device) -> Top<'_> {
        let Some((top, name)) = self.top(device).and_then(|top| Some((top, self.name(top)?))) else {
            return Top::Unknown;
        };
        let id = device.id.as_str();
        if let Some(below) = self.below_filter(device, top) {
            return below;
        }
        let is_drive = device.backend.is_none() && self.find(Kind::Block, |name| name == id).is_none();
        let is_own =
            self.is_own(top, device, |_| false) || (is_drive && self.images_below(top, |_| false) == 0);
        if is_own { Top::Own } else { Top::Other(name) }
    }

    /// What the node that limits a disk stands on, if `top` is such a node. Its image has a name that was
    /// given to it; that of an image without a filter has been made up by QEMU, if it is a node of its own.
    fn below_filter(&self, device: &Device, top: u64) -> Option<Top<'_>> {
        let Spec::Disk(DiskSpec { limits: Some(_), .. }) = &device.spec else { return None };
        let own = node::image_node(&device.id).ok()?;
        let below = self.children(top).find(|edge| edge.name == "file")?.child;
        let name = self.name(below).filter(|_| self.name(top) == Some(device.backend_name().as_str()))?;
        match name == own {
            true => Some(Top::Own),
            false if name.starts_with('#') => None,
            false => Some(Top::Other(name)),
        }
    }

    /// Whether it is the node that the disk was plugged in with. That of a drive has a name that QEMU has
    /// made up: it has as many images below it as are recorded.
    fn is_own(&self, node: u64, device: &Device, is_filter: impl Fn(&str) -> bool) -> bool {
        match (&device.backend, &device.spec) {
            (Some(BackendNames::Drive(_)), Spec::Disk(spec)) => {
                let recorded = spec.chain.as_ref().map_or(0, |chain| chain.layers.len().saturating_sub(1));
                self.images_below(node, is_filter) == recorded
            }
            (_, Spec::Disk(DiskSpec { limits: Some(_), .. }))
                if node::image_node(&device.id).ok().as_deref() == self.name(node) =>
            {
                true
            }
            _ => self.name(node) == Some(device.backend_name().as_str()),
        }
    }

    /// How many images are below this one.
    fn images_below(&self, node: u64, is_filter: impl Fn(&str) -> bool) -> usize {
        let (mut at, mut count) = (node, 0);
        for _ in 0..DEPTH {
            let is_image = !self.name(at).is_some_and(&is_filter);
            let below = |edge: &&Edge| edge.name == "backing" || (!is_image && edge.name == "file");
            let Some(edge) = self.children(at).find(below) else { break };
            (at, count) = (edge.child, count + usize::from(is_image));
        }
        count
    }

    /// Whether everything that is written to this node goes to the node that the disk was plugged in with.
    /// `driver_of` is a node's driver.
    pub(super) fn passes_on_to<'a>(
        &self,
        node: &str,
        device: &Device,
        driver_of: impl Fn(&str) -> Option<&'a str>,
    ) -> bool {
        let is_filter = |name: &str| driver_of(name).is_some_and(|driver| FILTERS.contains(&driver));
        let mut at = self.find(Kind::Block, |name| name == node);
        for _ in 0..DEPTH {
            let Some((id, name)) = at.and_then(|id| Some((id, self.name(id)?))) else { return false };
            if self.is_own(id, device, is_filter) {
                return true;
            }
            if !is_filter(name) {
                return false;
            }
            let below = |edge: &&Edge| edge.name == "file" || edge.name == "backing" || edge.name == "image";
            at = self.children(id).find(below).map(|edge| edge.child);
        }
        false
    }

    /// Who uses this node, directly or through nodes above it. `exports` and `jobs` are the answers to
    /// [`holder_questions`].
    pub(super) fn holders(&self, node: &str, exports: &Value, jobs: &Value) -> Vec<Holder> {
        let mut names = BTreeSet::from([node.to_owned()]);
        let mut holders = BTreeSet::new();
        let mut level: BTreeSet<u64> = self.find(Kind::Block, |name| name == node).into_iter().collect();
        for _ in 0..DEPTH {
            let above = |edge: &&Edge| level.contains(&edge.child);
            let parents: BTreeSet<u64> = self.edges.iter().filter(above).map(|edge| edge.parent).collect();
            level.clear();
            for parent in parents {
                let Some(Node { kind, name }) = self.nodes.get(&parent) else { continue };
                match kind {
                    Kind::Job => drop(holders.insert(Holder::Job(name.clone(), job_type(jobs, name)))),
                    // Exports and the monitor have none.
                    Kind::Backend if name.is_empty() => {}
                    Kind::Backend => drop(holders.insert(Holder::Device(name.clone()))),
                    Kind::Block if names.insert(name.clone()) => {
                        // QEMU's own, made for a job: that is told already.
                        if !name.starts_with('#') {
                            holders.insert(Holder::Node(name.clone()));
                        }
                        level.insert(parent);
                    }
                    Kind::Block => {}
                }
            }
        }
        for export in exports.as_array().into_iter().flatten() {
            let text = |key: &str| export.get(key).and_then(Value::as_str);
            if let (Some(id), Some(used)) = (text("id"), text("node-name")) {
                if names.contains(used) {
                    holders.insert(Holder::Export(readable(id), readable(text("type").unwrap_or_default())));
                }
            }
        }
        holders.into_iter().collect()
    }
}

fn job_type(jobs: &Value, id: &str) -> String {
    let is_it = |job: &&Value| job.get("device").and_then(Value::as_str) == Some(id);
    let job = jobs.as_array().and_then(|jobs| jobs.iter().find(is_it));
    readable(job.and_then(|job| job.get("type")).and_then(Value::as_str).unwrap_or_default())
}

#[cfg(test)]
mod tests;
