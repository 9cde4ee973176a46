//! The boot command of a guest that Ganeti started: the same devices at the same places, and the list goes on
//! saying so.

use std::collections::BTreeMap;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::IssueKind;
use kvm_hotplug::boot::{BootCommand, BootRequest, Incoming};
use kvm_hotplug::deadline::Deadline;
use kvm_hotplug::disk::BackingRule;
use kvm_hotplug::qmp::Version;
use kvm_hotplug::store::{Format, RecordFile};
use serde_json::{Value, json};

use super::support::host;
use super::{Dir, places, sample};

/// The list, with disks that are there, NICs that need neither vhost-net nor a bridge, and no descriptors of
/// anybody else.
fn bootable(name: &str, dir: &std::path::Path) -> Value {
    let mut list: Value = serde_json::from_slice(&sample(name)).unwrap();
    list[2]["vhost_net"] = false.into();
    for nic in list[1].as_array_mut().unwrap() {
        nic["nicparams"] = json!({"mode": "routed", "link": "100"});
    }
    for (index, disk) in list.get_mut(3).and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
        let path = dir.join(format!("disk{index}"));
        std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        disk[1] = path.to_str().unwrap().into();
    }
    list
}

fn boot(runtime: &mut RecordFile) -> Result<BootCommand, kvm_hotplug::Error> {
    runtime.boot_command(BootRequest { fd_base: 3, ..BootRequest::default() })
}

/// What follows the `-device` of an id, by name.
fn device(argv: &[String], id: &str) -> BTreeMap<String, String> {
    let devices = argv.windows(2).filter(|pair| pair[0] == "-device").map(|pair| &pair[1]);
    let options = devices.map(|text| {
        let options = text.split(',').filter_map(|option| option.split_once('='));
        options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>()
    });
    let found = options.into_iter().find(|options| options.get("id").is_some_and(|found| found == id));
    found.unwrap_or_else(|| panic!("no {id} in {argv:?}"))
}

#[test]
fn the_next_guest_has_the_same_devices() {
    host::needs_tun();
    for name in [
        "4entry-pci-2.15.2",
        "4entry-pci-2.10.8-oldargs",
        "4entry-hvinfo-2.16.2",
        "4entry-hvinfo-3.0.2-scsi-hd",
        "4entry-hvinfo-3.1.0rc2-plain",
    ] {
        let images = tempfile::tempdir().unwrap();
        let list = bootable(name, images.path());
        let dir = Dir::with(list.to_string());
        let mut runtime = dir.load();
        let before = runtime.record().clone();
        let argv = boot(&mut runtime).unwrap().argv;
        assert_eq!(argv[..before.command.len()], before.command, "{name}");
        for recorded in &before.devices {
            let found = device(&argv, recorded.id.as_str());
            assert_eq!(found["bus"], recorded.bus().unwrap().as_str(), "{name}");
            assert_eq!(found.get("romfile"), None, "{name}: as Ganeti started it");
        }
        drop(runtime);
        assert_eq!(places(&dir.load().record().devices), places(&before.devices), "{name}");
        let (after, ids) = (dir.value(), |list: &Value| list[1].as_array().unwrap().len());
        assert_eq!(
            (ids(&after), &after[2]["migration_port"]),
            (ids(&list), &list[2]["migration_port"]),
            "{name}"
        );
    }
}

/// What had no place gets one with the next boot, and can be managed from then on.
#[test]
fn nics_of_three_entries_get_their_places() {
    host::needs_tun();
    let images = tempfile::tempdir().unwrap();
    let dir = Dir::with(bootable("3entry-2.9.7", images.path()).to_string());
    let mut runtime = dir.load();
    let ids: Vec<String> = runtime.record().devices.iter().map(|device| device.id.to_string()).collect();
    let argv = boot(&mut runtime).unwrap().argv;
    assert_eq!(device(&argv, &ids[0])["bus"], "pci.0");
    assert!(
        argv.iter().any(|argument| argument.ends_with("web1.example.com:1,format=raw,if=virtio")),
        "{argv:?}"
    );
    drop(runtime);
    let list = dir.value();
    for (index, id) in ids.iter().enumerate() {
        let hvinfo = &list[1][index]["hvinfo"];
        assert_eq!((&hvinfo["id"], &hvinfo["bus"]), (&json!(id), &json!("pci.0")));
    }
    assert!(dir.load().record().devices.iter().all(|device| device.address.is_some()));
}

/// QEMU found places for its NICs, and finds the same for a target that has them in the same order, before
/// what was plugged in since; whatever QEMU it is, as text, since QEMU makes the devices of `-drive` before
/// those that are JSON.
#[test]
fn a_target_of_three_entries_is_started_as_its_source() {
    host::needs_tun();
    let images = tempfile::tempdir().unwrap();
    let dir = Dir::with(bootable("3entry-2.9.7", images.path()).to_string());
    let mut next = dir.load().document();
    let mut plugged = next.record.devices[0].clone();
    plugged.id = kvm_hotplug::ids::DeviceId::parse("nic-11111111-2222-3333").unwrap();
    plugged.address = Some(serde_json::from_value(json!({"bus": "pci.0", "slot": 12})).unwrap());
    if let kvm_hotplug::model::Spec::Nic(spec) = &mut plugged.spec {
        spec.mac = kvm_hotplug::ids::MacAddr::local([1, 2, 3]);
    }
    next.record.devices.insert(0, plugged);
    let native = next.convert(Format::Native).unwrap();
    for (document, version) in [(&next, None), (&next, Some((10, 0))), (&native, Some((7, 2)))] {
        let runtime = RecordFile::new(document.clone());
        let qemu = version.map(|(major, minor)| Version { major, minor, micro: 0 });
        let request =
            BootRequest { fd_base: 3, qemu, incoming: Some(Incoming::Defer), ..BootRequest::default() };
        let argv = runtime.plan_command(request).unwrap().argv;
        let devices = argv.windows(2).filter(|pair| pair[0] == "-device").map(|pair| pair[1].as_str());
        let ours: Vec<&str> = devices.filter(|text| text.contains("netdev=")).collect();
        let expected = [
            "driver=virtio-net-pci,id=nic-003fc157-66a8-4e6d,mac=aa:00:00:bf:2f:16,netdev=nic-003fc157-66a8-4e6d",
            "driver=virtio-net-pci,id=nic-9e7c85f6-b6e5-4243,mac=aa:00:00:35:ac:a5,netdev=nic-9e7c85f6-b6e5-4243",
        ];
        assert_eq!(ours[..2], expected);
        assert!(ours[2].contains("addr=c,bus=pci.0,id=nic-11111111-2222-3333"), "{ours:?}");
        let deadline = Deadline::after(std::time::Duration::from_secs(5));
        let problems = runtime.check_host(true, None, &deadline).unwrap();
        assert!(problems.iter().all(|problem| problem.kind != IssueKind::NoAddress), "{problems:?}");
    }
}

#[test]
fn disks_that_qemu_opens_by_itself_are_refused_by_name() {
    host::needs_tun();
    let images = tempfile::tempdir().unwrap();
    let dir = Dir::with(bootable("4entry-hvinfo-3.2dev-rbd-userspace", images.path()).to_string());
    let before = dir.bytes();
    let error = boot(&mut dir.load()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotHotpluggable, "{error}");
    assert!(error.message().contains("rbd:rbd/7c079136-2573-4112-82d0-0d3d2aa90d8f.rbd.disk0"), "{error}");
    assert_eq!(dir.bytes(), before);
}

/// What a list names is opened like any image: a file with data of its own, the one that was there before.
#[test]
fn a_list_does_not_choose_what_is_opened_either() {
    host::needs_tun();
    let images = tempfile::tempdir().unwrap();
    let mut list = bootable("4entry-hvinfo-3.1.0rc2-plain", images.path());
    let link = images.path().join("link");
    std::os::unix::fs::symlink(images.path().join("disk0"), &link).unwrap();
    list[3][0][1] = link.to_str().unwrap().into();
    let dir = Dir::with(list.to_string());
    boot(&mut dir.load()).unwrap();
    let companion = || std::fs::read_to_string(dir.file().with_extension("runtime.kvm-hotplug")).unwrap();
    assert!(companion().contains("\"chain\""), "{}", companion());
    assert_eq!(dir.value()[3][0][1], list[3][0][1], "the list has no room for it");
    let retarget = |to: &str| {
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(to, &link).unwrap();
    };
    for (target, says) in [("/etc/shadow", "the image itself is"), ("/proc/self/mem", "a file of procfs")] {
        retarget(target);
        let error = boot(&mut dir.load()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ImageRefused, "{error}");
        assert!(error.message().contains(says), "{error}");
    }
    // Ganeti's own change of the path counts, but for what is no image.
    let mut changed = dir.value();
    changed[3][0][1] = "/proc/self/mem".into();
    std::fs::write(dir.file(), changed.to_string()).unwrap();
    assert_eq!(boot(&mut dir.load()).unwrap_err().kind(), ErrorKind::ImageRefused);
    let other = images.path().join("other");
    std::fs::File::create(&other).unwrap().set_len(1 << 20).unwrap();
    changed[3][0][1] = other.to_str().unwrap().into();
    std::fs::write(dir.file(), changed.to_string()).unwrap();
    boot(&mut dir.load()).unwrap();
    assert!(companion().contains(other.to_str().unwrap()), "{}", companion());
    // The rule of a record stands beside the list as well.
    dir.load().set_backing(Some(BackingRule::Forbidden)).unwrap();
    assert_eq!(dir.load().record().backing, Some(BackingRule::Forbidden));
}
