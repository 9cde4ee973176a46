//! Which files are opened for a disk: those that were chosen when it was added, whatever its image says
//! later.
#![allow(unreachable_pub)]
// A lease is a fcntl that nix does not have.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::{BootRequest, Incoming};
use kvm_hotplug::boot::{FIRST_FD, IssueKind};
use kvm_hotplug::deadline::Deadline;
use kvm_hotplug::disk::BackingRule;
use kvm_hotplug::guest::Guest;
use kvm_hotplug::log::Log;
use kvm_hotplug::model::Spec;
use kvm_hotplug::store::RecordFile;

use crate::support::api::*;
use crate::support::fixture::Fixture;
use crate::support::programs;

const SECOND: Duration = Duration::from_secs(10);

/// A file beside the images' directory that nobody may open: who does is found out by the lease on it, and
/// fails.
struct Secret {
    _dir: tempfile::TempDir,
    path: PathBuf,
    file: File,
}

impl Secret {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, [7; 4096]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        // SAFETY: plain calls with integers; the signal that tells of a broken lease would end the test.
        let leased = unsafe {
            libc::signal(libc::SIGIO, libc::SIG_IGN);
            libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
        };
        assert_eq!(leased, 0, "{}", std::io::Error::last_os_error());
        Self { _dir: dir, path, file }
    }

    fn assert_unopened(&self) {
        // SAFETY: a plain call with integers.
        let lease = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_GETLEASE) };
        assert_eq!(lease, libc::F_WRLCK, "{} was opened", self.path.display());
    }
}

fn rebase(image: &Path, name: &str) {
    programs::run(&["qemu-img", "rebase", "-u", "-F", "raw", "-b", name, image.to_str().unwrap()]);
}

/// Names that a header may have by which something else would be opened.
fn hostile_names(fixture: &Fixture, secret: &Secret) -> Vec<String> {
    let absolute = secret.path.display().to_string();
    let up = format!("{}{absolute}", "../".repeat(12).trim_end_matches('/'));
    let link = fixture.dir.path().join("innocent.img");
    std::os::unix::fs::symlink(&secret.path, &link).unwrap();
    let json = format!("json:{{\"driver\":\"raw\",\"file.filename\":\"{absolute}\"}}");
    let other = fixture.disk("other.img").path.display().to_string();
    [&*absolute, &up, "innocent.img", &json, &other, "/etc/shadow", "/proc/self/mem", "/dev/loop0", "missing"]
        .map(str::to_owned)
        .to_vec()
}

fn chain_of(fixture: &Fixture, id: &str) -> Vec<PathBuf> {
    let record = fixture.record();
    let Spec::Disk(spec) = &record.find(id).unwrap().spec else { panic!("{id} is no disk") };
    spec.chain.as_ref().unwrap().layers.iter().map(|layer| layer.path.clone()).collect()
}

fn layered(fixture: &Fixture) -> DiskArgs {
    DiskArgs { place: Place { id: Some("data".into()), ..Place::default() }, ..fixture.layered_disk() }
}

pub fn a_new_disk_opens_nothing_that_only_its_image_names(agent: &dyn Agent) {
    let (fixture, secret) = (Fixture::pc(), Secret::new());
    let api = fixture.open(agent);
    let disk = layered(&fixture);
    let other = fixture.dir.path().join("other.img").display().to_string();
    for name in hostile_names(&fixture, &secret) {
        rebase(&disk.path, &name);
        if name == other {
            continue;
        }
        let error = api.add_disk(&disk).expect_err(&name);
        let missing = name == "missing" || name == "/dev/loop0";
        let kinds = [ErrorKind::ImageRefused, ErrorKind::NotFound].map(|kind| kind as i32);
        assert!(kinds[..if missing { 2 } else { 1 }].contains(&error.kind), "{name}: {error:?}");
    }
    secret.assert_unopened();
    assert_eq!(fixture.qemu.take_names().iter().filter(|name| *name == "add-fd").count(), 0);
}

pub fn a_header_rewritten_later_opens_nothing(agent: &dyn Agent) {
    let (fixture, secret) = (Fixture::pc(), Secret::new());
    let api = fixture.open(agent);
    let disk = layered(&fixture);
    done(api.add_disk(&disk));
    let base = fixture.dir.path().join("base.img");
    assert_eq!(chain_of(&fixture, "data"), [disk.path.clone(), base.clone()]);
    fixture.qemu.take_seen();
    let names = hostile_names(&fixture, &secret);
    for name in &names {
        rebase(&disk.path, name);
        for failure in [
            fails(api.add_disk(&disk), ErrorKind::ImageRefused),
            fails(api.resize("data", SizeArgs::bytes(3 << 20), AMPLE), ErrorKind::ImageRefused),
        ] {
            assert!(
                failure.text.contains("base.img\", raw, file ") && failure.text.contains("layer 1"),
                "{failure:?}"
            );
        }
    }
    let sent = fixture.qemu.take_names();
    assert!(sent.iter().all(|name| name.contains("query-")), "{sent:?}");
    drop(api);
    for name in &names {
        rebase(&disk.path, name);
        closed_guest(&fixture, &disk.path);
    }
    secret.assert_unopened();
    rebase(&disk.path, base.to_str().unwrap());
    RecordFile::load(&fixture.runtime).unwrap().boot_command(boot()).unwrap();
}

fn boot() -> BootRequest {
    BootRequest { fd_base: FIRST_FD, ..BootRequest::default() }
}

/// Boot, target, check, verify, and the same request to the record alone.
fn closed_guest(fixture: &Fixture, image: &Path) {
    let before = fixture.record_text();
    {
        let runtime = Arc::new(Mutex::new(RecordFile::load(&fixture.runtime).unwrap()));
        let guest = Guest::open(runtime, fixture.qemu.path(), Log::default(), SECOND).unwrap();
        let differences = guest.verify(SECOND).unwrap();
        let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|text| text.contains("nothing of it is opened")), "{told:?}");
    }
    let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
    for incoming in [None, Some(Incoming::Defer)] {
        let error = runtime.boot_command(BootRequest { incoming, ..boot() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ImageRefused, "{error}");
        assert!(error.message().contains("layer 1") && error.message().contains("accepted anew"), "{error}");
    }
    for migrates in [false, true] {
        let problems = runtime.check_host(migrates, None, &Deadline::after(SECOND)).unwrap();
        let found = problems.iter().find(|problem| problem.kind == IssueKind::Image && problem.id == "data");
        assert!(
            found.is_some_and(|problem| problem.text.contains("layer 1")),
            "{problems:?} {}",
            image.display()
        );
    }
    drop(runtime);
    assert_eq!(fixture.record_text(), before);
}

pub fn another_chain_is_accepted_when_it_is_said(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = layered(&fixture);
    done(api.add_disk(&disk));
    let outside = Secret::new();
    rebase(&disk.path, outside.path.to_str().unwrap());
    let accepting = DiskArgs { accept_chain: true, ..disk.clone() };
    // What nobody chose is not accepted either.
    let failure = fails(api.add_disk(&accepting), ErrorKind::ImageRefused);
    assert!(failure.text.contains("is not beneath"), "{failure:?}");
    outside.assert_unopened();
    rebase(&disk.path, fixture.disk("other.img").path.to_str().unwrap());
    fails(api.add_disk(&disk), ErrorKind::ImageRefused);
    done(api.add_disk(&accepting));
    assert_eq!(chain_of(&fixture, "data")[1], fixture.dir.path().join("other.img"));
    done(api.add_disk(&disk));
    // A rule of its own is a setting like others, until it is accepted as well.
    let named = DiskArgs { backing: Some(BackingRule::Forbidden), ..disk.clone() };
    let failure = fails(api.add_disk(&named), ErrorKind::Conflict);
    assert!(failure.text.contains("rule for its backing files"), "{failure:?}");
    let failure = fails(api.add_disk(&DiskArgs { accept_chain: true, ..named }), ErrorKind::ImageRefused);
    assert!(failure.text.contains("forbidden"), "{failure:?}");
    let files = DiskArgs {
        backing: Some(BackingRule::Files(vec![fixture.dir.path().join("other.img")])),
        ..disk.clone()
    };
    done(api.add_disk(&DiskArgs { accept_chain: true, ..files.clone() }));
    done(api.add_disk(&files));
    drop(api);
    let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
    runtime.boot_command(boot()).unwrap();
    runtime.set_backing(Some(BackingRule::Forbidden)).unwrap();
    // The disk's own rule counts.
    runtime.boot_command(boot()).unwrap();
    runtime.accept_chain("data", Some(BackingRule::OwnDirectory)).unwrap();
    runtime.boot_command(boot()).unwrap();
    drop(runtime);
    assert!(fixture.record_text().contains("\"backing\": \"forbidden\""));
}

pub fn what_a_record_says_of_all_disks(agent: &dyn Agent) {
    let (fixture, secret) = (Fixture::pc(), Secret::new());
    RecordFile::load(&fixture.runtime).unwrap().set_backing(Some(BackingRule::Forbidden)).unwrap();
    let api = fixture.open(agent);
    let disk = layered(&fixture);
    let failure = fails(api.add_disk(&disk), ErrorKind::ImageRefused);
    assert!(failure.text.contains("forbidden"), "{failure:?}");
    done(api.add_disk(&fixture.disk_as("plain", "plain.img")));
    drop(api);
    let elsewhere = secret.path.parent().unwrap().to_owned();
    RecordFile::load(&fixture.runtime)
        .unwrap()
        .set_backing(Some(BackingRule::Directories(vec![elsewhere])))
        .unwrap();
    let api = fixture.open(agent);
    let failure = fails(api.add_disk(&disk), ErrorKind::ImageRefused);
    assert!(failure.text.contains("none of the directories"), "{failure:?}");
    let own = DiskArgs { backing: Some(BackingRule::OwnDirectory), ..disk };
    done(api.add_disk(&own));
    secret.assert_unopened();
}

/// A format that is settled is not guessed again, whatever the guest writes.
pub fn a_raw_disk_stays_raw(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = DiskArgs { format: None, ..fixture.disk_as("data", "a.img") };
    done(api.add_disk(&disk));
    for signature in [&b"QFI\xfb\0\0\0\x03"[..], b"KDMV", b"LUKS\xba\xbe\0\x02"] {
        let mut content = std::fs::read(&disk.path).unwrap();
        content[..signature.len()].copy_from_slice(signature);
        std::fs::write(&disk.path, content).unwrap();
        done(api.add_disk(&disk));
        let new = DiskArgs { place: Place::default(), ..disk.clone() };
        assert!(api.add_disk(&new).is_err());
    }
    drop(api);
    let command = RecordFile::load(&fixture.runtime).unwrap().boot_command(boot()).unwrap();
    assert!(!command.argv.iter().any(|argument| argument.contains("qcow2")), "{:?}", command.argv);
}

/// An agent that died leaves the add to the next one, which goes by what was written down.
pub fn settling_opens_nothing_new(agent: &dyn Agent) {
    let (fixture, secret) = (Fixture::pc(), Secret::new());
    let api = fixture.open(agent);
    let disk = DiskArgs { place: Place { no_wait: true, ..layered(&fixture).place }, ..layered(&fixture) };
    api.add_disk(&disk).unwrap();
    drop(api);
    rebase(&disk.path, secret.path.to_str().unwrap());
    let api = fixture.open(agent);
    assert_eq!(fixture.recorded(), ["data"]);
    fails(api.add_disk(&layered_again(&disk)), ErrorKind::ImageRefused);
    secret.assert_unopened();
    assert_eq!(chain_of(&fixture, "data")[1], fixture.dir.path().join("base.img"));
}

fn layered_again(disk: &DiskArgs) -> DiskArgs {
    DiskArgs { place: Place { no_wait: false, ..disk.place.clone() }, ..disk.clone() }
}
