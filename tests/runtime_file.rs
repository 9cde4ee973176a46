//! The runtime file: read back as written or refused by name, never half believed and never overwritten by
//! accident.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::result_large_err)]

#[path = "runtime_file/backend.rs"]
mod backend;
#[path = "runtime_file/in_memory.rs"]
mod in_memory;
#[path = "runtime_file/neighbours.rs"]
mod neighbours;
#[path = "runtime_file/owners.rs"]
mod owners;
#[path = "runtime_file/roundtrip.rs"]
mod roundtrip;
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kvm_hotplug::disk::{DiskSpec, Format};
use kvm_hotplug::ids::{Address, BusName, DeviceId, IfName, MacAddr, PciAddress, ScsiAddress, Slot};
use kvm_hotplug::model::{Device, Presence, Record, Spec};
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::slots::scsi::ControllerSpec;
use kvm_hotplug::store::{RecordFile, native};
use kvm_hotplug::{Error, ErrorKind};
use serde_json::{Map, Value, json};
use support::api::*;
use support::fixture::Fixture;
use support::rust_api::RustAgent;

fn device(id: &str, slot: u8, spec: Spec) -> Device {
    let address = PciAddress { bus: BusName::parse("pci.0").unwrap(), slot: Slot::new(slot).unwrap() };
    placed(id, slot, address.into(), spec)
}

fn on_scsi(id: &str, bus: &str, target: u8, spec: Spec) -> Device {
    placed(id, target, ScsiAddress::of_target(BusName::parse(bus).unwrap(), target).into(), spec)
}

fn placed(id: &str, generation: u8, address: Address, spec: Spec) -> Device {
    Device {
        id: DeviceId::parse(id).unwrap(),
        generation: generation.into(),
        address: Some(address),
        presence: Presence::Live,
        spec,
        backend: None,
        properties: Map::new(),
        ganeti: None,
        extra: Map::new(),
    }
}

/// A SCSI controller, two NICs, a disk, and two SCSI disks, one of them on a controller of the machine, with
/// something set in each.
fn sample() -> Record {
    let mut record = Record::new("web1", vec!["qemu".into(), "-m".into(), "256".into()], 4).unwrap();
    let controller =
        ControllerSpec { model: "virtio-scsi-pci-transitional".into(), queues: Some(4), iothread: None };
    record.add(device("scsi-pci-7", 7, Spec::Controller(controller)));
    let mut nic = NicSpec::new(MacAddr::local([0, 0, 1]));
    record.add(device("nic-pci-4", 4, Spec::Nic(nic.clone())));
    nic.mac = MacAddr::local([0, 0, 2]);
    (nic.queues, nic.mtu, nic.bridge) = (4, Some(9000), Some(IfName::parse("br0").unwrap()));
    record.add(device("nic-pci-5", 5, Spec::Nic(nic)));
    let mut disk = DiskSpec::new("/images/ä.img", Format::Qcow2);
    disk.serial = Some("S 1".into());
    record.add(device("disk-pci-6", 6, Spec::Disk(disk)));
    let mut disk = DiskSpec::new("/images/b.img", Format::Raw);
    disk.model = "scsi-hd".into();
    record.add(on_scsi("disk-scsi-pci-7-0", "scsi-pci-7.0", 0, Spec::Disk(disk.clone())));
    disk.path = "/images/c.img".into();
    record.add(on_scsi("disk-scsi-5", "scsi.0", 5, Spec::Disk(disk)));
    record
}

fn sample_value() -> Value {
    serde_json::from_slice(&native::encode(&sample()).unwrap()).unwrap()
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("web1.runtime")
    }

    fn write(&self, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.file(), bytes).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Loading fails, names the file, and changes nothing.
    #[track_caller]
    fn refuses(&self, kind: ErrorKind) -> Error {
        let before = std::fs::read(self.file()).unwrap();
        for result in [RecordFile::load(&self.file()), RecordFile::peek(&self.file())] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(self.file().to_str().unwrap()), "{error}");
        }
        assert_eq!(std::fs::read(self.file()).unwrap(), before);
        assert_eq!(self.names(), ["web1.runtime"]);
        RecordFile::load(&self.file()).unwrap_err()
    }
}

#[test]
fn cut_off_anywhere_it_is_refused_by_name() {
    let whole = native::encode(&sample()).unwrap();
    let dir = Dir::new();
    for length in 0..whole.len() - 1 {
        dir.write(&whole[..length]);
        dir.refuses(ErrorKind::Format);
    }
    dir.write(&whole[..whole.len() - 1]);
    assert_eq!(
        *RecordFile::load(&dir.file()).unwrap().record(),
        sample(),
        "only the final newline is missing"
    );
}

#[test]
fn a_damaged_byte_is_never_a_panic() {
    let whole = native::encode(&sample()).unwrap();
    for at in 0..whole.len() {
        for byte in [0, b' ', b'"', b'{', b'9', 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            if let Ok(record) = native::decode(&damaged) {
                record.check().unwrap();
            }
        }
    }
}

#[test]
fn a_cut_journal_is_refused_too() {
    let fixture = Fixture::pc();
    let api = fixture.open(&RustAgent);
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    fixture.qemu.model(|model| model.unplug_behaviour = support::fake::UnplugBehaviour::Never);
    api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("data") }).unwrap();
    drop(api);
    let whole = std::fs::read(fixture.journal()).unwrap();
    assert_eq!(std::fs::metadata(fixture.journal()).unwrap().permissions().mode() & 0o777, 0o600);
    for length in (0..whole.len() - 1).step_by(7) {
        std::fs::write(fixture.journal(), &whole[..length]).unwrap();
        let error = RecordFile::load(&fixture.runtime).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format, "{error}");
        assert!(error.message().contains("web1.runtime.journal"), "{error}");
        assert_eq!(std::fs::read(fixture.journal()).unwrap(), &whole[..length]);
    }
    let newer = String::from_utf8(whole.clone()).unwrap().replace("\"version\":1", "\"version\":2");
    std::fs::write(fixture.journal(), newer).unwrap();
    assert_eq!(RecordFile::load(&fixture.runtime).unwrap_err().kind(), ErrorKind::Version);
    std::fs::write(fixture.journal(), whole).unwrap();
    RecordFile::load(&fixture.runtime).unwrap();
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let dir = Dir::new();
    let mut value = sample_value();
    value["version"] = 2.into();
    dir.write(value.to_string());
    let error = dir.refuses(ErrorKind::Version);
    assert!(error.message().contains("version 2"), "{error}");
    for wrong in [json!(0), json!(-1), json!("1"), Value::Null] {
        value["version"] = wrong;
        dir.write(value.to_string());
        dir.refuses(ErrorKind::Format);
    }
    value["version"] = 1.into();
    value["format"] = "something-else".into();
    dir.write(value.to_string());
    dir.refuses(ErrorKind::Format);
}

#[test]
fn the_element_that_is_wrong_is_named() {
    let dir = Dir::new();
    let cases: [(&str, Value, &str); 18] = [
        ("/nics/1/mac", json!("52:54:00"), "nics[1]"),
        ("/nics/1/queues", json!(257), "nics[1]"),
        ("/nics/0/id", json!("5"), "nics[0]"),
        ("/nics/0/generation", json!(-1), "nics[0]"),
        ("/nics/0/address/slot", json!(32), "nics[0]"),
        ("/nics/0/address/bus", json!(""), "nics[0]"),
        ("/controllers/0/queues", json!(0), "controllers[0]"),
        ("/controllers/0/model", json!("a b"), "controllers[0]"),
        ("/controllers", json!({}), "\"controllers\""),
        ("/disks/1/address/lun", json!(16384), "disks[1]"),
        ("/disks/1/address/channel", json!(1), "disks[1]"),
        ("/disks/1/address", json!({"bus": "scsi-pci-7.0", "target": 0}), "disks[1]"),
        ("/disks/0/path", json!("relative"), "disks[0]"),
        ("/disks/0/format", json!("vmdk"), "disks[0]"),
        ("/disks/0", json!(null), "disks[0]"),
        ("/disks", json!({}), "\"disks\""),
        ("/command", json!("qemu"), "\"command\""),
        ("/reserved_slots", json!(33), "reserved_slots"),
    ];
    for (pointer, value, name) in cases {
        let mut file = sample_value();
        *file.pointer_mut(pointer).unwrap() = value.clone();
        dir.write(file.to_string());
        let error = dir.refuses(ErrorKind::Format);
        assert!(error.message().contains(name), "{pointer} {value}: {error}");
    }
    for missing in ["format", "version", "command"] {
        let mut file = sample_value();
        file.as_object_mut().unwrap().remove(missing);
        dir.write(file.to_string());
        assert!(dir.refuses(ErrorKind::Format).message().contains(missing), "{missing}");
    }
}

#[test]
fn duplicates_are_refused() {
    let dir = Dir::new();
    for (pointer, value, word) in [
        ("/nics/1/id", json!("nic-pci-4"), "id nic-pci-4"),
        ("/disks/0/id", json!("nic-pci-4"), "id nic-pci-4"),
        ("/disks/0/address/slot", json!(5), "pci.0 slot 5"),
        ("/nics/1/mac", json!("52:54:00:00:00:01"), "52:54:00:00:00:01"),
        ("/disks/2/address", sample_value()["disks"][1]["address"].clone(), "scsi-pci-7.0 target 0 lun 0"),
    ] {
        let mut file = sample_value();
        *file.pointer_mut(pointer).unwrap() = value;
        dir.write(file.to_string());
        let error = dir.refuses(ErrorKind::Format);
        assert!(error.message().contains(word), "{error}");
    }
}

#[test]
fn a_disk_needs_a_bus_of_its_kind_and_a_controller_that_is_there() {
    let dir = Dir::new();
    let on = |bus: &str| json!({"bus": bus, "channel": 0, "target": 9, "lun": 0});
    for (pointer, value, words) in [
        ("/disks/0/address", on("scsi-pci-7.0"), "disk-pci-6 is a virtio-blk-pci, which needs a PCI address"),
        ("/nics/0/address", on("scsi-pci-7.0"), "nic-pci-4 is a virtio-net-pci, which needs a PCI address"),
        (
            "/controllers/0/address",
            on("scsi.0"),
            "scsi-pci-7 is a virtio-scsi-pci-transitional, which needs a PCI address",
        ),
        ("/disks/1/address", json!({"bus": "pci.0", "slot": 9}), "is a scsi-hd, which needs a SCSI address"),
        ("/disks/1/address", on("nic-pci-4.0"), "nic-pci-4 is a NIC"),
    ] {
        let mut file = sample_value();
        *file.pointer_mut(pointer).unwrap() = value;
        dir.write(file.to_string());
        let error = dir.refuses(ErrorKind::Format);
        assert!(error.message().contains(words), "{error}");
    }
    for (disk, controller, words) in [
        ("live", "add-after-reboot", "its controller scsi-pci-7 waits for a reboot"),
        ("remove-after-reboot", "add-after-reboot", "waits for a reboot"),
        ("live", "remove-after-reboot", "its controller scsi-pci-7 goes with the next boot"),
        ("add-after-reboot", "remove-after-reboot", "goes with the next boot"),
        ("add-after-reboot", "live", ""),
        ("add-after-reboot", "add-after-reboot", ""),
        ("remove-after-reboot", "live", ""),
        ("remove-after-reboot", "remove-after-reboot", ""),
    ] {
        let mut file = sample_value();
        file["disks"][1]["presence"] = disk.into();
        file["controllers"][0]["presence"] = controller.into();
        match native::decode(file.to_string().as_bytes()) {
            Ok(_) => assert!(words.is_empty(), "{disk} on {controller}"),
            Err(error) => assert!(!words.is_empty() && error.message().contains(words), "{error}"),
        }
    }
}

#[test]
fn a_file_from_before_scsi_is_read_and_written_as_it_was() {
    let old = json!({
        "format": "kvm-hotplug-runtime", "version": 1, "name": "web1", "command": ["qemu", "-S"],
        "reserved_slots": 4, "next_generation": 7,
        "nics": [{"id": "nic-pci-5", "generation": 3, "address": {"bus": "pci.0", "slot": 5},
                  "mac": "52:54:00:01:02:03", "queues": 2, "vhost": true, "bridge": "br0", "ifname": "tap0"}],
        "disks": [{"id": "disk-pci-rp1", "generation": 4, "address": {"bus": "rp1", "slot": 0},
                   "presence": "remove-after-reboot", "path": "/a", "format": "qcow2", "serial": "s"},
                  {"id": "disk-boot-6", "generation": 6, "presence": "add-after-reboot", "path": "/b",
                   "format": "raw", "model": "ide-hd"}],
    });
    let record = native::decode(old.to_string().as_bytes()).unwrap();
    let written: Value = serde_json::from_slice(&native::encode(&record).unwrap()).unwrap();
    assert_eq!(written, old);
}

#[test]
fn odd_files_are_refused() {
    let dir = Dir::new();
    let real = dir.0.path().join("real");
    std::fs::write(&real, native::encode(&sample()).unwrap()).unwrap();
    std::os::unix::fs::symlink(&real, dir.file()).unwrap();
    for result in [RecordFile::load(&dir.file()), RecordFile::peek(&dir.file())] {
        let error = result.unwrap_err();
        assert_eq!(error.errno(), libc::ELOOP);
        assert!(error.message().contains("symbolic link"), "{error}");
    }
    assert!(RecordFile::load(&real).is_ok());
    std::fs::remove_file(dir.file()).unwrap();
    let error = RecordFile::load(&dir.file()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(dir.names(), ["real"], "a path that names nothing leaves nothing");
    std::fs::create_dir(dir.file()).unwrap();
    assert_eq!(RecordFile::load(&dir.file()).unwrap_err().kind(), ErrorKind::Invalid);
    std::fs::remove_dir(dir.file()).unwrap();
    std::fs::File::create(dir.file()).unwrap().set_len((4 << 20) + 1).unwrap();
    assert_eq!(RecordFile::load(&dir.file()).unwrap_err().errno(), libc::EFBIG);
    std::fs::remove_file(&real).unwrap();
    dir.write("[".repeat(100_000));
    dir.refuses(ErrorKind::Format);
}

#[test]
fn a_new_record_does_not_replace_a_file() {
    let dir = Dir::new();
    dir.write("precious");
    let error = RecordFile::new(sample()).save_new(&dir.file()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(std::fs::read(dir.file()).unwrap(), b"precious");
    assert_eq!(dir.names(), ["web1.runtime"]);
}

#[test]
fn only_its_owner_may_read_it() {
    let fixture = Fixture::pc();
    let mode = || std::fs::metadata(&fixture.runtime).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&fixture.runtime, PermissionsExt::from_mode(0o644)).unwrap();
    let api = fixture.open(&RustAgent);
    done(api.add_disk(&fixture.disk("a.img")));
    assert_eq!(mode(), 0o600, "and a rewrite makes it so again");
}

#[test]
fn unknown_fields_survive_a_rewrite() {
    let fixture = Fixture::pc();
    let api = fixture.open(&RustAgent);
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    done(api.add_nic(&fixture.nic_as("net", "52:54:00:00:00:01")));
    drop(api);
    let mut file: Value = serde_json::from_str(&fixture.record_text()).unwrap();
    file["colour"] = json!({ "deep": [1, 2.5, null, "ü"] });
    file["disks"][0]["colour"] = json!("a pony");
    file["nics"][0]["filters"] = json!([{ "a": true }]);
    std::fs::write(&fixture.runtime, file.to_string()).unwrap();
    let api = fixture.open(&RustAgent);
    let third = done(api.add_disk(&fixture.disk("b.img")));
    done(api.unplug(&UnplugArgs::of(&third.id)));
    let rewritten: Value = serde_json::from_str(&fixture.record_text()).unwrap();
    assert_ne!(rewritten["next_generation"], file["next_generation"]);
    file["next_generation"] = rewritten["next_generation"].clone();
    assert_eq!(rewritten, file);
}

/// Set in the process that holds the lock.
const HOLDER: &str = "KVM_HOTPLUG_TEST_HOLDS";

/// In the other process: holds the file until the pipe is closed, or never returns.
fn hold_if_told() -> bool {
    let Some(path) = std::env::var_os(HOLDER) else { return false };
    let _held = RecordFile::load(Path::new(&path)).unwrap();
    std::fs::write(Path::new(&path).with_file_name("held"), "").unwrap();
    let _ = std::io::stdin().read_line(&mut String::new());
    true
}

/// Another process, running the same test, that holds the file.
fn holder(test: &str, dir: &Dir) -> Child {
    dir.write(native::encode(&sample()).unwrap());
    let mut holder = Command::new(std::env::current_exe().unwrap());
    let holder = holder.args([test, "--exact", "--test-threads=1"]).env(HOLDER, dir.file());
    let holder = holder.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let held = dir.0.path().join("held");
    assert!(support::host::eventually(|| held.exists()));
    std::fs::remove_file(held).unwrap();
    holder
}

#[test]
fn a_file_belongs_to_one_process() {
    if hold_if_told() {
        return;
    }
    let dir = Dir::new();
    let mut holder = holder("a_file_belongs_to_one_process", &dir);
    let error = RecordFile::load(&dir.file()).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Locked, libc::EAGAIN));
    assert!(error.message().contains(&holder.id().to_string()), "says who: {error}");
    assert_eq!(*RecordFile::peek(&dir.file()).unwrap().record(), sample(), "looking is allowed");
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    let here = RecordFile::load(&dir.file()).unwrap();
    let error = RecordFile::load(&dir.file()).unwrap_err();
    assert!(error.message().contains("this process"), "{error}");
    drop(here);
    assert_eq!(dir.names(), ["web1.runtime"], "no lock file is left");
}

#[test]
fn a_killed_owner_leaves_no_lock() {
    if hold_if_told() {
        return;
    }
    let dir = Dir::new();
    let mut holder = holder("a_killed_owner_leaves_no_lock", &dir);
    assert!(RecordFile::load(&dir.file()).is_err());
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(dir.names(), ["web1.runtime", "web1.runtime.lock"]);
    drop(RecordFile::load(&dir.file()).unwrap());
    assert_eq!(dir.names(), ["web1.runtime"]);
}

#[test]
fn hotplug_keeps_the_file_up_to_date() {
    let fixture = Fixture::pc();
    let api = fixture.open(&RustAgent);
    let before = fixture.record_text();
    let nic = done(api.add_nic(&fixture.nic(2)));
    let device = fixture.record().devices[0].clone();
    assert_eq!(device.id.as_str(), nic.id);
    assert_eq!(device.mac().map(|mac| mac.to_string()), nic.mac, "the generated address is recorded");
    let Spec::Nic(spec) = &device.spec else { panic!("{device:?}") };
    assert_eq!((spec.queues, spec.ifname.as_ref().map(ToString::to_string)), (2, nic.ifname.clone()));
    let disk = done(api.add_disk(&fixture.layered_disk()));
    assert_eq!(fixture.recorded(), [nic.id.clone(), disk.id.clone()]);
    done(api.unplug(&UnplugArgs::of(&nic.id)));
    done(api.unplug(&UnplugArgs::of(&disk.id)));
    let strip = |text: &str| {
        let mut file: Value = serde_json::from_str(text).unwrap();
        file.as_object_mut().unwrap().remove("next_generation");
        file
    };
    assert_eq!(strip(&fixture.record_text()), strip(&before));
}

#[test]
fn a_later_agent_sees_the_same_ids_and_slots() {
    let fixture = Fixture::pc();
    let api = fixture.open(&RustAgent);
    done(api.add_nic(&fixture.nic(1)));
    done(api.add_disk(&fixture.disk("a.img")));
    done(api.add_disk(&fixture.disk_as("data", "b.img")));
    let device_info = api.list();
    drop(api);
    fixture.qemu.take_seen();
    let api = fixture.open(&RustAgent);
    assert_eq!(api.list(), device_info);
    let asks = |name: &String| name.starts_with("q") || name.starts_with("x-debug-query");
    let changing = fixture.qemu.take_names().iter().filter(|name| !asks(name)).count();
    assert_eq!(changing, 0, "nothing is done to a guest in order");
    assert_eq!(done(api.add_disk(&fixture.disk("c.img"))).id, "disk-pci-7");
}
