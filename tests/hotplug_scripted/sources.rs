//! Disks whose source is described instead of named by a path.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::{BootRequest, FIRST_FD, Incoming};
use kvm_hotplug::disk::{BackingRule, Description, DiskSpec, Format};
use kvm_hotplug::model::Spec;
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use crate::support::api::*;
use crate::support::fixture::Fixture;
use crate::support::programs;

fn nbd(export: &str) -> Value {
    let server = json!({"type": "unix", "path": "/run/storage.sock"});
    json!({"driver": "nbd", "server": server, "export": export, "reconnect-delay": 5})
}

fn disk(id: &str, source: &Value) -> DiskArgs {
    let place = Place { id: Some(id.into()), ..Place::default() };
    DiskArgs { place, source: Some(source.to_string()), format: Some("raw".into()), ..DiskArgs::default() }
}

fn sent(fixture: &Fixture, name: &str) -> Value {
    let seen = fixture.qemu.take_seen();
    // The first asks whether QEMU has the driver.
    seen.into_iter().rfind(|seen| seen.name == name).expect(name).arguments
}

/// The node, with its files by their paths again.
fn node_of(argv: &[String], source: &Value) -> bool {
    argv.iter().any(|argument| {
        let Ok(Value::Object(mut node)) = serde_json::from_str(argument) else { return false };
        node.remove("node-name");
        Value::from(node) == *source
    })
}

pub fn a_source_is_opened_by_qemu_and_recorded_as_given(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    let source = nbd("a");
    fixture.qemu.take_seen();
    done(api.add_disk(&DiskArgs { read_only: true, ..disk("data", &source) }));
    let mut expected = source.clone();
    expected["node-name"] = "data".into();
    expected["read-only"] = true.into();
    assert_eq!(sent(&fixture, "blockdev-add"), expected);
    let described = api.describe(Some("data")).unwrap().unwrap();
    assert_eq!((&described["source"], &described["path"]), (&source, &Value::Null));
    let file: Value = serde_json::from_str(&fixture.record_text()).unwrap();
    assert_eq!((&file["disks"][0]["source"], file["disks"][0].get("path")), (&source, None));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    // The same again is the same; another one is a conflict.
    fixture.qemu.take_seen();
    done(api.add_disk(&DiskArgs { read_only: true, ..disk("data", &source) }));
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    let other = DiskArgs { read_only: true, ..disk("data", &nbd("b")) };
    let failure = fails(api.add_disk(&other), ErrorKind::Conflict);
    assert!(failure.text.contains("exists with another source"), "{failure:?}");
    let failure = fails(api.add_disk(&disk("too", &source)), ErrorKind::Conflict);
    assert!(failure.text.contains("is used by data of this guest"), "{failure:?}");
    drop(api);
    for incoming in [None, Some(Incoming::Defer)] {
        let request = BootRequest { incoming, fd_base: FIRST_FD, ..BootRequest::default() };
        let command = RecordFile::load(&fixture.runtime).unwrap().boot_command(request).unwrap();
        let mut expected = source.clone();
        expected["read-only"] = true.into();
        assert!(node_of(&command.argv, &expected) && command.fds.is_empty(), "{:?}", command.argv);
    }
    let api = fixture.open(agent);
    done(api.unplug(&UnplugArgs::of("data")));
    assert_eq!(fixture.snapshot(), before);
}

pub fn files_of_a_source_are_opened_here(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let [top, data] = ["top.qcow2", "data.raw"].map(|name| fixture.dir.path().join(name));
    let option = format!("data_file={}", data.display());
    programs::run(&["qemu-img", "create", "-q", "-f", "qcow2", "-o", &option, top.to_str().unwrap(), "1M"]);
    let file = |path: &std::path::Path| json!({"driver": "file", "filename": path});
    let source = json!({"driver": "qcow2", "file": file(&top), "data-file": file(&data)});
    let api = fixture.open(agent);
    // The header names a file that nobody has vouched for.
    let short = json!({"driver": "qcow2", "file": file(&top)});
    let failure = fails(api.add_disk(&disk("data", &short)), ErrorKind::ImageRefused);
    assert!(failure.text.contains("its header has a data file"), "{failure:?}");
    fixture.qemu.take_seen();
    done(api.add_disk(&disk("data", &source)));
    let on_set = |set: u32| json!({"driver": "file", "filename": format!("/dev/fdset/{set}")});
    let expected = json!({
        "driver": "qcow2", "node-name": "data", "file": on_set(1), "data-file": on_set(2), "backing": null,
    });
    assert_eq!(sent(&fixture, "blockdev-add"), expected);
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    let by_path = DiskArgs { format: Some("raw".into()), ..fixture.disk_as("too", "data.raw") };
    let failure = fails(api.add_disk(&by_path), ErrorKind::Conflict);
    assert!(failure.text.contains("data.raw is used by data of this guest"), "{failure:?}");
    let twice = json!({"driver": "qcow2", "file": file(&top), "data-file": file(&top)});
    let failure = fails(api.add_disk(&disk("twice", &twice)), ErrorKind::Invalid);
    assert!(failure.text.contains("it is in the source twice"), "{failure:?}");
    drop(api);
    let request = BootRequest { fd_base: FIRST_FD, ..BootRequest::default() };
    let command = RecordFile::load(&fixture.runtime).unwrap().boot_command(request).unwrap();
    assert!(node_of(&command.argv, &{
        let mut node = expected;
        node.as_object_mut().unwrap().remove("node-name");
        node
    }));
    assert_eq!(command.fds.len(), 2);
    // Another file has the name by now: it is not the one that was recorded.
    std::fs::rename(&data, fixture.dir.path().join("old.raw")).unwrap();
    std::fs::write(&data, [0; 1 << 20]).unwrap();
    let request = BootRequest { fd_base: FIRST_FD, ..BootRequest::default() };
    let error = RecordFile::load(&fixture.runtime).unwrap().boot_command(request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ImageRefused, "{error}");
}

pub fn an_image_over_a_network_has_what_is_described_below_it(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    let source = json!({"driver": "qcow2", "file": nbd("image")});
    done(api.add_disk(&disk("data", &source)));
    assert_eq!(sent(&fixture, "blockdev-add")["backing"], Value::Null);
    let base = fixture.disk("base.img").path;
    let below = json!({"driver": "raw", "file": {"driver": "file", "filename": base}});
    let source = json!({"driver": "qcow2", "file": nbd("other"), "backing": below});
    done(api.add_disk(&disk("more", &source)));
    let written = fails(api.add_disk(&fixture.disk_as("base", "base.img")), ErrorKind::Conflict);
    assert!(written.text.contains("is a backing file of json:{"), "{written:?}");
    done(api.add_disk(&DiskArgs { read_only: true, ..fixture.disk_as("base", "base.img") }));
}

pub fn sources_that_cannot_be_are_refused_before_anything_is_done(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    let file = json!({"driver": "file", "filename": "/not/there"});
    let mut named = nbd("a");
    named["node-name"] = "data".into();
    for (source, kind, says) in [
        (named, ErrorKind::Invalid, "source.node-name: the library gives names itself"),
        (json!({"driver": "raw", "file": "data"}), ErrorKind::Invalid, "a node that QEMU has already"),
        (json!({"driver": "file", "filename": "nbd:unix:/a"}), ErrorKind::Invalid, "must be absolute"),
        (json!({"driver": "vvfat", "dir": "/etc"}), ErrorKind::Invalid, "driver vvfat is not supported"),
        (json!({"driver": "raw", "file": file}), ErrorKind::NotFound, "file \"/not/there\" of the source"),
        (json!({"driver": "rbd", "pool": "p", "image": "i"}), ErrorKind::NotHotpluggable, "block driver rbd"),
        (
            json!({"driver": "nvme", "device": "0000:01:00.0"}),
            ErrorKind::NotHotpluggable,
            "block driver nvme",
        ),
    ] {
        let failure = fails(api.add_disk(&disk("data", &source)), kind);
        assert!(failure.text.contains(says), "{source}: {failure:?}");
        let text = json!([{"type": "disk", "id": "data", "source": source}]).to_string();
        assert!(api.add_json(&text, AMPLE).is_err(), "{source} was taken from a JSON text");
    }
    let with = |change: &dyn Fn(&mut DiskArgs)| {
        let mut disk = disk("data", &nbd("a"));
        change(&mut disk);
        fails(api.add_disk(&disk), ErrorKind::Invalid).text
    };
    let own_directory = || Some(BackingRule::OwnDirectory);
    assert!(with(&|disk| disk.path = "/srv/a".into()).contains("path with a source"));
    assert!(with(&|disk| disk.format = Some("qcow2".into())).contains("format with a source"));
    assert!(with(&|disk| disk.backing = own_directory()).contains("backing with a source"));
    drop(api);
    assert_eq!(fixture.snapshot(), before);
}

pub fn a_wanted_list_has_sources(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let list = |export: &str| json!([{"type": "disk", "id": "data", "source": nbd(export)}]).to_string();
    let applied = |export, how| api.apply(&list(export), how);
    let replace = ApplyArgs { replace: true, ..ApplyArgs::default() };
    assert_eq!(applied("a", ApplyArgs::default()).result.unwrap(), "done");
    fixture.qemu.take_seen();
    assert_eq!(applied("a", ApplyArgs::default()).result.unwrap(), "done");
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    assert!(applied("b", ApplyArgs::default()).result.is_err());
    assert_eq!(applied("b", replace).result.unwrap(), "done");
    let spec = fixture.record().devices.iter().map(|device| device.spec.clone()).next().unwrap();
    let mut expected = DiskSpec::new("", Format::Raw);
    expected.source = Some(Description::parse(&nbd("b").to_string()).unwrap());
    assert_eq!(spec, Spec::Disk(expected));
}
