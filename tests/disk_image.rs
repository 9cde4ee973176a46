//! Disks against a real QEMU: images opened and described by the library must be what QEMU takes, and it must
//! make of them what was asked for. Needs qemu-system-x86_64, qemu-img, losetup and root; without them the
//! tests fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)]

#[path = "support/not_run.rs"]
mod not_run;
#[path = "disk_image/qemu.rs"]
mod qemu;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kvm_hotplug::disk::{Aio, Cache, DetectZeroes, Discard, DiskSpec, Format, Kind, LayerRef, chain, image};
use qemu::{Dir, Qemu};
use serde_json::{Value, json};

const CACHES: [Cache; 5] =
    [Cache::Writeback, Cache::None, Cache::Writethrough, Cache::Directsync, Cache::Unsafe];
const AIOS: [Aio; 3] = [Aio::Threads, Aio::Native, Aio::IoUring];

/// The images a test may copy: raw ones filled with 0x42, and qcow2 images over nothing, the base, and one
/// another.
fn images(dir: &Dir) {
    std::fs::write(dir.path("base.img"), vec![0x42; 1 << 20]).unwrap();
    std::fs::write(dir.path("raw.img"), vec![0x42; 1 << 20]).unwrap();
    dir.run("qemu-img", "create -q -f qcow2 alone.qcow2 1M");
    dir.run("qemu-img", "create -q -f qcow2 -b base.img -F raw two.qcow2");
    dir.run("qemu-img", "create -q -f qcow2 -b two.qcow2 -F qcow2 three.qcow2");
}

fn copy(dir: &Dir, from: &str, to: &str, format: Format) -> DiskSpec {
    std::fs::copy(dir.path(from), dir.path(to)).unwrap();
    DiskSpec::new(dir.path(to), format)
}

/// What QEMU says of the node that has `filename` as its file and `driver` as its driver.
fn find<'a>(nodes: &'a Value, driver: &str, filename: &str) -> &'a Value {
    let fits = |node: &&Value| node["drv"] == driver && node["file"] == filename;
    nodes
        .as_array()
        .unwrap()
        .iter()
        .find(fits)
        .unwrap_or_else(|| panic!("no {driver} on {filename}: {nodes:#}"))
}

/// Every layer has the file, access mode and cache mode it should have.
fn assert_nodes(qemu: &mut Qemu, spec: &DiskSpec, layers: &[LayerRef]) {
    let nodes = qemu.ask("query-named-block-nodes", json!({"flat": true}));
    for (place, layer) in layers.iter().enumerate() {
        let node = find(&nodes, layer.kind.driver(), &layer.filename);
        assert_eq!(node["ro"], spec.read_only || place > 0, "{spec:?} {node:#}");
        assert_eq!(node["cache"]["direct"], spec.cache.direct(), "{spec:?} {node:#}");
        assert_eq!(node["cache"]["no-flush"], spec.cache.no_flush(), "{spec:?} {node:#}");
    }
}

/// The device sits on the node of its own name, with the settings of the disk.
fn assert_device(qemu: &mut Qemu, id: &str, spec: &DiskSpec) {
    let devices = qemu.ask("query-block", json!({}));
    let path = format!("/machine/peripheral/{id}/virtio-backend");
    let fits = |device: &&Value| device["qdev"] == path.as_str();
    let device = devices.as_array().unwrap().iter().find(fits).unwrap_or_else(|| panic!("{id}: {devices:#}"));
    let inserted = &device["inserted"];
    assert_eq!(inserted["node-name"], id);
    assert_eq!(inserted["drv"], if spec.format == Format::Raw { "file" } else { "qcow2" });
    assert_eq!(inserted["ro"], spec.read_only);
    assert_eq!(inserted["cache"]["writeback"], spec.cache.write_cache(), "{spec:?}");
    assert_eq!(inserted["cache"]["direct"], spec.cache.direct(), "{spec:?}");
    assert_eq!(inserted["cache"]["no-flush"], spec.cache.no_flush(), "{spec:?}");
    assert_eq!(inserted["detect_zeroes"], serde_json::to_value(spec.detect_zeroes).unwrap());
}

fn every_cache_and_aio(from: &str, format: Format, layers: usize, read_only: bool) {
    let dir = Dir::new();
    images(&dir);
    let mut qemu = Qemu::start(&dir, &[]);
    let mut slot = 3;
    for (cache, aio) in CACHES.into_iter().flat_map(|cache| AIOS.map(|aio| (cache, aio))) {
        let mut spec = copy(&dir, from, &format!("disk{slot}"), format);
        (spec.cache, spec.aio, spec.read_only) = (cache, aio, read_only);
        if spec.validate().is_err() {
            continue;
        }
        let (id, refs) = qemu.plug(slot, &spec);
        assert_eq!(refs.len(), layers);
        assert_nodes(&mut qemu, &spec, &refs);
        assert_device(&mut qemu, id.as_str(), &spec);
        let content = if from == "alone.qcow2" { "0" } else { "0x42" };
        qemu.io(id.as_str(), &format!("read -P {content} 0 1M"));
        slot += 1;
    }
    assert_eq!(slot, 3 + 12, "twelve of the fifteen pairs are legal");
    qemu.finish();
}

#[test]
fn raw() {
    every_cache_and_aio("raw.img", Format::Raw, 1, false);
}

#[test]
fn raw_read_only() {
    every_cache_and_aio("raw.img", Format::Raw, 1, true);
}

#[test]
fn qcow2() {
    every_cache_and_aio("alone.qcow2", Format::Qcow2, 1, false);
}

#[test]
fn qcow2_over_raw() {
    every_cache_and_aio("two.qcow2", Format::Qcow2, 2, false);
}

#[test]
fn qcow2_over_raw_read_only() {
    every_cache_and_aio("two.qcow2", Format::Qcow2, 2, true);
}

#[test]
fn qcow2_over_qcow2_over_raw() {
    every_cache_and_aio("three.qcow2", Format::Qcow2, 3, false);
}

#[test]
fn longest_chain() {
    let dir = Dir::new();
    dir.run("qemu-img", "create -q -f qcow2 0 1M");
    for number in 1..chain::MAX_LAYERS {
        dir.run("qemu-img", &format!("create -q -f qcow2 -F qcow2 -b {} {number}", number - 1));
    }
    let mut qemu = Qemu::start(&dir, &[]);
    let spec = DiskSpec::new(dir.path(&(chain::MAX_LAYERS - 1).to_string()), Format::Qcow2);
    let (_, refs) = qemu.plug(3, &spec);
    assert_eq!(refs.len(), chain::MAX_LAYERS);
    assert_nodes(&mut qemu, &spec, &refs);
}

fn blocks(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks()
}

#[test]
fn discard_and_zeroes_do_what_they_say() {
    let dir = Dir::new();
    images(&dir);
    let mut qemu = Qemu::start(&dir, &[]);
    let mut slot = 3;
    for (from, format) in [("raw.img", Format::Raw), ("alone.qcow2", Format::Qcow2)] {
        for (discard, zeroes) in [
            (Discard::Ignore, DetectZeroes::Off),
            (Discard::Ignore, DetectZeroes::On),
            (Discard::Unmap, DetectZeroes::Off),
            (Discard::Unmap, DetectZeroes::Unmap),
        ] {
            let mut spec = copy(&dir, from, &format!("disk{slot}"), format);
            (spec.discard, spec.detect_zeroes, spec.share_rw) = (discard, zeroes, true);
            let (id, _) = qemu.plug(slot, &spec);
            assert_device(&mut qemu, id.as_str(), &spec);
            qemu.io(id.as_str(), "write -P 1 0 1M");
            let before = blocks(&spec.path);
            qemu.io(id.as_str(), "write -P 0 0 512k");
            let zeroed = blocks(&spec.path);
            assert_eq!(zeroed < before, zeroes == DetectZeroes::Unmap, "{spec:?}: {before} {zeroed}");
            qemu.io(id.as_str(), "discard 512k 512k");
            let after = blocks(&spec.path);
            assert_eq!(after < zeroed, discard == Discard::Unmap, "{spec:?}: {zeroed} {after}");
            slot += 1;
        }
    }
    qemu.finish();
}

#[test]
fn device_settings_arrive() {
    let dir = Dir::new();
    images(&dir);
    let mut spec = DiskSpec::new(dir.path("raw.img"), Format::Raw);
    spec.serial = Some("12345678901234567 90".into());
    (spec.boot_index, spec.queues, spec.share_rw) = (Some(5), Some(3), true);
    (spec.logical_block_size, spec.physical_block_size) = (Some(4096), Some(65536));
    spec.model = "virtio-blk-pci-non-transitional".into();
    let mut qemu = Qemu::start(&dir, &[]);
    let (id, _) = qemu.plug(14, &spec);
    for (property, expected) in [
        ("serial", json!("12345678901234567 90")),
        ("bootindex", json!(5)),
        ("num-queues", json!(3)),
        ("share-rw", json!(true)),
        ("logical_block_size", json!(4096)),
        ("physical_block_size", json!(65536)),
        ("addr", json!(14 << 3)),
    ] {
        let path = format!("/machine/peripheral/{id}");
        let value = qemu.ask("qom-get", json!({"path": path, "property": property}));
        assert_eq!(value, expected, "{property}");
    }
    let mut logical_only = copy(&dir, "raw.img", "second.img", Format::Raw);
    logical_only.logical_block_size = Some(2 << 20);
    qemu.plug(15, &logical_only);
}

/// A QEMU that can open nothing itself, and images that are root's alone.
#[test]
fn chrooted_unprivileged_and_under_seccomp() {
    assert!(nix::unistd::geteuid().is_root(), "chroot and -runas need root");
    if !not_run::has_other_users() {
        return not_run::not_run(
            "disk_image, chrooted_unprivileged_and_under_seccomp",
            not_run::NO_OTHER_USERS,
        );
    }
    let dir = Dir::new();
    images(&dir);
    let jail = dir.path("jail");
    std::fs::create_dir(&jail).unwrap();
    let jail_text = jail.to_str().unwrap();
    let options = qemu::jail_options(jail_text);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut qemu = Qemu::start(&dir, &options);
    let status = std::fs::read_to_string(format!("/proc/{}/status", qemu.pid())).unwrap();
    assert!(
        status.contains("Uid:\t65534\t65534\t65534\t65534") && status.contains("Seccomp:\t2"),
        "{status}"
    );
    assert_eq!(std::fs::read_link(format!("/proc/{}/root", qemu.pid())).unwrap(), jail);
    let mut slot = 3;
    for (cache, aio) in
        [(Cache::Writeback, Aio::Threads), (Cache::None, Aio::Native), (Cache::None, Aio::IoUring)]
    {
        for (from, format) in [("raw.img", Format::Raw), ("three.qcow2", Format::Qcow2)] {
            let mut spec = copy(&dir, from, &format!("disk{slot}"), format);
            dir.run("chmod", &format!("600 disk{slot} base.img two.qcow2"));
            // share_rw lets the test itself write beside the device.
            (spec.cache, spec.aio, spec.share_rw) = (cache, aio, true);
            let (id, refs) = qemu.plug(slot, &spec);
            assert_nodes(&mut qemu, &spec, &refs);
            qemu.io(id.as_str(), "read -P 0x42 0 1M");
            qemu.io(id.as_str(), "write -P 1 0 64k");
            slot += 1;
        }
    }
    qemu.finish();
}

/// Block devices, one raw and one with a qcow2 image on it.
#[test]
fn block_devices() {
    // Loop devices are the host's.
    if !not_run::has_other_users() {
        return not_run::not_run("disk_image, block_devices", not_run::NO_OTHER_USERS);
    }
    let dir = Dir::new();
    images(&dir);
    std::fs::File::options().append(true).open(dir.path("alone.qcow2")).unwrap().set_len(4 << 20).unwrap();
    let mut qemu = Qemu::start(&dir, &[]);
    let mut identities = Vec::new();
    for (slot, file, format, cache) in
        [(3, "raw.img", Format::Raw, Cache::Writeback), (4, "alone.qcow2", Format::Qcow2, Cache::None)]
    {
        let device = dir.run("losetup", &format!("-f --show {file}"));
        let mut spec = DiskSpec::new(device.trim(), format);
        (spec.cache, spec.share_rw) = (cache, true);
        let opened = image::open(&spec);
        // While in use it stays, and goes away with the last of its users.
        dir.run("losetup", &format!("-d {}", device.trim()));
        let opened = opened.unwrap();
        assert_eq!((opened.layers[0].kind, opened.size), (Kind::HostDevice, Some(1 << 20)));
        let (id, refs) = qemu.plug_image(slot, &spec, &opened);
        assert_nodes(&mut qemu, &spec, &refs);
        qemu.io(id.as_str(), "write -P 7 0 64k");
        qemu.io(id.as_str(), "read -P 7 0 64k");
        let identity = opened.layers[0].identity;
        assert_eq!(image::open(&spec).unwrap().layers[0].identity, identity);
        assert!(!identities.contains(&identity), "two devices, two identities");
        identities.push(identity);
    }
    qemu.finish();
}
