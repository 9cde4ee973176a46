//! Whole changes of a guest, cut at every call about the record's directory.

use serde_json::Value;

use super::child::{
    AddDisk, AddLater, AddNic, AddScsi, Change, DelDisk, DelNic, End, How, ID, MAC, Reopen, run,
};
use super::support::api::*;
use super::support::fixture::{Fixture, Snapshot};
use super::support::host;
use super::support::rust_api::RustAgent;

/// Commands that change a guest.
const CHANGING: [&str; 8] = [
    "getfd",
    "netdev_add",
    "add-fd",
    "blockdev-add",
    "device_add",
    "device_del",
    "netdev_del",
    "blockdev-del",
];

struct Scene {
    fixture: Fixture,
    ifname: String,
}

impl Scene {
    /// A world in which only the change is still to be made.
    fn before(change: Change) -> Self {
        let fixture = Fixture::pc();
        let ifname = fixture.nic(1).ifname.unwrap();
        fixture.disk("disk.img");
        let scene = Self { fixture, ifname };
        if matches!(change, DelNic | DelDisk | Reopen) {
            let api = scene.fixture.open(&RustAgent);
            done(match change {
                DelDisk => api.add_disk(&scene.fixture.disk_as(ID, "disk.img")),
                _ => api.add_nic(&NicArgs {
                    ifname: Some(scene.ifname.clone()),
                    ..scene.fixture.nic_as(ID, MAC)
                }),
            });
        }
        if change == Reopen {
            // A removal that was asked for and granted while nobody was there.
            let api = scene.fixture.open(&RustAgent);
            scene
                .fixture
                .qemu
                .model(|model| model.unplug_behaviour = super::support::fake::UnplugBehaviour::Never);
            api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of(ID) }).unwrap();
            drop(api);
            scene.fixture.qemu.grant(ID);
        }
        scene.fixture.qemu.settle();
        scene.fixture.qemu.take_seen();
        scene
    }

    fn make(&self, change: Change, at: usize, how: How) -> End {
        let end = run(change, &self.fixture, &self.ifname, at, how);
        self.fixture.qemu.settle();
        end
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.fixture.snapshot();
        snapshot.files.retain(|name| !name.ends_with(".new"));
        snapshot
    }
}

/// Old and new picture, and the calls of the change.
fn old_and_new(change: Change) -> (Snapshot, Snapshot, Vec<(String, String)>) {
    let scene = Scene::before(change);
    let old = scene.snapshot();
    let end = scene.make(change, 0, How::Not);
    assert!(end.error().is_some_and(Value::is_null), "{end:?}");
    (old, scene.snapshot(), end.calls)
}

/// Interfaces have names of their own in each world, and times differ; what counts is how many there are.
fn same(a: &Snapshot, b: &Snapshot) -> bool {
    let plain = |record: &str| {
        let mut value: Value = serde_json::from_str(record).unwrap();
        for nic in value["nics"].as_array_mut().unwrap() {
            for name in ["ifname", "tap", "tap_identity"] {
                nic.as_object_mut().unwrap().remove(name);
            }
        }
        for disk in value["disks"].as_array_mut().unwrap() {
            for name in ["path", "chain"] {
                disk.as_object_mut().unwrap().remove(name);
            }
        }
        value
    };
    let files = |snapshot: &Snapshot| snapshot.files.clone();
    a.qemu == b.qemu
        && files(a) == files(b)
        && a.taps.len() == b.taps.len()
        && plain(&a.record) == plain(&b.record)
}

fn one_cut(change: Change, at: usize, how: How, (old, new): (&Snapshot, &Snapshot)) {
    let scene = Scene::before(change);
    let end = scene.make(change, at, how);
    let what = format!("{change:?}, call {at} {:?}, {how:?}: {:?}", end.calls.get(at - 1), end.result);
    println!("{what}");
    let after = scene.snapshot();
    let names = scene.fixture.qemu.take_names();
    // Opening takes down the backend of a device that is gone before it forgets the device.
    if change != Reopen {
        judge(&what, &end, &after, (old, new));
    }
    if end.error().is_some_and(|error| error["step"] == "write the journal") && change != Reopen {
        let changing = names.iter().find(|name| CHANGING.contains(&name.as_str()));
        assert_eq!(changing, None, "{what}: sent although the journal could not be written");
    }
    // The next agent makes record and guest agree.
    drop(scene.fixture.open(&RustAgent));
    let settled = |snapshot: &Snapshot| same(snapshot, old) || same(snapshot, new);
    let is_settled = host::eventually(|| {
        if change == Reopen || !settled(&scene.snapshot()) {
            drop(scene.fixture.open(&RustAgent));
        }
        settled(&scene.snapshot()) && !scene.fixture.journal().exists()
    });
    assert!(is_settled, "{what}: {:#?}", scene.snapshot());
    let names: Vec<_> =
        std::fs::read_dir(scene.fixture.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".new")), "{what}: {names:?}");
}

/// What the process itself said has to be true at once.
fn judge(what: &str, end: &End, after: &Snapshot, (old, new): (&Snapshot, &Snapshot)) {
    match end.error() {
        None => assert!(end.was_killed(), "{what}"),
        // A journal entry that could not be struck is settled by the next agent.
        Some(Value::Null) => {
            let mut after = after.clone();
            after.files.retain(|name| !name.ends_with(".journal"));
            assert!(same(&after, new), "{what}: {after:#?}");
        }
        Some(error) => {
            assert!(error["errno"].as_i64().unwrap() > 0);
            if error["left"].as_array().unwrap().is_empty() {
                assert!(same(after, old), "{what} says that nothing is left: {after:#?}");
            }
        }
    }
}

fn at_every_call(change: Change) {
    host::needs_tun();
    let (old, new, calls) = old_and_new(change);
    assert!(calls.len() > 12, "{calls:?}");
    for at in 1..=calls.len() {
        for how in [
            How::Kill,
            How::After,
            How::Fail(libc::EIO),
            How::Fail(libc::EINTR),
            How::From(libc::ENOSPC),
            How::From(libc::EIO),
        ] {
            one_cut(change, at, how, (&old, &new));
        }
    }
}

#[test]
fn adding_a_nic() {
    at_every_call(AddNic);
}

#[test]
fn adding_a_disk() {
    at_every_call(AddDisk);
}

#[test]
fn adding_a_scsi_disk_with_its_controller() {
    at_every_call(AddScsi);
}

#[test]
fn adding_for_the_next_boot() {
    at_every_call(AddLater);
}

#[test]
fn removing_a_nic() {
    at_every_call(DelNic);
}

#[test]
fn removing_a_disk() {
    at_every_call(DelDisk);
}

#[test]
fn opening_a_guest_with_something_unfinished() {
    at_every_call(Reopen);
}

/// The journal is on disk before the first command, and success is reported after the record is.
#[test]
fn the_order_on_disk() {
    host::needs_tun();
    let (_, _, calls) = old_and_new(AddDisk);
    let at = |name: &str, file: &str| calls.iter().position(|(n, f)| n == name && f == file).unwrap();
    let staged = at("fsync", "web1.runtime.new");
    let journalled = at("rename", "web1.runtime.journal.new");
    let renamed = at("rename", "web1.runtime.new");
    assert!(staged < journalled && journalled < renamed, "{calls:?}");
    let cleared = calls.iter().rposition(|(n, f)| n == "unlink" && f == "web1.runtime.journal").unwrap();
    assert!(renamed < cleared, "{calls:?}");
    assert!(calls[renamed..cleared].iter().any(|(n, f)| n == "fsync" && f == "."), "{calls:?}");
}
