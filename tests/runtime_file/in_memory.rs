//! A record without a file that a live guest has all the same, and what another program's devices have beyond
//! the settings that a record knows.

use kvm_hotplug::ErrorKind;
use kvm_hotplug::ids::MacAddr;
use kvm_hotplug::model::{Intent, Operation, Record, Spec};
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::store::document::Document;
use kvm_hotplug::store::{Format, RecordFile, native};
use serde_json::{Map, Value, json};

use super::device;

fn record(properties: Value) -> Record {
    let mut record = Record::new("web1", vec!["qemu".into()], 4).unwrap();
    let mut nic = device("net0", 4, Spec::Nic(NicSpec::new(MacAddr::local([0, 0, 1]))));
    nic.properties = properties.as_object().cloned().unwrap_or_else(Map::new);
    record.add(nic);
    record
}

#[test]
fn properties_are_read_as_they_were_written() {
    let properties = json!({ "rx_queue_size": 512, "packed": true, "iothread": "io0" });
    let record = record(properties.clone());
    let bytes = native::encode(&record).unwrap();
    assert_eq!(native::decode(&bytes).unwrap(), record);
    let mut file: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(file["nics"][0]["properties"], properties);
    for own in ["id", "driver", "addr", "bus", "netdev", "drive", "a,b", ""] {
        file["nics"][0]["properties"] = json!({ own: 1 });
        let error = native::decode(file.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format, "{own}");
        assert!(error.to_string().contains("\"properties\""), "{error}");
    }
    let error = Document::from(record).convert(Format::Ganeti).unwrap_err();
    assert!(error.to_string().contains("net0") && error.to_string().contains("properties"), "{error}");
}

#[test]
fn a_record_in_memory_is_changed_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm.runtime");
    let mut file = RecordFile::new(record(Value::Null));
    assert_eq!(file.attach().unwrap_err().kind(), ErrorKind::State);
    file.keep_in_memory().unwrap();
    file.attach().unwrap();
    let device = file.record().devices[0].clone();
    let intent =
        Intent { operation: Operation::Remove, device: device.clone(), batch: None, fds_settled: false };
    file.write_journal(|journal| journal.intents.push(intent)).unwrap();
    assert_eq!(file.journal().intents.len(), 1);
    let mut next = file.record().clone();
    next.remove(&device.id);
    let staged = file.stage(next).unwrap();
    assert_eq!(file.record().devices.len(), 1);
    file.commit(staged).unwrap();
    assert!(file.record().devices.is_empty());
    assert!(file.save_new(&path).unwrap_err().to_string().contains("close it first"));
    file.detach();
    assert!(file.save_new(&path).unwrap_err().to_string().contains("settle it first"));
    file.write_journal(|journal| journal.intents.clear()).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    file.save_new(&path).unwrap();
    assert!(file.keep_in_memory().unwrap_err().to_string().contains("has a file"));
    drop(file);
    assert!(RecordFile::load(&path).unwrap().record().devices.is_empty());
}
