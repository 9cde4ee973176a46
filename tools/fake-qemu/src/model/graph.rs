//! What is said about block nodes, and who uses them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{BelowNode, Dev, Model, Node};

impl Model {
    pub(super) fn query_nodes(&self) -> Value {
        let described = self.nodes.iter().flat_map(|(name, node)| {
            let below = self.shown_below(node).map(|below| describe(&below.name, below.size, &below.options));
            std::iter::once(describe(name, node.size, &node.options)).chain(below)
        });
        described.collect()
    }

    fn shown_below<'a>(&self, node: &'a Node) -> impl Iterator<Item = &'a BelowNode> + use<'a> {
        let shown = self.shows_nodes_below;
        node.below.iter().filter(move |_| shown)
    }

    /// The disks, each with its node, and the drives whose devices are being taken apart.
    pub(super) fn query_block(&self) -> Value {
        let disk = |drive: &str, name: &str| {
            let node = self.nodes.get(name)?;
            Some(json!({
                "device": drive,
                "type": "unknown",
                "locked": false,
                "removable": false,
                "inserted": describe(name, node.size, &node.options),
            }))
        };
        let has = |drive: &String| self.devices.iter().any(|device| device.drive.as_ref() == Some(drive));
        let disks = self.devices.iter().filter_map(|device| {
            let mut disk = match &device.drive {
                Some(drive) => {
                    let drive = self.drives.get_key_value(drive).map_or("", |(drive, _)| drive);
                    disk(drive, self.node_of(device)?)?
                }
                None if device.is_cd() => json!({ "device": "", "type": "unknown" }),
                None => return None,
            };
            if device.is_cd() {
                disk["removable"] = true.into();
                disk["locked"] = device.tray.locked.into();
                disk["tray_open"] = device.tray.open.into();
            }
            disk["qdev"] = device.backend().into();
            for (name, value) in device.throttle.as_object().into_iter().flatten() {
                disk["inserted"][name] = value.clone();
            }
            disk["io-status"] = "ok".into();
            Some(disk)
        });
        let others = self.drives.iter().filter(|(drive, _)| !has(drive));
        disks.chain(others.filter_map(|(drive, node)| disk(drive, node))).collect()
    }

    pub(super) fn query_exports(&self) -> Value {
        let export = |(id, node): (&String, &String)| json!({ "id": id, "type": "nbd", "node-name": node, "shutting-down": false });
        self.exports.iter().map(export).collect()
    }

    pub(super) fn query_jobs(&self) -> Value {
        let job = |id: &String| {
            json!({
                "device": id, "type": "stream", "len": 0, "offset": 0, "speed": 0, "status": "running",
                "busy": true, "paused": false, "ready": false, "io-status": "ok",
                "auto-finalize": true, "auto-dismiss": true,
            })
        };
        self.jobs.keys().map(job).collect()
    }

    /// Nodes, devices, jobs, and which of them stands on which node: as it was plugged in, since nobody
    /// changes that here.
    pub(super) fn query_graph(&self) -> Value {
        let (mut nodes, mut edges) = (Vec::new(), Vec::new());
        let mut number = 0;
        let mut put = |kind: &str, name: &str| {
            number += 1;
            nodes.push(json!({ "id": number, "type": kind, "name": name }));
            number
        };
        let edge = |name: &str, parent: u64, child: u64| json!({ "parent": parent, "child": child, "name": name, "perm": [], "shared-perm": [] });
        let tops =
            BTreeMap::from_iter(self.nodes.keys().map(|name| (name.as_str(), put("block-driver", name))));
        for (name, node) in &self.nodes {
            let parent = tops.get(name.as_str()).copied().unwrap_or_default();
            let file = node.options.get("file").and_then(Value::as_str);
            let below = file.and_then(|file| tops.get(file));
            edges.extend(below.map(|below| edge("file", parent, *below)));
            let mut numbers = BTreeMap::from([(name, parent)]);
            for below in self.shown_below(node) {
                let child = put("block-driver", &below.name);
                edges.extend(numbers.get(&below.parent).map(|parent| edge(&below.role, *parent, child)));
                numbers.insert(&below.name, child);
            }
            let leaving = self.leaving.iter().map(|leaving| &leaving.device);
            let on_it = |device: &&Dev| self.node_of(device) == Some(name);
            for device in self.devices.iter().chain(leaving).filter(on_it) {
                let drive = device.drive.as_ref().filter(|drive| self.drives.contains_key(*drive));
                let user = drive.map_or_else(|| device.backend(), String::clone);
                edges.push(edge("root", put("block-backend", &user), parent));
            }
            for (job, _) in self.jobs.iter().filter(|(_, used)| *used == name) {
                edges.push(edge("main node", put("block-job", job), parent));
            }
        }
        let is_empty = |device: &&Dev| device.is_cd() && device.drive.is_none();
        self.devices.iter().filter(is_empty).for_each(|device| _ = put("block-backend", &device.backend()));
        json!({ "nodes": nodes, "edges": edges })
    }
}

fn describe(name: &str, size: u64, options: &Value) -> Value {
    let text = |key: &str, usual: &str| options.get(key).and_then(Value::as_str).unwrap_or(usual).to_owned();
    let read_only = options.get("read-only") == Some(&Value::Bool(true));
    let format = text("driver", "raw");
    json!({
        "node-name": name,
        "drv": format,
        "ro": read_only,
        "detect_zeroes": text("detect-zeroes", "off"),
        "image": { "virtual-size": size, "actual-size": 0, "format": format },
        "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0,
    })
}
