//! Whole changes of a guest whose record is a list of Ganeti's, cut at every call about the record's
//! directory. What the list has no room for is in a second file, and no moment between the two may be one
//! that an agent cannot go on from.

use kvm_hotplug::model::{Device, DeviceKind, Spec};
use serde_json::Value;

use super::child::{Change, How, ListAdd, ListAddLater, ListDelFirst, ListDelLast, MAC, run};
use super::support::api::*;
use super::support::fixture::Fixture;
use super::support::ganeti::{Backends, fixture, list, sample};
use super::support::host;
use super::support::rust_api::RustAgent;

const SAMPLE: &str = "4entry-hvinfo-3.1.0rc2-plain";

struct Scene {
    fixture: Fixture,
    ifname: String,
}

/// Guest, record and host, but for names that are another's each time.
#[derive(Clone, Debug, PartialEq)]
struct View {
    qemu: Vec<String>,
    devices: Vec<String>,
    files: Vec<String>,
    taps: usize,
    /// What Ganeti itself sees: NICs and disks of its list.
    device_info: (usize, usize),
}

impl Scene {
    fn before(change: Change) -> Self {
        let mut parsed: Value = serde_json::from_slice(&sample(SAMPLE)).unwrap();
        parsed[2]["vhost_net"] = false.into();
        let fixture = fixture(parsed.to_string(), Backends::Nodes);
        let ifname = fixture.nic(1).ifname.unwrap();
        let scene = Self { fixture, ifname };
        // Also so that the record is as this library writes it.
        let api = scene.fixture.open(&RustAgent);
        if change == ListDelLast {
            let nic =
                NicArgs { ifname: Some(scene.ifname.clone()), mac: Some(MAC.into()), ..NicArgs::default() };
            done(api.add_nic(&nic));
        }
        drop(api);
        scene.fixture.qemu.settle();
        scene.fixture.qemu.take_seen();
        scene
    }

    fn view(&self) -> View {
        let record = self.fixture.record();
        let new = record.devices.iter().find(|device| is_new(device)).map(|device| device.id.to_string());
        let snapshot = self.fixture.snapshot();
        let plain = |text: &String| match &new {
            Some(id) => text.replace(id.as_str(), "new").replace(&self.ifname, "tap"),
            None => text.replace(&self.ifname, "tap"),
        };
        let mut files = snapshot.files;
        // The second file is looked at through what the record says; entries that nothing needs do no harm.
        files.retain(|name| !name.ends_with(".new") && !name.ends_with(".kvm-hotplug"));
        let entries = list(&self.fixture.runtime);
        let count = |entry: usize| entries[entry].as_array().unwrap().len();
        // New ids are random, and so is their order.
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        View {
            qemu: sorted(snapshot.qemu.iter().map(plain).collect()),
            devices: sorted(record.devices.iter().map(|device| plain(&line(device))).collect()),
            files,
            taps: snapshot.taps.len(),
            device_info: (count(1), count(3)),
        }
    }
}

fn is_new(device: &Device) -> bool {
    matches!(&device.spec, Spec::Nic(spec) if spec.mac.to_string() == MAC)
}

/// What has to be known of a device again after a restart; of a NIC also whose tap it is.
fn line(device: &Device) -> String {
    let kind = match device.kind() {
        DeviceKind::Nic => "nic",
        _ => "other",
    };
    let (tap, own) = match &device.spec {
        Spec::Nic(spec) => (spec.ifname.as_ref().map(ToString::to_string), spec.tap_identity.is_some()),
        _ => (None, false),
    };
    format!(
        "{kind} {} {:?} {:?} generation {} tap {tap:?} own {own}",
        device.id, device.address, device.presence, device.generation
    )
}

fn one_cut(change: Change, at: usize, how: How, (old, new): (&View, &View)) {
    let scene = Scene::before(change);
    let end = run(change, &scene.fixture, &scene.ifname, at, how);
    scene.fixture.qemu.settle();
    let what = format!("{change:?}, call {at} {:?}, {how:?}: {:?}", end.calls.get(at - 1), end.result);
    println!("{what}");
    match end.error() {
        Some(Value::Null) => {
            let mut after = scene.view();
            after.files.retain(|name| !name.ends_with(".journal"));
            assert_eq!(after, *new, "{what}");
        }
        Some(error) if error["left"].as_array().unwrap().is_empty() => {
            assert_eq!(scene.view(), *old, "{what} says that nothing is left");
        }
        _ => {}
    }
    // The next agent makes record, guest and host agree.
    let is_settled = host::eventually(|| {
        drop(scene.fixture.open(&RustAgent));
        let view = scene.view();
        (view == *old || view == *new) && !scene.fixture.journal().exists()
    });
    assert!(is_settled, "{what}: {:#?}, neither {:#?} nor {:#?}", scene.view(), old, new);
}

fn at_every_call(change: Change) {
    host::needs_tun();
    let scene = Scene::before(change);
    let old = scene.view();
    let end = run(change, &scene.fixture, &scene.ifname, 0, How::Not);
    scene.fixture.qemu.settle();
    assert!(end.error().is_some_and(Value::is_null), "{end:?}");
    let new = scene.view();
    assert_ne!(old, new);
    let beside = |(_, file): &(String, String)| file.contains(".kvm-hotplug");
    assert!(end.calls.iter().any(beside), "the second file has no part in this: {:?}", end.calls);
    for at in 1..=end.calls.len() {
        for how in
            [How::Kill, How::After, How::Fail(libc::EIO), How::From(libc::ENOSPC), How::From(libc::EIO)]
        {
            one_cut(change, at, how, (&old, &new));
        }
    }
}

#[test]
fn adding_to_a_list() {
    at_every_call(ListAdd);
}

#[test]
fn adding_to_a_list_for_the_next_boot() {
    at_every_call(ListAddLater);
}

#[test]
fn removing_what_ganeti_had() {
    at_every_call(ListDelFirst);
}

#[test]
fn removing_what_was_added_to_a_list() {
    at_every_call(ListDelLast);
}
