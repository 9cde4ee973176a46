//! Two that want the same guest: one at a time, and the other one is told at once, or by its deadline.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::result_large_err)]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kvm_hotplug::ErrorKind;
use kvm_hotplug::store::RecordFile;
use support::api::*;
use support::fixture::Fixture;
use support::host;

/// Names the runtime file that this process is to hold, when it is the other one.
const HOLD: &str = "KVM_HOTPLUG_TEST_HOLD";

/// More than anything here takes that does not wait.
const AT_ONCE: Duration = Duration::from_secs(5);

through_every_api! {
    the_second_process_is_told_who_was_first,
    threads_on_one_handle_take_turns,
    a_turn_that_does_not_come_is_a_timeout,
    a_second_client_is_told_that_the_monitor_is_busy,
}

fn the_second_process_is_told_who_was_first(agent: &dyn Agent) {
    if let Some(path) = std::env::var_os(HOLD) {
        let _held = RecordFile::load(path.as_ref()).unwrap();
        std::fs::write(std::path::Path::new(&path).with_extension("held"), "").unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let fixture = Fixture::pc();
    let mut first = Command::new(std::env::current_exe().unwrap());
    let first =
        first.args(["rust::the_second_process_is_told_who_was_first", "--exact"]).env(HOLD, &fixture.runtime);
    let mut first = first.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    assert!(host::eventually(|| fixture.runtime.with_extension("held").exists()));
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", first.id())).unwrap();
    let start = Instant::now();
    let failure = match agent.open(&fixture.runtime, fixture.qemu.path(), 60_000) {
        Err(failure) => failure,
        Ok(_) => panic!("opened a guest that belongs to another process"),
    };
    assert!(start.elapsed() < AT_ONCE, "the deadline of the call is no reason to wait");
    assert!(failure.is(ErrorKind::Locked), "{failure:?}");
    let who = format!("process {} ({})", first.id(), comm.trim());
    assert!(failure.text.contains(&who), "{who}: {failure:?}");
    assert_eq!(fixture.qemu.connections(), 0, "and the monitor was left alone");
    drop(first.stdin.take());
    assert!(first.wait().unwrap().success());
    drop(fixture.open(agent));
}

/// Many threads, one handle: every call gets its turn, and the guest ends as the record says.
fn threads_on_one_handle_take_turns(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (api, fixture) = (api.as_ref(), &fixture);
            scope.spawn(move || {
                for round in 0..6 {
                    let id = format!("t{thread}r{round}");
                    done(api.add_disk(&fixture.disk_as(&id, &id)));
                    assert!(api.list().iter().any(|item| item.id == id), "own device is listed");
                    if round % 3 != 0 {
                        done(api.unplug(&UnplugArgs::of(&id)));
                    }
                }
            });
        }
    });
    let mut recorded = fixture.recorded();
    recorded.sort();
    assert_eq!(recorded, ["t0r0", "t0r3", "t1r0", "t1r3", "t2r0", "t2r3", "t3r0", "t3r3"]);
    let slots: Vec<u8> = api.list().iter().map(|item| item.address.clone().unwrap().1).collect();
    assert_eq!(slots.iter().collect::<std::collections::BTreeSet<_>>().len(), slots.len(), "{slots:?}");
    let devices = fixture.qemu.snapshot().into_iter().filter(|line| line.starts_with("device t")).count();
    assert_eq!(devices, recorded.len());
    assert!(!fixture.journal().exists());
}

/// A call that waits for its turn does not wait beyond its own deadline.
fn a_turn_that_does_not_come_is_a_timeout(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (begun, asked) = std::sync::mpsc::channel();
    fixture.qemu.hook("device_del", 0, move || {
        begun.send(()).unwrap();
        _ = wait.recv();
    });
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| api.unplug(&UnplugArgs::within("data", 60_000)));
        asked.recv().unwrap();
        // Until QEMU has answered, the call has the guest for itself; a guest that takes its time holds up
        // nobody.
        let failure = fails(api.process(50), ErrorKind::Timeout);
        assert!(failure.text.contains("another call"), "{failure:?}");
        drop(go);
        done(asking.join().unwrap());
    });
    assert!(api.process(AMPLE).is_ok());
}

/// The monitor serves one client; a second agent, with a record of its own, is told so by its deadline.
fn a_second_client_is_told_that_the_monitor_is_busy(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let other = Fixture::pc();
    let api = fixture.open(agent);
    let start = Instant::now();
    let failure = match agent.open(&other.runtime, fixture.qemu.path(), 200) {
        Err(failure) => failure,
        Ok(_) => panic!("two clients on one monitor"),
    };
    assert!(failure.is(ErrorKind::MonitorBusy) && failure.errno == libc::EBUSY, "{failure:?}");
    assert!(start.elapsed() >= Duration::from_millis(200) && start.elapsed() < AT_ONCE);
    drop(api);
    agent.open(&other.runtime, fixture.qemu.path(), AMPLE).map(drop).unwrap();
}
