//! Ganeti's own code reads what this library writes, and the other way round: Debian's packages of Ganeti 3.0
//! and 3.1, unpacked by `tests/bin/ganeti-code` and driven by `tests/bin/ganeti-interop`.
//!
//! The first run fetches the packages. Without them these tests fail; they never pass by not running.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::result_large_err)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use kvm_hotplug::ids::Address;
use kvm_hotplug::model::{Device, Presence, Record};
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};
use support::api::*;
use support::ganeti::{Backends, fixture, list, sample};
use support::rust_api::RustAgent;

/// Every kind of list that a release of Ganeti could read.
const READABLE: [&str; 9] = [
    "3entry-2.9.7",
    "4entry-pci-2.10.8-oldargs",
    "4entry-pci-2.15.2",
    "4entry-hvinfo-2.16.2",
    "4entry-hvinfo-3.0.2-plain",
    "4entry-hvinfo-3.0.2-scsi-hd",
    "4entry-hvinfo-3.1.0rc2-plain",
    "4entry-hvinfo-3.2dev-live2-after-disk-add",
    "4entry-hvinfo-3.2dev-rbd-userspace",
];

/// One version of Ganeti's code.
struct Ganeti {
    version: String,
    python: PathBuf,
}

fn ganeti() -> Vec<Ganeti> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made =
        Command::new(root.join("tests/bin/ganeti-code")).args(["bookworm", "trixie"]).output().unwrap();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(
        made.status.success(),
        "\n\n*** GANETI'S CODE IS NOT HERE, SO NOTHING IS KNOWN ABOUT WORKING TOGETHER WITH IT ***\n\
         tests/bin/ganeti-code fetches it from Debian, and could not:\n{said}\n"
    );
    let lines = String::from_utf8(made.stdout).unwrap();
    let ganeti: Vec<Ganeti> = lines
        .lines()
        .map(|line| {
            let mut fields = line.split('\t').skip(1);
            let python = fields.next().unwrap().into();
            Ganeti { version: fields.next().unwrap().to_owned(), python }
        })
        .collect();
    let versions: Vec<&str> = ganeti.iter().map(|ganeti| &ganeti.version[..3]).collect();
    assert_eq!(versions, ["3.0", "3.1"]);
    ganeti
}

impl Ganeti {
    fn run(&self, what: &str, file: &Path) -> Result<Value, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bin/ganeti-interop");
        let done = Command::new(&self.python).arg(script).arg(what).arg(file).output().unwrap();
        match done.status.success() {
            true if done.stdout.is_empty() => Ok(Value::Null),
            true => Ok(serde_json::from_slice(&done.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }

    /// What Ganeti sees in a file.
    #[track_caller]
    fn load(&self, file: &Path) -> Value {
        self.run("load", file).unwrap_or_else(|error| panic!("Ganeti {}: {error}", self.version))
    }

    /// Has Ganeti load a file and write it.
    #[track_caller]
    fn resave(&self, file: &Path) {
        self.run("resave", file).unwrap_or_else(|error| panic!("Ganeti {}: {error}", self.version));
    }
}

/// The file's record, without generations, which are not Ganeti's.
fn record(file: &Path) -> Record {
    let mut record = RecordFile::peek(file).unwrap().record().clone();
    record.devices.iter_mut().for_each(|device| device.generation = 0);
    record
}

/// What Ganeti puts after `-device` for a device, but for the driver, in the order of words.
fn device_argument(device: &Device) -> Option<Vec<String>> {
    let place = match device.address.as_ref()? {
        Address::Pci(at) => format!("bus={},addr={:#x}", at.bus, at.slot.get()),
        Address::Scsi(at) => {
            format!("bus={},channel={},scsi-id={},lun={}", at.bus, at.channel, at.target, at.lun)
        }
    };
    Some(sorted(&format!("{},id={},{place}", device.model(), device.id)))
}

fn sorted(argument: &str) -> Vec<String> {
    let mut words: Vec<String> = argument.split(',').map(str::to_owned).collect();
    words.sort();
    words
}

/// Ganeti sees the devices of the record, each at its place, and the command.
#[track_caller]
fn agrees(ganeti: &Ganeti, file: &Path, what: &str) -> Value {
    let seen = ganeti.load(file);
    let what = format!("Ganeti {}, {what}", ganeti.version);
    let record = record(file);
    let mut expected: Vec<Vec<String>> = record
        .devices
        .iter()
        .filter(|device| device.presence != Presence::AddAfterReboot)
        .filter_map(device_argument)
        .collect();
    let mut found: Vec<Vec<String>> =
        seen["devices"].as_array().unwrap().iter().map(|text| sorted(text.as_str().unwrap())).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{what}");
    let command = seen["command"].as_array().unwrap().iter();
    let mut command: Vec<String> = command
        .map(|argument| argument.as_str().map_or_else(|| argument.to_string(), str::to_owned))
        .collect();
    // In the list until 3.0, added at execution since 3.1: it stays for the one and does not count for the
    // other.
    if let Some(at) = command.iter().position(|argument| argument == "-chroot") {
        command.drain(at..at + 2);
    }
    assert_eq!(command, record.command, "{what}");
    let slots = seen["slots"].as_array().unwrap();
    for device in &record.devices {
        if let Some(Address::Pci(at)) = &device.address {
            assert!(
                slots.contains(&at.slot.get().into()),
                "{what}: {} at {at} is free for Ganeti",
                device.id
            );
        }
    }
    seen
}

/// After adds and removals, over all forms: Ganeti loads it, looks for the ids that QEMU has, and takes the
/// slots for occupied; and what Ganeti makes of it is the same for us.
#[test]
fn ganeti_loads_what_was_added_and_removed() {
    let versions = ganeti();
    for name in READABLE {
        let mut before: Value = serde_json::from_slice(&sample(name)).unwrap();
        // This host need not have vhost-net.
        before[2]["vhost_net"] = false.into();
        let fixture = fixture(before.to_string(), Backends::Nodes);
        let api = fixture.open(&RustAgent);
        for kind in ["nic", "disk"] {
            let on_pci =
                |item: &Item| item.kind == kind && item.address.as_ref().is_some_and(|at| at.0 == "pci.0");
            if let Some(item) = api.list().into_iter().find(on_pci) {
                done(api.unplug(&UnplugArgs::of(&item.id)));
            }
        }
        let nic = done(api.add_nic(&fixture.nic(1)));
        let disk = done(api.add_disk(&fixture.disk("new.img")));
        drop(api);
        let file = &fixture.runtime;
        let (saved, ours) = (std::fs::read(file).unwrap(), record(file));
        for ganeti in &versions {
            std::fs::write(file, &saved).unwrap();
            let seen = agrees(ganeti, file, name);
            let looked_for = seen["looked_for"].as_array().unwrap();
            for id in [&nic.id, &disk.id] {
                assert!(
                    looked_for.contains(&id.as_str().into()),
                    "Ganeti {}, {name}: {looked_for:?}",
                    ganeti.version
                );
            }
            ganeti.resave(file);
            let theirs = record(file);
            assert_eq!(theirs.devices, ours.devices, "Ganeti {}, {name}", ganeti.version);
            assert_eq!(theirs.command, ours.command, "Ganeti {}, {name}", ganeti.version);
            let (mut a, mut b) = (list(file), serde_json::from_slice::<Value>(&saved).unwrap());
            for list in [&mut a, &mut b] {
                // Nulls are not written by Ganeti.
                list[1].as_array_mut().unwrap().iter_mut().for_each(drop_nulls);
            }
            assert_eq!(a, b, "Ganeti {}, {name}: nothing is left for it to change", ganeti.version);
        }
    }
}

fn drop_nulls(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
}

/// Whatever Ganeti's serialiser writes is read, and written back byte for byte.
#[test]
fn what_ganeti_writes_comes_out_as_it_was() {
    for ganeti in ganeti() {
        for name in READABLE {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("web1.runtime");
            std::fs::write(&file, sample(name)).unwrap();
            let before = record(&file);
            if ganeti.run("resave", &file).is_err() {
                // 3.1 has lost the rule for lists of three to a crash; saved by us, it reads them again.
                assert_eq!((name, &ganeti.version[..3]), ("3entry-2.9.7", "3.1"));
                RecordFile::load(&file).unwrap().save().unwrap();
                ganeti.resave(&file);
            }
            let written = std::fs::read(&file).unwrap();
            agrees(&ganeti, &file, name);
            let after = record(&file);
            assert_eq!(after.devices, before.devices, "Ganeti {}, {name}", ganeti.version);
            RecordFile::load(&file).unwrap().save().unwrap();
            let ours = String::from_utf8(std::fs::read(&file).unwrap()).unwrap();
            assert_eq!(ours, String::from_utf8(written).unwrap(), "Ganeti {}, {name}", ganeti.version);
        }
    }
}

/// NICs of Ganeti 2.0, which no later release can read, and nulls: saved by us, they can be read.
#[test]
fn what_no_ganeti_reads_is_mended() {
    for ganeti in ganeti() {
        let mut null: Value = serde_json::from_slice(&sample("4entry-pci-2.15.2")).unwrap();
        null[1][0]["pci"] = Value::Null;
        for (what, bytes) in [("2.0", sample("3entry-2.0.6")), ("a null", null.to_string().into_bytes())] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("web1.runtime");
            std::fs::write(&file, bytes).unwrap();
            let error = ganeti.run("load", &file).unwrap_err();
            assert!(error.contains("TypeError"), "Ganeti {}, {what}: {error}", ganeti.version);
            RecordFile::load(&file).unwrap().save().unwrap();
            let seen = agrees(&ganeti, &file, what);
            assert_eq!(seen["nics"][0]["nicparams"], json!({"link": "br0", "mode": "bridged"}), "{what}");
        }
    }
}
