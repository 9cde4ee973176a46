use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::options::Object;
use super::*;
use crate::disk;
use crate::disk::{DiskSpec, Format};
use crate::error::ErrorKind;
use crate::ids::{BusName, DeviceId, IfName, MacAddr, ScsiAddress};
use crate::model::{Device, Operation, Presence, Record, Spec};
use crate::net;
use crate::net::spec::NicSpec;
use crate::qmp::Version;
use crate::store::RecordFile;

/// Guests that another program has started.
mod adopted;
/// What is refused before a guest is started.
mod refused;
/// Room that the command makes for devices.
mod room;

struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn disk(&self, id: &str) -> Device {
        let path = self.0.path().join(format!("{id}.img"));
        std::fs::write(&path, [0; 512]).unwrap();
        let spec = Spec::Disk(DiskSpec::new(path, Format::Raw));
        let id = DeviceId::parse(id).unwrap();
        Device {
            id,
            generation: 1,
            address: None,
            presence: Presence::Live,
            spec,
            backend: None,
            properties: Map::new(),
            ganeti: None,
            extra: Map::new(),
        }
    }

    fn runtime(&self, command: &[&str], devices: &[Device]) -> RecordFile {
        let command = command.iter().map(|text| (*text).to_owned()).collect();
        let mut record = Record::new("", command, 4).unwrap();
        devices.iter().for_each(|device| record.add(device.clone()));
        let mut runtime = RecordFile::new(record);
        let path = self.0.path().join("vm.runtime");
        let _ = std::fs::remove_file(&path);
        runtime.save_new(&path).unwrap();
        runtime
    }
}

fn request() -> BootRequest {
    BootRequest { fd_base: FIRST_FD, ..BootRequest::default() }
}

fn slots(runtime: &RecordFile) -> Vec<String> {
    let address = |device: &Device| device.address.as_ref().unwrap().to_string();
    runtime.record().devices.iter().map(address).collect()
}

/// A NIC over a tap of the caller's, as a record of the running guest has it.
fn over_given_tap(id: &str, slot: u8) -> Device {
    let mut spec = NicSpec::new(MacAddr::local([0, 0, slot]));
    spec.ifname = Some(IfName::parse("theirs").unwrap());
    spec.given_tap = Some(crate::net::identity::GivenTap::default());
    let bus = BusName::parse("pci.0").unwrap();
    let address = Some(crate::ids::PciAddress { bus, slot: crate::ids::Slot::new(slot).unwrap() }.into());
    let (spec, id) = (Spec::Nic(spec), DeviceId::parse(id).unwrap());
    Device {
        id,
        generation: 1,
        address,
        presence: Presence::Live,
        spec,
        backend: None,
        properties: Map::new(),
        ganeti: None,
        extra: Map::new(),
    }
}

/// No other tap stands in for one that the caller opened, neither at a boot nor on another host, and check
/// says so before.
#[test]
fn a_tap_of_the_callers_is_not_replaced() {
    let scene = Scene::new();
    let mut runtime =
        scene.runtime(&["qemu", "-machine", "pc-i440fx-7.2"], &[scene.disk("a"), over_given_tap("lan", 9)]);
    let before = runtime.record().clone();
    let deadline = crate::deadline::Deadline::after(std::time::Duration::from_secs(5));
    for (incoming, advice) in
        [(None, "remove lan from the record"), (Some(Incoming::Defer), "before it is migrated")]
    {
        let migrates = incoming.is_some();
        let error = runtime.boot_command(BootRequest { incoming, ..request() }).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::State, libc::EBADFD), "{error}");
        for part in ["lan ", "tap theirs", advice] {
            assert!(error.message().contains(part), "{error} should say {part}");
        }
        let issues = runtime.check_host(migrates, None, &deadline).unwrap();
        let found = issues.iter().find(|issue| issue.id == "lan").unwrap();
        assert_eq!(found.kind, IssueKind::Tap);
        assert!(error.message().ends_with(&found.text), "{error} / {}", found.text);
    }
    assert_eq!(*runtime.record(), before);
    drop(runtime);
    // Recorded before there was a mark for it.
    let mut older = over_given_tap("lan", 9);
    if let Spec::Nic(spec) = &mut older.spec {
        spec.given_tap = None;
    }
    let error = scene.runtime(&["qemu"], &[older]).boot_command(request()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
    // What goes with the boot needs none.
    let gone = Device { presence: Presence::RemoveAfterReboot, ..over_given_tap("lan", 9) };
    let mut runtime = scene.runtime(&["qemu"], &[scene.disk("a"), gone]);
    runtime.boot_command(request()).unwrap();
    assert_eq!(runtime.record().devices.len(), 1);
}

#[test]
fn descriptors_have_the_numbers_of_the_command() {
    let scene = Scene::new();
    let mut runtime =
        scene.runtime(&["qemu", "-add-fd", "fd=90,set=2"], &["a", "b", "c"].map(|id| scene.disk(id)));
    for command_line in [3, 100] {
        let boot = runtime.boot_command(BootRequest { fd_base: command_line, ..request() }).unwrap();
        let sets: Vec<&String> = boot.argv.iter().filter(|argument| argument.starts_with("fd=")).collect();
        let ours = |number, set, id| format!("fd={number},set={set},opaque=kh:{id}");
        assert_eq!(
            sets[1..],
            [&ours(command_line, 1, "a"), &ours(command_line + 1, 3, "b"), &ours(command_line + 2, 4, "c")]
        );
        for (fd, device) in boot.fds.iter().zip(&runtime.record().devices) {
            let Spec::Disk(spec) = &device.spec else { unreachable!() };
            let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
            assert_eq!(inode(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd()))), inode(&spec.path));
            assert!(u32::try_from(fd.as_raw_fd()).unwrap() >= command_line + 3, "in the way of the others");
        }
    }
    let error = runtime.boot_command(BootRequest { fd_base: 88, ..request() }).unwrap_err();
    assert!(error.message().contains("uses fd 90 itself"), "{error}");
}

#[test]
fn the_same_command_again() {
    let scene = Scene::new();
    let command = ["qemu", "-M", "q35", "-device", "virtio-balloon-pci,addr=0x11"];
    let mut runtime = scene.runtime(&command, &["a", "b"].map(|id| scene.disk(id)));
    let first = runtime.boot_command(BootRequest { spare_ports: 2, ..request() }).unwrap().argv;
    assert_eq!(first[..5], command);
    // Slot 17 is the command's own.
    let ports: Vec<String> =
        runtime.record().ports.iter().map(|port| format!("{} {}", port.id, port.slot)).collect();
    assert_eq!(ports, ["rp1 16", "rp2 18", "rp3 19", "rp4 20"]);
    assert_eq!(slots(&runtime), ["rp1 slot 0", "rp2 slot 0"]);
    let again = runtime.boot_command(BootRequest { spare_ports: 2, ..request() }).unwrap().argv;
    assert_eq!(again, first);
    // What a target starts with: the very same devices, whatever is spare.
    let incoming = BootRequest { incoming: Some(Incoming::Defer), ..request() };
    let target = runtime.boot_command(incoming).unwrap().argv;
    assert_eq!(target[5..7], ["-incoming", "defer"]);
    assert_eq!(target[7..], first[5..]);
    let plan = runtime.boot_plan(10).unwrap();
    assert_eq!((plan.devices, plan.ports, plan.new_ports, plan.free), (2, 12, 8, 10));
    assert_eq!(runtime.record().ports.len(), 4, "a plan changes nothing");
}

/// What the command puts behind ports and bridges is there, with a slot or without, as text or as JSON; and
/// what is started on the ports of a command whose devices are JSON is JSON too, because QEMU makes those
/// last.
#[test]
fn the_commands_own_devices_keep_their_ports() {
    let scene = Scene::new();
    let libvirt = [
        "qemu",
        "-machine",
        "pc-q35-7.2,usb=off",
        "-device",
        r#"{"driver":"pcie-root-port","port":8,"chassis":1,"id":"pci.1","bus":"pcie.0","multifunction":true,"addr":"0x1"}"#,
        "-device",
        r#"{"driver":"pcie-root-port","port":9,"chassis":2,"id":"pci.2","bus":"pcie.0","addr":"0x1.0x1"}"#,
        "-device",
        r#"{"driver":"pcie-root-port","port":10,"chassis":3,"id":"pci.3","bus":"pcie.0","addr":10}"#,
        "-device",
        r#"{"driver":"qemu-xhci","id":"usb","bus":"pci.1","addr":"0x0"}"#,
        "-device",
        r#"{"driver":"virtio-balloon-pci","bus":"pci.2"}"#,
    ];
    let text = [
        "qemu",
        "-M",
        "q35",
        "-device",
        "pcie-root-port,id=a,chassis=1",
        "-device",
        "pcie-root-port,id=b,chassis=2",
        "-device",
        "pcie-pci-bridge,id=c,bus=a",
        "-device",
        "virtio-rng-pci,bus=c",
        "-device",
        "virtio-rng-pci,bus=c",
        "-device",
        "virtio-rng-pci,bus=b",
    ];
    let pc =
        ["qemu", "-device", "pci-bridge,id=br,chassis_nr=1", "-device", "virtio-rng-pci,bus=br,addr=0x1.0x0"];
    let disks = ["one", "two"].map(|id| scene.disk(id));
    for (command, places, json) in [
        (&libvirt[..], ["pci.3 slot 0", "rp1 slot 0"], true),
        (&text[..], ["c slot 2", "c slot 3"], false),
        (&pc[..], ["pci.0 slot 4", "pci.0 slot 5"], false),
    ] {
        let mut runtime = scene.runtime(command, &disks);
        let argv = runtime.boot_command(request()).unwrap().argv;
        assert_eq!(slots(&runtime), places);
        let ours = argv.iter().skip(command.len()).skip_while(|word| *word != "-device").nth(1).unwrap();
        assert_eq!(ours.starts_with('{'), json, "{ours}");
        let ports = runtime.record().ports.clone();
        assert!(ports.iter().all(|port| !command.iter().any(|word| word.contains(port.id.as_str()))));
    }
    // One that is recorded there already is found before QEMU finds it.
    let mut device = scene.disk("one");
    device.address = Some(serde_json::from_str(r#"{"bus":"pci.2","slot":0}"#).unwrap());
    let runtime = scene.runtime(&libvirt, &[device]);
    let deadline = crate::deadline::Deadline::after(std::time::Duration::from_secs(5));
    let issues = runtime.check_host(false, None, &deadline).unwrap();
    assert_eq!(issues.iter().map(|issue| issue.kind).collect::<Vec<_>>(), [IssueKind::Place]);
    assert!(issues[0].text.contains("pci.2 slot 0 is taken by virtio-balloon-pci"), "{issues:?}");
}

#[test]
fn a_boot_is_where_waiting_ends() {
    let scene = Scene::new();
    let mut devices = ["stays", "comes", "goes", "asked"].map(|id| scene.disk(id));
    devices[1].presence = Presence::AddAfterReboot;
    devices[2].presence = Presence::RemoveAfterReboot;
    let mut runtime = scene.runtime(&["qemu", "-device", "pvpanic-pci,addr=5"], &devices);
    runtime.write_journal(|journal| journal.log_intent(Operation::Remove, &devices[3])).unwrap();
    let loaded = |runtime: RecordFile| {
        drop(runtime);
        RecordFile::load(&scene.0.path().join("vm.runtime")).unwrap()
    };
    let argv = runtime.boot_command(request()).unwrap().argv.join(" ");
    assert!(!argv.contains("goes") && !argv.contains("asked"), "{argv}");
    let runtime = loaded(runtime);
    let ids: Vec<_> =
        runtime.record().devices.iter().map(|device| (device.id.as_str(), device.presence)).collect();
    assert_eq!(ids, [("stays", Presence::Live), ("comes", Presence::Live)]);
    assert_eq!(slots(&runtime), ["pci.0 slot 4", "pci.0 slot 6"]);
    assert_eq!(runtime.journal().intents, []);
}

/// The files of images are recorded when they are opened, if they were not before.
fn without_chains(record: &Record) -> Record {
    let mut record = record.clone();
    for device in &mut record.devices {
        if let Spec::Disk(spec) = &mut device.spec {
            spec.chain = None;
        }
    }
    record
}

#[test]
fn a_target_changes_nothing_that_waits() {
    let scene = Scene::new();
    let mut devices = ["comes", "goes"].map(|id| scene.disk(id));
    devices[0].presence = Presence::AddAfterReboot;
    devices[1].presence = Presence::RemoveAfterReboot;
    devices[1].address = Some(serde_json::from_str(r#"{"bus":"pci.0","slot":9}"#).unwrap());
    let mut runtime = scene.runtime(&["qemu"], &devices);
    runtime.write_journal(|journal| journal.log_intent(Operation::Remove, &devices[1])).unwrap();
    let before = runtime.record().clone();
    let target = || BootRequest { incoming: Some(Incoming::Tcp(":4444".into())), ..request() };
    let argv = runtime.boot_command(target()).unwrap().argv.join(" ");
    assert!(argv.contains("goes") && !argv.contains("comes"), "{argv}");
    assert_eq!((&without_chains(runtime.record()), runtime.journal().intents.len()), (&before, 1));
    // For looking only is enough, and what is unsettled is refused.
    let path = scene.0.path().join("vm.runtime");
    RecordFile::peek(&path).unwrap().boot_command(target()).unwrap();
    assert_eq!(RecordFile::peek(&path).unwrap().boot_command(request()).unwrap_err().errno(), libc::EROFS);
    runtime.write_journal(|journal| journal.log_intent(Operation::RollbackAdd, &scene.disk("half"))).unwrap();
    let error = runtime.boot_command(target()).unwrap_err();
    assert!(error.message().contains("adding half was interrupted"), "{error}");
}

fn scsi(mut device: Device, place: Option<(&str, u8)>) -> Device {
    if let Spec::Disk(spec) = &mut device.spec {
        spec.model = "scsi-hd".to_owned();
    }
    let address = |(bus, target)| ScsiAddress::of_target(BusName::parse(bus).unwrap(), target).into();
    device.address = place.map(address);
    device
}

/// The words of the command that make devices, cut down to driver, id and place.
fn made(argv: &[String]) -> Vec<String> {
    let values = argv.windows(2).filter(|pair| pair[0] == "-device").map(|pair| pair[1].as_str());
    let short = |value: &str| {
        let keep = |part: &&str| {
            !part.contains('=')
                || ["id=", "bus=", "addr=", "scsi-id=", "lun="].iter().any(|key| part.starts_with(key))
        };
        let value = value.replace("driver=", "");
        value.split(',').filter(keep).collect::<Vec<_>>().join(",")
    };
    values.map(short).collect()
}

#[test]
fn scsi_disks_get_targets_and_the_controller_they_need() {
    let scene = Scene::new();
    let disks = ["a", "b"].map(|id| scsi(scene.disk(id), None));
    let mut runtime = scene.runtime(&["qemu"], &disks);
    let argv = runtime.boot_command(request()).unwrap().argv;
    let expected = [
        "virtio-scsi-pci,addr=4,bus=pci.0,id=scsi-pci-4",
        "scsi-hd,bus=scsi-pci-4.0,id=a,lun=0,scsi-id=0",
        "scsi-hd,bus=scsi-pci-4.0,id=b,lun=0,scsi-id=1",
    ];
    assert_eq!(made(&argv), expected);
    assert_eq!(
        slots(&runtime),
        ["scsi-pci-4.0 target 0 lun 0", "scsi-pci-4.0 target 1 lun 0", "pci.0 slot 4"]
    );
    assert_eq!(runtime.boot_command(request()).unwrap().argv, argv, "the same command again");
    let incoming = BootRequest { incoming: Some(Incoming::Defer), ..request() };
    assert_eq!(made(&runtime.boot_command(incoming).unwrap().argv), expected);
    drop(runtime);
    // On q35 the controller needs a port, as any other device does.
    let mut runtime = scene.runtime(&["qemu", "-M", "q35"], &disks);
    let argv = runtime.boot_command(request()).unwrap().argv;
    assert_eq!(made(&argv)[1], "virtio-scsi-pci,addr=0,bus=rp1,id=scsi-pci-rp1");
}

#[test]
fn controllers_of_the_command_have_room_for_disks() {
    let scene = Scene::new();
    let command = [
        "qemu",
        "-device",
        "lsi53c895a,id=old",
        "-device",
        "virtio-scsi-pci,id=scsi",
        "-device",
        "scsi-cd,bus=scsi.0,id=cd",
        "-device",
        "scsi-hd,bus=scsi.0,scsi-id=2,lun=1,drive=x",
    ];
    let devices = [
        scsi(scene.disk("a"), None),
        scsi(scene.disk("b"), Some(("scsi.0", 1))),
        scsi(scene.disk("c"), None),
        scsi(scene.disk("d"), Some(("old.0", 0))),
    ];
    let mut runtime = scene.runtime(&command, &devices);
    runtime.boot_command(request()).unwrap();
    let places =
        ["scsi.0 target 3 lun 0", "scsi.0 target 1 lun 0", "scsi.0 target 4 lun 0", "old.0 target 0 lun 0"];
    assert_eq!(slots(&runtime), places);
    drop(runtime);
    for (place, words) in [
        (("scsi.0", 0), "scsi.0 target 0 lun 0 is taken by cd"),
        (
            ("gone.0", 0),
            "data sits at gone.0 target 0 lun 0, but its controller is neither recorded nor in the command",
        ),
    ] {
        for incoming in [None, Some(Incoming::Defer)] {
            let mut runtime = scene.runtime(&command, &[scsi(scene.disk("data"), Some(place))]);
            let error = runtime.boot_command(BootRequest { incoming, ..request() }).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
    }
}

/// Text that would mean something to a careless parser, and that the types may or may not let through.
fn nasty() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9,=\"'\n {}:%-]{1,20}",
        "-[a-z]{1,8}",
        "[a-z]{1,4},(id|help|netdev)=[a-z]{1,4}",
        Just("help".into())
    ]
}

fn nic() -> impl Strategy<Value = NicSpec> {
    let names = (nasty(), nasty(), prop_oneof![Just("virtio-net-pci".to_owned()), nasty()]);
    (names, 1u16..=256, any::<bool>(), prop::option::of(any::<u16>()), prop::option::of(any::<u32>()))
        .prop_map(|((bridge, tap, model), queues, vhost, mtu, boot_index)| NicSpec {
            queues,
            vhost,
            mtu,
            bridge: IfName::parse(&bridge).ok(),
            ifname: IfName::parse(&tap).ok(),
            tap: Some(tap).filter(|tap| net::spec::check_tap_name(tap).is_ok()),
            boot_index,
            model,
            ..NicSpec::new(MacAddr::local([1, 2, 3]))
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// One option for each object, and in it the very members that the generator made: nothing in a record
    /// adds any.
    #[test]
    fn no_setting_becomes_an_option(serial in nasty(), name in nasty(), nics in prop::collection::vec(nic(), 0..4)) {
        let scene = Scene::new();
        let mut device = scene.disk("data");
        if let Spec::Disk(spec) = &mut device.spec {
            let path = scene.0.path().join(&name);
            std::fs::write(&path, [0; 512]).unwrap();
            spec.path = path;
            spec.serial = Some(serial).filter(|serial| serial.len() <= 20 && !serial.contains('\n'));
        }
        for qemu in [None, Some(Version { major: 10, minor: 0, micro: 0 })] {
            let mut runtime = scene.runtime(&["q"], std::slice::from_ref(&device));
            let argv = runtime.boot_command(BootRequest { qemu, ..request() }).unwrap().argv;
            let options: Vec<&str> = argv.iter().skip(1).step_by(2).map(String::as_str).collect();
            prop_assert_eq!(&options, &["-add-fd", "-blockdev", "-device"]);
            prop_assert_eq!(&argv[2], "fd=3,set=1,opaque=kh:data");
            let address = runtime.record().devices[0].address.clone().unwrap();
            let Spec::Disk(spec) = &device.spec else { unreachable!() };
            prop_assert_eq!(members(&argv[6]), members_of(&disk::node::device_args(&device.id, &address, spec)));
            prop_assert!(!argv.iter().skip(1).any(|argument| argument.contains('\0') || argument.starts_with("--")));
            for spec in nics.iter().filter(|spec| spec.validate().is_ok()) {
                let pci = address.pci().unwrap();
                let fds: Vec<String> = (3..259).map(|number| number.to_string()).collect();
                let queues = usize::from(spec.queues);
                for (object, arguments) in [
                    (Object::Netdev, net::args::netdev_args_over(&device.id, spec, &fds[..queues], &fds[..queues])),
                    (Object::Device, net::args::device_args(&device.id, pci, spec)),
                ] {
                    prop_assert_eq!(members(&object.write(&arguments, qemu).unwrap()), members_of(&arguments));
                }
            }
        }
    }
}

fn members(argument: &str) -> Vec<(String, String)> {
    let mut members = crate::model::option::read(argument, "driver");
    for (_, value) in &mut members {
        if value == "true" {
            "on".clone_into(value);
        }
    }
    members.sort();
    members
}

fn members_of(arguments: &Map<String, Value>) -> Vec<(String, String)> {
    members(&Value::Object(arguments.clone()).to_string())
}
