//! From one format to the other, and what does not fit.

use kvm_hotplug::ErrorKind;
use kvm_hotplug::disk::{Aio, Cache, Discard, DiskSpec, Format as ImageFormat};
use kvm_hotplug::ids::{Address, BusName, DeviceId, IfName, MacAddr, PciAddress, Slot};
use kvm_hotplug::model::{Device, Presence, Record, RootPort, Spec};
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::slots::scsi::ControllerSpec;
use kvm_hotplug::store::{Document, Format, RecordFile, native};
use serde_json::{Map, Value, json};

use super::{Dir, places, sample};

const SAMPLES: [&str; 11] = [
    "3entry-2.0.6",
    "3entry-2.9.7",
    "4entry-hvinfo-2.16.2",
    "4entry-hvinfo-3.0.2-plain",
    "4entry-hvinfo-3.0.2-scsi-hd",
    "4entry-hvinfo-3.1.0rc2-plain",
    "4entry-hvinfo-3.2dev-live2-after-disk-add",
    "4entry-hvinfo-3.2dev-rbd-userspace",
    "4entry-pci-2.10.8-oldargs",
    "4entry-pci-2.15.2",
    "hand-unknown-keys",
];

fn device(id: &str, slot: u8, spec: Spec) -> Device {
    let address = PciAddress { bus: BusName::parse("pci.0").unwrap(), slot: Slot::new(slot).unwrap() };
    Device {
        id: DeviceId::parse(id).unwrap(),
        generation: u64::from(slot),
        address: Some(address.into()),
        presence: Presence::Live,
        spec,
        backend: None,
        properties: Map::new(),
        ganeti: None,
        extra: Map::new(),
    }
}

fn nic(number: u8) -> NicSpec {
    let mut spec = NicSpec::new(MacAddr::local([0, 0, number]));
    spec.bridge = Some(IfName::parse("br0").unwrap());
    spec
}

/// Two NICs and two disks, all that a list can hold of them.
fn fitting() -> Record {
    let command = ["qemu-system-x86_64", "-name", "web1", "-m", "256"].map(String::from).to_vec();
    let mut record = Record::new("web1", command, 4).unwrap();
    for number in [4, 5] {
        let mut spec = nic(number);
        (spec.vhost, spec.queues, spec.ifname) = (true, 2, Some(IfName::parse("tap7").unwrap()));
        record.add(device(&format!("nic-pci-{number}"), number, Spec::Nic(spec)));
    }
    for number in [6, 7] {
        let mut spec = DiskSpec::new(format!("/images/{number}.img"), ImageFormat::Raw);
        (spec.cache, spec.aio, spec.discard) = (Cache::None, Aio::Native, Discard::Unmap);
        record.add(device(&format!("disk-pci-{number}"), number, Spec::Disk(spec)));
    }
    record
}

/// A Ganeti file, read, converted to our format, saved as that, read, converted back: the same bytes.
#[test]
fn a_list_comes_back_out_of_our_format_as_it_was() {
    for name in SAMPLES {
        let dir = Dir::sample(name);
        let document = dir.load().document();
        let devices = &document.record.devices;
        let there = document.convert(Format::Native).unwrap();
        assert_eq!((there.format(), &there.record.devices), (Format::Native, devices), "{name}");
        let file = dir.file().with_file_name("native");
        RecordFile::new(there).save_new(&file).unwrap();
        let read = RecordFile::load(&file).unwrap().document();
        assert_eq!(read.format(), Format::Native);
        let back = read.convert(Format::Ganeti).unwrap();
        assert_eq!(places(&back.record.devices), places(devices), "{name}");
        let (back, first) = (back.encode().unwrap(), document.encode().unwrap());
        assert_eq!(String::from_utf8(back).unwrap(), String::from_utf8(first).unwrap(), "{name}");
    }
}

/// What was changed meanwhile is changed, everything else is what it was.
#[test]
fn changes_made_in_our_format_are_in_the_list() {
    let dir = Dir::sample("hand-unknown-keys");
    let mut native = dir.load().document().convert(Format::Native).unwrap();
    let gone = native.record.devices[1].id.clone();
    native.record.remove(&gone).unwrap();
    native.record.add(device("more", 20, Spec::Disk(DiskSpec::new("/images/more.img", ImageFormat::Raw))));
    let back = native.convert(Format::Ganeti).unwrap();
    let list: Value = serde_json::from_slice(&back.encode().unwrap()).unwrap();
    let before = dir.value();
    assert_eq!((&list[1][0], list[1].as_array().unwrap().len()), (&before[1][0], 1));
    assert_eq!((&list[3][0], &list[3][1]), (&before[3][0], &before[3][1]), "unknown keys and all");
    assert_eq!(list[3][2][0]["hvinfo"]["id"], "more");
}

#[test]
fn our_record_becomes_a_list() {
    let record = fitting();
    let list = Document::from(record.clone()).convert(Format::Ganeti).unwrap();
    assert_eq!(list.format(), Format::Ganeti);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web1.runtime");
    RecordFile::new(list).save_new(&file).unwrap();
    let value: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(value[0], json!(["qemu-system-x86_64", "-name", "web1", "-m", "256"]));
    let params = json!({
        "disk_cache": "none", "disk_aio": "native", "disk_discard": "unmap", "disk_type": "paravirtual", "vhost_net": true,
        "virtio_net_queues": 2, "kvm_pci_reservations": 4, "nic_type": "paravirtual",
    });
    for (key, expected) in params.as_object().unwrap() {
        assert_eq!(value[2][key], *expected, "{key}");
    }
    // Read again it is the same record: what a list has no room for is beside it. NICs have boot ROMs from
    // now on.
    let document = RecordFile::load(&file).unwrap().document();
    let read = &document.record;
    assert_eq!(read.devices, record.devices);
    assert_eq!((&read.name, &read.command, read.reserved_slots), (&record.name, &record.command, 4));
    assert_eq!(read.next_generation, record.next_generation);
    let native = document.convert(Format::Native).unwrap().record;
    assert_eq!(native.devices, record.devices);
    native::decode(&native::encode(&native).unwrap()).unwrap();
}

#[test]
fn what_waits_for_a_reboot_stays_out_of_the_list() {
    let mut record = fitting();
    record.devices[0].presence = Presence::RemoveAfterReboot;
    let mut later = device("later", 9, Spec::Nic(nic(9)));
    if let Spec::Nic(spec) = &mut later.spec {
        (spec.vhost, spec.queues) = (true, 2);
    }
    (later.presence, later.address) = (Presence::AddAfterReboot, None);
    record.add(later);
    let list = Document::from(record.clone()).convert(Format::Ganeti).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web1.runtime");
    RecordFile::new(list).save_new(&file).unwrap();
    let value: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(value[1].as_array().unwrap().len(), 2);
    assert_eq!(RecordFile::load(&file).unwrap().record().devices, record.devices);
}

/// Found by fuzzing: it was written, and could not be read again.
#[test]
fn what_a_list_has_and_our_format_cannot_is_refused_by_name() {
    let text =
        String::from_utf8(sample("3entry-2.9.7")).unwrap().replace("paravirtual", "no model of QEMU's");
    let document = Document::decode(text.as_bytes()).unwrap();
    let error = document.convert(Format::Native).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("no model of QEMU's"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    type Change = fn(&mut Record);
    fn nic_of(record: &mut Record) -> &mut NicSpec {
        let Spec::Nic(spec) = &mut record.devices[1].spec else { panic!("a NIC") };
        spec
    }
    fn disk_of(record: &mut Record) -> &mut DiskSpec {
        let Spec::Disk(spec) = &mut record.devices[3].spec else { panic!("a disk") };
        spec
    }
    let table: [(Change, &str, &str); 19] = [
        (|record| nic_of(record).mtu = Some(9000), "nic-pci-5", "mtu"),
        (|record| nic_of(record).boot_index = Some(0), "nic-pci-5", "boot_index"),
        (|record| nic_of(record).queues = 4, "nic-pci-5", "queues"),
        (|record| nic_of(record).vhost = false, "nic-pci-5", "vhost"),
        (|record| disk_of(record).format = ImageFormat::Qcow2, "disk-pci-7", "format"),
        (|record| disk_of(record).serial = Some("S".into()), "disk-pci-7", "serial"),
        (|record| disk_of(record).read_only = true, "disk-pci-7", "read_only"),
        (|record| disk_of(record).share_rw = true, "disk-pci-7", "share_rw"),
        (|record| disk_of(record).cache = Cache::Directsync, "disk-pci-7", "cache"),
        (|record| disk_of(record).aio = Aio::Threads, "disk-pci-7", "aio"),
        (|record| disk_of(record).discard = Discard::Ignore, "disk-pci-7", "discard"),
        (|record| disk_of(record).queues = Some(2), "disk-pci-7", "queues"),
        (|record| disk_of(record).logical_block_size = Some(4096), "disk-pci-7", "logical_block_size"),
        (|record| record.devices[1].address = None, "nic-pci-5", "no address"),
        (|record| drop(record.devices[1].extra.insert("new".into(), 1.into())), "nic-pci-5", "\"new\""),
        (|record| drop(record.extra.insert("new".into(), 1.into())), "record", "\"new\""),
        (|record| record.name = "web2".into(), "web2", "\"web1\""),
        (
            |record| {
                let spec = ControllerSpec::default();
                record.add(device("scsi-pci-9", 9, Spec::Controller(spec)));
            },
            "scsi-pci-9",
            "part of the command",
        ),
        (
            |record| {
                let port = json!({"id": "rp0", "slot": 16, "chassis": 1});
                record.ports.push(serde_json::from_value::<RootPort>(port).unwrap());
            },
            "root port rp0",
            "cannot stand",
        ),
    ];
    for (change, who, what) in table {
        let mut record = fitting();
        change(&mut record);
        let error = Document::from(record).convert(Format::Ganeti).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        for part in [who, what, "Ganeti list"] {
            assert!(error.message().contains(part), "{part:?} is not in: {error}");
        }
    }
    // On another bus than Ganeti's.
    let mut record = fitting();
    let rp0 = PciAddress { bus: BusName::parse("rp0").unwrap(), slot: Slot::new(0).unwrap() };
    record.devices[0].address = Some(Address::Pci(rp0));
    let error = Document::from(record).convert(Format::Ganeti).unwrap_err();
    assert!(error.message().contains("nic-pci-4") && error.message().contains("rp0"), "{error}");
    Document::from(fitting()).convert(Format::Ganeti).unwrap();
}

#[test]
fn a_name_goes_into_the_command() {
    let mut record = fitting();
    record.command = ["qemu-system-x86_64", "-m", "256"].map(String::from).to_vec();
    let list = Document::from(record.clone()).convert(Format::Ganeti).unwrap();
    assert_eq!(list.record.command, ["qemu-system-x86_64", "-name", "web1", "-m", "256"]);
    let value: Value = serde_json::from_slice(&list.encode().unwrap()).unwrap();
    assert_eq!(value[0], json!(["qemu-system-x86_64", "-name", "web1", "-m", "256"]));
    assert_eq!(
        Document::decode(&sample("4entry-pci-2.15.2")).unwrap().convert(Format::Ganeti).unwrap().format(),
        Format::Ganeti
    );
}
