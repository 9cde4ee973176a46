//! The names of backends that another program has made: read back as written, refused by name, and gone with
//! the next boot.

use kvm_hotplug::disk::{DiskSpec, Format as ImageFormat};
use kvm_hotplug::ids::MacAddr;
use kvm_hotplug::model::{BackendNames, Intent, Journal, Operation, Record, Spec};
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::store::document::Document;
use kvm_hotplug::store::{Format, journal_file, native};
use kvm_hotplug::{ErrorKind, Result};
use serde_json::{Value, json};

use super::device;

fn names(text: Value) -> Option<BackendNames> {
    Some(serde_json::from_value(text).unwrap())
}

fn record() -> Record {
    let mut record = Record::new("web1", vec!["qemu".into()], 4).unwrap();
    let mut net0 = device("net0", 4, Spec::Nic(NicSpec::new(MacAddr::local([0, 0, 1]))));
    net0.backend = names(json!({ "netdev": "hostnet0" }));
    let mut disk0 = device("disk0", 5, Spec::Disk(DiskSpec::new("/images/a.img", ImageFormat::Qcow2)));
    disk0.backend = names(json!({ "nodes": ["format0", "storage0"] }));
    let mut disk1 = device("disk1", 6, Spec::Disk(DiskSpec::new("/images/b.img", ImageFormat::Raw)));
    disk1.backend = names(json!({ "drive": "drive0" }));
    let own = device("own", 7, Spec::Disk(DiskSpec::new("/images/c.img", ImageFormat::Raw)));
    [net0, disk0, disk1, own].into_iter().for_each(|device| record.add(device));
    record
}

fn changed(change: impl FnOnce(&mut Value)) -> Result<Record> {
    let mut file: Value = serde_json::from_slice(&native::encode(&record()).unwrap()).unwrap();
    change(&mut file);
    native::decode(file.to_string().as_bytes())
}

#[test]
fn names_are_read_as_they_were_written() {
    let record = record();
    let bytes = native::encode(&record).unwrap();
    assert_eq!(native::decode(&bytes).unwrap(), record);
    let file: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(file["nics"][0]["backend"], json!({ "netdev": "hostnet0" }));
    assert_eq!(file["disks"][0]["backend"], json!({ "nodes": ["format0", "storage0"] }));
    assert_eq!(file["disks"][1]["backend"], json!({ "drive": "drive0" }));
    assert_eq!(file["disks"][2].get("backend"), None, "of its own it is not written");
    let intent = |device: &_| Intent {
        operation: Operation::Remove,
        device: Clone::clone(device),
        batch: None,
        fds_settled: false,
    };
    let journal = Journal { intents: record.devices.iter().map(intent).collect(), peer: None };
    assert_eq!(journal_file::decode(&journal_file::encode(&journal).unwrap()).unwrap(), journal);
}

#[test]
fn names_that_no_device_can_have_are_refused() {
    for (device, backend, why) in [
        ("/nics/0", json!({ "drive": "a" }), "nics[0]: \"backend\": a NIC has no drive"),
        ("/disks/0", json!({ "netdev": "a" }), "a disk has no netdev"),
        ("/disks/0", json!({ "nodes": [] }), "0 nodes, a disk has 1 to 32"),
        ("/disks/0", json!({ "nodes": ["a", "a"] }), "node a is named twice"),
        ("/disks/0", json!({ "nodes": ["x".repeat(32)] }), "at most 31 characters"),
        ("/disks/0", json!({ "drive": "x".repeat(64) }), "at most 63 are allowed"),
        ("/disks/0", json!({ "drive": "a,b" }), "',' is not allowed"),
        ("/disks/0", json!({ "drive": 1 }), "invalid type"),
        ("/disks/0", json!({ "drive": "a", "nodes": ["b"] }), "expected"),
        ("/disks/0", json!({ "newer": "a" }), "unknown variant"),
        // Whoever takes down the one would take down the other.
        ("/disks/0", json!({ "drive": "drive0" }), "disk0 and disk1 both have the backend drive0"),
        ("/disks/1", json!({ "nodes": ["top", "storage0"] }), "both have the backend storage0"),
        ("/disks/0", json!({ "nodes": ["own"] }), "disk0 and own both have the backend own"),
    ] {
        let error = changed(|file| file.pointer_mut(device).unwrap()["backend"] = backend).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Format && error.message().contains(why),
            "{error} should say {why}"
        );
    }
    let controller = json!([{ "id": "c", "generation": 9, "backend": { "nodes": ["a"] } }]);
    let error = changed(|file| file["controllers"] = controller).unwrap_err();
    assert!(error.message().contains("a SCSI controller has no block node"), "{error}");
    let later = |file: &mut Value| file["nics"][0]["presence"] = "add-after-reboot".into();
    let error = changed(later).unwrap_err();
    assert!(error.message().contains("comes with the next boot"), "{error}");
    // A netdev and a node may have one name.
    changed(|file| file["nics"][0]["backend"] = json!({ "netdev": "drive0" })).unwrap();
}

#[test]
fn a_ganeti_list_cannot_hold_them() {
    let error = Document::from(record()).convert(Format::Ganeti).unwrap_err();
    assert!(error.message().starts_with("NIC net0 cannot stand in a Ganeti list"), "{error}");
}
