//! The table of what QEMU's refusals mean (`src/qmp/qemu_errors.rs`) against a real QEMU: each of them that
//! needs no guest is brought about, and is in the table for this version. Needs qemu-system-x86_64, qemu-img,
//! losetup and root; without them the tests fail.
//!
//! `KVM_HOTPLUG_TEST_QEMU` names another QEMU; `tests/run versions` runs this with each of four.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

#[path = "support/bare_qemu.rs"]
mod bare_qemu;
#[path = "support/not_run.rs"]
mod not_run;
#[path = "qemu_errors/qemu.rs"]
mod qemu;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::Path;

use kvm_hotplug::qmp::qemu_errors::{ROWS, Refusal, Row, Says, find};
use qemu::{Loop, Qemu, run};
use serde_json::json;

/// The rows that QEMU was seen to have, by their place in the table, and for which command.
#[derive(Default)]
struct Shown(BTreeSet<(usize, String)>);

impl Shown {
    /// QEMU refuses that, in words that the table has for this version.
    fn refuses(
        &mut self,
        qemu: &mut Qemu,
        command: &'static str,
        arguments: serde_json::Value,
        meant: Refusal,
    ) {
        let error = qemu.ask(command, arguments.clone()).expect_err(&format!("{command} {arguments} worked"));
        let version = qemu.version();
        let row =
            find(command, &error).unwrap_or_else(|| panic!("QEMU {version}: not in the table: {error:?}"));
        assert_eq!(row.refusal, meant, "QEMU {version}: {error:?}");
        assert!(row.seen.has(version), "QEMU {version} says, too: {error}");
        let place = ROWS.iter().position(|other| std::ptr::eq(other, row)).unwrap();
        self.0.insert((place, command.to_owned()));
    }

    fn has(&self, row: &Row, command: &str) -> bool {
        let place = ROWS.iter().position(|other| std::ptr::eq(other, row)).unwrap();
        self.0.contains(&(place, command.to_owned()))
    }
}

fn null(name: &str) -> serde_json::Value {
    json!({"driver": "null-co", "node-name": name, "size": 1 << 20})
}

fn rng(id: &str, bus: &str, slot: &str) -> serde_json::Value {
    json!({"driver": "virtio-rng-pci", "id": id, "bus": bus, "addr": slot})
}

fn names_and_places(shown: &mut Shown) {
    let mut qemu = Qemu::start("pc", &["-device", "virtio-scsi-pci,id=scsi", "-device", "VGA,id=screen"]);
    qemu.works("query-status", json!({}));
    shown.refuses(&mut qemu, "qmp_capabilities", json!({}), Refusal::AlreadyNegotiated);

    qemu.works("device_add", rng("first", "pci.0", "8"));
    shown.refuses(&mut qemu, "device_add", rng("first", "pci.0", "9"), Refusal::DuplicateDevice);
    shown.refuses(&mut qemu, "device_add", rng("second", "pci.0", "8"), Refusal::PlaceTaken);
    for lun in ["one", "two"] {
        qemu.works("blockdev-add", null(lun));
    }
    let disk = |id: &str| json!({"driver": "scsi-hd", "id": id, "drive": id, "bus": "scsi.0", "scsi-id": 1, "lun": 0});
    qemu.works("device_add", disk("one"));
    shown.refuses(&mut qemu, "device_add", disk("two"), Refusal::PlaceTaken);
    let drive = json!({"driver": "scsi-cd", "id": "cd", "bus": "scsi.0", "scsi-id": 2, "lun": 0});
    qemu.works("device_add", drive);
    shown.refuses(&mut qemu, "blockdev-remove-medium", json!({"id": "cd"}), Refusal::TrayShut);
    shown.refuses(&mut qemu, "blockdev-add", null("two"), Refusal::DuplicateBackend);
    let thread = json!({"qom-type": "iothread", "id": "thread"});
    qemu.works("object-add", thread.clone());
    shown.refuses(&mut qemu, "object-add", thread, Refusal::DuplicateBackend);
    let hub = json!({"type": "hubport", "hubid": 0, "id": "net"});
    qemu.works("netdev_add", hub.clone());
    if qemu.version().major == 5 {
        qemu.works("netdev_add", hub);
    } else {
        shown.refuses(&mut qemu, "netdev_add", hub, Refusal::DuplicateBackend);
    }

    shown.refuses(&mut qemu, "device_del", json!({"id": "screen"}), Refusal::NotHotpluggable);
    let screen = json!({"driver": "VGA", "id": "other"});
    if qemu.version().major >= 10 {
        shown.refuses(&mut qemu, "device_add", screen, Refusal::NotHotpluggable);
    } else {
        let error = qemu.ask("device_add", screen).unwrap_err();
        assert!(find("device_add", &error).is_none(), "{error}");
    }
}

/// Chardevs, and types of netdevs.
fn netdevs(shown: &mut Shown) {
    let socket = tempfile::tempdir().unwrap();
    let path = socket.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let mut qemu = Qemu::start("pc", &["-chardev", "null,id=used", "-device", "virtio-serial-pci,id=serial"]);
    let none = json!({"type": "nosuch", "id": "net"});
    shown.refuses(&mut qemu, "netdev_add", none, Refusal::NoDriver);
    let address = json!({"type": "unix", "data": {"path": path}});
    let backend = json!({"type": "socket", "data": {"addr": address, "server": false}});
    let chardev = json!({"id": "net", "backend": backend});
    qemu.works("chardev-add", chardev.clone());
    shown.refuses(&mut qemu, "chardev-add", chardev, Refusal::DuplicateBackend);
    qemu.works("device_add", json!({"driver": "virtconsole", "chardev": "used", "bus": "serial.0"}));
    shown.refuses(&mut qemu, "chardev-remove", json!({"id": "used"}), Refusal::InUse);
    qemu.works("chardev-remove", json!({"id": "net"}));
    shown.refuses(&mut qemu, "chardev-remove", json!({"id": "net"}), Refusal::Absent);
}

/// QEMU looks for the driver before the name, and at the name before it opens anything. Whether a module
/// could be shown to be missing.
fn drivers(shown: &mut Shown) -> bool {
    let mut qemu = Qemu::start("pc", &[]);
    let nowhere =
        json!({"driver": "nbd", "node-name": "#", "server": {"type": "unix", "path": "/not/there"}});
    shown.refuses(&mut qemu, "blockdev-add", nowhere, Refusal::NodeName);
    let none = json!({"driver": "nosuch", "node-name": "#"});
    shown.refuses(&mut qemu, "blockdev-add", none, Refusal::NoDriver);
    let rbd = json!({"driver": "rbd", "node-name": "#", "pool": "p", "image": "i"});
    let has_module = !qemu.ask("blockdev-add", rbd.clone()).unwrap_err().message().contains("Unknown driver");
    if has_module {
        not_run::not_run(
            "qemu_errors: a driver whose module is missing",
            "QEMU's module for rbd is installed",
        );
    }
    let meant = if has_module { Refusal::NodeName } else { Refusal::NoDriver };
    shown.refuses(&mut qemu, "blockdev-add", rbd, meant);
    !has_module
}

fn what_is_not_there(shown: &mut Shown) {
    let mut qemu = Qemu::start("pc", &["-device", "virtio-rng-pci,id=here"]);
    let of = |path: &str| json!({"path": format!("/machine/peripheral/{path}"), "property": "none"});
    for (command, arguments) in [
        ("device_del", json!({"id": "none"})),
        ("netdev_del", json!({"id": "none"})),
        ("set_link", json!({"name": "none", "up": true})),
        ("qom-get", of("none")),
        ("qom-get", of("here")),
        ("qom-set", json!({"path": "/objects/none", "property": "limits", "value": {}})),
        (
            "block_set_io_throttle",
            json!({"id": "none", "bps": 1, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0}),
        ),
        ("device-list-properties", json!({"typename": "none"})),
        ("closefd", json!({"fdname": "none"})),
        ("remove-fd", json!({"fdset-id": 7})),
        ("blockdev-del", json!({"node-name": "none"})),
        ("object-del", json!({"id": "none"})),
    ] {
        shown.refuses(&mut qemu, command, arguments, Refusal::Absent);
    }
    // It is there, or known: another error, or none.
    qemu.works("device-list-properties", json!({"typename": "scsi-hd"}));
    let error = qemu.ask("device-list-properties", json!({"typename": "pci-device"})).unwrap_err();
    assert!(find("device-list-properties", &error).is_none(), "{error}");
}

fn who_uses_a_node(shown: &mut Shown) {
    let mut qemu = Qemu::start("pc", &[]);
    let image = qemu.path("top.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", &image, "1M"]);
    for name in ["plugged", "below", "source", "target", "backing", "idle"] {
        qemu.works("blockdev-add", null(name));
    }
    qemu.works("device_add", json!({"driver": "virtio-blk-pci", "id": "disk", "drive": "plugged"}));
    qemu.works("blockdev-add", json!({"driver": "raw", "node-name": "above", "file": "below"}));
    let mirror = json!({"job-id": "job", "device": "source", "target": "target", "sync": "full", "speed": 1});
    qemu.works("blockdev-mirror", mirror);
    let file = json!({"driver": "file", "filename": image});
    qemu.works(
        "blockdev-add",
        json!({"driver": "qcow2", "node-name": "top", "file": file, "backing": "backing"}),
    );
    for name in ["plugged", "below", "source", "target", "backing"] {
        shown.refuses(&mut qemu, "blockdev-del", json!({"node-name": name}), Refusal::InUse);
    }
    qemu.works("blockdev-del", json!({"node-name": "idle"}));
    qemu.works(
        "object-add",
        json!({"qom-type": "throttle-group", "id": "group", "limits": {"iops-total": 9}}),
    );
    qemu.works("blockdev-add", null("limited"));
    let filter =
        json!({"driver": "throttle", "node-name": "filter", "throttle-group": "group", "file": "limited"});
    qemu.works("blockdev-add", filter);
    shown.refuses(&mut qemu, "object-del", json!({"id": "group"}), Refusal::InUse);
}

fn images(shown: &mut Shown) {
    let mut qemu = Qemu::start("pc", &[]);
    let (raw, qcow2) = (qemu.path("raw.img"), qemu.path("image.qcow2"));
    File::create(&raw).unwrap().set_len(1 << 20).unwrap();
    run("qemu-img", &["create", "-q", "-f", "qcow2", &qcow2, "1M"]);
    let node = |name: &str, driver: &str, path: &str, read_only: bool| {
        let file = json!({"driver": "file", "filename": path, "read-only": read_only});
        json!({"driver": driver, "node-name": name, "file": file, "read-only": read_only})
    };
    let disk =
        |drive: &str| json!({"driver": "virtio-blk-pci", "id": format!("{drive}-disk"), "drive": drive});
    // A raw image is locked when a device uses it, and a qcow2 image when it is opened.
    for (name, read_only) in [("owner", false), ("writer", false), ("reader", true)] {
        qemu.works("blockdev-add", node(name, "raw", &raw, read_only));
    }
    qemu.works("device_add", disk("owner"));
    qemu.works("blockdev-add", node("qcow2", "qcow2", &qcow2, false));
    for (name, read_only) in [("writer", false), ("reader", true)] {
        shown.refuses(&mut qemu, "device_add", disk(name), Refusal::ImageLocked);
        let second = node(&format!("{name}2"), "qcow2", &qcow2, read_only);
        shown.refuses(&mut qemu, "blockdev-add", second, Refusal::ImageLocked);
    }

    // Which unit O_DIRECT needs depends on version and file system; this node needs 4096 of each.
    qemu.works("blockdev-add", json!({"driver": "null-co", "node-name": "odd", "size": 1536}));
    qemu.works(
        "blockdev-add",
        json!({"driver": "blkdebug", "node-name": "coarse", "image": "odd", "align": 4096}),
    );
    shown.refuses(&mut qemu, "device_add", disk("coarse"), Refusal::UnalignedSize);
}

/// Whether it could be shown.
fn a_read_only_device(shown: &mut Shown) -> bool {
    let mut qemu = Qemu::start("pc", &[]);
    let path = qemu.path("frozen.img");
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let Some(device) = Loop::new_read_only(&path) else {
        not_run::not_run("qemu_errors: a block device that the kernel has read-only", "no loop device");
        return false;
    };
    let file = json!({"driver": "host_device", "filename": device.path()});
    let node = json!({"driver": "raw", "node-name": "frozen", "file": file});
    shown.refuses(&mut qemu, "blockdev-add", node, Refusal::ReadOnlyDevice);
    true
}

fn hotplug(shown: &mut Shown) {
    let ports = [
        "-device",
        "pcie-root-port,id=off,chassis=1,hotplug=off",
        "-device",
        "pcie-root-port,id=on,chassis=2",
        "-device",
        "virtio-rng-pci,id=cold,bus=pcie.0",
        "-device",
        "virtio-rng-pci,id=behind,bus=off",
    ];
    let mut qemu = Qemu::start("q35", &ports);
    qemu.works("device_add", rng("lan", "on", "0"));
    qemu.works("device_del", json!({"id": "lan"}));
    shown.refuses(&mut qemu, "device_del", json!({"id": "lan"}), Refusal::AlreadyUnplugging);
    shown.refuses(&mut qemu, "device_add", rng("there", "pcie.0", "9"), Refusal::NotHotpluggable);
    shown.refuses(&mut qemu, "device_del", json!({"id": "cold"}), Refusal::NotHotpluggable);
    shown.refuses(&mut qemu, "device_del", json!({"id": "behind"}), Refusal::NotHotpluggable);

    // PCI Express's own hotplug, which 5.2 has anyway.
    let own: &[&str] = match qemu.version().major {
        5 => &[],
        _ => &["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"],
    };
    let mut qemu = Qemu::start("q35", &[own, &ports].concat());
    shown.refuses(&mut qemu, "device_del", json!({"id": "behind"}), Refusal::NotHotpluggable);
    let mut qemu = Qemu::start("q35", &[own, &ports[..4]].concat());
    shown.refuses(&mut qemu, "device_add", rng("there", "off", "0"), Refusal::NotHotpluggable);

    let bridge = [
        "-global",
        "PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off",
        "-device",
        "pci-bridge,id=bridge,chassis_nr=1,shpc=on",
    ];
    let mut qemu = Qemu::start("pc", &bridge);
    shown.refuses(&mut qemu, "device_add", rng("there", "bridge", "0"), Refusal::NotHotpluggable);
}

fn migrating(shown: &mut Shown) {
    let mut qemu = Qemu::start("pc", &["-device", "virtio-rng-pci,id=here"]);
    let path = qemu.path("target");
    // It goes on until somebody reads.
    let target = UnixListener::bind(&path).unwrap();
    qemu.works("migrate", json!({"uri": format!("unix:{path}")}));
    let (_stream, _) = target.accept().unwrap();
    shown.refuses(&mut qemu, "device_add", rng("there", "pci.0", "9"), Refusal::Migrating);
    shown.refuses(&mut qemu, "device_del", json!({"id": "here"}), Refusal::Migrating);
}

#[test]
fn each_refusal_that_needs_no_guest_is_in_the_table_and_the_other_way_round() {
    let mut shown = Shown::default();
    netdevs(&mut shown);
    names_and_places(&mut shown);
    let lacks_module = drivers(&mut shown);
    what_is_not_there(&mut shown);
    who_uses_a_node(&mut shown);
    images(&mut shown);
    let has_loop = a_read_only_device(&mut shown);
    hotplug(&mut shown);
    migrating(&mut shown);
    let version = Qemu::start("pc", &[]).version();
    let could = |row: &&Row| {
        row.shown_by == file!()
            && row.seen.has(version)
            && (has_loop || row.refusal != Refusal::ReadOnlyDevice)
            && (lacks_module || row.says != Says::Words("Unknown driver '*'"))
    };
    for row in ROWS.iter().filter(could) {
        for command in row.commands {
            assert!(
                shown.has(row, command),
                "QEMU {version} was not seen to answer {command} like this: {row:?}"
            );
        }
    }
}

#[test]
fn each_row_names_a_test_that_is_there() {
    for row in ROWS {
        assert!(Path::new(row.shown_by).exists(), "{row:?}");
    }
}
