//! Lists that are odd and whose guests run all the same.

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::BootRequest;
use kvm_hotplug::boot::IssueKind;
use kvm_hotplug::deadline::Deadline;
use kvm_hotplug::store::{Document, Format, RecordFile};
use serde_json::{Value, json};

use super::{Dir, places, sample};

fn changed(name: &str, change: impl Fn(&mut Value)) -> Value {
    let mut list: Value = serde_json::from_slice(&sample(name)).unwrap();
    change(&mut list);
    list
}

/// Ganeti until 2.15 gives the place of a device away that QEMU has lost and the list has not. Whatever kinds
/// they are, and however the place is written.
#[test]
fn two_devices_at_one_place_are_loaded_and_told() {
    let lists = [
        changed("4entry-pci-2.15.2", |list| list[1][0]["pci"] = 4.into()),
        changed("4entry-pci-2.15.2", |list| list[3][1][0]["pci"] = 4.into()),
        changed("4entry-hvinfo-3.1.0rc2-plain", |list| list[1][0]["hvinfo"]["addr"] = "0xd".into()),
        changed("4entry-hvinfo-3.0.2-scsi-hd", |list| list[3][1][0]["hvinfo"]["scsi-id"] = 0.into()),
    ];
    for list in lists {
        let dir = Dir::with(list.to_string());
        let mut runtime = dir.load();
        let before = runtime.record().clone();
        let document = runtime.document();
        assert_eq!(Document::decode(&document.encode().unwrap()).unwrap(), document);
        let deadline = Deadline::after(std::time::Duration::from_secs(5));
        let problems = runtime.check_host(false, None, &deadline).unwrap();
        let told = problems.iter().filter(|problem| problem.kind == IssueKind::Place);
        assert_eq!(told.count(), 1, "{problems:?}");
        let boot = runtime.boot_command(BootRequest { fd_base: 3, ..BootRequest::default() });
        assert_eq!(boot.unwrap_err().kind(), ErrorKind::AddressTaken);
        // A change of another device is written, and one of the two may go.
        let mut next = before.clone();
        let gone = next.devices[0].id.clone();
        next.remove(&gone);
        runtime.replace(next).unwrap();
        drop(runtime);
        assert_eq!(places(&dir.load().record().devices), places(&before.devices)[1..]);
    }
}

/// What the library itself adds has a place of its own.
#[test]
fn no_further_device_comes_to_a_place_that_is_taken() {
    let mut document = Document::decode(&sample("4entry-hvinfo-3.1.0rc2-plain")).unwrap();
    let mut more = document.record.devices[0].clone();
    more.id = kvm_hotplug::ids::DeviceId::parse("nic-11111111-2222-3333").unwrap();
    if let kvm_hotplug::model::Spec::Nic(spec) = &mut more.spec {
        spec.mac = kvm_hotplug::ids::MacAddr::local([1, 2, 3]);
    }
    document.record.add(more);
    assert!(document.check().unwrap_err().message().contains("both sit at"));
}

#[test]
fn further_entries_are_kept() {
    let more = json!({"b": 1, "a": [null, 1.5]});
    let list = changed("4entry-hvinfo-3.1.0rc2-plain", |list| {
        list.as_array_mut().unwrap().extend([more.clone(), json!("sixth")]);
    });
    let dir = Dir::with(list.to_string());
    let mut runtime = dir.load();
    let mut next = runtime.record().clone();
    let native = runtime.document().convert(Format::Native).unwrap();
    let gone = next.devices[0].id.clone();
    next.remove(&gone);
    runtime.replace(next).unwrap();
    let after = dir.value();
    assert_eq!((&after[4], &after[5], after[1].as_array().unwrap().len()), (&more, &json!("sixth"), 1));
    let back: Value =
        serde_json::from_slice(&native.convert(Format::Ganeti).unwrap().encode().unwrap()).unwrap();
    assert_eq!((&back[4], &back[5]), (&more, &json!("sixth")));
    drop(RecordFile::peek(&dir.file()).unwrap());
}
