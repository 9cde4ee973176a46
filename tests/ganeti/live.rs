//! Adding to and removing from guests that Ganeti started, against a QEMU that does what the case wants.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::BootRequest;
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use crate::support::api::*;
use crate::support::fake::{Act, UnplugBehaviour};
use crate::support::fixture::Fixture;
use crate::support::ganeti::{Backends, fixture, list, sample};
use crate::support::{host, programs};

const ERAS: [(&str, Backends, &str, &str); 4] = [
    ("4entry-pci-2.15.2", Backends::Drives, "hotnic-003fc157-pci-6", "hotdisk-9f5c5bd4-pci-5"),
    ("4entry-hvinfo-2.16.2", Backends::Drives, "nic-003fc157-66a8-4e6d", "disk-9f5c5bd4-6f60-480b"),
    ("4entry-hvinfo-3.1.0rc2-plain", Backends::Nodes, "nic-003fc157-66a8-4e6d", "disk-9f5c5bd4-6f60-480b"),
    (
        "4entry-hvinfo-3.2dev-rbd-userspace",
        Backends::Nodes,
        "nic-003fc157-66a8-4e6d",
        "disk-9f5c5bd4-6f60-480b",
    ),
];

fn parsed(name: &str) -> Value {
    serde_json::from_slice(&sample(name)).unwrap()
}

/// A list with other hypervisor parameters.
fn with_params(name: &str, changes: Value) -> Value {
    let mut list = parsed(name);
    for (key, value) in changes.as_object().unwrap() {
        list[2][key] = value.clone();
    }
    list
}

fn disk_on_bridge(fixture: &Fixture) -> DiskArgs {
    fixture.disk("new.img")
}

/// Everything but `pci`, which becomes `hvinfo` with the first change.
fn without_place(entry: &Value) -> Value {
    let mut entry = entry.clone();
    let object = if entry.is_array() { &mut entry[0] } else { &mut entry };
    for key in ["pci", "hvinfo"] {
        object.as_object_mut().unwrap().remove(key);
    }
    entry
}

pub fn devices_leave_by_the_id_of_their_era(agent: &dyn Agent) {
    for (name, backends, nic, disk) in ERAS {
        let fixture = fixture(sample(name), backends);
        let before = parsed(name);
        let api = fixture.open(agent);
        fixture.qemu.take_seen();
        done(api.unplug(&UnplugArgs::of(nic)));
        done(api.unplug(&UnplugArgs::of(disk)));
        let sent: Vec<(String, Value)> =
            fixture.qemu.take_seen().into_iter().map(|seen| (seen.name, seen.arguments)).collect();
        let asked = |name: &str, key: &str, id: &str| {
            assert!(sent.contains(&(name.into(), json!({ key: id }))), "{name} {id}: {sent:?}");
        };
        asked("device_del", "id", nic);
        asked("netdev_del", "id", nic);
        asked("device_del", "id", disk);
        asked("blockdev-del", "node-name", disk);
        drop(api);
        let after = list(&fixture.runtime);
        let (nics, disks) = (before[1].as_array().unwrap().len(), before[3].as_array().unwrap().len());
        assert_eq!(
            (after[1].as_array().unwrap().len(), after[3].as_array().unwrap().len()),
            (nics - 1, disks - 1)
        );
        assert_eq!(without_place(&after[3][0]), without_place(&before[3][0]), "{name}");
        assert_eq!(after[2]["migration_port"], before[2]["migration_port"], "{name}");
        assert!(after[0].as_array().unwrap().contains(&512.into()), "{name}: an integer stays one");
        let hvinfo = &after[3][0][0]["hvinfo"];
        match name {
            "4entry-pci-2.15.2" => assert_eq!(
                *hvinfo,
                json!({"driver": "virtio-blk-pci", "id": "hotdisk-7c079136-pci-4", "bus": "pci.0", "addr": "0x4"}),
                "as Ganeti writes it after a change"
            ),
            _ => assert_eq!(*hvinfo, before[3][0][0]["hvinfo"], "{name}"),
        }
        // The agent that comes next knows no more of them.
        let api = fixture.open(agent);
        assert_eq!(api.unplug(&UnplugArgs::of(nic)).unwrap().state, State::Absent);
    }
}

pub fn new_devices_are_what_ganeti_looks_for(agent: &dyn Agent) {
    for (name, backends, ..) in ERAS {
        let before = with_params(name, json!({"vhost_net": false}));
        let fixture = fixture(before.to_string(), backends);
        let api = fixture.open(agent);
        let nic = done(api.add_nic(&NicArgs { mac: Some("aa:00:00:00:00:77".into()), ..fixture.nic(1) }));
        let disk = done(api.add_disk(&disk_on_bridge(&fixture)));
        drop(api);
        let after = list(&fixture.runtime);
        let new = |entry: usize| after[entry].as_array().unwrap().last().unwrap().clone();
        let (new_nic, new_disk) = (new(1), new(3));
        // The first slots that the guest does not reserve and nobody has.
        let slots = if name == "4entry-pci-2.15.2" { (12, 13) } else { (nic.address.clone().unwrap().1, 0) };
        assert!(slots.0 >= 12, "{name}");
        for (device, entry, driver) in
            [(&nic, &new_nic, "virtio-net-pci"), (&disk, &new_disk[0], "virtio-blk-pci")]
        {
            let uuid = entry["uuid"].as_str().unwrap();
            assert_eq!((uuid.len(), uuid.as_bytes()[14]), (36, b'4'), "{uuid}: a random one");
            let groups: Vec<&str> = uuid.split('-').take(3).collect();
            assert_eq!(device.id, format!("{}-{}", device.kind, groups.join("-")), "{name}");
            let (bus, slot) = device.address.clone().unwrap();
            assert_eq!(
                entry["hvinfo"],
                json!({"driver": driver, "id": device.id, "bus": bus, "addr": format!("{slot:#x}")})
            );
        }
        let taken = |list: &Value| {
            let all = list[1]
                .as_array()
                .unwrap()
                .iter()
                .chain(list[3].as_array().unwrap().iter().map(|disk| &disk[0]));
            let mut slots: Vec<String> = all.map(|entry| entry["hvinfo"]["addr"].to_string()).collect();
            slots.sort();
            slots
        };
        let mut distinct = taken(&after);
        distinct.dedup();
        assert_eq!(distinct, taken(&after), "{name}: no slot twice");
        assert_eq!(new_nic["mac"], "aa:00:00:00:00:77");
        assert_eq!(
            new_nic["nicparams"],
            json!({"link": "", "mode": "routed", "vlan": ""}),
            "its tap is on no bridge"
        );
        assert_eq!(new_nic.as_object().unwrap().len(), 4, "no key that Ganeti does not know: {new_nic}");
        let path = fixture.dir.path().join("new.img");
        assert_eq!((&new_disk[1], &new_disk[2]), (&json!(path), &Value::Null));
        let number = before[3].as_array().unwrap().len();
        let expected = json!({
            "dev_type": "file", "logical_id": ["loop", path], "children": [], "nodes": [], "iv_name": format!("disk/{number}"),
            "size": 1, "mode": "rw", "params": {}, "serial_no": 1,
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(new_disk[0][key], *value, "{name}: {key}");
        }
        assert_eq!(new_disk[0].as_object().unwrap().len(), 13, "{new_disk}");
        for (entry, count) in [(1, before[1].as_array().unwrap().len()), (3, number)] {
            for index in 0..count {
                assert_eq!(
                    without_place(&after[entry][index]),
                    without_place(&before[entry][index]),
                    "{name}"
                );
            }
        }
        // And they can be taken out again, by whoever comes next.
        let api = fixture.open(agent);
        assert_eq!(api.list().iter().filter(|item| item.id == nic.id || item.id == disk.id).count(), 2);
        done(api.unplug(&UnplugArgs::of(&nic.id)));
        done(api.unplug(&UnplugArgs::of(&disk.id)));
        drop(api);
        let count = |list: &Value| (list[1].as_array().unwrap().len(), list[3].as_array().unwrap().len());
        assert_eq!(count(&list(&fixture.runtime)), count(&before), "{name}");
    }
}

pub fn new_devices_have_what_ganeti_would_start_them_with(agent: &dyn Agent) {
    let params = json!({
        "disk_cache": "none", "disk_aio": "native", "disk_discard": "unmap", "kvm_pci_reservations": 20,
        "vhost_net": false, "virtio_net_queues": 4,
    });
    let fixture = fixture(with_params("4entry-hvinfo-3.0.2-plain", params).to_string(), Backends::Drives);
    let api = fixture.open(agent);
    let mut ask = fixture.disk("new.img");
    ask.path = std::path::Path::new("/var/tmp").join(format!(
        "kvm-hotplug-{}-{}.img",
        std::process::id(),
        crate::support::host::unique()
    ));
    std::fs::File::create(&ask.path).unwrap().set_len(3 << 19).unwrap();
    fixture.qemu.take_seen();
    let disk = api.add_disk(&ask);
    std::fs::remove_file(&ask.path).unwrap();
    let disk = done(disk);
    assert_eq!(disk.address, Some(("pci.0".into(), 20)), "the first one that is not reserved");
    let seen = fixture.qemu.take_seen();
    let added = &seen.iter().find(|seen| seen.name == "blockdev-add").unwrap().arguments;
    let settings = (&added["cache"], &added["aio"], &added["discard"]);
    assert_eq!(settings, (&json!({"direct": true}), &json!("native"), &json!("unmap")), "{added}");
    // Without vhost Ganeti starts one queue, whatever the number of queues says; and its NICs have their boot
    // ROM.
    done(api.add_nic(&fixture.nic(1)));
    let seen = fixture.qemu.take_seen();
    let added = &seen.iter().find(|seen| seen.name == "device_add").unwrap().arguments;
    assert_eq!((added.get("mq"), added.get("romfile")), (None, None), "{added}");
    drop(api);
    assert_eq!(list(&fixture.runtime)[3][2][0]["size"], 2, "in MiB, the last one not full");
}

pub fn what_the_list_cannot_hold_is_refused_by_name(agent: &dyn Agent) {
    let fixture = fixture(sample("4entry-hvinfo-3.0.2-plain"), Backends::Drives);
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    let nic = || NicArgs { mac: Some("aa:00:00:00:00:77".into()), ..fixture.nic(1) };
    let refused = |answer, says: &str| {
        let failure = fails(answer, ErrorKind::Invalid);
        assert!(failure.text.contains(says) && failure.text.contains("Ganeti"), "{says}: {failure:?}");
    };
    refused(api.add_nic(&NicArgs { mtu: Some(1400), ..nic() }), "mtu 1400");
    refused(api.add_nic(&NicArgs { boot_index: Some(1), ..nic() }), "boot_index 1");
    refused(api.add_nic(&NicArgs { queues: 2, ..nic() }), "queues 2");
    let disk = || fixture.disk("new.img");
    refused(api.add_disk(&DiskArgs { serial: Some("S1".into()), ..disk() }), "serial");
    refused(api.add_disk(&DiskArgs { read_only: true, ..disk() }), "read_only");
    refused(api.add_disk(&DiskArgs { share_rw: true, ..disk() }), "share_rw");
    refused(api.add_disk(&DiskArgs { boot_index: Some(1), ..disk() }), "boot_index");
    refused(api.add_disk(&fixture.layered_disk()), "format");
    std::fs::remove_file(fixture.dir.path().join("new.img")).unwrap();
    for name in ["base.img", "top.qcow2"] {
        std::fs::remove_file(fixture.dir.path().join(name)).unwrap();
    }
    let uri = DiskArgs { path: "rbd:pool/image".into(), ..disk() };
    let failure = fails(api.add_disk(&uri), ErrorKind::Invalid);
    assert!(failure.text.contains("must be absolute"), "{failure:?}");
    std::fs::remove_file(fixture.dir.path().join("new.img")).unwrap();
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    assert_eq!(fixture.snapshot(), before);
}

pub fn a_guest_of_three_entries_takes_new_devices(agent: &dyn Agent) {
    let name = "3entry-2.9.7";
    let fixture = fixture(sample(name), Backends::Drives);
    let api = fixture.open(agent);
    assert_eq!(api.list().len(), 2, "its disks are in the command");
    // Its NICs have no id in QEMU: they can only go with the next boot.
    let id = "nic-003fc157-66a8-4e6d";
    assert_eq!(api.unplug(&UnplugArgs::of(id)).unwrap().state, State::AfterReboot(Later::NoAddress));
    let live = UnplugArgs { live_only: true, ..UnplugArgs::of(id) };
    fails(api.unplug(&live), ErrorKind::NotHotpluggable);
    let disk = done(api.add_disk(&fixture.disk("new.img")));
    let nic = done(api.add_nic(&fixture.nic(1)));
    assert_eq!((disk.address.unwrap().1, nic.address.unwrap().1), (12, 13));
    drop(api);
    let after = list(&fixture.runtime);
    assert_eq!((after[1].as_array().unwrap().len(), after[3].as_array().unwrap().len()), (3, 1));
    assert_eq!(after[1][0]["hvinfo"], json!({}), "as Ganeti upgrades it");
    let api = fixture.open(agent);
    let marked: Vec<String> = api
        .list()
        .into_iter()
        .filter(|item| item.presence == Presence::RemoveAfterReboot)
        .map(|item| item.id)
        .collect();
    assert_eq!(marked, [id]);
    done(api.unplug(&UnplugArgs::of(&nic.id)));
    done(api.unplug(&UnplugArgs::of(&disk.id)));
}

/// Whatever is in the list, Ganeti starts, also as the target of a migration: what the guest does not have
/// yet is kept out.
pub fn a_change_for_the_next_boot_stands_beside_the_list(agent: &dyn Agent) {
    let name = "4entry-hvinfo-3.1.0rc2-plain";
    let fixture = fixture(sample(name), Backends::Nodes);
    let companion = fixture.dir.path().join("web1.runtime.kvm-hotplug");
    let api = fixture.open(agent);
    let place = Place { id: Some("later".into()), ..Place::default() };
    let nic = NicArgs {
        place,
        model: Some("rtl8139".into()),
        mac: Some("aa:00:00:00:00:77".into()),
        ..fixture.nic(1)
    };
    assert_eq!(api.add_nic(&nic).unwrap().state, State::AfterReboot(Later::Model));
    assert_eq!(list(&fixture.runtime), parsed(name));
    assert!(companion.exists());
    drop(api);
    let api = fixture.open(agent);
    let later = |api: &dyn Api| api.list().into_iter().find(|item| item.id == "later");
    assert_eq!(later(&*api).unwrap().presence, Presence::AddAfterReboot);
    let before = api.list();
    // Generations count on over restarts of the agent.
    let disk = done(api.add_disk(&fixture.disk("new.img")));
    assert_eq!(disk.generation, before.iter().map(|item| item.generation).max().unwrap() + 1);
    drop(api);
    let api = fixture.open(agent);
    let same = |list: Vec<Item>| {
        let mut list: Vec<_> =
            list.into_iter().map(|item| (item.id, item.generation, item.presence)).collect();
        list.sort_by_key(|item| item.1);
        list
    };
    let expected: Vec<Item> =
        before.into_iter().chain([Item { presence: Presence::Live, ..disk.clone() }]).collect();
    assert_eq!(same(api.list()), same(expected));
    done(api.unplug(&UnplugArgs::of("later")));
    done(api.unplug(&UnplugArgs::of(&disk.id)));
    drop(api);
    assert_eq!(
        list(&fixture.runtime)[1].as_array().unwrap().len(),
        parsed(name)[1].as_array().unwrap().len(),
        "the one for later never was in it"
    );
}

pub fn an_interrupted_add_is_completed(agent: &dyn Agent) {
    let fixture = fixture(sample("4entry-hvinfo-3.1.0rc2-plain"), Backends::Nodes);
    let api = fixture.open(agent);
    // The reply is lost for good, and so is the agent.
    fixture.qemu.fault("device_add", 0, Act::HangAfter);
    let ask = DiskArgs { place: Place { timeout_ms: 300, ..Place::default() }, ..fixture.disk("new.img") };
    fails(api.add_disk(&ask), ErrorKind::Timeout);
    drop(api);
    fixture.qemu.resume();
    let api = fixture.open(agent);
    let taken_back = crate::support::host::eventually(|| {
        let _ = api.process(100);
        !fixture.journal().exists()
    });
    assert!(taken_back);
    assert_eq!(list(&fixture.runtime)[3].as_array().unwrap().len(), 2);
    // A guest that keeps its disk for now: removed later, by its id.
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    let id = "disk-9f5c5bd4-6f60-480b";
    let answer = api.unplug(&UnplugArgs::within(id, 400)).unwrap();
    assert!(matches!(answer.state, State::Pending(_)), "{answer:?}");
    drop(api);
    fixture.qemu.grant(id);
    fixture.qemu.settle();
    drop(fixture.open(agent));
    assert_eq!(list(&fixture.runtime)[3].as_array().unwrap().len(), 1);
}

/// Ganeti knows nothing of the file beside its own.
pub fn ganeti_may_change_the_list_meanwhile(agent: &dyn Agent) {
    let before = with_params("4entry-hvinfo-3.1.0rc2-plain", json!({"vhost_net": false}));
    let fixture = fixture(before.to_string(), Backends::Nodes);
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&fixture.nic(1)));
    drop(api);
    let mut changed = list(&fixture.runtime);
    changed[1].as_array_mut().unwrap().pop();
    let mut more = changed[1][0].clone();
    more["mac"] = "aa:00:00:00:00:99".into();
    more["uuid"] = "11111111-2222-4333-8444-555555555555".into();
    more["hvinfo"]["id"] = "nic-11111111-2222-4333".into();
    more["hvinfo"]["addr"] = "0x1e".into();
    changed[1].as_array_mut().unwrap().push(more);
    std::fs::write(&fixture.runtime, changed.to_string()).unwrap();
    let record = fixture.record();
    assert!(record.find(&nic.id).is_none());
    let new = record.find("nic-11111111-2222-4333").unwrap();
    assert!(new.generation > nic.generation, "{new:?}");
}

/// The bridge of a caller's tap is noted in the list, and whoever starts the guest from that, Ganeti or the
/// boot command, makes a tap on this bridge. Without a bridge, the list says nothing of what the caller had
/// made of the tap.
pub fn a_callers_tap_is_started_again_by_its_bridge(agent: &dyn Agent) {
    let name = "4entry-hvinfo-3.1.0rc2-plain";
    let mut before = with_params(name, json!({"vhost_net": false}));
    (before[1], before[3]) = (json!([]), json!([]));
    let fixture = fixture(before.to_string(), Backends::Nodes);
    let api = fixture.open(agent);
    let bridge = Bridge::new();
    let [on_bridge, alone] = [(); 2].map(|()| fixture.nic(1).ifname.unwrap());
    let fds = [host::tap(&on_bridge, 1), host::tap(&alone, 1)];
    programs::run(&["ip", "link", "set", &on_bridge, "master", &bridge.0]);
    let over =
        |fds: &[std::sync::Arc<std::os::fd::OwnedFd>]| NicArgs { fds: fds.to_vec(), ..NicArgs::default() };
    let first = done(api.add_nic(&over(&fds[0])));
    let second = done(api.add_nic(&over(&fds[1])));
    let nics = list(&fixture.runtime)[1].clone();
    assert_eq!(nics[0]["nicparams"]["link"], bridge.0.as_str(), "{nics}");
    assert_eq!((&nics[0]["nicparams"]["mode"], nics.as_array().unwrap().len()), (&"bridged".into(), 2));
    drop(api);
    // By the agent after that, too: it is in the file beside the list.
    let boot = || {
        let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
        let boot = runtime.boot_command(BootRequest { fd_base: 3, ..BootRequest::default() });
        boot.map(|boot| (boot, runtime.record().clone()))
    };
    let error = boot().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
    assert!(error.message().contains(&second.id) && error.message().contains(&alone), "{error}");
    let api = fixture.open(agent);
    let failure = fails(api.add_nic(&over(&fds[1])), ErrorKind::Conflict);
    assert!(failure.text.contains(&second.id), "{failure:?}");
    done(api.unplug(&UnplugArgs::of(&second.id)));
    drop(api);
    let (_boot, record) = boot().unwrap();
    let nic = record.find(&first.id).unwrap().nic().unwrap();
    let made = nic.ifname.as_ref().unwrap().as_str();
    assert!(made != on_bridge && !nic.is_over_given_tap());
    assert_eq!(
        kvm_hotplug::net::link::bridge_of(nic.ifname.as_ref().unwrap()).unwrap().unwrap().as_str(),
        bridge.0
    );
}

/// A bridge of the host that goes with the test.
pub struct Bridge(pub String);

impl Bridge {
    pub fn new() -> Self {
        let name = format!("kg{}x{}", std::process::id(), host::unique());
        programs::run(&["ip", "link", "add", &name, "type", "bridge"]);
        Self(name)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        programs::run(&["ip", "link", "del", &self.0]);
    }
}
