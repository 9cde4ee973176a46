//! Devices that another program has started, whose backends have names of their own.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use serde_json::json;

use super::late_unplug::drain;
use super::removing::{SHORT, pending};
use crate::support::adopted::{self, DRIVE, NETDEV, NODES};
use crate::support::api::*;
use crate::support::fake::{Act, UnplugBehaviour};
use crate::support::fixture::Fixture;
use crate::support::host;

/// A NIC, a disk with two nodes and a disk with a drive.
fn with_all(agent: &dyn Agent) -> (Fixture, Box<dyn Api>) {
    let fixture = Fixture::pc();
    adopted::nic(&fixture, "net0", 5);
    adopted::disk(&fixture, "disk0", 6);
    adopted::drive(&fixture, "disk1", 7);
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    (fixture, api)
}

/// Each command with the one argument that says what it is about.
fn seen(fixture: &Fixture) -> Vec<String> {
    let about = ["id", "node-name", "device", "name"];
    let seen = fixture.qemu.take_seen().into_iter().map(|seen| {
        let text = about.iter().find_map(|key| seen.arguments.get(key)?.as_str().map(str::to_owned));
        format!("{} {}", seen.name, text.unwrap_or_default()).trim_end().to_owned()
    });
    let is_change =
        |line: &String| line.contains("del ") || line.contains("set_") || line.contains("resize ");
    seen.filter(is_change).collect()
}

/// What QEMU has besides the machine.
fn left(fixture: &Fixture) -> Vec<String> {
    let all = fixture.qemu.snapshot().into_iter();
    all.filter(|line| !line.starts_with("state") && !line.starts_with("device -")).collect()
}

#[track_caller]
fn assert_nothing_is_left(fixture: &Fixture) {
    assert_eq!((left(fixture), fixture.recorded()), (vec![], vec![]));
    assert!(!fixture.journal().exists());
    assert_eq!(fixture.qemu.take_violations(), Vec::<String>::new());
}

pub fn what_another_program_has_started_leaves_with_its_backend(agent: &dyn Agent) {
    let (fixture, api) = with_all(agent);
    let ids: Vec<String> = api.list().into_iter().map(|item| item.id).collect();
    assert_eq!(ids, ["net0", "disk0", "disk1"]);
    for (id, commands) in [
        ("net0", &["device_del net0", "netdev_del hostnet0"][..]),
        ("disk0", &["device_del disk0", "blockdev-del format0", "blockdev-del storage0"]),
        ("disk1", &["device_del disk1"]),
    ] {
        done(api.unplug(&UnplugArgs::of(id)));
        assert_eq!(seen(&fixture), commands);
    }
    assert_nothing_is_left(&fixture);
    assert_eq!(drain(&*api), [], "the callers have their answers");
    // What comes next has the library's own names.
    host::needs_tun();
    done(api.add_nic(&fixture.nic_as("net0", "52:54:00:00:00:01")));
    done(api.add_disk(&fixture.disk_as("disk0", "disk0.img")));
    assert!(fixture.record().devices.iter().all(|device| device.backend.is_none()));
    done(api.unplug(&UnplugArgs::of("net0")));
    done(api.unplug(&UnplugArgs::of("disk0")));
    assert_nothing_is_left(&fixture);
}

pub fn a_backend_that_is_gone_is_no_error(agent: &dyn Agent) {
    let (fixture, api) = with_all(agent);
    fixture.qemu.model(|model| {
        model.netdevs.clear();
        NODES.iter().for_each(|node| drop(model.nodes.remove(*node)));
    });
    for id in ["net0", "disk0"] {
        done(api.unplug(&UnplugArgs { leave_overlay: true, ..UnplugArgs::of(id) }));
    }
    assert!(!fixture.journal().exists());
    assert_eq!(fixture.recorded(), ["disk1"]);
}

/// QEMU deletes a drive when it has taken its device apart. Until then its image is open.
pub fn a_drive_is_waited_for(agent: &dyn Agent) {
    for next in [false, true] {
        let (fixture, mut api) = with_all(agent);
        fixture.qemu.model(|model| model.leaves_late = true);
        assert_eq!(pending(api.unplug(&UnplugArgs::of("disk1"))), Why::InUse);
        let described = api.describe(Some("disk1")).unwrap().unwrap();
        assert_eq!(described["node_name"], "#block000", "{described}");
        assert_eq!(fixture.recorded().len(), 3);
        if next {
            drop(api);
            api = fixture.open(agent);
            assert_eq!(fixture.recorded().len(), 3);
        }
        fixture.qemu.model(|model| assert!(model.finish_leaving("disk1")));
        fixture.qemu.settle();
        api.process(AMPLE).unwrap();
        assert_eq!(fixture.recorded(), ["net0", "disk0"]);
        assert!(left(&fixture).iter().all(|line| !line.contains(DRIVE) && !line.contains("#block")));
    }
}

pub fn who_uses_a_node_of_it_keeps_it_pending(agent: &dyn Agent) {
    for used in NODES {
        let (fixture, api) = with_all(agent);
        fixture.qemu.model(|model| drop(model.exports.insert("backup".into(), used.into())));
        assert_eq!(pending(api.unplug(&UnplugArgs::of("disk0"))), Why::InUse);
        let described = api.describe(Some("disk0")).unwrap().unwrap();
        let reason = described["reason"].as_str().unwrap();
        assert!(reason.contains("NBD export backup") && !reason.contains("format0"), "{reason}");
        fixture.qemu.model(|model| model.exports.clear());
        done(api.unplug(&UnplugArgs::of("disk0")));
        assert_eq!(fixture.recorded(), ["net0", "disk1"]);
        assert!(left(&fixture).iter().all(|line| !NODES.iter().any(|node| line.contains(node))));
    }
}

/// QEMU takes a device apart after it has left. Its nodes are tried again until then.
pub fn what_is_still_of_itself_is_waited_for(agent: &dyn Agent) {
    let (fixture, api) = with_all(agent);
    fixture.qemu.model(|model| model.leaves_late = true);
    assert_eq!(pending(api.unplug(&UnplugArgs::of("disk0"))), Why::InUse);
    let tries = seen(&fixture).into_iter().filter(|line| line == "blockdev-del format0").count();
    assert!(tries > 1, "{tries}");
    let described = api.describe(Some("disk0")).unwrap().unwrap();
    assert!(described["reason"].as_str().unwrap().contains("does not say for whom"), "{described}");
    fixture.qemu.model(|model| assert!(model.finish_leaving("disk0")));
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    assert_eq!(fixture.recorded(), ["net0", "disk1"]);
}

/// The journal has the names as well, for whoever comes after a crash.
pub fn another_agent_takes_the_same_backend_down(agent: &dyn Agent) {
    let (fixture, api) = with_all(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    for id in ["net0", "disk0", "disk1"] {
        pending(api.unplug(&UnplugArgs::within(id, SHORT)));
    }
    drop(api);
    // As if the record had been written and the journal not.
    let mut record = fixture.record();
    record.devices.clear();
    let bytes = kvm_hotplug::store::native::encode(&record).unwrap();
    std::fs::write(&fixture.runtime, bytes).unwrap();
    ["net0", "disk0", "disk1"].iter().for_each(|id| fixture.qemu.grant(id));
    fixture.qemu.settle();
    let api = fixture.open(agent);
    assert_nothing_is_left(&fixture);
    assert_eq!(drain(&*api).len(), 3);
}

pub fn another_device_with_its_id_keeps_what_it_has(agent: &dyn Agent) {
    for (netdev, is_left) in [(NETDEV, true), ("other", false)] {
        let (fixture, api) = with_all(agent);
        fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
        pending(api.unplug(&UnplugArgs::within("net0", SHORT)));
        drop(api);
        fixture.qemu.model(|model| {
            model.devices.retain(|device| device.id.as_deref() != Some("net0"));
            model.start_netdev(netdev);
            let more = json!({ "netdev": netdev, "mac": "52:54:00:00:00:99" });
            model.start_device("net0", "virtio-net-pci", ("pci.0", 9), more);
        });
        let _api = fixture.open(agent);
        assert_eq!(fixture.recorded(), ["disk0", "disk1"], "{netdev}");
        let is_there =
            |name: &str| left(&fixture).iter().any(|line| line.starts_with(&format!("netdev {name}:")));
        assert_eq!((is_there(NETDEV), is_there(netdev)), (is_left, true));
        assert_eq!(fixture.qemu.take_violations(), Vec::<String>::new());
    }
}

pub fn what_another_program_has_started_is_verified(agent: &dyn Agent) {
    let (fixture, api) = with_all(agent);
    let differences = api.verify().unwrap();
    assert_eq!(differences, Vec::<String>::new());
    fixture.qemu.model(|model| model.start_netdev("left"));
    let netdev_of = |name: &str| {
        let name = name.to_owned();
        fixture.qemu.model(|model| model.device_mut("net0").unwrap().netdev = Some(name));
    };
    netdev_of("left");
    let found = api.verify().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("netdev hostnet0") && found[0].contains("netdev left"), "{found:?}");
    netdev_of(NETDEV);
    assert_eq!(api.verify().unwrap(), ["netdev left belongs to no NIC"]);
    fixture.qemu.model(|model| drop(model.netdevs.remove("left")));
    // The guest has let go of it, and its netdev is ours still.
    fixture.qemu.model(|model| model.devices.retain(|device| device.id.as_deref() != Some("net0")));
    let found = api.verify().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("net0 "), "{found:?}");
    assert_eq!(api.repair().unwrap(), Vec::<String>::new());
    assert_eq!(fixture.recorded(), ["disk0", "disk1"]);
    assert!(left(&fixture).iter().all(|line| !line.starts_with("netdev")));
}

/// Names that the library would give to disks in other places.
pub fn its_nodes_are_no_orphans(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    adopted::disk_over(&fixture, "disk0", 6, ["disk-pci-9", "disk-pci-10"]);
    let api = fixture.open(agent);
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    fixture.qemu.model(|model| model.start_node("disk-pci-11", json!({ "driver": "raw" }), 1 << 20));
    assert_eq!(api.verify().unwrap().len(), 1);
    assert_eq!(api.repair().unwrap(), Vec::<String>::new());
    let nodes: Vec<String> = left(&fixture).into_iter().filter(|line| line.starts_with("node")).collect();
    assert_eq!(nodes.len(), 2, "{nodes:?}");
}

pub fn what_another_program_has_started_is_changed(agent: &dyn Agent) {
    let (fixture, api) = with_all(agent);
    assert_eq!(api.set_link("net0", false, AMPLE).unwrap(), Changed::Done);
    assert!(fixture.qemu.model(|model| model.netdevs[NETDEV].link_down));
    for (id, command) in [("disk0", "block_resize format0"), ("disk1", "block_resize drive0")] {
        fixture.qemu.take_seen();
        assert_eq!(api.resize(id, SizeArgs::bytes(3 << 20), AMPLE).unwrap(), 3 << 20);
        assert_eq!(seen(&fixture), [command]);
        let described = api.describe(Some(id)).unwrap().unwrap();
        assert_eq!(described["size"], 3 << 20, "{described}");
    }
    assert_eq!(api.describe(Some("disk0")).unwrap().unwrap()["node_name"], "format0");
    // Set again on every new connection.
    drop(api);
    fixture.qemu.take_seen();
    let api = fixture.open(agent);
    assert_eq!(seen(&fixture), ["set_link hostnet0"]);
    // Interrupted, it is taken back on the same netdev.
    fixture.qemu.fault("set_link", 0, Act::CloseAfter);
    api.set_link("net0", true, AMPLE).unwrap_err();
    drop(api);
    let api = fixture.open(agent);
    assert!(fixture.qemu.model(|model| model.netdevs[NETDEV].link_down));
    assert!(!fixture.journal().exists());
    drop(api);
}

/// QEMU names the node of a drive, which it has made up, and the drive.
pub fn io_errors_are_told_of_its_disks(agent: &dyn Agent) {
    let (fixture, api) = with_all(agent);
    for (drive, node) in [("", "format0"), (DRIVE, "#block000"), ("", "storage9")] {
        let data = json!({ "device": drive, "node-name": node, "operation": "read", "action": "report" });
        fixture.qemu.emit("BLOCK_IO_ERROR", data);
    }
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    let ids: Vec<_> = drain(&*api).into_iter().map(|news| news.id).collect();
    assert_eq!(ids, [Some("disk0".to_owned()), Some("disk1".to_owned()), None]);
}

pub fn its_names_are_taken(agent: &dyn Agent) {
    host::needs_tun();
    let (fixture, api) = with_all(agent);
    for name in [NETDEV, NODES[1], DRIVE] {
        let added = match name {
            NETDEV => api.add_nic(&fixture.nic_as(name, "52:54:00:00:00:02")),
            _ => api.add_disk(&fixture.disk_as(name, "new.img")),
        };
        let failure = fails(added, ErrorKind::Conflict);
        assert!(failure.text.contains("is the name of the backend of"), "{failure:?}");
        let resize = json!({ "node-name": name, "size": 1 << 20 });
        fails(api.qmp(&QmpArgs::new("block_resize", resize)), ErrorKind::State);
    }
    assert_eq!(seen(&fixture), Vec::<String>::new());
    // A netdev and a node may have one name.
    done(api.add_nic(&fixture.nic_as(DRIVE, "52:54:00:00:00:01")));
    assert_eq!(fixture.recorded().len(), 4);
}

/// A snapshot over its node.
pub fn an_image_over_its_node_is_noticed(agent: &dyn Agent) {
    let (fixture, api) = with_all(agent);
    fixture.qemu.model(|model| {
        model.start_node("snap", json!({ "driver": "qcow2", "file": NODES[0] }), 1 << 20);
        model.device_mut("disk0").unwrap().drive = Some("snap".into());
    });
    let failure = fails(api.unplug(&UnplugArgs::of("disk0")), ErrorKind::Conflict);
    assert!(failure.text.contains("node snap"), "{failure:?}");
    assert_eq!(fixture.recorded().len(), 3);
}
