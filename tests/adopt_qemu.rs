//! Guests that other programs have started: each command line of tests/data/adopt is run by a real QEMU, and
//! the guest is adopted, changed, verified, and started again from its record. Needs qemu-system-x86_64,
//! qemu-img, `ip` and root; without them the tests fail.
//!
//! `KVM_HOTPLUG_TEST_QEMU` names another QEMU, `KVM_HOTPLUG_TEST_ADOPT` one command line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub
)]

#[path = "adopt_qemu/case.rs"]
mod case;
#[path = "adopt_qemu/changes.rs"]
mod changes;
#[path = "adopt_qemu/migrate.rs"]
mod migrate;
#[path = "adopt_qemu/native.rs"]
mod native;
#[path = "support/not_run.rs"]
mod not_run;
#[path = "adopt_qemu/qemu.rs"]
mod qemu;
#[path = "adopt_qemu/tree.rs"]
mod tree;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use case::Case;
use kvm_hotplug::adopt::{AdoptRequest, Adopted, adopt};
use kvm_hotplug::boot::{BootRequest, FIRST_FD};
use kvm_hotplug::deadline::Deadline;
use kvm_hotplug::guest::Guest;
use kvm_hotplug::log::Log;
use kvm_hotplug::store::RecordFile;
use qemu::Qemu;
use tree::Tree;

/// Guests with a tap of QEMU's, with disks of virtio and of SCSI, and with root ports.
const MIGRATED: [&str; 3] = ["people-tap-of-qemu", "people-scsi", "people-q35-ports"];

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs all that follows again in a network namespace of its own.
fn in_own_netns(test: &str) -> bool {
    const CHILD: &str = "KVM_HOTPLUG_TEST_ALONE";
    if std::env::var(CHILD).is_ok_and(|alone| alone == test) {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let words = ["--exact", "--nocapture", "--test-threads=1", test];
    let status = Command::new("unshare").arg("--net").arg(program).args(words).env(CHILD, test).status();
    assert!(status.unwrap().success(), "{test}, in a network namespace of its own");
    false
}

fn adopt_guest(case: &Case) -> Adopted {
    // Another version is run by a script through the loader of its own libraries, which its process shows.
    let other = std::env::var("KVM_HOTPLUG_TEST_QEMU").is_ok();
    let request = AdoptRequest { command: other.then(|| case.command()), ..AdoptRequest::default() };
    let adopted = adopt(&case.monitor(), &request, &Deadline::after(PATIENCE)).unwrap();
    println!("{}", serde_json::to_string(&adopted.report).unwrap());
    adopted
}

/// What has to be recorded is, with its kind, and what has to be left is, with the reason.
fn assert_report(case: &Case, adopted: &Adopted) {
    let kinds = adopted.report.recorded.iter().map(|it| (it.id.clone(), it.kind.to_owned()));
    assert_eq!(kinds.collect::<std::collections::BTreeMap<_, _>>(), case.recorded, "{}", case.name);
    let ids: BTreeSet<&str> = adopted.record.devices.iter().map(|device| device.id.as_str()).collect();
    assert_eq!(ids, case.recorded.keys().map(String::as_str).collect());
    let mut rest: Vec<_> = adopted.report.left.iter().collect();
    for (name, why) in &case.left {
        let is_it = |left: &&kvm_hotplug::adopt::Left| {
            left.id.as_deref().unwrap_or(&left.model) == name && left.why.contains(why.as_str())
        };
        assert!(rest.iter().any(&is_it), "{}: {name} is not left ({why}): {rest:#?}", case.name);
        rest.retain(|left| !is_it(left));
    }
    assert!(rest.is_empty(), "{}: {rest:#?}", case.name);
}

fn one(case: &Case) {
    println!("{}: {}", case.name, case.about);
    case.prepare();
    let mut qemu = Qemu::start(case, &case.command(), case.descriptors());
    case.commands().iter().for_each(|command| drop(qemu.ask_all(command)));
    if case.command().iter().any(|word| word == "-S") {
        qemu.ask("cont", serde_json::json!({}));
    }
    let before = Tree::of(&mut qemu);
    let adopted = adopt_guest(case);
    let changed = before.difference(&Tree::of(&mut qemu));
    assert!(changed.is_empty(), "{}: the guest has changed: {changed:#?}", case.name);
    assert_report(case, &adopted);
    let mut file = RecordFile::new(adopted.record);
    file.save_new(&case.path("vm.runtime")).unwrap();
    let file = Arc::new(Mutex::new(file));
    verified(case, &file);
    changes::change(case, &file, &mut qemu);
    verified(case, &file);
    let before = Tree::of(&mut qemu);
    drop(qemu);
    let mut file = Arc::into_inner(file).unwrap().into_inner().unwrap();
    start_again(case, &mut file, &before);
}

/// Record and guest agree.
fn verified(case: &Case, file: &Arc<Mutex<RecordFile>>) {
    let guest = Guest::open(file.clone(), &case.monitor(), Log::default(), PATIENCE).unwrap();
    let differences = guest.verify(PATIENCE).unwrap();
    // What a file of -readconfig names, the recorded command does not.
    let known = |id: &str| case.in_config && case.left.contains_key(id);
    let told: Vec<String> = differences.iter().filter(|it| !known(&it.id)).map(ToString::to_string).collect();
    assert_eq!(told, Vec::<String>::new(), "{}", case.name);
}

/// The guest that is started from the record is the one that was adopted.
fn start_again(case: &Case, file: &mut RecordFile, before: &Tree) {
    let request = || BootRequest {
        qemu: Some(qemu::version()),
        fd_base: FIRST_FD,
        paused: true,
        ..BootRequest::default()
    };
    let is_given = |id: &str| case.given.contains(id);
    if file.record().devices.iter().any(|device| is_given(device.id.as_str())) {
        let error = file.boot_command(request()).unwrap_err();
        assert!(error.to_string().contains("the caller opened"), "{}: {error}", case.name);
        let mut record = file.record().clone();
        record.devices.retain(|device| !case.given.contains(device.id.as_str()));
        file.replace(record).unwrap();
    }
    let boot = file.boot_command(request()).unwrap();
    let numbers = i32::try_from(boot.fd_base).unwrap()..;
    let mut qemu = Qemu::start(case, &boot.argv, numbers.zip(boot.fds).collect());
    let mut expected = before.clone();
    case.given.iter().for_each(|id| expected.remove(id));
    let differences = expected.difference(&Tree::of(&mut qemu));
    assert!(differences.is_empty(), "{}: {differences:#?} {:#?}", case.name, boot.argv);
}

#[test]
fn every_command_line() {
    if !in_own_netns("every_command_line") {
        return;
    }
    qemu::run("ip", &["link", "add", case::BRIDGE, "type", "bridge"]);
    let only = std::env::var("KVM_HOTPLUG_TEST_ADOPT").ok().filter(|name| !name.is_empty());
    let version = qemu::version();
    let mut count = 0;
    for case in case::all().iter().filter(|case| only.as_ref().is_none_or(|only| *only == case.name)) {
        if case.since > version {
            let why = format!("QEMU {version} takes no such command line");
            not_run::not_run(&format!("adopt_qemu, {}", case.name), &why);
            continue;
        }
        one(case);
        count += 1;
    }
    assert!(count > 0 && (only.is_some() || count >= 25), "{count} command lines");
}

/// An adopted guest migrates as any other, here on one host.
#[test]
fn an_adopted_guest_migrates() {
    if !in_own_netns("an_adopted_guest_migrates") {
        return;
    }
    qemu::run("ip", &["link", "add", case::BRIDGE, "type", "bridge"]);
    let only = std::env::var("KVM_HOTPLUG_TEST_ADOPT").ok().filter(|name| !name.is_empty());
    let is_it = |name: &str| only.as_ref().map_or(MIGRATED.contains(&name), |only| only == name);
    for case in case::all().iter().filter(|case| is_it(&case.name)) {
        migrate::migrate(case);
    }
}
