//! Adding devices: what is sent, what is the same, what is refused.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use std::os::fd::AsRawFd;

use crate::support::api::*;
use crate::support::fake::{Act, Dev, Model, Setup};
use crate::support::fixture::Fixture;
use crate::support::host;

pub const MAC: &str = "52:54:00:00:00:01";

pub fn an_operation_sends_what_it_needs_and_nothing_else(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    assert_eq!(
        fixture.qemu.take_names(),
        ["qmp_capabilities", "query-pci", "qom-list", "qom-list", "query-fdsets", "query-status"]
    );
    let mut costs = Vec::new();
    let mut sent = |what: &str, expected: &[&str]| {
        let seen = fixture.qemu.take_seen();
        let names: Vec<&str> = seen.iter().map(|seen| seen.name.as_str()).collect();
        assert_eq!(names, expected, "{what}");
        costs.push((what.to_owned(), seen.iter().map(|seen| seen.bytes).sum::<usize>()));
    };
    for round in 0..2 {
        let nic = done(api.add_nic(&fixture.nic(1)));
        sent("add NIC", &["getfd", "netdev_add", "device_add"]);
        let wide = done(api.add_nic(&fixture.nic(4)));
        sent("add NIC with 4 queues", &["getfd", "getfd", "getfd", "getfd", "netdev_add", "device_add"]);
        let disk = done(api.add_disk(&fixture.disk("a.img")));
        sent("add disk", &["add-fd", "blockdev-add", "device_add"]);
        let layered = done(api.add_disk(&fixture.layered_disk()));
        sent("add qcow2 with backing", &["add-fd", "add-fd", "blockdev-add", "device_add"]);
        assert_eq!(
            [&nic.id, &wide.id, &disk.id, &layered.id],
            ["nic-pci-4", "nic-pci-5", "disk-pci-6", "disk-pci-7"]
        );
        for id in [&nic.id, &wide.id] {
            done(api.unplug(&UnplugArgs::of(id)));
            sent("del NIC", &["device_del", "qom-list", "netdev_del"]);
        }
        done(api.unplug(&UnplugArgs::of(&disk.id)));
        let expected = ["x-debug-query-block-graph", "device_del", "qom-list", "blockdev-del", "remove-fd"];
        sent("del disk", &expected);
        done(api.unplug(&UnplugArgs::of(&layered.id)));
        sent("del qcow2", &[&expected[..], &["remove-fd"]].concat());
        assert_eq!(fixture.recorded(), Vec::<String>::new(), "round {round}");
    }
    // Every byte costs QEMU 3.5 µs: a longer command is a decision, not an accident.
    let most = [
        ("add NIC", 340),
        ("add NIC with 4 queues", 595),
        ("add disk", 350),
        ("add qcow2 with backing", 545),
        ("del NIC", 245),
        ("del disk", 355),
        ("del qcow2", 415),
    ];
    for (what, bytes) in costs {
        let limit = most.iter().find(|(name, _)| *name == what).unwrap().1;
        assert!(bytes <= limit, "{what}: {bytes} bytes, at most {limit} are meant");
    }
}

pub fn the_same_nic_again_is_a_success_without_a_command(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let nic = fixture.nic_as("web", MAC);
    let first = done(api.add_nic(&nic));
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    assert_eq!(done(api.add_nic(&nic)), first);
    let without_mac = NicArgs { mac: None, ..nic.clone() };
    assert_eq!(done(api.add_nic(&without_mac)), first, "what is left open is not compared");
    let pinned = Place { address: first.address.clone(), ..nic.place.clone() };
    assert_eq!(done(api.add_nic(&NicArgs { place: pinned, ..nic.clone() })), first);
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    assert_eq!(fixture.snapshot(), before);
    drop(api);
    assert_eq!(done(fixture.open(agent).add_nic(&nic)), first, "to the next agent too");
}

pub fn the_same_nic_with_another_setting_is_a_conflict(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let nic = fixture.nic_as("web", MAC);
    done(api.add_nic(&nic));
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    let elsewhere = Place { address: Some(("pci.0".into(), 9)), ..nic.place.clone() };
    for (word, other) in [
        ("mac", NicArgs { mac: Some("52:54:00:00:00:02".into()), ..nic.clone() }),
        ("queues", NicArgs { queues: 2, ..nic.clone() }),
        ("mtu", NicArgs { mtu: Some(1400), ..nic.clone() }),
        ("boot_index", NicArgs { boot_index: Some(1), ..nic.clone() }),
        ("bridge", NicArgs { bridge: Some("br0".into()), ..nic.clone() }),
        ("model", NicArgs { model: Some("virtio-net-pci-transitional".into()), ..nic.clone() }),
        ("address", NicArgs { place: elsewhere, ..nic.clone() }),
    ] {
        let failure = fails(api.add_nic(&other), ErrorKind::Conflict);
        assert!(failure.text.contains("web") && failure.text.contains(word), "{word}: {failure:?}");
    }
    let failure = fails(api.add_disk(&fixture.disk_as("web", "a.img")), ErrorKind::Conflict);
    assert!(failure.text.contains("type"), "{failure:?}");
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    fixture.disk("a.img");
    let after = fixture.snapshot();
    assert_eq!((after.qemu, after.record, after.taps), (before.qemu, before.record, before.taps));
}

pub fn the_same_disk_again(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = DiskArgs { serial: Some("one".into()), ..fixture.disk_as("data", "a.img") };
    let first = done(api.add_disk(&disk));
    fixture.qemu.take_seen();
    assert_eq!(done(api.add_disk(&disk)), first);
    let probed = DiskArgs { format: None, ..disk.clone() };
    assert_eq!(done(api.add_disk(&probed)), first, "the format that was found is the one asked for");
    for (word, other) in [
        ("path", DiskArgs { path: fixture.disk("b.img").path, ..disk.clone() }),
        ("serial", DiskArgs { serial: None, ..disk.clone() }),
        ("read_only", DiskArgs { read_only: true, ..disk.clone() }),
        ("share_rw", DiskArgs { share_rw: true, ..disk.clone() }),
        ("boot_index", DiskArgs { boot_index: Some(3), ..disk.clone() }),
        ("format", DiskArgs { format: Some("qcow2".into()), ..disk.clone() }),
    ] {
        let failure = fails(api.add_disk(&other), ErrorKind::Conflict);
        assert!(failure.text.contains(word), "{word}: {failure:?}");
    }
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
}

pub fn duplicates_within_a_guest_are_refused(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_nic(&NicArgs { mac: Some(MAC.into()), ..fixture.nic(1) }));
    done(api.add_disk(&DiskArgs { serial: Some("one".into()), ..fixture.disk("a.img") }));
    let link = fixture.dir.path().join("link.img");
    std::os::unix::fs::symlink(fixture.dir.path().join("a.img"), &link).unwrap();
    fixture.disk("b.img");
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    let failure =
        fails(api.add_nic(&NicArgs { mac: Some(MAC.into()), ..fixture.nic(1) }), ErrorKind::Conflict);
    assert!(failure.text.contains(MAC) && failure.text.contains("nic-pci-4"), "{failure:?}");
    let failure = fails(
        api.add_disk(&DiskArgs { serial: Some("one".into()), ..fixture.disk("b.img") }),
        ErrorKind::Conflict,
    );
    assert!(failure.text.contains("serial"), "{failure:?}");
    for path in [fixture.dir.path().join("a.img"), link] {
        for read_only in [false, true] {
            let again = DiskArgs { path: path.clone(), read_only, ..fixture.disk("a.img") };
            let failure = fails(api.add_disk(&again), ErrorKind::Conflict);
            assert!(failure.text.contains("disk-pci-5"), "{failure:?}");
        }
    }
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    assert_eq!(fixture.snapshot(), before);
    let shared = DiskArgs { read_only: true, ..fixture.disk("b.img") };
    done(api.add_disk(&shared));
    done(api.add_disk(&shared));
}

pub fn taps_of_the_caller_stay_the_callers(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let name = fixture.nic(1).ifname.unwrap();
    let taps = host::tap(&name, 2);
    let nic = NicArgs { queues: 2, fds: taps.clone(), ifname: None, ..fixture.nic(2) };
    let failure = fails(api.add_nic(&NicArgs { queues: 1, ..nic.clone() }), ErrorKind::Invalid);
    assert!(failure.text.contains("2 tap fds"), "{failure:?}");
    let device = done(api.add_nic(&nic));
    assert_eq!(device.ifname.as_deref(), Some(name.as_str()));
    done(api.unplug(&UnplugArgs::of(&device.id)));
    for tap in &taps {
        let target = std::fs::read_link(format!("/proc/self/fd/{}", tap.as_raw_fd())).unwrap();
        assert_eq!(target.to_str(), Some("/dev/net/tun"), "still open");
    }
    assert_eq!(
        host::interfaces(&name),
        std::slice::from_ref(&name),
        "the caller's tap is there until the caller closes it"
    );
    drop((nic, taps));
    // A program that another test is just starting has all descriptors until its exec closes them.
    assert!(host::eventually(|| host::interfaces(&name).is_empty()));
}

pub fn an_old_qemu_gets_it_after_a_reboot(agent: &dyn Agent) {
    let fixture = Fixture::new(Setup { version: (4, 2, 1), ..Setup::default() });
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    let live_only = Place { live_only: true, ..Place::default() };
    fails(api.add_nic(&NicArgs { place: live_only.clone(), ..fixture.nic(1) }), ErrorKind::NotHotpluggable);
    let refused = fails(
        api.add_disk(&DiskArgs { place: live_only, ..fixture.disk("a.img") }),
        ErrorKind::NotHotpluggable,
    );
    assert!(refused.text.contains("4.2.1"), "{refused:?}");
    assert_eq!(fixture.snapshot().record, before.record);
    let disk = fixture.disk_as("data", "a.img");
    for _ in 0..2 {
        let answer = api.add_disk(&disk).unwrap();
        assert_eq!(answer.state, State::AfterReboot(Later::QemuTooOld), "the same answer the second time");
        assert_eq!(answer.device.unwrap().presence, Presence::AddAfterReboot);
        assert_eq!(api.list()[0].later, Some(Later::QemuTooOld));
    }
    assert_eq!(fixture.recorded(), ["data"]);
    done(api.unplug(&UnplugArgs::of("data")));
    assert_eq!(fixture.recorded(), Vec::<String>::new());
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new(), "the running guest is not touched");
    assert_eq!(fixture.snapshot().qemu, before.qemu);
    assert_eq!(fixture.snapshot().taps, Vec::<String>::new());
}

pub fn other_models_come_after_a_reboot(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    let nic = NicArgs { model: Some("ne2k_pci".into()), ..fixture.nic(1) };
    let disk = DiskArgs { model: Some("ide-hd".into()), ..fixture.disk("a.img") };
    for live_only in [true, false] {
        let place = Place { live_only, ..Place::default() };
        let nic = api.add_nic(&NicArgs { place: place.clone(), ..nic.clone() });
        let disk = api.add_disk(&DiskArgs { place, ..disk.clone() });
        for result in [nic, disk] {
            if live_only {
                fails(result, ErrorKind::NotHotpluggable);
            } else {
                assert_eq!(result.unwrap().state, State::AfterReboot(Later::Model));
            }
        }
    }
    assert!(api.list().iter().all(|item| item.later == Some(Later::Model)), "{:?}", api.list());
    assert_eq!(fixture.recorded().len(), 2);
    // Whether QEMU knows them at all; of each it is asked once.
    assert_eq!(fixture.qemu.take_names(), ["device-list-properties"; 2]);
    let described = api.describe(None).unwrap().unwrap();
    let mut reasons: Vec<_> =
        described.as_array().unwrap().iter().map(|device| device["reason"].to_string()).collect();
    reasons.sort();
    assert!(
        reasons[1].contains("next boot: the library plugs no ne2k_pci into a running guest"),
        "{reasons:?}"
    );
}

pub fn a_model_that_qemu_does_not_know_is_refused(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let refusal = serde_json::json!({"error": {"class": "DeviceNotFound", "desc": "Device 'igb' not found"}});
    fixture.qemu.fault("device-list-properties", 0, Act::Reply(refusal));
    let api = fixture.open(agent);
    let nic = NicArgs { model: Some("igb".into()), ..fixture.nic(1) };
    let error = fails(api.add_nic(&nic), ErrorKind::NotHotpluggable);
    assert!(error.text.contains("does not know the device model igb"), "{error:?}");
    assert!(fixture.recorded().is_empty() && api.list().is_empty());
}

pub fn a_device_without_an_address_leaves_after_a_reboot(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    drop(api);
    without_address(&fixture, "disks");
    // QEMU does not say of a device without an id which one of the record it is.
    fixture.qemu.model(|model| device(model, "data").id = None);
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    let live_only = UnplugArgs { live_only: true, ..UnplugArgs::of("data") };
    fails(api.unplug(&live_only), ErrorKind::NotHotpluggable);
    for _ in 0..2 {
        let answer = api.unplug(&UnplugArgs::of("data")).unwrap();
        assert_eq!(answer.state, State::AfterReboot(Later::NoAddress));
    }
    let item = &api.list()[0];
    assert_eq!((item.presence, item.later), (Presence::RemoveAfterReboot, Some(Later::NoAddress)));
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    fails(api.add_disk(&fixture.disk_as("data", "a.img")), ErrorKind::Conflict);
}

fn without_address(fixture: &Fixture, list: &str) {
    let mut file: serde_json::Value = serde_json::from_str(&fixture.record_text()).unwrap();
    file[list][0].as_object_mut().unwrap().remove("address").unwrap();
    std::fs::write(&fixture.runtime, file.to_string()).unwrap();
}

fn device<'a>(model: &'a mut Model, id: &str) -> &'a mut Dev {
    model.devices.iter_mut().find(|device| device.id.as_deref() == Some(id)).unwrap()
}

/// A device that the guest shows under its id gets its place in the record, and leaves like any other.
/// Another device that has its id says nothing about it.
pub fn a_place_is_learnt_from_the_device_itself(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let added = done(api.add_nic(&fixture.nic_as("lan", "52:54:00:00:00:01")));
    drop(api);
    without_address(&fixture, "nics");
    let api = fixture.open(agent);
    assert_eq!(api.list()[0].address, added.address);
    drop(api);
    without_address(&fixture, "nics");
    fixture.qemu.model(|model| device(model, "lan").mac = Some("52:54:00:00:00:09".to_owned()));
    let api = fixture.open(agent);
    assert_eq!(api.list()[0].address, None);
}

/// Whoever asks again, or looks, is not told a reason that is none any more.
pub fn what_waits_without_a_reason_says_so(agent: &dyn Agent) {
    let fixture = Fixture::new(Setup { version: (4, 2, 1), ..Setup::default() });
    let disk = fixture.disk_as("data", "a.img");
    let api = fixture.open(agent);
    assert_eq!(api.add_disk(&disk).unwrap().state, State::AfterReboot(Later::QemuTooOld));
    drop(api);
    fixture.qemu.model(|model| model.version = (7, 2, 0).into());
    let api = fixture.open(agent);
    assert_eq!(api.list()[0].later, Some(Later::Recorded));
    assert_eq!(api.add_disk(&disk).unwrap().state, State::AfterReboot(Later::Recorded));
    done(api.unplug(&UnplugArgs::of("data")));
    assert_eq!(done(api.add_disk(&disk)).presence, Presence::Live);
}

pub fn an_attachment_has_a_generation(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let mut last = 0;
    for _ in 0..3 {
        let api = fixture.open(agent);
        let device = done(api.add_disk(&fixture.disk_as("data", "a.img")));
        assert!(device.generation > last, "{} after {last}", device.generation);
        last = device.generation;
        done(api.unplug(&UnplugArgs::of("data")));
    }
}

pub fn a_locked_image_is_told_apart(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = fixture.disk("a.img");
    let before = fixture.snapshot();
    fixture.qemu.fault("device_add", 0, Act::refuse("Failed to get \"write\" lock"));
    let failure = fails(api.add_disk(&disk), ErrorKind::ImageLocked);
    assert_eq!((failure.errno, failure.undo), (libc::EBUSY, 1));
    assert_eq!(fixture.snapshot(), before);
}
