//! Any record → the command that boots it → a real QEMU → its device tree: everything is there, where and as
//! the record says. Needs qemu-system-x86_64, qemu-img and root; without them the tests fail.
//!
//! `KVM_HOTPLUG_TEST_QEMU` names another QEMU, and `KVM_HOTPLUG_TEST_RECORDS` more or fewer records than 12.
//! The first half of them is the same in every run, the rest is fresh; with `KVM_HOTPLUG_TEST_SEED`, that is
//! the seed of the first, and the others follow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub
)]

#[path = "support/bare_qemu.rs"]
mod bare_qemu;
#[path = "boot_qemu/child.rs"]
mod child;
#[path = "support/not_run.rs"]
mod not_run;
#[path = "boot_qemu/random.rs"]
mod random;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use child::Child;
use kvm_hotplug::boot::{BootRequest, FIRST_FD, Incoming};
use kvm_hotplug::disk::DiskSpec;
use kvm_hotplug::guest::Guest;
use kvm_hotplug::ids::Address;
use kvm_hotplug::log::Log;
use kvm_hotplug::model::{Device, DeviceKind, Presence, Record, Spec};
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::qmp::Version;
use kvm_hotplug::store::RecordFile;
use random::Random;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, and no number")))
}

/// A folder for images and sockets; its name is short, because a socket's has to be.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("khb").tempdir_in("/var/tmp").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, machine: &str, extra: &[&str]) -> Vec<String> {
        let mut command = bare_qemu::command(machine, &self.path("qmp"));
        command.extend(extra.iter().copied().map(str::to_owned));
        command
    }

    fn runtime(&self, record: Record) -> RecordFile {
        let mut runtime = RecordFile::new(record);
        runtime.save_new(&self.path("vm.runtime")).unwrap();
        runtime
    }
}

fn request(qemu: Option<Version>) -> BootRequest {
    BootRequest { qemu, fd_base: FIRST_FD, paused: true, spare_ports: 1, ..BootRequest::default() }
}

/// What the property has to be, where QEMU has it at all; `on` and true are the same in its versions.
fn assert_property(child: &mut Child, id: &str, name: &str, expected: &Value) {
    let path = format!("/machine/peripheral/{id}");
    let found = child.ask("qom-get", json!({"path": path, "property": name}));
    let plain = |value: &Value| match value {
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    assert_eq!(plain(&found), plain(expected), "{id}: {name}");
}

fn assert_nic(child: &mut Child, id: &str, spec: &NicSpec) {
    let boot = spec.boot_index.map_or(json!(-1), |index| json!(index));
    let mut expected = vec![("netdev", json!(id)), ("mac", json!(spec.mac.to_string())), ("bootindex", boot)];
    if spec.boot_index.is_none() {
        expected.push(("romfile", json!("")));
    }
    if spec.model.starts_with("virtio") {
        expected.extend([("mq", json!(spec.queues > 1)), ("host_mtu", json!(spec.mtu.unwrap_or(0)))]);
        if spec.queues > 1 {
            expected.push(("vectors", json!(2 * u32::from(spec.queues) + 2)));
        }
    }
    expected.iter().for_each(|(name, value)| assert_property(child, id, name, value));
}

fn assert_disk(child: &mut Child, id: &str, spec: &DiskSpec, nodes: &Value) {
    let boot = spec.boot_index.map_or(json!(-1), |index| json!(index));
    assert_property(child, id, "bootindex", &boot);
    assert_property(child, id, "drive", &json!(id));
    assert_property(child, id, "share-rw", &json!(spec.share_rw));
    assert_property(child, id, "logical_block_size", &json!(spec.logical_block_size.unwrap_or(512)));
    if let Some(serial) = &spec.serial {
        assert_property(child, id, "serial", &json!(serial));
    }
    let node = nodes.as_array().unwrap().iter().find(|node| node["node-name"] == id).unwrap();
    assert_eq!(node["ro"], spec.read_only, "{id}: {node:#}");
    assert_eq!(node["cache"]["direct"], spec.cache.direct(), "{id}: {node:#}");
    assert_eq!(node["cache"]["no-flush"], spec.cache.no_flush(), "{id}: {node:#}");
    let driver = if spec.format.as_str() == "raw" { "file" } else { "qcow2" };
    assert_eq!(node["drv"], driver, "{id}: {node:#}");
}

fn assert_place(child: &mut Child, id: &str, address: &Address) {
    let path = format!("/machine/peripheral/{id}");
    let bus = child.ask("qom-get", json!({"path": path, "property": "parent_bus"}));
    assert_eq!(bus.as_str().unwrap().rsplit('/').next(), Some(address.bus().as_str()), "{id}");
    match address {
        Address::Pci(address) => assert_property(child, id, "addr", &json!(8 * address.slot.get())),
        Address::Scsi(address) => {
            assert_property(child, id, "scsi-id", &json!(address.target));
            assert_property(child, id, "lun", &json!(address.lun.get()));
        }
    }
}

/// Everything the record has is there, and nothing else with an id.
fn assert_guest(child: &mut Child, record: &Record) {
    let list = child.ask("qom-list", json!({"path": "/machine/peripheral"}));
    let list =
        list.as_array().unwrap().iter().filter(|entry| entry["type"].as_str().unwrap().starts_with("child<"));
    let found: BTreeSet<String> = list.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect();
    let ports = record.ports.iter().map(|port| port.id.to_string());
    let expected: BTreeSet<String> =
        record.devices.iter().map(|device| device.id.to_string()).chain(ports).collect();
    assert_eq!(found, expected);
    let nodes = child.ask("query-named-block-nodes", json!({"flat": true}));
    for device in &record.devices {
        let id = device.id.as_str();
        assert_property(child, id, "type", &json!(device.model()));
        assert_place(child, id, device.address.as_ref().unwrap());
        match &device.spec {
            Spec::Nic(spec) => assert_nic(child, id, spec),
            Spec::Disk(spec) => assert_disk(child, id, spec, &nodes),
            Spec::Controller(_) => {}
        }
    }
    for port in &record.ports {
        let devfn = 8 * port.slot.get() + port.function;
        assert_property(child, port.id.as_str(), "addr", &json!(devfn));
        assert_property(child, port.id.as_str(), "chassis", &json!(port.chassis));
    }
}

/// The library itself agrees.
fn assert_verified(scene: &Scene, runtime: RecordFile) -> RecordFile {
    let runtime = Arc::new(Mutex::new(runtime));
    let guest = Guest::open(runtime.clone(), &scene.path("qmp"), Log::default(), PATIENCE).unwrap();
    let differences: Vec<String> = guest.verify(PATIENCE).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(differences, Vec::<String>::new());
    drop(guest);
    Arc::into_inner(runtime).unwrap().into_inner().unwrap()
}

fn one_record(seed: u64, qemu: Version) {
    let mut random = Random::new(seed);
    let scene = Scene::new();
    let machine = *random.pick(&["pc", "q35"]);
    let known = random.flip().then_some(qemu);
    println!(
        "seed {seed}: {machine}, options {}",
        known.map_or("for any version".into(), |v| format!("for QEMU {v}"))
    );
    let record = random.record(scene.folder.path(), scene.command(machine, &["-name", "a,,b=c"]));
    let mut runtime = scene.runtime(record.clone());
    let boot = runtime.boot_command(request(known)).unwrap();
    let mut child = Child::start(&boot, scene.path("qmp"), scene.path("log"));
    assert_guest(&mut child, runtime.record());
    drop(child.hang_up());
    let runtime = assert_verified(&scene, runtime);
    assert!(runtime.record().devices.iter().all(|device| device.presence == Presence::Live));
    let leaving =
        record.devices.iter().filter(|device| device.presence == Presence::RemoveAfterReboot).count();
    // SCSI disks without a controller get one.
    let made = runtime.record().devices.iter().filter(|device| record.find(device.id.as_str()).is_none());
    let made: Vec<DeviceKind> = made.map(Device::kind).collect();
    assert!(made.is_empty() || made == [DeviceKind::Controller], "{made:?}");
    assert_eq!(runtime.record().devices.len(), record.devices.len() - leaving + made.len());
}

#[test]
fn any_record_parses_back() {
    let qemu = child::version();
    let count = setting("KVM_HOTPLUG_TEST_RECORDS").unwrap_or(12);
    let given = setting("KVM_HOTPLUG_TEST_SEED");
    let fixed = if given.is_some() { 0 } else { count / 2 };
    let first = given.unwrap_or_else(random::fresh_seed);
    (1..=fixed).chain(first..first + count - fixed).for_each(|seed| one_record(seed, qemu));
}

/// The target of a migration is what the source is, not what it will be after a reboot, and can be verified
/// before anything comes in.
#[test]
fn a_target_is_what_the_source_is() {
    let qemu = child::version();
    for (seed, machine) in [(1, "pc"), (2, "q35")] {
        let scene = Scene::new();
        let mut random = Random::new(seed);
        let record = random.record(scene.folder.path(), scene.command(machine, &[]));
        let mut runtime = scene.runtime(record);
        drop(runtime.boot_command(request(Some(qemu))).unwrap());
        let mut next = runtime.record().clone();
        // A controller neither comes nor goes without its disks.
        let apart =
            |device: &&mut Device| device.address.as_ref().is_some_and(|place| place.scsi().is_none());
        let apart =
            next.devices.iter_mut().filter(apart).filter(|device| device.kind() != DeviceKind::Controller);
        for (device, presence) in apart.zip([Presence::AddAfterReboot, Presence::RemoveAfterReboot]) {
            device.presence = presence;
        }
        runtime.replace(next.clone()).unwrap();
        let request = BootRequest { incoming: Some(Incoming::Defer), paused: false, ..request(Some(qemu)) };
        let boot = runtime.boot_command(request).unwrap();
        let mut child = Child::start(&boot, scene.path("qmp"), scene.path("log"));
        assert_eq!(child.ask("query-status", json!({}))["status"], "inmigrate");
        let presences =
            |record: &Record| record.devices.iter().map(|device| device.presence).collect::<Vec<_>>();
        assert_eq!(presences(runtime.record()), presences(&next));
        let mut there = next.clone();
        there.devices.retain(|device: &Device| device.presence != Presence::AddAfterReboot);
        assert_guest(&mut child, &there);
        drop(child.hang_up());
        assert_verified(&scene, runtime);
    }
}

/// A command line as libvirt writes it: ports and what sits on them are JSON, one of them with a device on
/// it. Ours goes onto the next, and QEMU starts, also where the caller has not said which version it is.
#[test]
fn ports_of_a_command_in_json() {
    let qemu = child::version();
    // Older ones take no such device.
    if qemu < (Version { major: 6, minor: 2, micro: 0 }) {
        let why = format!("QEMU {qemu} takes no devices in JSON");
        return not_run::not_run("boot_qemu, ports_of_a_command_in_json", &why);
    }
    let port = |number: u8, addr: &str| {
        format!(
            r#"{{"driver":"pcie-root-port","port":{number},"chassis":{number},"id":"pci.{number}","bus":"pcie.0","multifunction":true,"addr":"{addr}"}}"#
        )
    };
    let (first, second) = (port(1, "0x1"), port(2, "0x1.0x1"));
    let usb = r#"{"driver":"qemu-xhci","id":"usb","bus":"pci.1","addr":"0x0"}"#;
    for known in [None, Some(qemu)] {
        let scene = Scene::new();
        let image = scene.path("data.img");
        std::fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
        let command = scene.command("q35", &["-device", &first, "-device", &second, "-device", usb]);
        let mut record = Record::new("", command, 4).unwrap();
        let disks = ["one", "two"].map(|id| Device {
            id: kvm_hotplug::ids::DeviceId::parse(id).unwrap(),
            generation: 1,
            address: None,
            presence: Presence::AddAfterReboot,
            spec: Spec::Disk(DiskSpec {
                share_rw: true,
                ..DiskSpec::new(&image, kvm_hotplug::disk::Format::Raw)
            }),
            backend: None,
            properties: serde_json::Map::new(),
            ganeti: None,
            extra: serde_json::Map::new(),
        });
        disks.into_iter().for_each(|device| record.add(device));
        let mut runtime = scene.runtime(record);
        let boot = runtime.boot_command(request(known)).unwrap();
        let mut child = Child::start(&boot, scene.path("qmp"), scene.path("log"));
        for device in &runtime.record().devices {
            assert_place(&mut child, device.id.as_str(), device.address.as_ref().unwrap());
        }
        let places =
            runtime.record().devices.iter().map(|device| device.address.as_ref().unwrap().to_string());
        assert_eq!(places.collect::<Vec<_>>(), ["pci.2 slot 0", "rp1 slot 0"]);
        drop(child.hang_up());
        assert_verified(&scene, runtime);
    }
}
