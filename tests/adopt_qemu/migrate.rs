//! A guest that was adopted migrates to another QEMU of the same host, which the library starts from a copy
//! of the record. The target is opened before it listens.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kvm_hotplug::boot::{BootRequest, FIRST_FD, Incoming};
use kvm_hotplug::guest::{Access, Guest, Listener};
use kvm_hotplug::log::Log;
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use super::PATIENCE;
use super::case::Case;
use super::changes;
use super::qemu::{self, Qemu};
use super::tree::Tree;

pub(crate) fn migrate(case: &Case) {
    println!("{}: {}", case.name, case.about);
    case.prepare();
    let mut source = Qemu::start(case, &case.command(), case.descriptors());
    let mut file = RecordFile::new(super::adopt_guest(case).record);
    file.save_new(&case.path("vm.runtime")).unwrap();
    let file = Arc::new(Mutex::new(file));
    changes::change(case, &file, &mut source);
    let mut copy = file.lock().unwrap().copy().unwrap();
    copy.save_new(&case.path("target.runtime")).unwrap();
    let observer = move_observer(case, &mut copy);
    let (monitor, state) = (case.path("qmp2"), case.path("state"));
    let boot = copy.boot_command(request(&monitor, &state)).unwrap();
    let numbers = i32::try_from(boot.fd_base).unwrap()..;
    let copy = Arc::new(Mutex::new(copy));
    let (mut target, guest) = std::thread::scope(|scope| {
        let opened = scope.spawn(|| {
            let listener = Listener { starts: true, ..Listener::default() };
            Guest::open_of(copy, &monitor, listener, Access::Change, Log::default(), PATIENCE)
        });
        let target = Qemu::start_at(case, &boot.argv, numbers.zip(boot.fds).collect(), &observer);
        (target, opened.join().unwrap().unwrap())
    });
    assert_agree(case, &guest);
    let before = Tree::of(&mut source);
    source.ask("migrate", json!({"uri": format!("unix:{}", state.display())}));
    until(&mut source, "query-migrate", |answer| answer["status"] == "completed");
    until(&mut target, "query-status", |answer| answer["running"] == true);
    let changed = before.difference(&Tree::of(&mut target));
    assert!(changed.is_empty(), "{}: {changed:#?}", case.name);
    assert_agree(case, &guest);
}

/// The second monitor of the command is the test's own, and stays with the source.
fn move_observer(case: &Case, copy: &mut RecordFile) -> std::path::PathBuf {
    let (old, new) = (case.observer(), case.path("obs2"));
    let mut record = copy.record().clone();
    for word in &mut record.command {
        *word = word.replace(old.to_str().unwrap(), new.to_str().unwrap());
    }
    copy.replace(record).unwrap();
    new
}

fn request(monitor: &Path, state: &Path) -> BootRequest {
    BootRequest {
        qemu: Some(qemu::version()),
        fd_base: FIRST_FD,
        incoming: Some(Incoming::Unix(state.to_str().unwrap().to_owned())),
        listen_at: Some(monitor.to_owned()),
        ..BootRequest::default()
    }
}

fn assert_agree(case: &Case, guest: &Guest) {
    let told: Vec<String> = guest.verify(PATIENCE).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(told, Vec::<String>::new(), "{}", case.name);
}

fn until(qemu: &mut Qemu, command: &str, is_so: impl Fn(&Value) -> bool) {
    let start = Instant::now();
    loop {
        let answer = qemu.ask(command, json!({}));
        if is_so(&answer) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{command}: {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
