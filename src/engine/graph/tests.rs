//! Which node a disk uses, and who uses a node.

use super::*;
use crate::disk::{DiskSpec, Format};
use crate::ids::DeviceId;
use crate::model::Presence;
use serde_json::json;

fn disk(id: &str) -> Device {
    Device {
        id: DeviceId::parse(id).unwrap(),
        generation: 1,
        address: None,
        presence: Presence::Live,
        spec: Spec::Disk(DiskSpec::new("/a", Format::Raw)),
        backend: None,
        properties: serde_json::Map::new(),
        ganeti: None,
        extra: serde_json::Map::new(),
    }
}

/// Nodes as (id, type, name), edges as (parent, child, name).
fn graph(nodes: &[(u64, &str, &str)], edges: &[(u64, u64, &str)]) -> BlockGraph {
    let nodes: Vec<Value> =
        nodes.iter().map(|(id, kind, name)| json!({"id": id, "type": kind, "name": name})).collect();
    let edges: Vec<Value> =
        edges.iter().map(|(up, down, name)| json!({"parent": up, "child": down, "name": name})).collect();
    BlockGraph::read(&json!({"nodes": nodes, "edges": edges}))
}

const DEVICE: (u64, &str, &str) = (1, "block-backend", "/machine/peripheral/data/virtio-backend");

#[test]
fn the_node_of_a_device() {
    let own = graph(&[DEVICE, (2, "block-driver", "data")], &[(1, 2, "root")]);
    assert_eq!(own.top_of(&disk("data")), Top::Own);
    let overlay = [DEVICE, (2, "block-driver", "data"), (3, "block-driver", "ovl")];
    let over = graph(&overlay, &[(1, 3, "root"), (3, 2, "backing")]);
    assert_eq!(over.top_of(&disk("data")), Top::Other("ovl"));
    assert_eq!(over.top_of(&disk("dat")), Top::Unknown, "of another device");
    let scsi = [(1, "block-backend", "data"), (2, "block-driver", "data"), (3, "block-driver", "x")];
    assert_eq!(graph(&scsi, &[(1, 3, "root")]).top_of(&disk("data")), Top::Other("x"));
    // As Ganeti starts its disks: drive and device have one name, the node has QEMU's.
    let drive =
        [(1, "block-backend", "data"), (2, "block-driver", "#block1"), (3, "block-driver", "#block2")];
    assert_eq!(graph(&drive, &[(1, 2, "root"), (2, 3, "file")]).top_of(&disk("data")), Top::Own);
    let above = graph(&drive, &[(1, 2, "root"), (2, 3, "backing")]);
    assert_eq!(above.top_of(&disk("data")), Top::Other("#block1"));
    for nothing in [json!(null), json!({"nodes": 1, "edges": {}}), json!({"nodes": [{}], "edges": [1]})] {
        assert_eq!(BlockGraph::read(&nothing).top_of(&disk("data")), Top::Unknown);
    }
}

/// A disk that another program has started, with this backend and as many images.
fn started(backend: BackendNames, images: usize) -> Device {
    let layer = json!({ "path": "/a", "format": "qcow2", "identity": "file 1:2 3" });
    let chain = json!({ "layers": vec![layer; images] });
    let mut device = Device { backend: Some(backend), ..disk("data") };
    if let Spec::Disk(spec) = &mut device.spec {
        spec.chain = Some(serde_json::from_value(chain).unwrap());
    }
    device
}

#[test]
fn a_drive_has_the_images_that_are_recorded() {
    let drive = |images| started(serde_json::from_value(json!({ "drive": "drive0" })).unwrap(), images);
    let block = |id, name| (id, "block-driver", name);
    let backend = (1, "block-backend", "drive0");
    let nodes = [backend, block(2, "#b1"), block(3, "#b2"), block(4, "#b3"), block(5, "#f")];
    let layered = graph(&nodes[..4], &[(1, 2, "root"), (2, 3, "file"), (2, 4, "backing")]);
    assert_eq!(layered.top_of(&drive(2)), Top::Own);
    assert_eq!(layered.top_of(&drive(1)), Top::Other("#b1"), "a snapshot was taken");
    assert_eq!(layered.top_of(&drive(3)), Top::Other("#b1"), "the chain was shortened");
    assert_eq!(layered.top_of(&disk("data")), Top::Unknown, "the drive has another name");
    // A job has put a node over it.
    let filtered = graph(&nodes, &[(1, 5, "root"), (5, 2, "backing"), (2, 4, "backing")]);
    assert_eq!(filtered.top_of(&drive(2)), Top::Other("#f"));
    let driver_of = |name: &str| Some(if name == "#f" { "mirror_top" } else { "qcow2" });
    assert!(filtered.passes_on_to("#f", &drive(2), driver_of));
    assert!(!filtered.passes_on_to("#f", &drive(1), driver_of));
    let circle = graph(&nodes, &[(1, 2, "root"), (2, 3, "backing"), (3, 2, "backing")]);
    assert_eq!(circle.top_of(&drive(2)), Top::Other("#b1"));
}

#[test]
fn a_node_may_have_a_name_of_its_own() {
    let names = serde_json::from_value(json!({ "nodes": ["format0", "storage0"] })).unwrap();
    let disk = started(names, 2);
    let nodes =
        [DEVICE, (2, "block-driver", "format0"), (3, "block-driver", "data"), (4, "block-driver", "x")];
    assert_eq!(graph(&nodes, &[(1, 2, "root"), (2, 4, "backing")]).top_of(&disk), Top::Own);
    let over = graph(&nodes, &[(1, 4, "root"), (4, 2, "backing")]);
    assert_eq!(over.top_of(&disk), Top::Other("x"));
    assert!(over.passes_on_to("x", &disk, |name| Some(if name == "x" { "throttle" } else { "qcow2" })));
    assert_eq!(
        graph(&nodes, &[(1, 3, "root")]).top_of(&disk),
        Top::Other("data"),
        "of its id, and not its own"
    );
}

#[test]
fn the_images_of_a_device() {
    let nodes = [(1, "block-backend", "drv"), (2, "block-driver", "top"), (3, "block-driver", "#b1")];
    let more = [(4, "block-driver", "base"), (5, "block-driver", "f")];
    let all = [nodes.as_slice(), &more].concat();
    let edges = [(1, 2, "root"), (2, 3, "file"), (2, 4, "backing"), (4, 5, "file")];
    let pair = |format: &str, file: &str| ImageNodes { format: format.into(), file: Some(file.into()) };
    let images = graph(&all, &edges).images("virtio0", "drv");
    assert_eq!(images, Some(vec![pair("top", "#b1"), pair("base", "f")]));
    assert_eq!(graph(&all, &edges).images("virtio0", "other"), None);
    let throttled = [(1, 2, "root"), (2, 3, "file"), (3, 4, "file")];
    assert_eq!(graph(&all, &throttled).images("virtio0", "drv"), None, "a filter is no image");
    let circle = [(1, 2, "root"), (2, 2, "backing")];
    assert_eq!(graph(&all, &circle).images("virtio0", "drv"), None);
}

#[test]
fn filters_pass_on_and_images_do_not() {
    let nodes = [(2, "block-driver", "data"), (3, "block-driver", "f"), (4, "block-driver", "g")];
    let above = graph(&nodes, &[(3, 4, "backing"), (4, 2, "file")]);
    let drivers = |of_g: &'static str| move |name: &str| Some(if name == "f" { "mirror_top" } else { of_g });
    assert!(above.passes_on_to("f", &disk("data"), drivers("throttle")));
    assert!(!above.passes_on_to("f", &disk("data"), drivers("qcow2")));
    assert!(!above.passes_on_to("f", &disk("other"), drivers("throttle")));
    assert!(!above.passes_on_to("none", &disk("data"), |_| None));
    let circle = graph(&nodes, &[(3, 4, "file"), (4, 3, "file")]);
    assert!(!circle.passes_on_to("f", &disk("data"), |_| Some("throttle")));
}

#[test]
fn all_who_use_a_node() {
    let nodes = [
        (2, "block-driver", "data"),
        (3, "block-driver", "#block5"),
        (4, "block-job", "mir"),
        (5, "block-backend", ""),
        (6, "block-driver", "ovl"),
        (7, "block-backend", "other"),
    ];
    let edges = [(3, 2, "backing"), (4, 3, "main node"), (5, 2, "root"), (6, 2, "backing"), (7, 6, "root")];
    let exports =
        json!([{"id": "e", "type": "nbd", "node-name": "#block5"}, {"id": "x", "node-name": "elsewhere"}]);
    let jobs = json!([{"device": "mir", "type": "mirror"}]);
    let words: Vec<String> =
        graph(&nodes, &edges).holders("data", &exports, &jobs).iter().map(Holder::to_string).collect();
    assert_eq!(words, ["block job mir (mirror)", "NBD export e", "block node ovl above it", "device other"]);
    // Without a graph, what the exports say.
    let exports = json!([{"id": "e", "type": "vhost-user-blk", "node-name": "data"}]);
    let words: Vec<String> =
        BlockGraph::default().holders("data", &exports, &jobs).iter().map(Holder::to_string).collect();
    assert_eq!(words, ["vhost-user-blk export e"]);
}
