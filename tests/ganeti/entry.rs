//! What Ganeti itself has of a NIC or disk is handed over with the request: it stands in the list as it is.
#![allow(unreachable_pub)]

use std::sync::{Arc, Mutex};

use kvm_hotplug::ErrorKind;
use serde_json::{Value, json};

use super::live::Bridge;
use crate::support::api::*;
use crate::support::fake::Act;
use crate::support::fixture::Fixture;
use crate::support::ganeti::{Backends, fixture, list, sample};
use crate::support::host;

const UUID: &str = "c58f81b4-2ea1-4f2c-9f0e-6a2d6f0d7a11";

fn guest() -> Fixture {
    let mut before: Value = serde_json::from_slice(&sample("4entry-hvinfo-3.1.0rc2-plain")).unwrap();
    // This host need not have vhost-net.
    before[2]["vhost_net"] = false.into();
    before[2]["disk_cache"] = "writethrough".into();
    fixture(before.to_string(), Backends::Nodes)
}

fn nic_entry(mode: &str, link: &str) -> Value {
    json!({
        "uuid": UUID, "mac": "aa:00:00:00:00:55", "name": "dmz", "ip": "192.0.2.55", "network": "net1",
        "netinfo": {"name": "net1", "tags": []},
        "nicparams": {"mode": mode, "link": link, "vlan": "7"},
    })
}

fn disk_entry(dev_type: &str) -> Value {
    json!({
        "uuid": UUID, "dev_type": dev_type, "logical_id": ["loop", "/srv/shared/web1/disk1"], "children": [],
        "nodes": ["3e9d956e-2db0-4d7a-80fb-543d25bb1840"], "iv_name": "disk/7", "size": 1, "mode": "rw",
        "params": {"access": "kernelspace"}, "serial_no": 3, "ctime": 1700000000.25, "mtime": 1700000001.5,
        "spindles": 2, "name": "scratch", "a_later_field": [1, null],
    })
}

/// The last of the list, and where the library has put it.
fn last(fixture: &Fixture, entry: usize) -> (Value, Value) {
    let list = list(&fixture.runtime);
    let mut last = list[entry].as_array().unwrap().last().unwrap().clone();
    let object = if last.is_array() { &mut last[0] } else { &mut last };
    let hvinfo = object.as_object_mut().unwrap().remove("hvinfo").unwrap();
    (last, hvinfo)
}

/// A tap of the caller's own, which its scripts have connected.
fn own_tap(nic: &NicArgs) -> NicArgs {
    let fds = host::tap(nic.ifname.as_ref().unwrap(), 1);
    NicArgs { ifname: None, fds, ..nic.clone() }
}

pub fn ganetis_entry_stands_in_the_list(agent: &dyn Agent) {
    let fixture = guest();
    let api = fixture.open(agent);
    let entry = nic_entry("routed", "100");
    let request = NicArgs { ganeti: Some(entry.to_string()), ..own_tap(&fixture.nic(1)) };
    let nic = done(api.add_nic(&request));
    assert_eq!((nic.id.as_str(), nic.mac.as_deref()), ("nic-c58f81b4-2ea1-4f2c", Some("aa:00:00:00:00:55")));
    let (found, hvinfo) = last(&fixture, 1);
    assert_eq!(found, entry);
    let (bus, slot) = nic.address.clone().unwrap();
    let place = json!({"driver": "virtio-net-pci", "id": nic.id, "bus": bus, "addr": format!("{slot:#x}")});
    assert_eq!(hvinfo, place);
    let entry = disk_entry("sharedfile");
    let disk = done(api.add_disk(&DiskArgs { ganeti: Some(entry.to_string()), ..fixture.disk("a.img") }));
    assert_eq!(disk.id, "disk-c58f81b4-2ea1-4f2c");
    let (found, _) = last(&fixture, 3);
    assert_eq!(found, json!([entry, fixture.disk("a.img").path, null]));
    // It stays so: after a change of another device, and for the agent that comes next.
    done(api.unplug(&UnplugArgs::of("nic-003fc157-66a8-4e6d")));
    drop(api);
    let api = fixture.open(agent);
    assert_eq!(last(&fixture, 1).0, nic_entry("routed", "100"));
    assert_eq!(last(&fixture, 3).0[0], disk_entry("sharedfile"));
    let again = done(api.add_nic(&request));
    assert_eq!(again.generation, nic.generation, "it is there already");
}

/// The cache mode follows from the entry, and not from what the path looks like.
pub fn the_cache_mode_is_that_of_ganetis_storage(agent: &dyn Agent) {
    let cache = |fixture: &Fixture| {
        let record = fixture.record();
        format!(
            "{:?}",
            record.devices.iter().rev().find_map(|device| match &device.spec {
                kvm_hotplug::model::Spec::Disk(spec) => Some(spec.cache),
                _ => None,
            })
        )
    };
    for (entry, uncached, expected, dev_type) in [
        (Some("sharedfile"), false, "Some(None)", "sharedfile"),
        (Some("sharedfile"), true, "Some(None)", "sharedfile"),
        (Some("file"), false, "Some(Writethrough)", "file"),
        (None, false, "Some(Writethrough)", "file"),
        (None, true, "Some(None)", "sharedfile"),
    ] {
        let fixture = guest();
        let api = fixture.open(agent);
        let ganeti = entry.map(|dev_type| disk_entry(dev_type).to_string());
        done(api.add_disk(&DiskArgs { ganeti, uncached, ..fixture.disk("a.img") }));
        drop(api);
        assert_eq!(cache(&fixture), expected, "{entry:?} {uncached}");
        assert_eq!(last(&fixture, 3).0[0]["dev_type"], dev_type, "{entry:?} {uncached}");
    }
    let fixture = guest();
    let api = fixture.open(agent);
    let ganeti = Some(disk_entry("file").to_string());
    let args = DiskArgs { ganeti, uncached: true, ..fixture.disk("a.img") };
    assert!(fails(api.add_disk(&args), ErrorKind::Invalid).text.contains("cache none"));
}

pub fn a_tap_made_here_is_on_the_bridge_of_the_entry(agent: &dyn Agent) {
    let bridge = Bridge::new();
    let fixture = guest();
    let api = fixture.open(agent);
    let entry = nic_entry("bridged", bridge.0.as_str());
    let nic = done(api.add_nic(&NicArgs { ganeti: Some(entry.to_string()), ..fixture.nic(1) }));
    assert_eq!(last(&fixture, 1).0, entry);
    done(api.unplug(&UnplugArgs::of(&nic.id)));
    // Nobody but Ganeti's scripts knows how to connect it.
    let refused = |entry: &Value, nic: NicArgs, says: &str| {
        let failure =
            fails(api.add_nic(&NicArgs { ganeti: Some(entry.to_string()), ..nic }), ErrorKind::Invalid);
        assert!(failure.text.contains(says), "{failure:?}");
    };
    refused(&nic_entry("openvswitch", "ovs"), fixture.nic(1), "tap_fds");
    refused(
        &entry,
        NicArgs { mac: Some("aa:00:00:00:00:56".into()), ..fixture.nic(1) },
        "mac is aa:00:00:00:00:56",
    );
    refused(&entry, NicArgs { bridge: Some("other".into()), ..fixture.nic(1) }, "bridge is other");
    refused(&json!([]), fixture.nic(1), "is no JSON object");
}

/// An agent dies when QEMU has the device and the record does not: the next one completes the add.
pub fn an_add_that_is_completed_has_ganetis_entry(agent: &dyn Agent) {
    let fixture = guest();
    let api = fixture.open(agent);
    let before = std::fs::read(&fixture.runtime).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (path, into) = (fixture.journal(), seen.clone());
    fixture.qemu.hook("device_add", 0, move || *into.lock().unwrap() = std::fs::read(path).unwrap());
    let entry = disk_entry("sharedfile");
    let disk = done(api.add_disk(&DiskArgs { ganeti: Some(entry.to_string()), ..fixture.disk("a.img") }));
    drop(api);
    std::fs::write(&fixture.runtime, before).unwrap();
    std::fs::write(fixture.journal(), &*seen.lock().unwrap()).unwrap();
    let api = fixture.open(agent);
    assert!(api.list().iter().any(|item| item.id == disk.id));
    assert_eq!(last(&fixture, 3).0[0], entry);
    assert!(!fixture.journal().exists());
}

/// An agent dies in the middle: what it was told of the device is in the journal.
pub fn an_interrupted_add_keeps_ganetis_entry(agent: &dyn Agent) {
    for command in ["device_add", "blockdev-add"] {
        let fixture = guest();
        let api = fixture.open(agent);
        fixture.qemu.fault(command, 0, Act::HangAfter);
        let entry = disk_entry("sharedfile");
        let place = Place { timeout_ms: 300, ..Place::default() };
        let args = DiskArgs { place, ganeti: Some(entry.to_string()), ..fixture.disk("a.img") };
        fails(api.add_disk(&args), ErrorKind::Timeout);
        let journal = std::fs::read_to_string(fixture.journal()).unwrap();
        assert!(journal.contains("a_later_field"), "{journal}");
        drop(api);
        fixture.qemu.resume();
        let api = fixture.open(agent);
        let is_settled = host::eventually(|| {
            let _ = api.process(100);
            !fixture.journal().exists()
        });
        assert!(is_settled, "{command}");
        // QEMU's answer had not come, so the add is taken back.
        assert_eq!(list(&fixture.runtime)[3].as_array().unwrap().len(), 2, "{command}");
    }
}
