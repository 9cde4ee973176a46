//! Headers by which an image would have the host open what nobody chose.

use super::*;

/// A directory for the image, `image`, beside one with a file that is none of its business, `other/secret`.
fn dir() -> Dir {
    let dir = Dir::new();
    for name in ["image", "image/sub", "other"] {
        std::fs::create_dir(dir.path(name)).unwrap();
    }
    dir.qemu_img("create -q -f raw other/secret 1M");
    dir.qemu_img("create -q -f raw image/base.img 1M");
    dir.qemu_img("create -q -f raw image/sub/base.img 1M");
    dir
}

/// Makes `image/top.qcow2` with that backing name, whether there is such a file or not.
fn over(dir: &Dir, backing: &str) -> DiskSpec {
    dir.qemu_img(&format!("create -q -u -f qcow2 -F raw -b {backing} image/top.qcow2 1M"));
    dir.spec("image/top.qcow2", Format::Qcow2)
}

fn added(spec: &DiskSpec, rule: &BackingRule) -> Result<DiskSpec> {
    let mut spec = spec.clone();
    resolve(&mut spec, FormatRequest::Qcow2, rule)?;
    Ok(spec)
}

fn refused(spec: &DiskSpec, rule: &BackingRule, says: &str) {
    assert_refused(open_under(spec, rule), ErrorKind::ImageRefused, says);
    if spec.chain.is_none() {
        let error = added(spec, rule).expect_err(says);
        assert!(error.message().contains(says), "{error} lacks {says:?}");
    }
}

const OWN: BackingRule = BackingRule::OwnDirectory;

#[test]
fn nothing_outside_the_own_directory() {
    let dir = dir();
    let secret = dir.path("other/secret").display().to_string();
    std::os::unix::fs::symlink("../other/secret", dir.path("image/link")).unwrap();
    std::os::unix::fs::symlink("../other", dir.path("image/dir")).unwrap();
    for name in
        [&*secret, "../other/secret", "sub/../../other/secret", "link", "./link", "dir/secret", "/etc/shadow"]
    {
        refused(&over(&dir, name), &OWN, "is not beneath");
    }
    for name in
        ["base.img", "sub/base.img", "sub/../base.img", &*dir.path("image/base.img").display().to_string()]
    {
        assert_eq!(open(&over(&dir, name)).unwrap().layers.len(), 2, "{name}");
    }
    // A directory that only begins like it.
    std::fs::create_dir(dir.path("image2")).unwrap();
    std::fs::copy(dir.path("other/secret"), dir.path("image2/secret")).unwrap();
    refused(&over(&dir, "../image2/secret"), &OWN, "is not beneath");
}

/// The image's own directory is that of the file, and not that of a link to it.
#[test]
fn a_link_to_the_image_brings_no_directory() {
    let dir = dir();
    let mut spec = over(&dir, "base.img");
    spec.path = dir.path("other/top.qcow2");
    std::os::unix::fs::symlink("../image/top.qcow2", &spec.path).unwrap();
    // As for QEMU, the name is relative to the path of the image as it was given.
    std::fs::rename(dir.path("other/secret"), dir.path("other/base.img")).unwrap();
    refused(&spec, &OWN, "is not beneath");
}

#[test]
fn nothing_that_the_kernel_makes_up() {
    let dir = dir();
    std::os::unix::fs::symlink("/proc/self/mem", dir.path("image/mem")).unwrap();
    let anywhere = BackingRule::Directories(vec!["/".into()]);
    for rule in [&OWN, &anywhere] {
        for name in ["/proc/self/mem", "/proc/self/environ", "mem", "/proc/thread-self/mem"] {
            refused(&over(&dir, name), rule, "a file of procfs");
        }
        refused(&over(&dir, "/proc/self/exe"), rule, "magic link");
        refused(&over(&dir, "/proc/self/root/etc/shadow"), rule, "magic link");
        refused(&over(&dir, "/sys/kernel/profiling"), rule, "a file of sysfs");
    }
    let mut spec = dir.spec("image/mem", Format::Raw);
    refused(&spec, &OWN, "a file of procfs");
    spec.path = "/proc/self/mem".into();
    refused(&spec, &anywhere, "a file of procfs");
}

#[test]
fn a_data_file_is_never_opened() {
    let dir = dir();
    dir.qemu_img("create -q -f qcow2 -o data_file=image/data.img,data_file_raw=on image/top.qcow2 1M");
    let spec = dir.spec("image/top.qcow2", Format::Qcow2);
    assert_refused(open(&spec), ErrorKind::NotHotpluggable, "external data file");
}

#[test]
fn the_caller_chooses() {
    let dir = dir();
    let files = |names: &[&str]| BackingRule::Files(names.iter().map(|name| dir.path(name)).collect());
    let directories =
        |names: &[&str]| BackingRule::Directories(names.iter().map(|name| dir.path(name)).collect());
    let plain = over(&dir, "base.img");
    refused(&plain, &BackingRule::Forbidden, "backing files are forbidden");
    refused(&plain, &files(&["image/sub/base.img"]), "sub/base.img\" is the one that is allowed there");
    refused(&plain, &files(&["image/base.img", "other/secret"]), "do not name");
    refused(&plain, &directories(&["other", "image/sub"]), "none of the directories");
    assert!(added(&plain, &files(&["image/sub/../base.img"])).is_ok());
    assert!(added(&plain, &directories(&["other", "image"])).is_ok());
    let outside = over(&dir, "../other/secret");
    refused(&outside, &OWN, "is not beneath");
    for rule in [files(&["other/secret"]), directories(&["other"])] {
        let recorded = added(&outside, &rule).unwrap();
        // Once recorded it is the caller's choice, unless the caller makes another one.
        assert!(open(&recorded).is_ok());
        refused(&recorded, &BackingRule::Forbidden, "forbidden");
        refused(&recorded, &directories(&["image"]), "none of the directories");
        refused(&recorded, &files(&["image/base.img"]), "is the one that is allowed");
    }
    let missing = BackingRule::Directories(vec!["/nowhere/at/all".into()]);
    assert_refused(open_under(&plain, &missing), ErrorKind::NotFound, "/nowhere/at/all");
    dir.qemu_img("create -q -f raw image/alone.img 1M");
    assert!(open_under(&dir.spec("image/alone.img", Format::Raw), &BackingRule::Forbidden).is_ok());
}

/// A guest that took QEMU over writes another name into the header of a disk that was fine when it was added.
#[test]
fn a_header_rewritten_later() {
    let dir = dir();
    let recorded = added(&over(&dir, "base.img"), &OWN).unwrap();
    assert!(open(&recorded).is_ok());
    std::os::unix::fs::symlink("/etc/shadow", dir.path("image/link")).unwrap();
    for name in
        ["/etc/shadow", "/proc/self/mem", "sub/base.img", "link", "../other/secret", "/dev/sda", "none"]
    {
        dir.qemu_img(&format!("rebase -u -F raw -b {name} image/top.qcow2"));
        refused(&recorded, &OWN, "its chain is not the one that was recorded");
        refused(&recorded, &BackingRule::Directories(vec!["/".into()]), "base.img\", raw, file ");
    }
    dir.qemu_img("rebase -u -F qcow2 -b base.img image/top.qcow2");
    refused(&recorded, &OWN, "base.img\", qcow2, file ");
    dir.qemu_img("rebase -u -b  image/top.qcow2".trim_end());
    refused(&recorded, &OWN, "name no backing file beneath layer 0");
    // More layers than before, each of them a file that was fine.
    dir.qemu_img("create -q -f qcow2 -F raw -b base.img image/mid.qcow2");
    dir.qemu_img("rebase -u -F qcow2 -b mid.qcow2 image/top.qcow2");
    refused(&recorded, &OWN, "layer 1, a backing file,");
    let accepted = added(&recorded, &OWN).unwrap();
    assert_eq!(accepted.chain.as_ref().unwrap().layers.len(), 3);
    assert!(open(&accepted).is_ok());
    dir.qemu_img("rebase -u -F raw -b base.img image/top.qcow2");
    assert!(open(&recorded).is_ok());
}

#[test]
fn a_raw_image_that_was_replaced() {
    let dir = dir();
    std::os::unix::fs::symlink("base.img", dir.path("image/disk")).unwrap();
    let mut recorded = dir.spec("image/disk", Format::Raw);
    resolve(&mut recorded, FormatRequest::Raw, &OWN).unwrap();
    std::fs::remove_file(dir.path("image/disk")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", dir.path("image/disk")).unwrap();
    refused(&recorded, &OWN, "the image itself is");
    // After a boot of the host, or on another one, numbers tell nothing; the path still does.
    recorded.chain.as_mut().unwrap().boot = Some("another".into());
    refused(&recorded, &OWN, "which is \"/etc/shadow\"");
    std::fs::remove_file(dir.path("image/disk")).unwrap();
    std::os::unix::fs::symlink("base.img", dir.path("image/disk")).unwrap();
    assert!(open(&recorded).is_ok());
}

#[test]
fn after_a_boot_of_the_host_files_go_by_their_paths() {
    let dir = dir();
    let anywhere = BackingRule::Directories(vec![dir.0.path().to_owned()]);
    let mut recorded = added(&over(&dir, "../other/secret"), &anywhere).unwrap();
    recorded.chain.as_mut().unwrap().boot = Some("another".into());
    std::fs::copy(dir.path("other/secret"), dir.path("other/copy")).unwrap();
    std::fs::rename(dir.path("other/copy"), dir.path("other/secret")).unwrap();
    let image = open(&recorded).unwrap();
    assert_ne!(Some(Box::new(image.chain)), recorded.chain);
    dir.qemu_img("rebase -u -F raw -b ../image/base.img image/top.qcow2");
    refused(&recorded, &OWN, "its chain is not the one that was recorded");
}

#[test]
fn a_format_that_is_recorded_is_not_guessed_again() {
    let dir = dir();
    let spec = over(&dir, "base.img");
    dir.forget_backing_format("image/top.qcow2");
    let mut recorded = spec.clone();
    resolve(&mut recorded, FormatRequest::Probe, &OWN).unwrap();
    let mut content = std::fs::read(dir.path("image/base.img")).unwrap();
    content[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    std::fs::write(dir.path("image/base.img"), content).unwrap();
    assert_eq!(open(&recorded).unwrap().layers[1].format, Format::Raw);
}
