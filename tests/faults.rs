//! The fault table: every command of every operation goes wrong in every way, and what is left is what was
//! there before, or what the answer says; and the next call, or the next agent, settles the rest.

// The lints' exception for tests stops at the functions marked as such.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::result_large_err
)]
// What is said between the lines shows which case of the table failed.
#![allow(clippy::print_stdout)]

#[path = "faults/scene.rs"]
mod scene;
mod support;

use kvm_hotplug::ErrorKind;
use scene::*;
use support::api::*;
use support::fake::{Act, UnplugBehaviour};
use support::host;

fn faults() -> Vec<(Act, u64)> {
    vec![
        (Act::refuse("no such luck"), AMPLE),
        (Act::CloseBefore, AMPLE),
        (Act::CloseAfter, AMPLE),
        (Act::HangBefore, SHORT),
        (Act::HangAfter, SHORT),
        (Act::LoseAnswer, SHORT),
    ]
}

fn table(agent: &dyn Agent, case: &str, operation: Operation) {
    let alone = if operation.needs_vhost() { host::in_own_process_with_vhost } else { host::in_own_process };
    alone(&format!("{}::{case}", agent.name()), &mut || {
        let goal = Scene::goal(agent, operation);
        assert!(goal.commands.len() >= operation.least(), "{:?}", goal.commands);
        for (command, nth) in &goal.commands {
            for (act, timeout) in faults() {
                for next in [Next::Call, Next::Agent] {
                    println!("== {operation:?}: {command} {nth}, {act:?}, {next:?}");
                    patiently(timeout, |timeout| {
                        one_fault(agent, operation, &goal, (command, *nth), (act.clone(), timeout), next)
                    });
                }
            }
        }
    });
}

/// A busy machine may spend a short timeout before the fault is reached, which then says nothing: again, with
/// more.
fn patiently(timeout: u64, comes_to_pass: impl Fn(u64) -> bool) {
    let came = [timeout, timeout * 8, timeout * 64].into_iter().any(comes_to_pass);
    assert!(came, "the fault did not come to pass");
}

/// False if the fault did not come to pass.
fn one_fault(
    agent: &dyn Agent,
    operation: Operation,
    goal: &Goal,
    (command, nth): (&str, usize),
    (act, timeout): (Act, u64),
    next: Next,
) -> bool {
    let mut scene = Scene::new(agent, operation);
    scene.fixture.qemu.fault(command, nth, act);
    let result = operation.run(&scene.fixture, scene.api(), timeout);
    println!("   {result:?}");
    if scene.fixture.qemu.faults_left() > 0 {
        return false;
    }
    let settled = match &result {
        Ok(answer) => {
            assert_eq!(answer.state, State::Done);
            assert!(scene.is_goal(goal), "{:#?}", scene.fixture.snapshot());
            true
        }
        Err(failure) if failure.left.is_empty() => {
            assert_eq!(scene.fixture.snapshot(), scene.start, "an error that says that nothing is left");
            true
        }
        Err(failure) => {
            assert_eq!(failure.undo, 2);
            assert!(
                failure.left.iter().all(|left| PARTS.iter().any(|part| left.contains(part))),
                "{failure:?}"
            );
            false
        }
    };
    scene.next_comes_by(agent, next);
    // A failed add or change is undone; a removal that may have been asked for is carried through.
    match operation.fate() {
        fate if result.is_err() && (settled || fate == Fate::Undone) => {
            scene.settles(|| scene.is_start());
            done(operation.run(&scene.fixture, scene.api(), AMPLE));
        }
        Fate::Repeated => drop(done(operation.run(&scene.fixture, scene.api(), AMPLE))),
        Fate::Undone | Fate::CarriedThrough => {}
    }
    scene.settles(|| scene.is_goal(goal));
    assert!(
        host::eventually(|| own_fds(&scene.fixture) == scene.fds),
        "{} descriptors",
        own_fds(&scene.fixture)
    );
    true
}

/// A step is refused, and so is each of the commands that take the others back, one at a time.
fn undo_goes_wrong(agent: &dyn Agent) {
    host::in_own_process_with_vhost(&format!("{}::undo_goes_wrong", agent.name()), &mut || {
        for (operation, refused, inverses) in [
            (AddNic(1), ("device_add", 0), &["netdev_del"][..]),
            (AddNic(4), ("netdev_add", 0), &["closefd"]),
            (AddRaw, ("device_add", 0), &["blockdev-del", "remove-fd"]),
            (AddRaw, ("blockdev-add", 0), &["remove-fd"]),
            (AddLayered, ("device_add", 0), &["blockdev-del", "remove-fd"]),
            (AddFirstScsi, ("device_add", 0), &["blockdev-del", "remove-fd"]),
            (AddFirstScsi, ("device_add", 1), &["blockdev-del", "remove-fd", "device_del"]),
            (AddThreaded, ("device_add", 0), &["object-del", "blockdev-del", "remove-fd"]),
            (AddThreaded, ("blockdev-add", 0), &["object-del", "remove-fd"]),
            (AddThreaded, ("object-add", 0), &["remove-fd"]),
            (AddVhostUser, ("device_add", 0), &["netdev_del"]),
            (AddVhostUser, ("netdev_add", 1), &["chardev-remove"]),
            (AddLimited, ("device_add", 0), &["object-del", "blockdev-del"]),
            (AddSecret, ("device_add", 0), &["object-del", "blockdev-del"]),
            (AddThreadedController, ("device_add", 0), &["object-del"]),
            (AddNicDown, ("set_link", 0), &["device_del", "netdev_del"]),
            (AddVhost(2), ("netdev_add", 0), &["closefd"]),
            (AddVhost(2), ("device_add", 0), &["netdev_del"]),
        ] {
            for inverse in inverses {
                for (act, timeout) in faults() {
                    for next in [Next::Call, Next::Agent] {
                        println!("== {operation:?}: {refused:?}, then {inverse} {act:?}, {next:?}");
                        patiently(timeout, |timeout| {
                            undo_fault(agent, operation, (refused, inverse), (act.clone(), timeout), next)
                        });
                    }
                }
            }
        }
    });
}

/// False if one of the faults did not come to pass.
fn undo_fault(
    agent: &dyn Agent,
    operation: Operation,
    ((refused, nth), inverse): ((&str, usize), &str),
    (act, timeout): (Act, u64),
    next: Next,
) -> bool {
    let mut scene = Scene::new(agent, operation);
    scene.fixture.qemu.fault(refused, nth, Act::refuse("the first error"));
    scene.fixture.qemu.fault(inverse, 0, act);
    let result = operation.run(&scene.fixture, scene.api(), timeout);
    println!("   {result:?}");
    if scene.fixture.qemu.faults_left() > 0 {
        return false;
    }
    let failure = fails(result, ErrorKind::Qmp);
    assert_eq!(failure.qmp_desc.as_deref(), Some("the first error"), "the first error is the one returned");
    if failure.left.is_empty() {
        assert_eq!(scene.fixture.snapshot(), scene.start);
    }
    scene.next_comes_by(agent, next);
    // A guest that would not let go of the device is asked again after ten seconds.
    let patience = if operation == AddNicDown || inverse == "device_del" { 15 } else { 5 };
    scene.settles_within(patience, || scene.is_start());
    done(operation.run(&scene.fixture, scene.api(), AMPLE));
    assert!(
        host::eventually(|| own_fds(&scene.fixture) == scene.fds),
        "{} descriptors",
        own_fds(&scene.fixture)
    );
    true
}

/// Everything is done in the guest, but the record cannot be replaced: the device has to go again.
fn record_cannot_be_saved(agent: &dyn Agent) {
    for operation in [AddNic(1), AddRaw, AddLayered, AddScsi, AddFirstScsi, AddController, AddThreaded] {
        let scene = Scene::new(agent, operation);
        let staged = scene.fixture.runtime.with_extension("runtime.new");
        scene.fixture.qemu.hook("device_add", 0, move || std::fs::remove_file(staged).unwrap());
        let failure = fails(operation.run(&scene.fixture, scene.api(), AMPLE), ErrorKind::NotFound);
        assert_eq!(failure.step.as_deref(), Some("save the runtime file"));
        assert_eq!(failure.left, Vec::<String>::new());
        assert_eq!(scene.fixture.snapshot(), scene.start, "{operation:?}");
        done(operation.run(&scene.fixture, scene.api(), AMPLE));
    }
}

/// The same with a guest that does not let go at once.
fn record_cannot_be_saved_and_the_guest_is_slow(agent: &dyn Agent) {
    for next in [Next::Call, Next::Agent] {
        let mut scene = Scene::new(agent, AddRaw);
        scene.fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
        let staged = scene.fixture.runtime.with_extension("runtime.new");
        scene.fixture.qemu.hook("device_add", 0, move || std::fs::remove_file(staged).unwrap());
        let failure = fails(AddRaw.run(&scene.fixture, scene.api(), 2_000), ErrorKind::NotFound);
        assert_eq!(failure.left, ["device victim: its removal is pending"]);
        assert_eq!(scene.fixture.snapshot().record, scene.start.record);
        let device_info = scene.api().list();
        assert!(matches!(device_info[0].presence, Presence::Pending(_)), "{device_info:?}");
        fails(AddRaw.run(&scene.fixture, scene.api(), AMPLE), ErrorKind::Conflict);
        scene.next_comes_by(agent, next);
        scene.fixture.qemu.grant(ID);
        scene.settles(|| scene.is_start());
    }
}

/// The same with a guest that first will not let go, and then does.
fn record_cannot_be_saved_and_the_guest_is_unwilling(agent: &dyn Agent) {
    for unplug_behaviour in [UnplugBehaviour::Refuses, UnplugBehaviour::Busy(1000)] {
        for next in [Next::Call, Next::Agent] {
            println!("== {unplug_behaviour:?}, {next:?}");
            let mut scene = Scene::new(agent, AddRaw);
            scene.fixture.qemu.model(|model| model.unplug_behaviour = unplug_behaviour);
            let staged = scene.fixture.runtime.with_extension("runtime.new");
            scene.fixture.qemu.hook("device_add", 0, move || std::fs::remove_file(staged).unwrap());
            let failure = fails(AddRaw.run(&scene.fixture, scene.api(), 10 * SHORT), ErrorKind::NotFound);
            assert!(failure.left[0].starts_with("device victim"), "{failure:?}");
            fails(AddRaw.run(&scene.fixture, scene.api(), AMPLE), ErrorKind::Conflict);
            scene.fixture.qemu.model(|model| {
                model.unplug_behaviour = UnplugBehaviour::AtOnce;
                model.unplug_behaviours.clear();
            });
            scene.next_comes_by(agent, next);
            // The same agent does not pester the guest: it asks again after ten seconds.
            scene.settles_within(15, || scene.is_start());
        }
    }
}

/// What cannot be written down is not begun.
fn nothing_is_sent_without_a_journal(agent: &dyn Agent) {
    for operation in [AddNic(1), AddRaw, AddFirstScsi, DelNic(1), DelRaw, DelScsi] {
        for name in ["web1.runtime.journal.new", "web1.runtime.new"] {
            let scene = Scene::new(agent, operation);
            let obstacle = scene.fixture.dir.path().join(name);
            // No rights keep root from writing; a directory in the way does.
            std::fs::create_dir(&obstacle).unwrap();
            let result = operation.run(&scene.fixture, scene.api(), AMPLE);
            std::fs::remove_dir(&obstacle).unwrap();
            if !operation.is_add() && name == "web1.runtime.new" {
                // The journal is enough to begin a removal; the next call completes the record.
                assert_eq!(fails(result, ErrorKind::Host).errno, libc::EISDIR);
                scene.settles(|| {
                    !scene.fixture.recorded().contains(&ID.to_owned()) && !scene.fixture.journal().exists()
                });
                continue;
            }
            assert_eq!(fails(result, ErrorKind::Host).errno, libc::EISDIR);
            // Where a disk's data is has to be known before its removal is begun, and changes nothing.
            let is_change = |name: &String| name != "x-debug-query-block-graph";
            let sent: Vec<String> = scene.fixture.qemu.take_names().into_iter().filter(is_change).collect();
            assert_eq!(sent, Vec::<String>::new(), "{operation:?}");
            assert_eq!(scene.fixture.snapshot(), scene.start);
            done(operation.run(&scene.fixture, scene.api(), AMPLE));
        }
    }
}

/// The directory is gone altogether.
fn nothing_is_sent_without_a_directory(agent: &dyn Agent) {
    let scene = Scene::new(agent, AddNic(1));
    let before = scene.fixture.qemu.snapshot();
    std::fs::remove_dir_all(scene.fixture.dir.path()).unwrap();
    let failure = fails(AddNic(1).run(&scene.fixture, scene.api(), AMPLE), ErrorKind::NotFound);
    assert_eq!(failure.left, Vec::<String>::new());
    assert_eq!(scene.fixture.qemu.take_names(), Vec::<String>::new());
    assert_eq!(scene.fixture.qemu.snapshot(), before);
}

macro_rules! tables {
    ($($case:ident: $operation:expr),* $(,)?) => {
        $(fn $case(agent: &dyn Agent) {
            table(agent, stringify!($case), $operation);
        })*
    };
}

tables! {
    add_nic: AddNic(1),
    add_nic_with_queues: AddNic(4),
    add_nic_with_vhost: AddVhost(2),
    add_raw_disk: AddRaw,
    add_layered_disk: AddLayered,
    del_nic: DelNic(1),
    del_nic_with_queues: DelNic(4),
    del_nic_with_vhost: DelVhost(2),
    del_raw_disk: DelRaw,
    del_layered_disk: DelLayered,
    add_scsi_disk: AddScsi,
    add_first_scsi_disk: AddFirstScsi,
    add_controller: AddController,
    del_scsi_disk: DelScsi,
    del_controller: DelController,
    add_threaded_disk: AddThreaded,
    add_threaded_controller: AddThreadedController,
    del_threaded_disk: DelThreaded,
    add_vhost_user: AddVhostUser,
    del_vhost_user: DelVhostUser,
    add_limited_disk: AddLimited,
    del_limited_disk: DelLimited,
    add_disk_with_secret: AddSecret,
    del_disk_with_secret: DelSecret,
    set_limits: SetLimits,
    set_first_limits: SetFirstLimits,
    del_threaded_controller: DelThreadedController,
    del_started_nic: DelStartedNic,
    del_started_disk_with_nodes: DelStartedNodes,
    del_started_disk_with_drive: DelStartedDrive,
    add_nic_with_link_down: AddNicDown,
    link_down: LinkDown,
    resize_disk: Resize,
    change_medium: ChangeMedium,
}

through_every_api! {
    clock: of_its_own;
    undo_goes_wrong,
    record_cannot_be_saved,
    record_cannot_be_saved_and_the_guest_is_slow,
    record_cannot_be_saved_and_the_guest_is_unwilling,
    nothing_is_sent_without_a_journal,
    nothing_is_sent_without_a_directory,
    add_nic,
    add_nic_with_queues,
    add_nic_with_vhost,
    add_raw_disk,
    add_layered_disk,
    del_nic,
    del_nic_with_queues,
    del_nic_with_vhost,
    del_raw_disk,
    del_layered_disk,
    add_scsi_disk,
    add_first_scsi_disk,
    add_controller,
    del_scsi_disk,
    del_controller,
    add_threaded_disk,
    add_threaded_controller,
    del_threaded_disk,
    add_vhost_user,
    del_vhost_user,
    add_limited_disk,
    del_limited_disk,
    add_disk_with_secret,
    del_disk_with_secret,
    set_limits,
    set_first_limits,
    del_threaded_controller,
    del_started_nic,
    del_started_disk_with_nodes,
    del_started_disk_with_drive,
    add_nic_with_link_down,
    link_down,
    resize_disk,
    change_medium,
}
