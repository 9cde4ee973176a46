//! The files that the recorded command opens by itself: those that are missing, and images that a disk of the
//! record has too.

use std::collections::BTreeMap;
use std::path::Path;

use super::issue::{IssueKind, PreflightIssue};
use crate::disk::{DiskSpec, Identity};
use crate::model::option::read;
use crate::model::{Device, Spec};
use crate::sorted;

/// A file that the command names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    option: String,
    path: String,
    use_: Use,
}

/// What QEMU does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Loads it into the guest.
    Load,
    /// A disk that the guest only reads.
    Read,
    /// A disk that the guest writes to.
    Write,
    /// Makes it: a socket, or a file with its pid.
    Make,
}

/// What of it keeps QEMU from starting. Only absolute paths are checked: QEMU looks for others in the
/// directory that it is started in, which the library does not know.
pub(super) fn check(command: &[String], devices: &[&Device], issues: &mut Vec<PreflightIssue>) {
    for named in named(command).iter().filter(|named| named.path.starts_with('/')) {
        let path = Path::new(&named.path);
        let needed = if named.use_ == Use::Make { path.parent().unwrap_or(path) } else { path };
        if let Err(error) = std::fs::metadata(needed) {
            let text = format!("the command needs {}, in -{}: {error}", needed.display(), named.option);
            issues.push(PreflightIssue::of_guest(IssueKind::Command, text));
            continue;
        }
        for device in devices {
            let Spec::Disk(spec) = &device.spec else { continue };
            if is_in_the_way(named, spec) {
                let text = format!(
                    "image {:?} is in the command as well, in -{}; QEMU does not open it twice, so take one of them out",
                    named.path, named.option
                );
                issues.push(PreflightIssue::of(device, IssueKind::ImageInUse, text));
            }
        }
    }
    check_twice(devices, issues);
    if needs_kvm(command) {
        if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/kvm") {
            let text = format!(
                "the command has no other accelerator than kvm, and /dev/kvm cannot be opened: {error}"
            );
            issues.push(PreflightIssue::of_guest(IssueKind::Command, text));
        }
    }
}

/// Whether QEMU starts with KVM or not at all: it tries the accelerators in turn.
fn needs_kvm(command: &[String]) -> bool {
    let mut named = Vec::new();
    let mut arguments = command.iter().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).unwrap_or_default() {
            "enable-kvm" => named.push("kvm".to_owned()),
            "accel" => {
                let members =
                    sorted::map(arguments.next().map(|text| read(text, "accel")).unwrap_or_default());
                named.extend(members.get("accel").cloned());
            }
            "machine" | "M" => {
                let members =
                    sorted::map(arguments.next().map(|text| read(text, "type")).unwrap_or_default());
                let list = members.get("accel").map_or("", String::as_str);
                named.extend(list.split(':').filter(|name| !name.is_empty()).map(str::to_owned));
            }
            _ => {}
        }
    }
    !named.is_empty() && named.iter().all(|name| name == "kvm")
}

/// QEMU locks what it opens, against itself as well.
fn is_in_the_way(named: &Named, spec: &DiskSpec) -> bool {
    let goes_together = match named.use_ {
        Use::Load | Use::Make => return false,
        Use::Read => spec.read_only,
        Use::Write => spec.read_only && spec.share_rw,
    };
    !goes_together && spec.own_files().iter().any(|own| is_same(Path::new(&named.path), own))
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((Identity::of_path(one), Identity::of_path(other)), (Ok(one), Ok(other)) if one == other)
}

fn have_same_file(one: &DiskSpec, other: &DiskSpec) -> bool {
    let others = other.own_files();
    (one.source.is_some() && one.source == other.source)
        || one.own_files().iter().any(|own| others.iter().any(|path| is_same(path, own)))
}

/// Two disks of the record with one image.
fn check_twice(devices: &[&Device], issues: &mut Vec<PreflightIssue>) {
    let disks: Vec<(&Device, &DiskSpec)> = devices
        .iter()
        .filter_map(|device| if let Spec::Disk(spec) = &device.spec { Some((*device, spec)) } else { None })
        .collect();
    for (index, (device, spec)) in disks.iter().enumerate() {
        let goes_together =
            |other: &DiskSpec| (spec.share_rw && other.share_rw) || (spec.read_only && other.read_only);
        let mut others = disks.iter().take(index);
        let same = others.find(|(_, other)| !goes_together(other) && have_same_file(spec, other));
        if let Some((other, _)) = same {
            let text = format!(
                "image {:?} is that of {} as well; QEMU does not open it twice",
                spec.title(),
                other.id
            );
            issues.push(PreflightIssue::of(device, IssueKind::ImageInUse, text));
        }
    }
}

/// Every file that the command names, as far as that can be told.
fn named(command: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut arguments = command.iter().skip(1);
    while let Some(argument) = arguments.next() {
        let option = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).unwrap_or_default();
        let implied = match option {
            "kernel" | "initrd" | "dtb" | "hda" | "hdb" | "hdc" | "hdd" | "cdrom" | "pidfile" => "path",
            "drive" => "file",
            "blockdev" => "driver",
            "qmp" | "qmp-pretty" | "monitor" | "serial" | "vnc" => "backend",
            "chardev" => "backend",
            _ => continue,
        };
        let Some(text) = arguments.next() else { break };
        let members = sorted::map(read(text, implied));
        let file = match option {
            "kernel" | "initrd" | "dtb" => Some((text.clone(), Use::Load)),
            "hda" | "hdb" | "hdc" | "hdd" => Some((text.clone(), Use::Write)),
            "cdrom" => Some((text.clone(), Use::Read)),
            "pidfile" => Some((text.clone(), Use::Make)),
            "drive" => members.get("file").map(|path| (path.clone(), drive_use(&members))),
            "blockdev" => node_file(&members).map(|path| (path, drive_use(&members))),
            _ => socket(&members).map(|path| (path, Use::Make)),
        };
        let file = file.filter(|(path, _)| !path.starts_with("/dev/fdset/"));
        found.extend(file.map(|(path, use_)| Named { option: option.to_owned(), path, use_ }));
    }
    found
}

type Members = BTreeMap<String, String>;

fn is_on(members: &Members, key: &str) -> bool {
    members.get(key).is_some_and(|word| matches!(word.as_str(), "on" | "yes" | "true" | "y"))
}

fn drive_use(members: &Members) -> Use {
    let is_cd = members.get("media").is_some_and(|media| media == "cdrom");
    let is_read = ["readonly", "read-only", "snapshot"].iter().any(|key| is_on(members, key));
    if is_cd || is_read { Use::Read } else { Use::Write }
}

/// The file of a block node, or of the one below it that is written into it.
fn node_file(members: &Members) -> Option<String> {
    let below = members.get("file").filter(|text| text.starts_with('{'));
    let below = below.and_then(|text| sorted::map(read(text, "driver")).get("filename").cloned());
    let own = members.get("filename").or_else(|| members.get("file.filename")).cloned();
    own.or(below)
}

/// A Unix socket that is made: `unix:PATH,server` of a monitor, or `socket,path=PATH,server=on` of a
/// character device.
fn socket(members: &Members) -> Option<String> {
    let backend = members.get("backend")?;
    let path = match backend.strip_prefix("unix:") {
        Some(path) => path.to_owned(),
        None if backend == "socket" => members.get("path")?.clone(),
        None => return None,
    };
    (is_on(members, "server") && !is_on(members, "abstract")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_or_nothing() {
        for (words, needed) in [
            ("", false),
            ("-enable-kvm", true),
            ("-accel kvm,thread=x", true),
            ("-accel kvm -accel tcg", false),
            ("-machine pc,accel=kvm", true),
            ("-M q35,accel=kvm:tcg", false),
            ("-accel tcg", false),
        ] {
            let command: Vec<String> = "q".split(' ').chain(words.split(' ')).map(str::to_owned).collect();
            assert_eq!(needs_kvm(&command), needed, "{words}");
        }
    }

    #[test]
    fn files_of_a_command() {
        let words = [
            "qemu",
            "-kernel",
            "/k",
            "-drive",
            "file=/a,,b,if=virtio",
            "-drive",
            "/c,media=cdrom",
            "-cdrom",
            "/d",
            "-blockdev",
            r#"{"driver":"qcow2","node-name":"n","read-only":true,"file":{"driver":"file","filename":"/e"}}"#,
            "-blockdev",
            "driver=file,node-name=f,filename=/f",
            "-blockdev",
            "driver=raw,node-name=g,file.driver=file,file.filename=/g",
            "-blockdev",
            "driver=file,node-name=h,filename=/dev/fdset/1",
            "-qmp",
            "unix:/q/s,server=on,wait=off",
            "-chardev",
            "socket,id=c,path=/q/c",
            "-pidfile",
            "/run/p",
            "-drive",
            "if=none,id=empty",
            "-kernel",
        ];
        let command: Vec<String> = words.map(str::to_owned).to_vec();
        let found = named(&command);
        let short: Vec<_> = found.iter().map(|named| (named.path.as_str(), named.use_)).collect();
        let expected = [
            ("/k", Use::Load),
            ("/a,b", Use::Write),
            ("/c", Use::Read),
            ("/d", Use::Read),
            ("/e", Use::Read),
            ("/f", Use::Write),
            ("/g", Use::Write),
            ("/q/s", Use::Make),
            ("/run/p", Use::Make),
        ];
        assert_eq!(short, expected);
    }
}
