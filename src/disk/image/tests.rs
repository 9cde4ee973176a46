use std::process::Command;

use super::*;
use crate::disk::Identity;
use crate::disk::spec::Cache;

/// Images made by qemu-img in a directory whose file system takes O_DIRECT, which /tmp need not.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir_in("/var/tmp").unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn qemu_img(&self, args: &str) {
        let status = Command::new("qemu-img").current_dir(&self.0).args(args.split(' ')).status();
        assert!(status.expect("qemu-img is needed").success(), "qemu-img {args}");
    }

    fn spec(&self, name: &str, format: Format) -> DiskSpec {
        DiskSpec::new(self.path(name), format)
    }

    fn patch(&self, name: &str, offset: usize, bytes: &[u8]) {
        let mut content = std::fs::read(self.path(name)).unwrap();
        content[offset..offset + bytes.len()].copy_from_slice(bytes);
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Makes the extension one that nobody knows; qemu-img has not written images without it since 6.1.
    fn forget_backing_format(&self, name: &str) {
        let content = std::fs::read(self.path(name)).unwrap();
        let offset = content.windows(4).position(|bytes| bytes == 0xe279_2aca_u32.to_be_bytes()).unwrap();
        self.patch(name, offset, b"none");
    }
}

fn assert_refused(result: Result<Image>, kind: ErrorKind, says: &str) {
    let error = result.expect_err(says);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(says), "{error} lacks {says:?}");
}

#[test]
fn chain_is_opened_top_first() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path("sub")).unwrap();
    dir.qemu_img("create -q -f raw sub/base.img 3M");
    dir.qemu_img("create -q -f qcow2 -o cluster_size=2M -b base.img -F raw sub/mid.qcow2 5M");
    dir.qemu_img("create -q -f qcow2 -o compat=0.10 -b sub/mid.qcow2 -F qcow2 top.qcow2 9M");
    let mut spec = dir.spec("top.qcow2", Format::Qcow2);
    for cache in [Cache::Writeback, Cache::None] {
        spec.cache = cache;
        let image = open(&spec).unwrap();
        assert_eq!((image.size, image.probed_backing), (Some(9 << 20), false));
        let seen: Vec<_> =
            image.layers.iter().map(|l| (l.path.clone(), l.format, l.read_only, l.direct)).collect();
        let direct = cache == Cache::None;
        assert_eq!(
            seen,
            [
                (dir.path("top.qcow2"), Format::Qcow2, false, direct),
                (dir.path("sub/mid.qcow2"), Format::Qcow2, true, direct),
                (dir.path("sub/base.img"), Format::Raw, true, direct),
            ]
        );
    }
    spec.read_only = true;
    assert!(open(&spec).unwrap().layers[0].read_only);
}

#[test]
fn format_is_believed_not_guessed() {
    let dir = Dir::new();
    dir.qemu_img("create -q -f qcow2 a.qcow2 4M");
    dir.qemu_img("create -q -f raw a.img 1M");
    let as_raw = open(&dir.spec("a.qcow2", Format::Raw)).unwrap();
    assert_eq!(as_raw.layers[0].format, Format::Raw);
    assert_eq!(as_raw.size.unwrap(), std::fs::metadata(dir.path("a.qcow2")).unwrap().len());
    assert_refused(open(&dir.spec("a.img", Format::Qcow2)), ErrorKind::Format, "declared as qcow2");
    for (name, format, size) in [("a.qcow2", Format::Qcow2, 4 << 20), ("a.img", Format::Raw, 1 << 20)] {
        let wrong = if format == Format::Raw { Format::Qcow2 } else { Format::Raw };
        let mut spec = dir.spec(name, wrong);
        let image = resolve(&mut spec, FormatRequest::Probe, &BackingRule::OwnDirectory).unwrap();
        assert_eq!((spec.format, spec.probe_backing, image.size), (format, false, Some(size)));
    }
    std::fs::write(dir.path("empty"), "").unwrap();
    let mut spec = dir.spec("empty", Format::Raw);
    assert_eq!(resolve(&mut spec, FormatRequest::Probe, &BackingRule::OwnDirectory).unwrap().size, Some(0));
}

#[test]
fn unrecorded_backing_format_needs_consent() {
    let dir = Dir::new();
    dir.qemu_img("create -q -f raw base.img 1M");
    dir.qemu_img("create -q -f qcow2 -b base.img -F raw top.qcow2");
    dir.forget_backing_format("top.qcow2");
    let mut spec = dir.spec("top.qcow2", Format::Qcow2);
    assert_refused(open(&spec), ErrorKind::Invalid, "format is not recorded");
    let image = resolve(&mut spec, FormatRequest::Probe, &BackingRule::OwnDirectory).unwrap();
    assert_eq!(image.layers[1].format, Format::Raw);
    assert!(spec.probe_backing);
    assert!(open(&spec).is_ok(), "the recorded disk opens as it did the first time");
}

#[test]
fn backing_names_that_are_no_files() {
    let dir = Dir::new();
    dir.qemu_img("create -q -f qcow2 top.qcow2 1M");
    for (name, kind, says) in [
        ("nbd://host/x", ErrorKind::NotHotpluggable, "protocol"),
        ("rbd:pool/x", ErrorKind::NotHotpluggable, "protocol"),
        ("file:x", ErrorKind::NotHotpluggable, "protocol"),
        ("json:{\"driver\":\"nbd\",\"host\":\"h\"}", ErrorKind::NotHotpluggable, "\"host\""),
        // A plain file, which QEMU would take, but none of the image's.
        (
            "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}",
            ErrorKind::ImageRefused,
            "\"/etc/shadow\"",
        ),
    ] {
        dir.qemu_img(&format!("rebase -u -F raw -b {name} top.qcow2"));
        assert_refused(open(&dir.spec("top.qcow2", Format::Qcow2)), kind, says);
    }
    std::fs::write(dir.path("plain"), "").unwrap();
    let json = format!("json:{{\"driver\":\"raw\",\"file.filename\":{:?}}}", dir.path("plain"));
    for name in [json, format!("file:{}", dir.path("plain").display())] {
        dir.qemu_img(&format!("rebase -u -F raw -b {name} top.qcow2"));
        assert_eq!(open(&dir.spec("top.qcow2", Format::Qcow2)).unwrap().layers[1].path, dir.path("plain"));
    }
    std::fs::write(dir.path("a:b"), "").unwrap();
    dir.qemu_img("rebase -u -F raw -b ./a:b top.qcow2");
    assert_eq!(open(&dir.spec("top.qcow2", Format::Qcow2)).unwrap().layers.len(), 2);
    dir.qemu_img("rebase -u -F vmdk -b x top.qcow2");
    assert_refused(open(&dir.spec("top.qcow2", Format::Qcow2)), ErrorKind::NotHotpluggable, "\"vmdk\"");
    dir.qemu_img("rebase -u -F raw -b missing top.qcow2");
    assert_refused(open(&dir.spec("top.qcow2", Format::Qcow2)), ErrorKind::NotFound, "backing chain of");
}

#[test]
fn loops_and_long_chains_end() {
    let dir = Dir::new();
    dir.qemu_img("create -q -f qcow2 0 1M");
    for number in 1..=MAX_LAYERS {
        dir.qemu_img(&format!("create -q -f qcow2 -F qcow2 -b {} {number}", number - 1));
    }
    let longest = dir.spec(&(MAX_LAYERS - 1).to_string(), Format::Qcow2);
    assert_eq!(open(&longest).unwrap().layers.len(), MAX_LAYERS);
    let longer = dir.spec(&MAX_LAYERS.to_string(), Format::Qcow2);
    assert_refused(open(&longer), ErrorKind::Limit, "more than 16 layers");
    std::fs::hard_link(dir.path("2"), dir.path("link")).unwrap();
    dir.qemu_img("rebase -u -F qcow2 -b link 0");
    assert_refused(open(&dir.spec("2", Format::Qcow2)), ErrorKind::Invalid, "comes back to itself");
}

/// The backing name may lie anywhere in the first cluster, which may be larger than the first read.
#[test]
fn header_fills_a_large_cluster() {
    let dir = Dir::new();
    dir.qemu_img("create -q -f raw base.img 1M");
    dir.qemu_img("create -q -f qcow2 -o cluster_size=2M -b base.img -F raw top.qcow2");
    let end = (2 << 20) - 8;
    dir.patch("top.qcow2", end, b"base.img");
    dir.patch("top.qcow2", 8, &(end as u64).to_be_bytes());
    let mut spec = dir.spec("top.qcow2", Format::Qcow2);
    for cache in [Cache::Writeback, Cache::None] {
        spec.cache = cache;
        assert_eq!(open(&spec).unwrap().layers[1].path, dir.path("base.img"));
    }
}

#[test]
fn corrupt_images_are_for_reading_only() {
    let dir = Dir::new();
    dir.qemu_img("create -q -f qcow2 a.qcow2 1M");
    dir.patch("a.qcow2", 72, &2u64.to_be_bytes());
    let mut spec = dir.spec("a.qcow2", Format::Qcow2);
    assert_refused(open(&spec), ErrorKind::Format, "qemu-img check -r all");
    spec.read_only = true;
    assert!(open(&spec).is_ok());
}

#[test]
fn features_out_of_reach_are_named_with_the_image() {
    let dir = Dir::new();
    dir.qemu_img("create -q -f qcow2 -o data_file=data.img a.qcow2 1M");
    assert_refused(
        open(&dir.spec("a.qcow2", Format::Qcow2)),
        ErrorKind::NotHotpluggable,
        "external data file",
    );
    // crypt_method = LUKS; qemu-img measures the CPU to make a real one, and gives up on a busy machine.
    dir.qemu_img("create -q -f qcow2 b.qcow2 1M");
    dir.patch("b.qcow2", 32, &2_u32.to_be_bytes());
    assert_refused(open(&dir.spec("b.qcow2", Format::Qcow2)), ErrorKind::NotHotpluggable, "b.qcow2");
}

#[test]
fn only_a_scsi_device_is_handed_through() {
    let dir = Dir::new();
    dir.qemu_img("create -q -f raw a.img 1M");
    dir.qemu_img("create -q -f qcow2 b.qcow2 1M");
    let mut spec = dir.spec("a.img", Format::Raw);
    spec.model = SCSI_PASSTHROUGH.to_owned();
    assert_refused(open(&spec), ErrorKind::Invalid, "it is a regular file; scsi-block needs a SCSI device");
    spec.path = dir.path("b.qcow2");
    assert_refused(
        resolve(&mut spec, FormatRequest::Probe, &BackingRule::OwnDirectory),
        ErrorKind::Invalid,
        "it is a qcow2 image",
    );
    // A layer over a device of another kind: /dev/null takes no SCSI commands either.
    let layer = Layer {
        fd: std::fs::File::open("/dev/null").unwrap().into(),
        path: "/dev/null".into(),
        format: Format::Raw,
        kind: Kind::HostDevice,
        read_only: false,
        direct: false,
        identity: Identity::Device(0),
        is_below: false,
    };
    let error = check_passthrough(&layer).unwrap_err();
    assert!(error.message().contains("does not take SCSI commands (SG_IO: "), "{error}");
}

/// QEMU must be able to lock what we hold open: we hold no lock.
#[test]
fn nothing_is_locked() {
    let dir = Dir::new();
    dir.qemu_img("create -q -f qcow2 a.qcow2 1M");
    let _image = open(&dir.spec("a.qcow2", Format::Qcow2)).unwrap();
    dir.qemu_img("resize -q a.qcow2 2M");
}
mod hostile;
