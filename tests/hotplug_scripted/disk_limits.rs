//! Limits of disks: set with the disk, and while the guest has it, of one disk or of a group.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::BootRequest;
use kvm_hotplug::qmp::Version;
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use crate::support::api::*;
use crate::support::fake::Act;
use crate::support::fixture::Fixture;

const SLOW: &str = r#"{"bps-total": 1000000, "iops-read": 100, "iops-read-max": 300}"#;

fn limited(fixture: &Fixture, id: &str, image: &str, limits: &str) -> DiskArgs {
    DiskArgs { limits: Some(limits.into()), ..fixture.disk_as(id, image) }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Those of a group that limit.
fn group(fixture: &Fixture, name: &str) -> Value {
    let mut limits = Value::Null;
    fixture.qemu.model(|model| limits = model.objects[name]["limits"].clone());
    let is_set = |(name, value): &(&String, &Value)| **value != json!(u64::from(name.ends_with("-length")));
    Value::Object(
        limits.as_object().unwrap().iter().filter(is_set).map(|(k, v)| (k.clone(), v.clone())).collect(),
    )
}

fn described(api: &dyn Api, id: &str) -> Value {
    api.describe(Some(id)).unwrap().unwrap()["limits"].clone()
}

pub fn a_disk_has_limits_from_the_start(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let empty = fixture.snapshot();
    fixture.qemu.take_seen();
    let disk = limited(&fixture, "data", "a.img", SLOW);
    done(api.add_disk(&disk));
    let seen = fixture.qemu.take_seen();
    let names: Vec<&str> = seen.iter().map(|seen| seen.name.as_str()).collect();
    assert_eq!(names, ["qom-list", "add-fd", "object-add", "blockdev-add", "device_add"]);
    assert_eq!(
        seen[2].arguments,
        json!({ "qom-type": "throttle-group", "id": "data-limits", "limits": value(SLOW) })
    );
    assert_eq!(
        seen[3].arguments,
        json!({
            "driver": "throttle", "node-name": "data", "throttle-group": "data-limits",
            "file": { "driver": "file", "filename": "/dev/fdset/1", "node-name": "data-image" },
        })
    );
    assert_eq!(described(&*api, "data"), value(SLOW));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    assert_eq!(api.resize("data", SizeArgs::bytes(2 << 20), AMPLE).unwrap(), 2 << 20);
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    // The same again is there, others are a conflict.
    fixture.qemu.take_seen();
    let again = r#"{"iops-read": 100, "iops-read-max": 300, "bps-total": 1000000, "iops-write": 0}"#;
    done(api.add_disk(&limited(&fixture, "data", "a.img", again)));
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    for other in [None, Some(r#"{"bps-total": 1}"#.to_owned())] {
        let other = DiskArgs { limits: other, ..fixture.disk_as("data", "a.img") };
        let failure = fails(api.add_disk(&other), ErrorKind::Conflict);
        assert!(failure.text.contains("another limits"), "{failure:?}");
    }
    // Somebody else changes them.
    fixture.qemu.model(|model| {
        model.objects.get_mut("data-limits").unwrap()["limits"]["bps-total"] = 7.into();
    });
    let told = api.verify().unwrap();
    assert!(told.len() == 1 && told[0].contains(r#""bps-total":7"#), "{told:?}");
    done(api.unplug(&UnplugArgs::of("data")));
    let mut after = fixture.snapshot();
    after.files.retain(|name| name != "a.img");
    assert_eq!(after, empty);
    // The node of an image, whose name the library has made up, belongs to its disk.
    done(api.add_disk(&DiskArgs { limits: Some(SLOW.into()), ..fixture.disk("b.img") }));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
}

pub fn limits_are_set_while_the_guest_has_the_disk(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&limited(&fixture, "data", "a.img", SLOW)));
    done(api.add_disk(&fixture.disk_as("free", "b.img")));
    let start = fixture.snapshot();
    // By its group.
    assert_eq!(api.set_limits("data", r#"{"bps-write": 5}"#, AMPLE).unwrap(), Changed::Done);
    assert_eq!(group(&fixture, "data-limits"), json!({ "bps-write": 5 }));
    assert_eq!(described(&*api, "data"), json!({ "bps-write": 5 }));
    assert_eq!(api.set_limits("data", "{}", AMPLE).unwrap(), Changed::Done);
    assert_eq!((group(&fixture, "data-limits"), described(&*api, "data")), (json!({}), json!({})));
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    assert_eq!(api.set_limits("data", SLOW, AMPLE).unwrap(), Changed::Done);
    assert_eq!(fixture.snapshot(), start);
    // By its device.
    assert_eq!(api.set_limits("free", SLOW, AMPLE).unwrap(), Changed::Done);
    assert_eq!(described(&*api, "free"), value(SLOW));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    fixture.qemu.model(|model| model.device_mut("free").unwrap().throttle["bps"] = 3.into());
    let told = api.verify().unwrap();
    assert!(told.len() == 1 && told[0].contains(r#""bps":3"#), "{told:?}");
    assert_eq!(api.set_limits("free", "{}", AMPLE).unwrap(), Changed::Done);
    assert_eq!(described(&*api, "free"), Value::Null);
    assert_eq!(fixture.snapshot(), start);
    // A refusal leaves everything as it was.
    for (id, command) in [("data", "qom-set"), ("free", "block_set_io_throttle")] {
        fixture.qemu.fault(command, 0, Act::refuse("no"));
        let failure = fails(api.set_limits(id, r#"{"iops-total": 9}"#, AMPLE), ErrorKind::Qmp);
        assert_eq!(failure.left, Vec::<String>::new());
        assert_eq!(fixture.snapshot(), start);
    }
    for (id, limits, kind, text) in [
        ("free", r#"{"group": "g", "bps-total": 1}"#, ErrorKind::Invalid, "keeps the group"),
        ("free", r#"{"bps-total": 1, "bps-read": 1}"#, ErrorKind::Invalid, "bps-total does not go with"),
        ("none", SLOW, ErrorKind::NotFound, "there is no disk"),
    ] {
        let failure = fails(api.set_limits(id, limits, AMPLE), kind);
        assert!(failure.text.contains(text), "{failure:?}");
    }
    // What is limited by its device leaves with it.
    assert_eq!(api.set_limits("free", SLOW, AMPLE).unwrap(), Changed::Done);
    done(api.unplug(&UnplugArgs::of("free")));
    done(api.unplug(&UnplugArgs::of("data")));
    assert!(
        !fixture.qemu.snapshot().iter().any(|line| line.contains("limit")),
        "{:?}",
        fixture.qemu.snapshot()
    );
}

pub fn a_group_is_limited_together(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let tenant = r#"{"bps-total": 1000000, "group": "tenant"}"#;
    let disks = [limited(&fixture, "one", "a.img", tenant), limited(&fixture, "two", "b.img", tenant)];
    api.add_all(&[], &disks, AMPLE).unwrap();
    let other = limited(&fixture, "three", "c.img", r#"{"bps-total": 5, "group": "tenant"}"#);
    let failure = api.add_disk(&other).unwrap_err();
    assert!(failure.text.contains("both have the object tenant, with different settings"), "{failure:?}");
    assert_eq!(api.set_limits("one", r#"{"iops-total": 50}"#, AMPLE).unwrap(), Changed::Done);
    let now = json!({ "iops-total": 50, "group": "tenant" });
    assert_eq!((described(&*api, "one"), described(&*api, "two")), (now.clone(), now));
    assert_eq!(group(&fixture, "tenant"), json!({ "iops-total": 50 }));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    done(api.unplug(&UnplugArgs::of("one")));
    assert_eq!(group(&fixture, "tenant"), json!({ "iops-total": 50 }));
    done(api.unplug(&UnplugArgs::of("two")));
    fixture.qemu.model(|model| assert!(model.objects.is_empty()));
}

/// An agent dies when QEMU has set the limits: they are set back to what the record has.
pub fn limits_that_were_not_recorded_are_set_back(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&limited(&fixture, "data", "a.img", SLOW)));
    done(api.add_disk(&fixture.disk_as("free", "b.img")));
    let start = fixture.snapshot();
    for (id, command) in [("data", "qom-set"), ("free", "block_set_io_throttle")] {
        fixture.qemu.fault(command, 0, Act::HangAfter);
        let failure = fails(api.set_limits(id, r#"{"iops-total": 9}"#, 200), ErrorKind::Timeout);
        assert!(failure.left[0].starts_with(&format!("limits of {id}: unknown")), "{failure:?}");
        fixture.qemu.resume();
        assert!(crate::support::host::eventually(|| {
            let _ = api.process(AMPLE);
            fixture.snapshot() == start
        }));
    }
}

/// A text has them as the record has them, and a boot gives every disk its node.
pub fn limits_in_texts_records_and_boots(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let path = fixture.disk("a.img").path;
    let api = fixture.open(agent);
    let list = json!([{ "type": "disk", "id": "data", "path": path, "limits": value(SLOW) }]);
    api.add_json(&list.to_string(), AMPLE).unwrap();
    done(api.add_disk(&fixture.disk_as("free", "b.img")));
    api.set_limits("free", r#"{"iops-total": 9}"#, AMPLE).unwrap();
    drop(api);
    let record: Value = serde_json::from_str(&fixture.record_text()).unwrap();
    assert_eq!(record["disks"][0]["limits"], value(SLOW));
    let file = RecordFile::load(&fixture.runtime).unwrap();
    for (qemu, forms) in [
        (
            None,
            [
                "qom-type=throttle-group,id=data-limits,x-bps-total=1000000,x-iops-read=100,x-iops-read-max=300",
                "qom-type=throttle-group,id=free-limits,x-iops-total=9",
            ],
        ),
        (
            Some(Version { major: 7, minor: 2, micro: 0 }),
            [
                r#"{"id":"data-limits","limits":{"bps-total":1000000,"iops-read":100,"iops-read-max":300},"qom-type":"throttle-group"}"#,
                r#"{"id":"free-limits","limits":{"iops-total":9},"qom-type":"throttle-group"}"#,
            ],
        ),
    ] {
        let request = BootRequest { qemu, fd_base: 3, ..BootRequest::default() };
        let argv = file.plan_command(request).unwrap().argv;
        let after = |option: &str| -> Vec<String> {
            argv.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].clone()).collect()
        };
        assert_eq!(after("-object"), forms);
        assert!(after("-blockdev").iter().all(|node| node.contains(r#""driver":"throttle""#)), "{argv:?}");
    }
}
