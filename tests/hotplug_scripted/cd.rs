//! CD drives: empty or not, and their media changed while the guest runs.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::model::{Device, Spec};
use serde_json::{Value, json};

use crate::removing::SHORT;
use crate::support::api::*;
use crate::support::clock;
use crate::support::fake::{Act, Node, Setup};
use crate::support::fixture::Fixture;
use crate::support::host;

const CD: &str = "cd";

fn cd(fixture: &Fixture, name: &str) -> DiskArgs {
    DiskArgs { model: Some("scsi-cd".into()), read_only: true, ..fixture.disk_as(CD, name) }
}

fn empty(fixture: &Fixture) -> DiskArgs {
    DiskArgs { path: "".into(), ..cd(fixture, "unused.iso") }
}

fn medium(fixture: &Fixture, name: &str) -> MediumArgs {
    MediumArgs::at(&fixture.disk(name).path)
}

fn recorded(fixture: &Fixture) -> Device {
    fixture.record().find(CD).unwrap().clone()
}

/// Path of the recorded medium, if there is one, and whether the tray is open.
fn recorded_medium(fixture: &Fixture) -> (Option<String>, bool) {
    let Spec::Disk(spec) = recorded(fixture).spec else { panic!("a disk") };
    let name = spec.path.file_name().map(|name| name.to_str().unwrap().to_owned());
    assert_eq!(name.is_some(), spec.chain.is_some());
    (name, spec.tray_open)
}

/// The node in the drive, and all nodes there are.
fn nodes(fixture: &Fixture) -> (Option<String>, Vec<String>) {
    fixture
        .qemu
        .model(|model| (model.device(CD).unwrap().drive.clone(), model.nodes.keys().cloned().collect()))
}

fn fdsets(fixture: &Fixture) -> usize {
    fixture
        .qemu
        .model(|model| model.fdsets.values().filter(|set| set.fds.iter().any(|fd| !fd.removed)).count())
}

fn locked(fixture: &Fixture, locked: bool) {
    fixture.qemu.model(|model| model.device_mut(CD).unwrap().tray.locked = locked);
}

fn tray_events(api: &dyn Api) -> Vec<Value> {
    api.process(AMPLE).unwrap();
    let mut events = Vec::new();
    while let Some(event) = api.next_event_json() {
        events.push(event["event"].clone());
    }
    events
}

pub fn a_medium_is_exchanged_taken_out_and_put_in(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&cd(&fixture, "a.iso")));
    fixture.qemu.take_seen();
    let device = done(api.change_media(CD, &medium(&fixture, "b.iso")));
    let seen = fixture.qemu.take_seen();
    let names: Vec<&str> = seen.iter().map(|seen| seen.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "query-block",
            "add-fd",
            "blockdev-add",
            "blockdev-open-tray",
            "blockdev-remove-medium",
            "blockdev-insert-medium",
            "blockdev-close-tray",
            "blockdev-del",
            "remove-fd",
        ]
    );
    assert_eq!(seen[3].arguments, json!({ "id": CD }));
    assert_eq!(device.id, CD);
    let (node, all) = nodes(&fixture);
    assert_eq!(node.as_deref(), Some("medium-3"));
    assert_eq!((all, fdsets(&fixture)), (vec!["medium-3".into()], 1));
    assert_eq!(recorded_medium(&fixture), (Some("b.iso".into()), false));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());

    // The same again is the same.
    done(api.change_media(CD, &medium(&fixture, "b.iso")));
    assert_eq!(fixture.qemu.take_names().last().map(String::as_str), Some("query-block"), "nothing more");
    done(api.change_media(CD, &MediumArgs::none()));
    assert_eq!(nodes(&fixture), (None, Vec::new()));
    assert_eq!((recorded_medium(&fixture), fdsets(&fixture)), ((None, false), 0));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    done(api.change_media(CD, &MediumArgs::none()));
    done(api.change_media(CD, &medium(&fixture, "a.iso")));
    assert_eq!(recorded_medium(&fixture), (Some("a.iso".into()), false));
    assert_eq!(tray_events(&*api), Vec::<Value>::new(), "what a call answers is no event");
    assert!(!fixture.journal().exists());
    done(api.unplug(&UnplugArgs::of(CD)));
    assert_eq!(fixture.qemu.model(|model| model.nodes.len()), 0);
    assert_eq!(fdsets(&fixture), 0);
}

pub fn a_drive_can_come_empty(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    done(api.add_disk(&empty(&fixture)));
    assert_eq!(fixture.qemu.take_names(), ["device_add", "device_add"]);
    done(api.add_disk(&empty(&fixture)));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    // A second agent finds it as it is.
    drop(api);
    let api = fixture.open(agent);
    done(api.change_media(CD, &medium(&fixture, "a.iso")));
    assert_eq!(recorded_medium(&fixture), (Some("a.iso".into()), false));
    let failure =
        fails(api.add_disk(&DiskArgs { read_only: false, ..cd(&fixture, "a.iso") }), ErrorKind::Invalid);
    assert!(failure.text.contains("a CD is read-only"), "{failure:?}");
    done(api.unplug(&UnplugArgs::of(CD)));
    assert_eq!(nodes_left(&fixture), Vec::<String>::new());
}

fn nodes_left(fixture: &Fixture) -> Vec<String> {
    fixture.qemu.model(|model| model.nodes.keys().cloned().collect())
}

/// What a change sends until the new medium is in the drive.
const STEPS: [&str; 6] = [
    "add-fd",
    "blockdev-add",
    "blockdev-open-tray",
    "blockdev-remove-medium",
    "blockdev-insert-medium",
    "blockdev-close-tray",
];

/// What fails at any step leaves the old medium in the drive, and nothing of the new one.
pub fn a_change_that_fails_puts_the_old_medium_back(agent: &dyn Agent) {
    for command in STEPS {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        done(api.add_disk(&cd(&fixture, "a.iso")));
        let wanted = medium(&fixture, "b.iso");
        let before = fixture.snapshot();
        fixture.qemu.fault(command, 0, Act::refuse("no"));
        let failure = fails(api.change_media(CD, &wanted), ErrorKind::Qmp);
        assert_eq!((failure.qmp_desc.as_deref(), failure.undo), (Some("no"), 1), "{command}");
        assert_eq!(fixture.snapshot(), before, "{command}");
        assert_eq!(nodes(&fixture), (Some(CD.into()), vec![CD.into()]), "{command}");
        done(api.change_media(CD, &wanted));
        assert_eq!(tray_events(&*api), Vec::<Value>::new(), "{command}");
    }
}

/// Whatever is unknown is made as the record has it by the next agent: the old medium.
pub fn an_interrupted_change_is_taken_back(agent: &dyn Agent) {
    for command in STEPS {
        for act in [Act::CloseBefore, Act::CloseAfter] {
            let fixture = Fixture::pc();
            let api = fixture.open(agent);
            done(api.add_disk(&cd(&fixture, "a.iso")));
            let wanted = medium(&fixture, "b.iso");
            let what = format!("{command} {act:?}");
            fixture.qemu.fault(command, 0, act);
            fails(api.change_media(CD, &wanted), ErrorKind::MonitorLost);
            drop(api);
            let api = fixture.open(agent);
            assert_eq!(nodes(&fixture), (Some(CD.into()), vec![CD.into()]), "{what}");
            assert!(!fixture.qemu.model(|model| model.device(CD).unwrap().tray.open), "{what}");
            assert_eq!(recorded_medium(&fixture), (Some("a.iso".into()), false), "{what}");
            assert!(!fixture.journal().exists(), "{what}");
            assert_eq!(api.verify().unwrap(), Vec::<String>::new(), "{what}");
            done(api.change_media(CD, &wanted));
        }
    }
}

/// Once the record has the new medium, what is left of the old one goes: with a new connection of the same
/// call, or with the next call.
pub fn what_is_left_of_the_old_medium_goes_with_the_next_call(agent: &dyn Agent) {
    for command in ["blockdev-del", "remove-fd"] {
        for act in [Act::CloseBefore, Act::refuse("not now")] {
            let fixture = Fixture::pc();
            let api = fixture.open(agent);
            done(api.add_disk(&cd(&fixture, "a.iso")));
            let wanted = medium(&fixture, "b.iso");
            let what = format!("{command} {act:?}");
            let is_refused = !matches!(act, Act::CloseBefore);
            fixture.qemu.fault(command, 0, act);
            let changed = api.change_media(CD, &wanted);
            assert_eq!(recorded_medium(&fixture), (Some("b.iso".into()), false), "{what}");
            if is_refused {
                let failure = fails(changed, ErrorKind::State);
                assert!(failure.undo == 2 && failure.text.contains("the medium is changed"), "{failure:?}");
                drop(api);
                fixture.open(agent);
            } else {
                assert_eq!(changed.unwrap().state, State::Done, "{what}");
            }
            assert_eq!(nodes(&fixture), (Some("medium-3".into()), vec!["medium-3".into()]), "{what}");
            assert_eq!(fdsets(&fixture), 1, "{what}");
            assert!(!fixture.journal().exists(), "{what}");
        }
    }
}

/// The guest locks the tray after it was looked at: nothing is forced.
pub fn a_tray_that_is_locked_meanwhile_is_waited_for(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&cd(&fixture, "a.iso")));
    let wanted = MediumArgs { timeout_ms: SHORT, ..medium(&fixture, "b.iso") };
    let before = fixture.snapshot();
    locked(&fixture, true);
    let shown = json!([{ "qdev": CD, "locked": false, "tray_open": false, "inserted": { "node-name": CD } }]);
    fixture.qemu.fault("query-block", 0, Act::Return(shown));
    assert_eq!(api.change_media(CD, &wanted).unwrap().state, State::Pending(Why::TrayLocked));
    locked(&fixture, false);
    assert_eq!(fixture.snapshot(), before);
}

pub fn a_locked_tray_is_waited_for(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&cd(&fixture, "a.iso")));
    let wanted = medium(&fixture, "b.iso");
    locked(&fixture, true);
    let before = fixture.snapshot();
    let late = MediumArgs { timeout_ms: SHORT, ..wanted.clone() };
    assert_eq!(api.change_media(CD, &late).unwrap().state, State::Pending(Why::TrayLocked));
    assert_eq!(fixture.snapshot(), before);
    assert!(!fixture.journal().exists());

    // It opens the tray after a while.
    fixture.qemu.take_seen();
    let answer = clock::scope(|scope| {
        let call = scope.spawn(|| api.change_media(CD, &wanted));
        let is_asked = || fixture.qemu.take_names().iter().any(|name| name == "blockdev-open-tray");
        assert!(host::eventually(is_asked));
        fixture.qemu.model(|model| {
            model.device_mut(CD).unwrap().tray.locked = false;
            model.move_tray(CD, true)
        });
        call.join()
    });
    assert_eq!(answer.unwrap().unwrap().state, State::Done);
    assert_eq!(recorded_medium(&fixture), (Some("b.iso".into()), false));
    assert_eq!(tray_events(&*api), Vec::<Value>::new());
}

pub fn a_locked_tray_is_opened_by_force(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&cd(&fixture, "a.iso")));
    locked(&fixture, true);
    fixture.qemu.take_seen();
    done(api.change_media(CD, &MediumArgs { force: true, ..medium(&fixture, "b.iso") }));
    let opened = fixture.qemu.take_seen().into_iter().find(|seen| seen.name == "blockdev-open-tray").unwrap();
    assert_eq!(opened.arguments, json!({ "id": CD, "force": true }));
    assert_eq!(recorded_medium(&fixture), (Some("b.iso".into()), false));
}

/// The guest ejects, closes again, and is reset: events, and the record has it.
pub fn a_guest_that_ejects_is_told_and_recorded(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&cd(&fixture, "a.iso")));
    let moves = |open: bool| {
        fixture.qemu.model(|model| model.move_tray(CD, open));
        fixture.qemu.settle();
    };
    moves(true);
    assert_eq!(tray_events(&*api), ["tray-opened"]);
    assert_eq!(recorded_medium(&fixture), (Some("a.iso".into()), true));
    assert_eq!(api.describe(Some(CD)).unwrap().unwrap()["tray_open"], true);
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    moves(false);
    assert_eq!(tray_events(&*api), ["tray-closed"]);
    assert_eq!(recorded_medium(&fixture), (Some("a.iso".into()), false));
    // While nobody is connected.
    drop(api);
    moves(true);
    let api = fixture.open(agent);
    assert_eq!(tray_events(&*api), ["tray-opened"]);
    fixture.qemu.model(|model| model.reset(true));
    fixture.qemu.settle();
    assert!(tray_events(&*api).contains(&"tray-closed".into()), "a reset closes it without a word");
    assert_eq!(recorded_medium(&fixture), (Some("a.iso".into()), false));
    // A change takes what is there, open as it is.
    moves(true);
    done(api.change_media(CD, &medium(&fixture, "b.iso")));
    assert_eq!(recorded_medium(&fixture), (Some("b.iso".into()), false));
}

pub fn what_is_no_change_of_medium_is_refused(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&fixture.disk_as("data", "data.img")));
    done(api.add_disk(&cd(&fixture, "a.iso")));
    let wanted = medium(&fixture, "b.iso");
    let failure = fails(api.change_media("data", &wanted), ErrorKind::Invalid);
    assert!(failure.text.contains("only a CD drive"), "{failure:?}");
    fails(api.change_media("nobody", &wanted), ErrorKind::NotFound);
    let failure = fails(api.change_media(CD, &medium(&fixture, "data.img")), ErrorKind::Conflict);
    assert!(failure.text.contains("is used by data"), "{failure:?}");
    fails(api.change_media(CD, &MediumArgs::at("/nowhere/x.iso".as_ref())), ErrorKind::NotFound);
    // Somebody else has changed it by hand.
    fixture.qemu.model(|model| {
        model.nodes.insert("theirs".into(), Node::default());
        model.device_mut(CD).unwrap().drive = Some("theirs".into());
    });
    let failure = fails(api.change_media(CD, &wanted), ErrorKind::Conflict);
    assert!(failure.text.contains("theirs") && failure.errno == libc::EBUSY, "{failure:?}");
    assert!(api.verify().unwrap().iter().any(|difference| difference.contains("theirs")));
}

/// A record that QEMU was never told of has the medium for the next boot.
pub fn a_drive_of_the_next_boot_gets_its_medium_there(agent: &dyn Agent) {
    let fixture = Fixture::new(Setup { version: (5, 1, 0), ..Setup::default() });
    let api = fixture.open(agent);
    assert!(matches!(api.add_disk(&cd(&fixture, "a.iso")).unwrap().state, State::AfterReboot(_)));
    let state = api.change_media(CD, &medium(&fixture, "b.iso")).unwrap().state;
    assert!(matches!(state, State::AfterReboot(_)), "{state:?}");
    assert_eq!(recorded_medium(&fixture), (Some("b.iso".into()), false));
}

/// QEMU makes no NVMe disk without a serial.
pub fn an_nvme_disk_has_a_serial(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = DiskArgs { model: Some("nvme".into()), ..fixture.disk_as("fast", "fast.img") };
    let failure = fails(api.add_disk(&disk), ErrorKind::Invalid);
    assert!(failure.text.contains("no serial with nvme"), "{failure:?}");
    let disk = DiskArgs { serial: Some("s1".into()), ..disk };
    done(api.add_disk(&disk));
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    let name = api.describe(Some("fast")).unwrap().unwrap()["guest_name"].clone();
    assert_eq!(name, "/dev/disk/by-path/pci-0000:00:04.0-nvme-1");
    done(api.unplug(&UnplugArgs::of("fast")));
    // Its bootindex is not among what this QEMU says of it.
    let failure = fails(api.add_disk(&DiskArgs { boot_index: Some(1), ..disk }), ErrorKind::Invalid);
    assert!(failure.text.contains("boot index with nvme"), "{failure:?}");
}
