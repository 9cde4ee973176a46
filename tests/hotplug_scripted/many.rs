//! Several devices in one call: one journal entry, one write, one wait, and all of it or nothing.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use serde_json::Value;

use crate::adding::MAC;
use crate::removing::SHORT;
use crate::support::api::*;
use crate::support::fake::{Act, Setup, UnplugBehaviour};
use crate::support::fixture::Fixture;
use crate::support::host;

/// Three NICs, one of them with queues, and three disks, one of them with a backing file.
fn mixture(fixture: &Fixture) -> (Vec<NicArgs>, Vec<DiskArgs>) {
    let nics = vec![fixture.nic(1), fixture.nic(4), fixture.nic(1)];
    (nics, vec![fixture.disk("a.img"), fixture.layered_disk(), fixture.disk("b.img")])
}

fn ids(answers: &[Answer]) -> Vec<String> {
    answers.iter().map(|answer| answer.device.as_ref().unwrap().id.clone()).collect()
}

fn journal(fixture: &Fixture) -> Vec<Value> {
    let text = std::fs::read_to_string(fixture.journal()).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["intents"].as_array().unwrap().clone()
}

pub fn many_are_one_operation(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    let (nics, disks) = mixture(&fixture);
    let (entries, seen) = std::sync::mpsc::channel();
    let path = fixture.journal();
    fixture.qemu.hook("getfd", 0, move || {
        entries.send(std::fs::read_to_string(path).unwrap().matches("\"group\":").count()).unwrap();
    });
    let added = api.add_all(&nics, &disks, AMPLE).unwrap();
    assert_eq!(seen.recv(), Ok(6), "all of them are on disk before the first command");
    assert!(added.iter().all(|answer| answer.state == State::Done), "{added:?}");
    let names = fixture.qemu.take_names();
    let expected =
        ["getfd"; 4].into_iter().chain(["getfd", "netdev_add", "device_add", "netdev_add", "device_add"]);
    let expected: Vec<&str> = expected
        .chain(["getfd", "netdev_add", "device_add"])
        .chain(["add-fd", "blockdev-add", "device_add", "add-fd", "add-fd", "blockdev-add", "device_add"])
        .chain(["add-fd", "blockdev-add", "device_add"])
        .collect();
    assert_eq!(names, expected);
    assert_eq!(
        ids(&added),
        ["nic-pci-4", "nic-pci-5", "nic-pci-6", "disk-pci-7", "disk-pci-8", "disk-pci-9"]
    );
    assert_eq!(fixture.recorded().len(), 6);
    let generations: Vec<u64> =
        added.iter().map(|answer| answer.device.as_ref().unwrap().generation).collect();
    assert!(generations.windows(2).all(|pair| pair[0] < pair[1]), "{generations:?}");
    assert!(!fixture.journal().exists());
    let again: Vec<NicArgs> = nics
        .iter()
        .zip(ids(&added))
        .map(|(nic, id)| NicArgs { place: Place { id: Some(id), ..Place::default() }, ..nic.clone() })
        .collect();
    assert_eq!(api.add_all(&again, &[], AMPLE).unwrap(), added[..3], "there already");
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
}

pub fn many_leave_together(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let empty = fixture.snapshot();
    let (nics, disks) = mixture(&fixture);
    let added = ids(&api.add_all(&nics, &disks, AMPLE).unwrap());
    fixture.qemu.take_seen();
    for unplug_behaviour in
        [UnplugBehaviour::AtOnce, UnplugBehaviour::After(std::time::Duration::from_millis(60))]
    {
        fixture.qemu.model(|model| model.unplug_behaviour = unplug_behaviour);
        let answers = api.unplug_all(&added, AMPLE);
        assert!(
            answers.iter().all(|answer| answer.as_ref().is_ok_and(|one| one.state == State::Done)),
            "{answers:?}"
        );
        let mut names = fixture.qemu.take_names();
        assert_eq!(names.remove(0), "x-debug-query-block-graph", "once for all disks");
        assert_eq!(names[..6], ["device_del"; 6], "asked for all at once");
        // One question serves all whose word comes together; those of a guest that takes its time may come
        // one by one.
        let asked = names[6..].iter().take_while(|name| *name == "qom-list").count();
        assert!((1..=6).contains(&asked), "{names:?}");
        let rest = ["netdev_del", "netdev_del", "netdev_del", "blockdev-del", "remove-fd", "blockdev-del"];
        assert_eq!(names[6 + asked..12 + asked], rest, "and cleared up together: {names:?}");
        assert_eq!(fixture.snapshot().qemu, empty.qemu);
        assert!(fixture.recorded().is_empty() && !fixture.journal().exists());
        assert_eq!(api.next_event(), None, "the caller has its answer");
        let absent = api.unplug_all(&added, AMPLE);
        assert!(absent.iter().all(|answer| answer.as_ref().is_ok_and(|one| one.state == State::Absent)));
        assert_eq!(ids(&api.add_all(&nics, &disks, AMPLE).unwrap()), added, "their places are free again");
        fixture.qemu.take_seen();
    }
}

pub fn each_that_leaves_has_its_own_answer(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disks = [("stays", "a.img"), ("goes", "b.img"), ("no", "c.img")]
        .map(|(id, image)| fixture.disk_as(id, image));
    api.add_all(&[], &disks, AMPLE).unwrap();
    fixture.qemu.model(|model| {
        model.unplug_behaviours.insert("stays".into(), UnplugBehaviour::Never);
        model.unplug_behaviours.insert("no".into(), UnplugBehaviour::Refuses);
    });
    fixture.qemu.take_seen();
    let asked = ["stays", "goes", "no", "nosuch", "goes", "nosuch"].map(str::to_owned);
    let answers = api.unplug_all(&asked, AMPLE / 24);
    let states: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().map(|one| one.state).map_err(|e| *e)).collect();
    assert_eq!(
        states,
        [
            Ok(State::Pending(Why::Deadline)),
            Ok(State::Done),
            Err(libc::EPERM),
            Ok(State::Absent),
            Err(libc::EINVAL),
            Err(libc::EINVAL)
        ]
    );
    assert_eq!(fixture.qemu.take_names().iter().filter(|name| *name == "device_del").count(), 3);
    assert_eq!(fixture.recorded(), ["stays", "no"]);
    assert_eq!(journal(&fixture).len(), 1, "only the pending one is still under way");
    fixture.qemu.grant("stays");
    assert!(host::eventually(|| {
        api.process(AMPLE).unwrap();
        fixture.recorded() == ["no"]
    }));
}

/// Whichever command fails, nothing is left of any of them; those that the guest had got have left it again.
pub fn one_that_fails_takes_all_back(agent: &dyn Agent) {
    let count = {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        fixture.qemu.take_seen();
        let (nics, disks) = mixture(&fixture);
        api.add_all(&nics, &disks, AMPLE).unwrap();
        fixture.qemu.take_names().len()
    };
    for nth in 0..count {
        for act in [Act::refuse("no such luck"), Act::CloseBefore, Act::CloseAfter] {
            let fixture = Fixture::pc();
            let api = fixture.open(agent);
            let (nics, disks) = mixture(&fixture);
            let before = fixture.snapshot();
            fixture.qemu.fault(crate::support::fake::ANY, nth, act.clone());
            let result = api.add_all(&nics, &disks, AMPLE);
            match result {
                Ok(added) => {
                    assert_eq!(fixture.recorded(), ids(&added), "{nth} {act:?}: all of them");
                    assert_eq!(added.len(), 6);
                }
                Err(failure) => {
                    // After a lost connection the devices have been asked for, and nobody has waited.
                    let lost = matches!(act, Act::CloseBefore | Act::CloseAfter);
                    assert!(failure.left.is_empty() || lost, "{nth} {act:?}: {failure:?}");
                    assert!(
                        host::eventually(|| {
                            api.process(AMPLE).unwrap();
                            fixture.snapshot() == before
                        }),
                        "{nth} {act:?}: {:#?}",
                        fixture.snapshot()
                    );
                }
            }
            assert!(host::eventually(|| {
                api.process(AMPLE).unwrap();
                !fixture.journal().exists()
            }));
            drop(api);
            let api = fixture.open(agent);
            let (recorded, shown) = (fixture.recorded().len(), fixture.qemu.snapshot().len());
            assert!(recorded == 0 || recorded == 6, "{recorded} recorded, {shown} lines");
            drop(api);
        }
    }
}

/// The guest does not let go of those it has got: they are named, and go when it does.
pub fn what_cannot_be_taken_back_is_named(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    fixture.qemu.fault("device_add", 2, Act::refuse("no such luck"));
    let disks = [("one", "a.img"), ("two", "b.img"), ("three", "c.img")]
        .map(|(id, image)| fixture.disk_as(id, image));
    let before = fixture.snapshot();
    let failure = fails(api.add_all(&[], &disks, 4 * SHORT), ErrorKind::Qmp);
    assert_eq!(failure.left, ["device one: its removal is pending", "device two: its removal is pending"]);
    assert!(failure.text.contains("add disk three"), "{failure:?}");
    fails(api.add_all(&[], &disks[..1], AMPLE), ErrorKind::Conflict);
    let slots = api.slots().unwrap();
    let taken = |slot: u8| slots.iter().any(|line| line.slot == slot && line.state == SlotUse::Quarantined);
    assert!(taken(4) && taken(5) && !taken(6), "{slots:?}");
    fixture.qemu.grant("one");
    fixture.qemu.grant("two");
    assert!(
        host::eventually(|| {
            api.process(AMPLE).unwrap();
            fixture.snapshot() == before
        }),
        "{:#?}",
        fixture.snapshot()
    );
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::AtOnce);
    assert_eq!(api.add_all(&[], &disks, AMPLE).unwrap().len(), 3);
}

/// An agent died in the middle: the next one finds some of the devices, or all.
pub fn half_of_many_is_none(agent: &dyn Agent) {
    for (present, complete) in [(1, false), (2, false), (3, true)] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let disks = [("one", "a.img"), ("two", "b.img"), ("three", "c.img")]
            .map(|(id, image)| fixture.disk_as(id, image));
        let before = fixture.snapshot();
        let keep = fixture.dir.path().join("kept");
        let (from, to) = (fixture.journal(), keep.clone());
        fixture.qemu.hook("add-fd", 0, move || assert!(std::fs::copy(from, to).is_ok()));
        if present < 3 {
            fixture.qemu.fault("device_add", present, Act::HangBefore);
            // Long enough to come so far on a busy machine.
            fails(api.add_all(&[], &disks, 20 * SHORT), ErrorKind::Timeout);
            assert_eq!(fixture.qemu.faults_left(), 0);
        } else {
            api.add_all(&[], &disks, AMPLE).unwrap();
        }
        drop(api);
        // As it was when the commands went out: the record without them, the journal with all of them.
        std::fs::write(&fixture.runtime, &before.record).unwrap();
        std::fs::rename(&keep, fixture.journal()).unwrap();
        fixture.qemu.resume();
        let api = fixture.open(agent);
        let expected: Vec<&str> = if complete { vec!["one", "two", "three"] } else { vec![] };
        assert!(
            host::eventually(|| {
                api.process(AMPLE).unwrap();
                fixture.recorded() == expected && !fixture.journal().exists()
            }),
            "{present} present: {:#?}",
            fixture.snapshot()
        );
        if !complete {
            assert_eq!(fixture.snapshot(), before);
        }
    }
}

pub fn many_do_not_get_in_each_others_way(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let all: Vec<DiskArgs> = (0..29).map(|number| fixture.disk(&format!("{number}.img"))).collect();
    ["a.img", "b.img"].iter().for_each(|image| drop(fixture.disk(image)));
    let before = fixture.snapshot();
    let twice = |nics: &[NicArgs], disks: &[DiskArgs], text: &str| {
        let failure = fails(api.add_all(nics, disks, AMPLE), ErrorKind::Conflict);
        assert!(failure.text.contains(text) && failure.text.contains("device 2 of the list"), "{failure:?}");
        assert_eq!(fixture.snapshot(), before);
    };
    let nic = NicArgs { mac: Some(MAC.into()), ..fixture.nic(1) };
    twice(&[nic.clone(), NicArgs { mac: Some(MAC.into()), ..fixture.nic(1) }], &[], MAC);
    twice(&[], &[fixture.disk("a.img"), fixture.disk("a.img")], "a.img");
    twice(&[], &[fixture.disk_as("data", "a.img"), fixture.disk_as("data", "b.img")], "asked for twice");
    let at = |slot| Place { address: Some(("pci.0".into(), slot)), ..Place::default() };
    let pinned = |slot, image| DiskArgs { place: at(slot), ..fixture.disk(image) };
    let failure =
        fails(api.add_all(&[], &[pinned(9, "a.img"), pinned(9, "b.img")], AMPLE), ErrorKind::AddressTaken);
    assert!(failure.text.contains("device 2 of the list"), "{failure:?}");
    assert_eq!(fixture.snapshot(), before);
    fails(api.add_all(&[], &all, AMPLE), ErrorKind::NoSlot);
    assert_eq!(fixture.snapshot().qemu, before.qemu);
    let slots = api.slots().unwrap();
    let free = slots.iter().filter(|line| line.state == SlotUse::Free).count();
    assert_eq!(api.add_all(&[], &all[..free], AMPLE).unwrap().len(), free, "every slot, and none was lost");
}

pub fn a_slot_taken_behind_our_back_moves_all(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let stranger = crate::support::fake::Dev::new(Some("vnet9"), "virtio-net-pci", "pci.0", 5, 0);
    fixture.qemu.model(|model| model.devices.push(stranger));
    let added = api
        .add_all(&[], &[fixture.disk("a.img"), fixture.disk("b.img"), fixture.disk("c.img")], AMPLE)
        .unwrap();
    assert_eq!(ids(&added), ["disk-pci-4", "disk-pci-6", "disk-pci-7"]);
    assert!(!fixture.journal().exists());
}

pub fn many_for_an_old_qemu_wait_for_the_reboot(agent: &dyn Agent) {
    let fixture = Fixture::new(Setup { version: (4, 2, 1), ..Setup::default() });
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    let (nics, disks) = mixture(&fixture);
    let added = api.add_all(&nics, &disks, AMPLE).unwrap();
    assert!(added.iter().all(|answer| matches!(answer.state, State::AfterReboot(_))), "{added:?}");
    assert_eq!(fixture.recorded(), ids(&added));
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    let other = DiskArgs { model: Some("ide-hd".into()), ..fixture.disk("c.img") };
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let image = fixture.disk("c.img").path;
    let mixed = api.add_all(&[], &[fixture.disk("a.img"), DiskArgs { path: image, ..other }], AMPLE).unwrap();
    assert_eq!(mixed[0].state, State::Done);
    assert!(matches!(mixed[1].state, State::AfterReboot(Later::Model)), "{mixed:?}");
    assert_eq!(fixture.recorded(), ids(&mixed));
}
