//! Without what may differ from one run to the next, and what the model leaves out of what QEMU says.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Members that the model does not have, by the command that returns them. `*` is for any.
const LEFT_OUT: [(&str, &[&str]); 4] = [
    ("*", &["package"]),
    ("query-pci", &["irq", "io_range", "memory_range", "prefetchable_range"]),
    (
        "query-named-block-nodes",
        &[
            "iops_rd",
            "iops_wr",
            "iops",
            "bps_rd",
            "bps_wr",
            "bps",
            "write_threshold",
            "encrypted",
            "cache",
            "file",
            "backing_file_depth",
            "dirty-flag",
            "filename",
            "actual-size",
            "children",
            "active",
            "backing-image",
            "cluster-size",
            "format-specific",
            "backing_file",
            "backing-filename",
            "full-backing-filename",
            "backing-filename-format",
            "compressed",
            "limits",
            "encryption_key_missing",
        ],
    ),
    ("query-block", &["inserted", "io-status", "removable"]),
];

/// Numbers that one side chose, in the order in which they were seen.
pub(crate) struct Normal {
    socket: String,
    fds: Vec<i64>,
}

impl Normal {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_string_lossy().into_owned(), fds: Vec::new() }
    }

    pub(crate) fn event(&self, mut said: Value) -> Value {
        if let Some(said) = said.as_object_mut() {
            said.remove("timestamp");
        }
        said
    }

    pub(crate) fn answer(&mut self, command: &Value, mut said: Value) -> Value {
        let name = command["execute"].as_str().unwrap_or_default();
        let left_out: Vec<&str> = LEFT_OUT
            .iter()
            .filter(|(about, _)| *about == name || *about == "*")
            .flat_map(|(_, members)| members.iter().copied())
            .collect();
        if let Some(fd) = said["return"]["fd"].as_i64() {
            // QEMU may take the number of one that it has closed.
            self.fds.iter_mut().filter(|known| **known == fd).for_each(|known| *known = -1);
        }
        self.walk(&mut said, &left_out);
        match name {
            "x-debug-query-block-graph" => said["return"] = graph(&said["return"]),
            "query-named-block-nodes" | "query-fdsets" | "qom-list" | "query-chardev" => {
                sort(&mut said["return"])
            }
            _ => {}
        }
        said
    }

    fn walk(&mut self, value: &mut Value, left_out: &[&str]) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item, left_out)),
            Value::Object(members) => self.members(members, left_out),
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    fn members(&mut self, members: &mut Map<String, Value>, left_out: &[&str]) {
        left_out.iter().for_each(|name| drop(members.remove(*name)));
        // A ROM is mapped while the firmware reads it.
        if members.get("bar") == Some(&json!(6)) {
            members.remove("address");
        }
        for (name, value) in members.iter_mut() {
            match (name.as_str(), value.as_i64()) {
                ("fd", Some(fd)) => *value = json!(format!("fd {}", self.order_of(fd))),
                // Where the firmware maps something is its own choice.
                ("address", Some(address)) if address >= 0 => *value = "mapped".into(),
                _ => self.walk(value, left_out),
            }
        }
    }

    fn order_of(&mut self, fd: i64) -> usize {
        let known = self.fds.iter().position(|known| *known == fd);
        known.unwrap_or_else(|| {
            self.fds.push(fd);
            self.fds.len() - 1
        })
    }

    /// Names that QEMU makes up, and the paths of this run.
    fn text(&self, text: &str) -> String {
        let text = text.replace(&self.socket, "SOCKET");
        let text = without_digits(&text, "#block");
        let text = without_digits(&text, "/machine/unattached/device[");
        let text = without_digits(&text, "fd=");
        // Of hot-plug handlers; since QEMU 11 they are a part of the chipset's device.
        let text = text.replace("/machine/unattached/device[]/pm", "/machine/unattached/device[]");
        text.replace(&std::process::id().to_string(), "")
    }
}

/// The text without the digits behind each place with this in it.
fn without_digits(text: &str, before: &str) -> String {
    let mut parts = text.split(before);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + before + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn sort(list: &mut Value) {
    if let Some(list) = list.as_array_mut() {
        list.sort_by_key(Value::to_string);
    }
}

/// Who stands on which node, by name.
fn graph(graph: &Value) -> Value {
    let nodes = graph["nodes"].as_array().cloned().unwrap_or_default();
    let shown = |node: &Value| {
        format!("{} {}", node["type"].as_str().unwrap_or("?"), node["name"].as_str().unwrap_or("?"))
    };
    let name = |id: &Value| nodes.iter().find(|node| node["id"] == *id).map_or("?".to_owned(), shown);
    let edges = graph["edges"].as_array().cloned().unwrap_or_default();
    let edge = |edge: &Value| {
        format!(
            "{} -{}- {}",
            name(&edge["parent"]),
            edge["name"].as_str().unwrap_or("?"),
            name(&edge["child"])
        )
    };
    let mut all: Vec<String> = edges.iter().map(edge).chain(nodes.iter().map(shown)).collect();
    all.sort();
    json!(all)
}
