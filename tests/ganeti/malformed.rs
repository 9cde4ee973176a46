//! A list with something wrong in it is refused, with where and what, and left as it is.

use kvm_hotplug::ErrorKind;
use kvm_hotplug::store::{Document, RecordFile};
use serde_json::{Value, json};

use super::{Dir, sample};

/// Loading fails, names the file and all of `says`, and changes nothing.
#[track_caller]
fn refused(bytes: impl AsRef<[u8]>, kind: ErrorKind, says: &[&str]) {
    let dir = Dir::with(&bytes);
    for result in [RecordFile::load(&dir.file()), RecordFile::peek(&dir.file())] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        for part in [dir.file().to_str().unwrap()].iter().chain(says) {
            assert!(error.message().contains(part), "{part:?} is not in: {error}");
        }
    }
    assert_eq!(dir.bytes(), bytes.as_ref());
    assert_eq!(dir.names(), ["web1.runtime"]);
}

fn plain() -> Value {
    serde_json::from_slice(&sample("4entry-hvinfo-3.0.2-plain")).unwrap()
}

#[test]
fn lists_of_other_lengths() {
    let whole = plain();
    for (length, kind, says) in [
        (0, ErrorKind::Format, "found 0 entries"),
        (1, ErrorKind::Format, "found 1 entries"),
        (2, ErrorKind::Version, "2.0.0beta1"),
    ] {
        let mut entries = whole.as_array().unwrap().clone();
        entries.resize(length, json!([]));
        refused(Value::from(entries).to_string(), kind, &[says, "expected a list of 4"]);
    }
}

#[test]
fn cut_off_anywhere() {
    let whole = sample("4entry-pci-2.15.2");
    for length in (1..whole.len() - 1).step_by(3) {
        refused(&whole[..length], ErrorKind::Format, &["is not JSON"]);
    }
    Dir::with(&whole[..whole.len() - 1]).load();
}

#[test]
fn each_field_says_what_it_should_be() {
    let bad_hex = "a slot in hexadecimal, 0x0 to 0x1f";
    let table = [
        ("/0", json!("kvm"), "entry 0, command", "a list of arguments"),
        ("/0/3", json!(true), "entry 0, command[3]", "a string or a whole number, found true"),
        ("/0/3", json!(1.5), "entry 0, command[3]", "found 1.5"),
        ("/0/3", json!(["-m"]), "entry 0, command[3]", "found a list of 1"),
        ("/0/1", json!("a\0b"), "", "NUL"),
        ("/1", json!({}), "entry 1, nics", "a list of NICs, found an object"),
        ("/1/1", json!([]), "entry 1, nics[1]", "an object, found a list of 0"),
        ("/1/1/mac", json!(null), "entry 1, nics[1].mac", "a MAC address such as"),
        ("/1/1/mac", json!(5), "entry 1, nics[1].mac", "found 5"),
        ("/1/1/mac", json!("aa:00"), "entry 1, nics[1].mac", "six groups"),
        ("/1/1/mac", json!("01:00:5e:00:00:01"), "entry 1, nics[1].mac", "multicast"),
        ("/1/1/mac", json!("aa:00:00:00:00:00"), "", "both have the MAC address aa:00:00:00:00:00"),
        ("/1/0/nicparams", json!("br0"), "entry 1, nics[0].nicparams", "an object"),
        ("/1/0/nicparams", json!({"link": "br0"}), "entry 1, nics[0].nicparams.mode", "\"bridged\""),
        ("/1/0/nicparams/mode", json!(1), "entry 1, nics[0].nicparams.mode", "found 1"),
        ("/1/0/nicparams/link", json!(null), "entry 1, nics[0].nicparams.link", "the name of a bridge"),
        ("/1/0/nicparams/link", json!("a/b"), "entry 1, nics[0].nicparams.link", "does not allow"),
        ("/1/0/uuid", json!(5), "entry 1, nics[0].uuid", "a uuid"),
        ("/1/0/hvinfo", json!([]), "entry 1, nics[0].hvinfo", "an object"),
        ("/1/0/hvinfo/id", json!("5x"), "entry 1, nics[0].hvinfo.id", "must start with a letter"),
        ("/1/0/hvinfo/id", json!(5), "entry 1, nics[0].hvinfo.id", "a QEMU device id"),
        ("/1/0/hvinfo/id", json!("x".repeat(32)), "entry 1, nics[0].hvinfo.id", "at most 31"),
        ("/1/0/hvinfo/id", json!("nic-9e7c85f6-b6e5-4243"), "", "two devices have the id"),
        ("/1/0/hvinfo/driver", json!(null), "entry 1, nics[0].hvinfo.driver", "a QEMU driver"),
        (
            "/1/0/hvinfo/driver",
            json!("virtio-net-pci,mac=1"),
            "entry 1, nics[0].hvinfo.driver",
            "a QEMU driver",
        ),
        ("/1/0/hvinfo/bus", json!("pci 0"), "entry 1, nics[0].hvinfo.bus", "is not allowed"),
        ("/1/0/hvinfo/addr", json!(null), "entry 1, nics[0].hvinfo.addr", bad_hex),
        ("/1/0/hvinfo/addr", json!(14), "entry 1, nics[0].hvinfo.addr", "found 14"),
        ("/1/0/hvinfo/addr", json!("0x20"), "entry 1, nics[0].hvinfo.addr", "found \"0x20\""),
        ("/1/0/hvinfo/addr", json!("0xe.1"), "entry 1, nics[0].hvinfo.addr", bad_hex),
        ("/2", json!([]), "entry 2, hvparams", "an object"),
        ("/2/disk_cache", json!("fast"), "entry 2, hvparams.disk_cache", "\"writethrough\", found \"fast\""),
        ("/2/disk_aio", json!("fast"), "entry 2, hvparams.disk_aio", "\"io_uring\""),
        ("/2/disk_type", json!(1), "entry 2, hvparams.disk_type", "a string"),
        ("/2/vhost_net", json!("on"), "entry 2, hvparams.vhost_net", "true or false"),
        (
            "/2/virtio_net_queues",
            json!(-1),
            "entry 2, hvparams.virtio_net_queues",
            "a whole number from 0 to 8",
        ),
        ("/2/kvm_pci_reservations", json!(33), "entry 2, hvparams.kvm_pci_reservations", "from 0 to 32"),
        ("/2/kvm_pci_reservations", json!("12"), "entry 2, hvparams.kvm_pci_reservations", "found \"12\""),
        ("/3", json!({}), "entry 3, disks", "a list of disks"),
        ("/3/0", json!({}), "entry 3, disks[0]", "a list of three"),
        ("/3/0", json!([{}, "/x"]), "entry 3, disks[0]", "found a list of 2"),
        ("/3/0/0", json!("x"), "entry 3, disks[0][0]", "an object"),
        ("/3/0/1", json!(null), "entry 3, disks[0][1]", "the absolute path"),
        ("/3/0/1", json!("disk0"), "entry 3, disks[0][1]", "found \"disk0\""),
        ("/3/0/2", json!(5), "entry 3, disks[0][2]", "null or a URI"),
        ("/3/0/0/dev_type", json!(5), "entry 3, disks[0][0].dev_type", "a string such as"),
        ("/3/0/0/params", json!(5), "entry 3, disks[0][0].params", "an object"),
        ("/3/0/0/params/access", json!(5), "entry 3, disks[0][0].params.access", "a string"),
        ("/3/0/0/hvinfo/scsi-id", json!("1"), "entry 3, disks[0][0].hvinfo", "expected"),
    ];
    for (pointer, value, element, expected) in table {
        let mut list = plain();
        match list.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                list.pointer_mut(parent).unwrap()[key] = value;
            }
        }
        refused(format!("{list}\n"), ErrorKind::Format, &[element, expected]);
    }
}

#[test]
fn old_and_scsi_fields_too() {
    let cases = [
        ("4entry-pci-2.15.2", "/1/0/pci", json!("6"), "entry 1, nics[0].pci", "a whole number from 0 to 31"),
        ("4entry-pci-2.15.2", "/1/0/pci", json!(32), "entry 1, nics[0].pci", "found 32"),
        ("4entry-pci-2.15.2", "/1/0/pci", json!(6.5), "entry 1, nics[0].pci", "found 6.5"),
        ("4entry-pci-2.15.2", "/1/0/uuid", json!("a b-c"), "entry 1, nics[0].uuid", "is not allowed"),
        ("3entry-2.0.6", "/1/0/bridge", json!(5), "entry 1, nics[0].bridge", "the name of a bridge"),
        ("4entry-hvinfo-3.0.2-scsi-hd", "/3/0/0/hvinfo/lun", json!(null), "hvinfo.lun", "a whole number"),
        ("4entry-hvinfo-3.0.2-scsi-hd", "/3/0/0/hvinfo/channel", json!(1), "hvinfo.channel", "from 0 to 0"),
        (
            "4entry-hvinfo-3.0.2-scsi-hd",
            "/3/0/0/hvinfo/scsi-id",
            json!(256),
            "hvinfo.scsi-id",
            "from 0 to 255",
        ),
    ];
    for (name, pointer, value, element, expected) in cases {
        let mut list: Value = serde_json::from_slice(&sample(name)).unwrap();
        *list.pointer_mut(pointer).unwrap() = value;
        refused(format!("{list}\n"), ErrorKind::Format, &[element, expected]);
    }
}

/// Where Ganeti stumbles and nothing is wrong: null for "no slot", and places that only were written down.
#[test]
fn what_ganeti_slips_over_is_read() {
    let mut list: Value = serde_json::from_slice(&sample("4entry-pci-2.15.2")).unwrap();
    list[1][0]["pci"] = Value::Null;
    list[2]["disk_type"] = "ide".into();
    let dir = Dir::with(list.to_string());
    let record = dir.load().record().clone();
    assert_eq!(
        super::places(&record.devices),
        [
            "nic-003fc157-66a8-4e6d -",
            "hotnic-9e7c85f6-pci-7 pci.0 7",
            // IDE disks have a slot in the file and none in QEMU.
            "disk-7c079136-2573-4112 -",
            "disk-9f5c5bd4-6f60-480b -",
        ]
    );
    dir.load().save().unwrap();
    assert_eq!(dir.value()[1][0].get("pci"), None, "Ganeti cannot load a null");

    let mut list = plain();
    list[3][0][0]["hvinfo"]["driver"] = "ide".into();
    list[3][1][0]["hvinfo"] = Value::Null;
    let record = Dir::with(list.to_string()).load().record().clone();
    assert_eq!(
        super::places(&record.devices)[2..],
        ["disk-7c079136-2573-4112 -", "disk-9f5c5bd4-6f60-480b -"]
    );
}

#[test]
fn limits() {
    let mut list = plain();
    let nic = list[1][0].clone();
    let nics = (0..1023u32).map(|n| {
        let mut nic = nic.clone();
        nic["mac"] = format!("aa:00:00:01:{:02x}:{:02x}", n >> 8, n & 255).into();
        nic["uuid"] = format!("{n:08x}-0000-0000-0000-000000000000").into();
        nic["hvinfo"] = json!({});
        nic
    });
    list[1] = nics.collect();
    refused(list.to_string(), ErrorKind::Format, &["1025 NICs and disks, at most 1024"]);
    list[1].as_array_mut().unwrap().pop();
    assert_eq!(Dir::with(list.to_string()).load().record().devices.len(), 1024);
    refused("[".repeat(1000), ErrorKind::Format, &["recursion limit"]);
}

/// What is read is written, and read again as the same, whatever byte of it is another one.
#[test]
fn a_damaged_byte_is_never_a_panic() {
    for name in ["3entry-2.0.6", "4entry-pci-2.15.2", "4entry-hvinfo-3.0.2-scsi-hd"] {
        let whole = sample(name);
        let mut read = 0;
        for at in (0..whole.len()).step_by(3) {
            for byte in [b' ', b'"', b'[', b'}', b'0', b'9', b'-', b'.', 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                let Ok(document) = Document::decode(&damaged) else { continue };
                read += 1;
                let written = document.encode().unwrap();
                let again = Document::decode(&written).unwrap();
                assert_eq!(
                    (&again.record.devices, &again.record.command),
                    (&document.record.devices, &document.record.command),
                    "{name} {at} {byte}"
                );
                assert_eq!(again.encode().unwrap(), written, "{name} {at} {byte}");
            }
        }
        assert!(read > 500, "{name}: {read}");
    }
}
