//! Further properties of devices: asked about, set, recorded and compared.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use serde_json::{Value, json};

use crate::support::api::*;
use crate::support::fixture::Fixture;

fn with(id: &str, properties: Value) -> Place {
    Place { id: Some(id.into()), properties: Some(properties.to_string()), ..Place::default() }
}

fn of_device_add(fixture: &Fixture) -> Value {
    let seen = fixture.qemu.take_seen();
    let add = seen.into_iter().find(|seen| seen.name == "device_add").expect("no device_add");
    add.arguments
}

/// What the record, and the guest's list of it, say of a device.
fn recorded(fixture: &Fixture, api: &dyn Api, id: &str) -> Value {
    let record = fixture.record();
    let device = record.devices.iter().find(|device| device.id.as_str() == id).unwrap();
    let said = api.describe(Some(id)).unwrap().unwrap();
    assert_eq!(said["properties"], Value::Object(device.properties.clone()));
    said["properties"].clone()
}

pub fn further_properties_are_set_and_recorded(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    // Whoever reads them from a command line has texts only.
    let place = with("data", json!({"queue-size": "128", "packed": "on", "werror": "stop"}));
    done(api.add_disk(&DiskArgs { place: place.clone(), ..fixture.disk("a.img") }));
    let typed = json!({"packed": true, "queue-size": 128, "werror": "stop"});
    let sent = of_device_add(&fixture);
    for name in ["packed", "queue-size", "werror"] {
        assert_eq!(sent[name], typed[name]);
    }
    assert_eq!(recorded(&fixture, &*api, "data"), typed);
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    let place_of_nic = with("lan", json!({"packed": true}));
    done(api.add_nic(&NicArgs { place: place_of_nic, ..fixture.nic(1) }));
    assert_eq!(recorded(&fixture, &*api, "lan"), json!({"packed": true}));
    let place_of_controller = with("scsi", json!({"queue-size": 64}));
    done(api.add_controller(&ControllerArgs { place: place_of_controller, ..ControllerArgs::default() }));
    assert_eq!(recorded(&fixture, &*api, "scsi"), json!({"queue-size": 64}));
    // The same again is the same, and QEMU is asked once about a model. Nothing asked for means whatever
    // there is. Another value is a conflict.
    fixture.qemu.take_seen();
    done(api.add_disk(&DiskArgs { place, ..fixture.disk("a.img") }));
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    let other = with("data", json!({"queue-size": 256}));
    let failure =
        fails(api.add_disk(&DiskArgs { place: other, ..fixture.disk("a.img") }), ErrorKind::Conflict);
    assert!(failure.text.contains("another value of the property queue-size"), "{failure:?}");
}

pub fn a_property_that_has_changed_is_told(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let place = with("data", json!({"queue-size": 128}));
    done(api.add_disk(&DiskArgs { place, ..fixture.disk("a.img") }));
    fixture.qemu.model(|model| {
        let device = model.devices.iter_mut().find(|device| device.id.as_deref() == Some("data")).unwrap();
        device.properties.insert("queue-size".into(), json!(64));
    });
    let told = api.verify().unwrap();
    assert!(told.len() == 1 && told[0].contains("queue-size"), "{told:?}");
}

pub fn properties_that_cannot_be_are_refused_before_anything_is_done(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    let table = [
        (json!({"quue-size": 128}), "quue-size: a virtio-blk-pci of QEMU"),
        (json!({"packed": "perhaps"}), "packed: QEMU takes true or false for that of virtio-blk-pci"),
        (json!({"queue-size": "many"}), "queue-size: QEMU takes a whole number"),
        (json!({"drive": "other"}), "drive: it is set by the request itself"),
        (json!({"romfile": "/etc/shadow"}), "romfile: QEMU would open the file by itself"),
        (json!({"packed": [true]}), "packed: a value is a text"),
        (json!({"a,id=x": "y"}), "no name of a property"),
        (json!("packed"), "no JSON object"),
    ];
    for (properties, expected) in table {
        let disk = DiskArgs { place: with("data", properties.clone()), ..fixture.disk("a.img") };
        let failure = fails(api.add_disk(&disk), ErrorKind::Invalid);
        assert!(failure.text.contains(expected), "{properties}: {failure:?}");
        assert_eq!(failure.errno, libc::EINVAL);
        let mut wanted = json!({"type": "disk", "id": "data", "path": disk.path, "properties": properties});
        if let Err(failure) = api.add_json(&json!([wanted.take()]).to_string(), AMPLE) {
            assert_eq!(failure.errno, libc::EINVAL, "{properties}");
        } else {
            panic!("{properties} were taken from a JSON text");
        }
    }
    drop(api);
    // What looked for the image has made it.
    let mut after = fixture.snapshot();
    after.files.retain(|name| name != "a.img");
    assert_eq!(after, before);
}

pub fn a_wanted_list_has_properties(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let path = fixture.disk("a.img").path;
    let list = |size: u32| {
        json!([{"type": "disk", "id": "data", "path": path, "properties": {"queue-size": size}}]).to_string()
    };
    let applied = |size, how| api.apply(&list(size), how);
    assert_eq!(applied(128, ApplyArgs::default()).result.unwrap(), "done");
    assert_eq!(recorded(&fixture, &*api, "data"), json!({"queue-size": 128}));
    fixture.qemu.take_seen();
    assert_eq!(applied(128, ApplyArgs::default()).result.unwrap(), "done");
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    assert!(applied(256, ApplyArgs::default()).result.is_err());
    let replace = ApplyArgs { replace: true, ..ApplyArgs::default() };
    assert_eq!(applied(256, replace).result.unwrap(), "done");
    assert_eq!(recorded(&fixture, &*api, "data"), json!({"queue-size": 256}));
}
