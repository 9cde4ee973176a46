//! Coming after another agent: a journal that is about another QEMU, or whose commands went over another
//! monitor.
#![allow(unreachable_pub)]

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::{BootRequest, Incoming};
use kvm_hotplug::boot::{FIRST_FD, IssueKind};
use kvm_hotplug::deadline::Deadline;
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use super::removing::pending;
use crate::support::api::*;
use crate::support::clock;
use crate::support::fake::{FakeQemu, Setup, UnplugBehaviour};
use crate::support::fixture::Fixture;

const MAC: &str = "52:54:00:00:00:09";
const OTHER_MAC: &str = "52:54:00:00:00:0a";

/// Commands that change a guest.
const CHANGING: [&str; 9] = [
    "netdev_add",
    "netdev_del",
    "blockdev-add",
    "blockdev-del",
    "device_add",
    "device_del",
    "set_link",
    "closefd",
    "remove-fd",
];

fn whats(api: &dyn Api) -> Vec<EventKind> {
    std::iter::from_fn(|| api.next_event()).map(|news| news.what).collect()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Changes the journal on disk.
fn edit(fixture: &Fixture, change: impl FnOnce(&mut Value)) {
    let mut journal = read(&fixture.journal());
    change(&mut journal);
    std::fs::write(fixture.journal(), serde_json::to_vec(&journal).unwrap()).unwrap();
}

/// As if it had been written for a QEMU that ran before this one.
fn of_an_earlier_qemu(journal: &mut Value) {
    let start = &mut journal["qemu"]["process"]["start"];
    *start = json!(start.as_u64().unwrap() - 1);
}

/// Brings the journal back that QEMU's first command of this name found.
fn interrupted(fixture: &Fixture, command: &str, work: impl FnOnce()) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (path, into): (PathBuf, _) = (fixture.journal(), seen.clone());
    fixture.qemu.hook(command, 0, move || *into.lock().unwrap() = std::fs::read(path).unwrap());
    work();
    let bytes = std::mem::take(&mut *seen.lock().unwrap());
    assert!(!bytes.is_empty(), "{command} was never sent");
    std::fs::write(fixture.journal(), bytes).unwrap();
}

fn set_mac(fixture: &Fixture, mac: &str) {
    fixture.qemu.model(|model| {
        model.devices.iter_mut().filter(|d| d.id.is_some()).for_each(|d| d.mac = Some(mac.into()))
    });
}

/// A guest with a NIC "lan" whose removal is pending; nobody has it open.
fn pending_lan(agent: &dyn Agent) -> Fixture {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_nic(&fixture.nic_as("lan", MAC)));
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("lan") }));
    drop(api);
    fixture.qemu.settle();
    fixture.qemu.take_seen();
    fixture
}

/// Opens the guest, in which nothing may change.
fn untouched(agent: &dyn Agent, fixture: &Fixture) -> Box<dyn Api> {
    let before = fixture.qemu.snapshot();
    fixture.qemu.take_seen();
    let api = fixture.open(agent);
    fixture.qemu.settle();
    assert_eq!(fixture.qemu.snapshot(), before);
    let names = fixture.qemu.take_names();
    assert!(!names.iter().any(|name| CHANGING.contains(&name.as_str())), "{names:?}");
    assert!(!fixture.journal().exists());
    api
}

pub fn a_journal_names_its_qemu(agent: &dyn Agent) {
    let fixture = pending_lan(agent);
    let journal = read(&fixture.journal());
    let process = &journal["qemu"]["process"];
    assert_eq!(process["pid"], std::process::id(), "{journal}");
    assert!(process["start"].as_u64() > Some(0) && process["boot"].as_str().is_some(), "{journal}");
    let sockets = journal["qemu"]["sockets"].as_array().unwrap();
    assert_eq!(sockets.len(), 1);
    assert_eq!(sockets[0]["path"], fixture.qemu.path().to_str().unwrap());
}

pub fn a_removal_is_not_carried_out_on_another_qemu(agent: &dyn Agent) {
    // The same NIC with another MAC address: the recorded one is gone.
    let fixture = pending_lan(agent);
    edit(&fixture, of_an_earlier_qemu);
    set_mac(&fixture, OTHER_MAC);
    let api = untouched(agent, &fixture);
    assert_eq!((fixture.recorded().len(), whats(&*api)), (0, vec![EventKind::Removed]));
    fails(api.unplug(&UnplugArgs::of("lan")), ErrorKind::Foreign);
    // The very NIC that is recorded: whoever started QEMU wanted it.
    let fixture = pending_lan(agent);
    edit(&fixture, of_an_earlier_qemu);
    let api = untouched(agent, &fixture);
    assert_eq!((fixture.recorded().len(), whats(&*api)), (1, vec![EventKind::Undone]));
    assert_eq!(api.list()[0].presence, Presence::Live);
    // None at all.
    let fixture = pending_lan(agent);
    edit(&fixture, of_an_earlier_qemu);
    fixture.qemu.model(|model| {
        model.devices.retain(|device| device.id.is_none());
        model.netdevs.clear();
    });
    let api = untouched(agent, &fixture);
    assert_eq!((fixture.recorded().len(), whats(&*api)), (0, vec![EventKind::Removed]));
}

pub fn an_add_is_not_completed_in_another_qemu(agent: &dyn Agent) {
    for operation in ["add", "undo-add"] {
        for recorded in [false, true] {
            let fixture = Fixture::pc();
            let api = fixture.open(agent);
            let ask = fixture.disk_as("data", "a.img");
            interrupted(&fixture, "device_add", || drop(done(api.add_disk(&ask))));
            drop(api);
            edit(&fixture, |journal| {
                of_an_earlier_qemu(journal);
                journal["intents"][0]["verb"] = operation.into();
            });
            if !recorded {
                let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
                let mut next = runtime.record().clone();
                next.devices.clear();
                runtime.replace(next).unwrap();
            }
            let api = untouched(agent, &fixture);
            assert_eq!(fixture.recorded().len(), usize::from(recorded), "{operation} {recorded}");
            assert_eq!(
                whats(&*api),
                if recorded { vec![] } else { vec![EventKind::Undone] },
                "{operation} {recorded}"
            );
        }
    }
}

pub fn a_change_is_not_taken_back_in_another_qemu(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_nic(&fixture.nic_as("lan", MAC)));
    interrupted(&fixture, "set_link", || {
        api.set_link("lan", false, AMPLE).unwrap();
        api.set_link("lan", true, AMPLE).unwrap();
    });
    drop(api);
    edit(&fixture, |journal| {
        of_an_earlier_qemu(journal);
        assert_eq!(journal["intents"].as_array().unwrap().len(), 1);
    });
    let api = untouched(agent, &fixture);
    assert_eq!(whats(&*api), []);
}

pub fn a_target_goes_on_with_what_was_pending(agent: &dyn Agent) {
    let fixture = pending_lan(agent);
    edit(&fixture, of_an_earlier_qemu);
    fixture.qemu.model(|model| model.run_state = "inmigrate".into());
    let api = fixture.open(agent);
    assert_eq!(api.list()[0].presence, Presence::Pending(Why::Migrating));
    drop(api);
    fixture.qemu.model(|model| model.run_state = "running".into());
    fixture.qemu.take_seen();
    let api = fixture.open(agent);
    assert!(
        fixture.qemu.take_names().contains(&"device_del".to_owned()),
        "the journal is the target's by now"
    );
    assert!(matches!(api.list()[0].presence, Presence::Pending(_)));
    drop(api);
    // The same where the command of the target was made here.
    edit(&fixture, of_an_earlier_qemu);
    // The tap would be another host's.
    fixture.qemu.model(|model| model.netdevs.clear());
    let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
    let incoming = Some(Incoming::Defer);
    runtime.boot_command(BootRequest { incoming, fd_base: FIRST_FD, ..BootRequest::default() }).unwrap();
    drop(runtime);
    assert!(read(&fixture.journal()).get("qemu").is_none());
}

pub fn a_journal_without_a_qemu_goes_by_identity(agent: &dyn Agent) {
    let forget = |journal: &mut Value| drop(journal.as_object_mut().unwrap().remove("qemu"));
    let fixture = pending_lan(agent);
    edit(&fixture, forget);
    let api = fixture.open(agent);
    assert!(fixture.qemu.take_names().contains(&"device_del".to_owned()));
    assert!(read(&fixture.journal())["qemu"]["process"]["pid"].is_u64(), "from now on it is known");
    drop(api);
    edit(&fixture, forget);
    set_mac(&fixture, OTHER_MAC);
    let api = untouched(agent, &fixture);
    assert_eq!((fixture.recorded().len(), whats(&*api)), (0, vec![EventKind::Removed]));
}

/// Another QEMU listens at the path by the time the connection is made again.
pub fn a_qemu_that_is_replaced_while_a_handle_is_open(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let path = fixture.dir.path().join("qmp");
    let link = |to: &Path| {
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(to, &path).unwrap();
    };
    link(fixture.qemu.path());
    let api = agent.open(&fixture.runtime, &path, AMPLE).unwrap();
    done(api.add_nic(&fixture.nic_as("lan", MAC)));
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("lan") }));
    let next = FakeQemu::start(Setup::default());
    link(next.path());
    fixture.qemu.hang_up();
    api.process(AMPLE).unwrap();
    let seen: Vec<EventKind> = whats(&*api);
    assert!(seen.contains(&EventKind::Removed), "{seen:?}");
    assert!(fixture.recorded().is_empty() && !fixture.journal().exists());
    assert!(!next.take_names().iter().any(|name| CHANGING.contains(&name.as_str())));
}

/// Two monitors of one process, as far as anybody can tell; the first one stands for that of the agent that
/// died.
pub fn another_monitor_is_waited_for(agent: &dyn Agent) {
    let fixture = pending_lan(agent);
    let first = FakeQemu::start(Setup::default());
    edit(&fixture, |journal| {
        let found = std::fs::metadata(first.path()).unwrap();
        use std::os::unix::fs::MetadataExt;
        let made = found.mtime() * 1_000_000_000 + found.mtime_nsec();
        journal["qemu"]["sockets"] = json!([
            { "path": first.path(), "device": found.dev(), "inode": found.ino(), "made": made }
        ]);
    });
    first.accept(false);
    let api = clock::scope(|scope| {
        scope.spawn(|| {
            clock::sleep(Duration::from_millis(400));
            assert_eq!(fixture.qemu.take_names(), Vec::<String>::new(), "nothing is asked before that");
            first.accept(true);
        });
        fixture.open(agent)
    });
    assert!(first.take_names().contains(&"query-status".to_owned()));
    assert!(fixture.qemu.take_names().contains(&"device_del".to_owned()));
    assert_eq!(
        read(&fixture.journal())["qemu"]["sockets"].as_array().unwrap().len(),
        1,
        "settled over this one"
    );
    drop(api);
    fixture.open(agent);
    assert_eq!(first.take_names(), Vec::<String>::new());
}

pub fn another_monitor_that_stays_busy_is_named(agent: &dyn Agent) {
    let fixture = pending_lan(agent);
    let path = fixture.dir.path().join("first");
    let listener = UnixListener::bind(&path).unwrap();
    edit(&fixture, |journal| {
        let mut socket = journal["qemu"]["sockets"][0].clone();
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(&path).unwrap();
        (socket["device"], socket["inode"]) = (found.dev().into(), found.ino().into());
        socket["made"] = (found.mtime() * 1_000_000_000 + found.mtime_nsec()).into();
        socket["path"] = path.to_str().unwrap().into();
        journal["qemu"]["sockets"] = json!([socket]);
    });
    let before = fixture.snapshot();
    let failure =
        fails(agent.open(&fixture.runtime, fixture.qemu.path(), 700).map(drop), ErrorKind::MonitorBusy);
    assert!(failure.text.contains(path.to_str().unwrap()), "{failure:?}");
    assert_eq!(fixture.snapshot(), before);
    // Nobody listens there any more; QEMU says whether anybody is connected.
    drop(listener);
    let connected = |prefix: &str| json!({ "label": "q", "filename": format!("{prefix}unix:{},server=on", path.display()) });
    fixture.qemu.model(|model| model.chardevs = vec![connected("")]);
    fails(agent.open(&fixture.runtime, fixture.qemu.path(), 300).map(drop), ErrorKind::MonitorBusy);
    std::fs::remove_file(&path).unwrap();
    fails(agent.open(&fixture.runtime, fixture.qemu.path(), 300).map(drop), ErrorKind::MonitorBusy);
    fixture.qemu.model(|model| model.chardevs = vec![connected("disconnected:")]);
    fixture.open(agent);
}

fn target() -> BootRequest {
    BootRequest { incoming: Some(Incoming::Defer), ..boot() }
}

fn boot() -> BootRequest {
    BootRequest { fd_base: FIRST_FD, ..BootRequest::default() }
}

/// The troubles that a check finds, with the device of each.
fn unfinished(runtime: &RecordFile, migrates: bool) -> Vec<String> {
    let deadline = Deadline::after(Duration::from_secs(10));
    let problems = runtime.check_host(migrates, None, &deadline).unwrap();
    problems.into_iter().filter(|p| p.kind == IssueKind::Unfinished).map(|p| p.id).collect()
}

pub fn what_is_open_keeps_the_guest_from_a_start(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let ask = fixture.disk_as("data", "a.img");
    interrupted(&fixture, "device_add", || drop(done(api.add_disk(&ask))));
    drop(api);
    let text = |error: kvm_hotplug::Error| (error.kind(), error.message().to_owned());
    // Recorded, it is complete.
    let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
    assert_eq!((unfinished(&runtime, true), unfinished(&runtime, false)), (vec![], vec![]));
    let mut next = runtime.record().clone();
    next.devices.clear();
    runtime.replace(next).unwrap();
    for (request, migrates) in [(target(), true), (boot(), false)] {
        assert_eq!(unfinished(&runtime, migrates), ["data"]);
        assert_eq!(unfinished(&RecordFile::peek(&fixture.runtime).unwrap(), migrates), ["data"]);
        let (kind, text) = text(runtime.boot_command(request).unwrap_err());
        assert!(kind == ErrorKind::State && text.contains("adding data was interrupted"), "{text}");
        assert!(text.contains("open the guest") || text.contains("opening the guest"), "{text}");
    }
    assert_eq!(runtime.unfinished().len(), 1);
    let (kind, text) = text(runtime.settle_ended().unwrap_err());
    assert!(kind == ErrorKind::State && text.contains("runs"), "{text}");
    drop(runtime);
    drop(fixture.open(agent));
    let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
    assert_eq!(fixture.recorded(), ["data"], "settled");
    assert_eq!((unfinished(&runtime, true), unfinished(&runtime, false)), (vec![], vec![]));
    runtime.boot_command(target()).unwrap();
}

pub fn a_guest_that_has_ended_is_settled_by_its_record(agent: &dyn Agent) {
    // The process shows that it has: a boot settles by itself. Nobody can tell: the caller has to say so.
    for is_known in [true, false] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        done(api.add_nic(&fixture.nic_as("lan", MAC)));
        let ask = fixture.disk_as("data", "a.img");
        interrupted(&fixture, "device_add", || drop(done(api.add_disk(&ask))));
        drop(api);
        let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
        let mut next = runtime.record().clone();
        let lan = next.devices.remove(0);
        next.devices.clear();
        next.devices.push(lan.clone());
        runtime.replace(next).unwrap();
        runtime
            .write_journal(|journal| journal.log_intent(kvm_hotplug::model::Operation::Remove, &lan))
            .unwrap();
        drop(runtime);
        edit(&fixture, |journal| match is_known {
            true => of_an_earlier_qemu(journal),
            false => drop(journal.as_object_mut().unwrap().remove("qemu")),
        });
        let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
        assert_eq!(runtime.unfinished().len(), 2);
        if is_known {
            assert_eq!(unfinished(&runtime, false), Vec::<String>::new());
        } else {
            let error = runtime.boot_command(boot()).unwrap_err();
            assert!(error.message().contains("known to be off"), "{error}");
            assert_eq!(runtime.settle_ended().unwrap(), 2);
            assert_eq!(runtime.settle_ended().unwrap(), 0);
        }
        // A target is made from what a source has, and this one has ended.
        runtime.boot_command(boot()).unwrap();
        assert!(fixture.recorded().is_empty() && !fixture.journal().exists());
    }
}
