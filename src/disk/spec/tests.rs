use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::disk::FormatRequest;

fn spec() -> DiskSpec {
    DiskSpec::new("/images/a.img", Format::Raw)
}

fn assert_refused(change: impl FnOnce(&mut DiskSpec), says: &str) {
    let mut spec = spec();
    change(&mut spec);
    let error = spec.validate().expect_err(says);
    assert_eq!(error.errno(), libc::EINVAL);
    assert!(error.message().contains(says), "{error} lacks {says:?}");
}

#[test]
fn refusals_name_the_setting() {
    spec().validate().unwrap();
    assert_refused(|s| s.path = "a.img".into(), "must be absolute");
    assert_refused(|s| s.path = "/a\0b".into(), "NUL");
    assert_refused(|s| s.path = format!("/{}", "x".repeat(4095)).into(), "longer than");
    assert_refused(|s| s.path = std::ffi::OsString::from_vec(b"/\xff".to_vec()).into(), "UTF-8");
    assert_refused(|s| s.serial = Some(String::new()), "1 to 20");
    assert_refused(|s| s.serial = Some("x".repeat(21)), "1 to 20");
    assert_refused(|s| s.serial = Some("a\tb".into()), "printable");
    assert_refused(|s| s.serial = Some("é".into()), "printable");
    assert_refused(|s| s.model = "ide-hd,serial=x".into(), "not the name");
    assert_refused(|s| s.aio = Aio::Native, "O_DIRECT");
    assert_refused(|s| s.detect_zeroes = DetectZeroes::Unmap, "discard unmap");
    assert_refused(|s| s.boot_index = Some(1 << 31), "2147483647");
    assert_refused(|s| s.queues = Some(0), "1 to 1024");
    assert_refused(|s| s.queues = Some(1025), "1 to 1024");
    for size in [0, 256, 513, 4 << 20] {
        assert_refused(|s| s.logical_block_size = Some(size), "power of two");
        assert_refused(|s| s.physical_block_size = Some(size), "power of two");
    }
    assert_refused(|s| s.wwn = 1.try_into().ok(), "wwn with virtio-blk-pci");
    let sizes = |s: &mut DiskSpec| (s.logical_block_size, s.physical_block_size) = (Some(4096), Some(512));
    assert_refused(sizes, "below");
    assert_refused(
        |s| (s.model, s.iothread) = ("ide-hd".into(), Some(IoThread::Own)),
        "iothread with ide-hd: it has none",
    );
}

/// What QEMU 7.2 has no property for: scsi-hd of the first, scsi-block of all of them.
#[test]
fn scsi_disks_take_what_qemu_takes() {
    type Change = fn(&mut DiskSpec);
    let cases: [(Change, &str); 9] = [
        (|s| s.queues = Some(2), "queues with"),
        (|s| s.serial = Some("x".into()), "serial with"),
        (|s| s.format = Format::Qcow2, "format qcow2 with"),
        (|s| s.logical_block_size = Some(4096), "block size with"),
        (|s| s.physical_block_size = Some(4096), "block size with"),
        (|s| s.cache = Cache::Directsync, "cache writethrough or directsync with"),
        (|s| s.cache = Cache::Writethrough, "cache writethrough or directsync with"),
        (|s| s.wwn = 1.try_into().ok(), "wwn with"),
        (|s| s.limits = Some(Limits::default()), "limits with"),
    ];
    for (index, (change, says)) in cases.into_iter().enumerate() {
        assert_refused(
            |s| {
                s.model = "scsi-block".into();
                change(s);
            },
            says,
        );
        let mut disk = DiskSpec { model: "scsi-hd".into(), ..spec() };
        change(&mut disk);
        assert_eq!(disk.validate().is_err(), index == 0, "{disk:?}");
    }
}

#[test]
fn nvme_takes_what_qemu_takes() {
    let with = |change: fn(&mut DiskSpec)| {
        let mut nvme = DiskSpec { model: NVME.into(), serial: Some("s".into()), ..spec() };
        change(&mut nvme);
        nvme.validate().map_err(|error| error.message().to_owned())
    };
    with(|_| ()).unwrap();
    with(|s| (s.cache, s.logical_block_size) = (Cache::Directsync, Some(4096))).unwrap();
    for (change, says) in [
        ((|s| s.serial = None) as fn(&mut DiskSpec), "no serial with nvme"),
        (|s| s.serial = Some("x".repeat(21)), "1 to 20"),
        (|s| s.queues = Some(2), "max_ioqpairs"),
        (|s| s.wwn = 1.try_into().ok(), "wwn with nvme"),
        (|s| s.path = "".into(), "a nvme has an image"),
    ] {
        let error = with(change).expect_err(says);
        assert!(error.contains(says), "{error} lacks {says:?}");
    }
}

#[test]
fn a_cd_is_read_only_and_may_be_missing() {
    let with = |change: fn(&mut DiskSpec)| {
        let mut cd = DiskSpec { model: SCSI_CD.into(), read_only: true, ..spec() };
        change(&mut cd);
        cd.validate().map_err(|error| error.message().to_owned())
    };
    with(|_| ()).unwrap();
    with(|s| (s.path, s.wwn, s.serial) = ("".into(), 1.try_into().ok(), Some("x".repeat(36)))).unwrap();
    with(|s| s.format = Format::Qcow2).unwrap();
    for (change, says) in [
        ((|s| s.read_only = false) as fn(&mut DiskSpec), "a CD is read-only"),
        (|s| s.logical_block_size = Some(2048), "block size with scsi-cd"),
        (|s| s.queues = Some(1), "queues with scsi-cd"),
        (|s| (s.path, s.format) = ("".into(), Format::Qcow2), "it has no image"),
    ] {
        let error = with(change).expect_err(says);
        assert!(error.contains(says), "{error} lacks {says:?}");
    }
    assert_refused(|s| s.path = "".into(), "has an image");
}

#[test]
fn limits_are_inclusive() {
    let mut spec = spec();
    spec.serial = Some("x".repeat(20));
    spec.boot_index = Some(MAX_BOOT_INDEX);
    spec.queues = Some(1024);
    (spec.logical_block_size, spec.physical_block_size) = (Some(512), Some(2 << 20));
    (spec.cache, spec.aio) = (Cache::Directsync, Aio::Native);
    (spec.discard, spec.detect_zeroes) = (Discard::Unmap, DetectZeroes::Unmap);
    spec.validate().unwrap();
}

#[test]
fn cache_modes_follow_qemu() {
    let bits = |cache: Cache| (cache.write_cache(), cache.direct(), cache.no_flush());
    assert_eq!(bits(Cache::Writeback), (true, false, false));
    assert_eq!(bits(Cache::None), (true, true, false));
    assert_eq!(bits(Cache::Writethrough), (false, false, false));
    assert_eq!(bits(Cache::Directsync), (false, true, false));
    assert_eq!(bits(Cache::Unsafe), (true, false, true));
}

#[test]
fn record_is_compact_and_tolerant() {
    let json = serde_json::to_string(&spec()).unwrap();
    assert_eq!(json, r#"{"path":"/images/a.img","format":"raw"}"#);
    let read: DiskSpec = serde_json::from_str(r#"{"path":"/images/a.img","format":"raw","new":1}"#).unwrap();
    assert_eq!(read, spec());
}

fn every_other_setting() -> DiskSpec {
    DiskSpec {
        source: serde_json::from_value(serde_json::json!({"driver": "null-co"})).unwrap(),
        objects: serde_json::from_value(serde_json::json!({"secrets": ["key"]})).unwrap(),
        path: "/b".into(),
        uri: Some("rbd:rbd/b".into()),
        format: Format::Qcow2,
        probe_backing: true,
        chain: serde_json::from_value(serde_json::json!({
            "boot": "b", "layers": [{"path": "/b", "format": "qcow2", "identity": "file 8:1 7"}],
        }))
        .unwrap(),
        backing: Some(BackingRule::Forbidden),
        read_only: true,
        share_rw: true,
        serial: Some("s".into()),
        cache: Cache::Directsync,
        aio: Aio::IoUring,
        discard: Discard::Unmap,
        detect_zeroes: DetectZeroes::Unmap,
        boot_index: Some(1),
        model: "virtio-blk-pci-transitional".into(),
        logical_block_size: Some(4096),
        physical_block_size: Some(8192),
        queues: Some(3),
        wwn: 9.try_into().ok(),
        iothread: Some(IoThread::Own),
        limits: Some(Limits::parse(r#"{"bps-total": 5, "group": "g"}"#).unwrap()),
        overlay: Some(Overlay::new("ovl", "qcow2", "/o")),
        tray_open: true,
    }
}

#[test]
fn record_round_trips() {
    let all = every_other_setting();
    let json = serde_json::to_value(&all).unwrap();
    assert_eq!(json["aio"], "io_uring");
    assert_eq!(json["cache"], "directsync");
    assert_eq!(serde_json::from_value::<DiskSpec>(json).unwrap(), all);
}

/// Each setting alone is noticed, under its own name in the record, or as requests call it.
#[test]
fn conflicts_name_the_setting() {
    let base = serde_json::to_value(spec()).unwrap();
    let other = serde_json::to_value(every_other_setting()).unwrap();
    assert_eq!(other.as_object().unwrap().len(), 25, "a new setting belongs into this test");
    for (name, value) in other.as_object().unwrap() {
        let mut changed = base.clone();
        changed[name] = value.clone();
        let changed: DiskSpec = serde_json::from_value(changed).unwrap();
        let expected = (!["probe_backing", "chain", "backing", "overlay", "tray_open"]
            .contains(&name.as_str()))
        .then_some(if name == "objects" { "secret or tls_creds" } else { name.as_str() });
        assert_eq!(changed.conflict_with(&spec()), expected);
    }
    assert_eq!(spec().conflict_with(&spec()), None);
}

#[test]
fn requests_accept_what_they_name() {
    assert!(FormatRequest::Probe.accepts(Format::Raw) && FormatRequest::Probe.accepts(Format::Qcow2));
    assert!(FormatRequest::Raw.accepts(Format::Raw) && !FormatRequest::Raw.accepts(Format::Qcow2));
    assert!(FormatRequest::Qcow2.accepts(Format::Qcow2) && !FormatRequest::Qcow2.accepts(Format::Raw));
}
