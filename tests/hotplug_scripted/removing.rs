//! Removing devices: the guest decides, and each of its answers is told apart.
#![allow(unreachable_pub)]

use std::time::Duration;

use kvm_hotplug::ErrorKind;
use serde_json::json;

use crate::support::api::*;
use crate::support::fake::{Act, Dev, UnplugBehaviour, deleted};
use crate::support::fixture::Fixture;
use crate::support::{clock, host, programs};

/// Long enough to notice, short enough to wait for.
pub const SHORT: u64 = 150;

/// A world with one disk in the guest.
pub fn with_disk(agent: &dyn Agent) -> (Fixture, Box<dyn Api>) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    fixture.qemu.take_seen();
    (fixture, api)
}

/// Nothing of the disk is left anywhere.
#[track_caller]
pub fn assert_gone(fixture: &Fixture) {
    assert_eq!(fixture.recorded(), Vec::<String>::new());
    assert!(!fixture.journal().exists(), "the journal is still there");
    let left: Vec<String> =
        fixture.qemu.snapshot().into_iter().filter(|line| line.contains("data")).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[track_caller]
pub fn pending(result: Result<Answer, Failure>) -> Why {
    match result {
        Ok(Answer { state: State::Pending(why), device: Some(_) }) => why,
        other => panic!("expected a pending removal: {other:?}"),
    }
}

pub fn a_removal_is_done_when_the_guest_has_let_go(agent: &dyn Agent) {
    for unplug_behaviour in [
        UnplugBehaviour::AtOnce,
        UnplugBehaviour::BeforeReply,
        UnplugBehaviour::After(Duration::from_millis(80)),
    ] {
        let (fixture, api) = with_disk(agent);
        fixture.qemu.model(|model| model.unplug_behaviour = unplug_behaviour);
        let start = clock::now();
        done(api.unplug(&UnplugArgs::of("data")));
        assert!(
            clock::since(start) < Duration::from_secs(3),
            "{unplug_behaviour:?}: {:?}",
            clock::since(start)
        );
        assert_gone(&fixture);
        assert_eq!(api.next_event(), None, "the caller has its answer");
    }
}

/// The kernel destroys a tap in whoever closes it last, and takes its time: not in QEMU, but also not before
/// the guest has let go of the NIC. So it is held here when QEMU closes it, and not before; this QEMU has its
/// descriptors in this process.
pub fn qemu_is_not_the_last_to_close_a_tap_made_here(agent: &dyn Agent) {
    for queues in [1, 4] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let nic = done(api.add_nic(&fixture.nic(queues)));
        let name = nic.ifname.unwrap();
        fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
        assert_eq!(pending(api.unplug(&UnplugArgs::within(&nic.id, SHORT))), Why::Deadline);
        assert_eq!(host::descriptors_of_tap(&name), usize::from(queues), "the guest still has it");
        let (there, seen) = std::sync::mpsc::channel();
        let tap = name.clone();
        fixture.qemu.hook("netdev_del", 0, move || there.send(host::descriptors_of_tap(&tap)).unwrap());
        fixture.qemu.grant(&nic.id);
        done_by_process_of(&fixture, api.as_ref());
        assert_eq!(seen.recv(), Ok(usize::from(queues) + 1), "QEMU closes what is held here as well");
        assert_eq!(host::interfaces(&name).len(), 0);
    }
}

/// The removal of a NIC does not depend on its tap, and takes nobody else's.
pub fn a_tap_that_is_not_the_one_that_was_made_is_left_alone(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&fixture.nic(1)));
    let name = nic.ifname.unwrap();
    programs::run(&["ip", "link", "delete", &name]);
    programs::run(&["ip", "tuntap", "add", "dev", &name, "mode", "tap"]);
    done(api.unplug(&UnplugArgs::of(&nic.id)));
    assert_eq!(fixture.recorded(), Vec::<String>::new());
    assert_eq!(host::interfaces(&name).len(), 1, "the other one of that name");
    programs::run(&["ip", "link", "delete", &name]);
    let nic = done(api.add_nic(&fixture.nic(1)));
    programs::run(&["ip", "link", "delete", &nic.ifname.unwrap()]);
    done(api.unplug(&UnplugArgs::of(&nic.id)));
    assert_eq!(fixture.recorded(), Vec::<String>::new());
}

fn done_by_process_of(fixture: &Fixture, api: &dyn Api) {
    assert!(host::eventually(|| {
        api.process(AMPLE).unwrap();
        fixture.recorded().is_empty()
    }));
}

pub fn only_the_event_of_the_device_itself_counts(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    assert_eq!(pending(api.unplug(&UnplugArgs::within("data", SHORT))), Why::Deadline);
    fixture.qemu.emit("DEVICE_DELETED", json!({ "path": "/machine/peripheral/data/virtio-backend" }));
    fixture.qemu.emit("DEVICE_DELETED", deleted("data2"));
    fixture.qemu.emit("DEVICE_UNPLUG_GUEST_ERROR", deleted("dat"));
    fixture.qemu.emit("DEVICE_DELETED", json!({ "device": 5 }));
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    assert!(matches!(api.list()[0].presence, Presence::Pending(_)), "{:?}", api.list());
    assert!(fixture.qemu.snapshot().iter().any(|line| line.starts_with("node data")), "the backend stays");
    fixture.qemu.grant("data");
    done_by_process(&fixture, api.as_ref());
}

/// The event arrives whenever the thread behind the socket gets round to it.
pub fn done_by_process(fixture: &Fixture, api: &dyn Api) {
    done_by_process_of(fixture, api);
    assert_gone(fixture);
}

pub fn a_guest_that_keeps_the_device_leaves_it_pending(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    let start = clock::now();
    assert_eq!(pending(api.unplug(&UnplugArgs::within("data", SHORT))), Why::Deadline);
    assert!(clock::since(start) >= Duration::from_millis(SHORT / 2), "it did wait");
    assert!(clock::since(start) < Duration::from_millis(SHORT + 1500));
    assert!(fixture.journal().exists(), "the next agent is to know");
    for _ in 0..3 {
        assert_eq!(pending(api.unplug(&UnplugArgs::within("data", SHORT))), Why::Deadline);
    }
    let asked = fixture.qemu.take_names().into_iter().filter(|name| name == "device_del").count();
    assert_eq!(asked, 1, "a second request means \"never mind\" to some guests");
    assert_eq!(fixture.qemu.take_violations(), Vec::<String>::new());
}

pub fn a_pending_device_keeps_its_slot_and_id(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    pending(api.unplug(&UnplugArgs::within("data", SHORT)));
    fails(api.add_disk(&fixture.disk_as("data", "a.img")), ErrorKind::Conflict);
    let place = Place { address: Some(("pci.0".into(), 4)), ..Place::default() };
    let failure = fails(api.add_disk(&DiskArgs { place, ..fixture.disk("b.img") }), ErrorKind::AddressTaken);
    assert!(failure.text.contains("pending"), "{failure:?}");
    let other = done(api.add_disk(&fixture.disk("b.img")));
    assert_eq!(other.address, Some(("pci.0".into(), 5)));
    let slots = api.slots().unwrap();
    let slot = slots.iter().find(|line| line.bus == "pci.0" && line.slot == 4).unwrap();
    assert_eq!((slot.state, slot.occupant.as_str()), (SlotUse::Quarantined, "data"));
    fails(api.add_disk(&fixture.disk("a.img")), ErrorKind::Conflict);
    fixture.qemu.grant("data");
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    let again = done(api.add_disk(&fixture.disk_as("data", "a.img")));
    assert_eq!(again.address, Some(("pci.0".into(), 4)), "free again");
}

pub fn reasons_for_pending(agent: &dyn Agent) {
    for (state, why) in [
        ("prelaunch", Why::NotStarted),
        ("paused", Why::Paused),
        ("suspended", Why::Asleep),
        ("guest-panicked", Why::Stopped),
        ("internal-error", Why::Stopped),
        ("io-error", Why::Stopped),
        ("shutdown", Why::Stopped),
    ] {
        let (fixture, api) = with_disk(agent);
        fixture.qemu.model(|model| model.run_state = state.into());
        // What has never run says nothing when it is looked at; what stops says so, and is asked what it does
        // instead.
        let api = if why == Why::NotStarted {
            drop(api);
            fixture.open(agent)
        } else {
            fixture.qemu.emit(if state == "suspended" { "SUSPEND" } else { "STOP" }, json!({}));
            fixture.qemu.settle();
            api
        };
        let start = clock::now();
        assert_eq!(pending(api.unplug(&UnplugArgs::of("data"))), why, "{state}");
        assert!(clock::since(start) < Duration::from_secs(3), "nobody waits for a guest that cannot answer");
        let Presence::Pending(device_info) = api.list()[0].presence else { panic!("{:?}", api.list()) };
        assert_eq!(device_info, why);
    }
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| {
        model.unplug_behaviour = UnplugBehaviour::Never;
        model.devices.iter_mut().for_each(|device| device.configured = device.id.is_none());
    });
    // The question why has a part of it; on a host that is too busy even for that the answer is the plain
    // deadline.
    let told = host::eventually_within(30, || match pending(api.unplug(&UnplugArgs::within("data", 1000))) {
        Why::NotBooted => true,
        Why::Deadline => false,
        other => panic!("{other:?}"),
    });
    assert!(told, "never said that the guest has not booted");
}

/// A guest that goes to sleep just after it was asked answers when it wakes up, and no caller waits for that.
pub fn who_stops_while_waited_for_is_pending_at_once(agent: &dyn Agent) {
    for (state, event, why) in [("suspended", "SUSPEND", Why::Asleep), ("paused", "STOP", Why::Paused)] {
        let (fixture, api) = with_disk(agent);
        fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
        let start = clock::now();
        clock::scope(|scope| {
            let waiting = scope.spawn(|| api.unplug(&UnplugArgs::of("data")));
            assert!(host::eventually(|| fixture.qemu.take_names().contains(&"device_del".to_owned())));
            fixture.qemu.model(|model| model.run_state = state.into());
            fixture.qemu.emit(event, json!({}));
            assert_eq!(pending(waiting.join().unwrap()), why);
        });
        assert!(
            clock::since(start) < Duration::from_millis(AMPLE / 2),
            "waited for a guest that cannot answer"
        );
        fixture.qemu.model(|model| model.run_state = "running".into());
        fixture.qemu.emit("RESUME", json!({}));
        fixture.qemu.grant("data");
        done_by_process(&fixture, api.as_ref());
    }
}

/// The word that it stopped was on its way when it was asked, and comes before the answer.
pub fn who_stopped_just_before_it_was_asked_is_pending_at_once(agent: &dyn Agent) {
    for (state, event, why) in [("suspended", "SUSPEND", Why::Asleep), ("paused", "STOP", Why::Paused)] {
        let (fixture, api) = with_disk(agent);
        fixture.qemu.model(|model| {
            model.unplug_behaviour = UnplugBehaviour::Never;
            model.run_state = state.into();
        });
        let word = json!({ "event": event, "data": {}, "timestamp": { "seconds": 1, "microseconds": 1 } });
        fixture.qemu.fault("device_del", 0, Act::Around(format!("{word}\r\n").into_bytes(), Vec::new()));
        let start = clock::now();
        assert_eq!(pending(api.unplug(&UnplugArgs::of("data"))), why);
        assert!(
            clock::since(start) < Duration::from_millis(AMPLE / 2),
            "waited for a guest that cannot answer"
        );
    }
}

/// A guest that is known to run is not asked what it does, and one that may have stopped is, once.
pub fn the_run_state_is_asked_only_when_it_may_have_changed(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    let asked = || fixture.qemu.take_names().into_iter().filter(|name| name == "query-status").count();
    let refused = || fails(api.unplug(&UnplugArgs::of("data")), ErrorKind::GuestRefused);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Refuses);
    refused();
    assert_eq!(asked(), 0, "nothing has happened since the guest was opened");
    for event in
        ["STOP", "RESUME", "SUSPEND_DISK", "RESET", "WAKEUP", "GUEST_PANICKED", "SHUTDOWN", "MIGRATION"]
    {
        fixture.qemu.emit(event, json!({}));
        fixture.qemu.settle();
        refused();
        assert_eq!(asked(), 1, "after {event}");
        refused();
        assert_eq!(asked(), 0, "after {event} and an answer");
    }
    fixture.qemu.emit("RTC_CHANGE", json!({ "offset": 1 }));
    fixture.qemu.settle();
    refused();
    assert_eq!(asked(), 0, "this says nothing about the run state");
}

pub fn a_refusal_is_an_answer_and_the_device_stays(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    let before = fixture.snapshot();
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Refuses);
    for round in 0..2 {
        let start = clock::now();
        let failure = fails(api.unplug(&UnplugArgs::of("data")), ErrorKind::GuestRefused);
        assert!(clock::since(start) < Duration::from_secs(3));
        assert!(failure.text.contains("data"));
        assert_eq!(fixture.snapshot(), before);
        assert_eq!(api.list()[0].presence, Presence::Live);
        assert_eq!(api.next_event(), None, "the call has answered it");
        let asked = fixture.qemu.take_names().into_iter().filter(|name| name == "device_del").count();
        assert_eq!(asked, 1, "round {round}");
    }
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::AtOnce);
    done(api.unplug(&UnplugArgs::of("data")));
    assert_gone(&fixture);
}

pub fn a_late_refusal_comes_as_an_event(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    let before = fixture.snapshot();
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    pending(api.unplug(&UnplugArgs::within("data", SHORT)));
    fixture.qemu.refuse("data");
    fixture.qemu.settle();
    assert!(api.process(AMPLE).unwrap() > 0);
    assert_eq!(api.next_event().unwrap().what, EventKind::Refused);
    assert_eq!(fixture.snapshot(), before);
    assert_eq!(api.list()[0].presence, Presence::Live);
    assert_eq!(done(api.add_disk(&fixture.disk_as("data", "a.img"))).presence, Presence::Live);
}

pub fn a_busy_guest_is_asked_again(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Busy(2));
    done(api.unplug(&UnplugArgs::of("data")));
    let asked = fixture.qemu.take_names().into_iter().filter(|name| name == "device_del").count();
    assert_eq!(asked, 3);
    assert_gone(&fixture);
}

pub fn a_guest_that_stays_busy_is_an_error(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    let before = fixture.snapshot();
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Busy(1000));
    let start = clock::now();
    let failure = fails(api.unplug(&UnplugArgs::within("data", 600)), ErrorKind::GuestBusy);
    assert!(clock::since(start) < Duration::from_millis(2500));
    assert_eq!(failure.errno, libc::EBUSY);
    let asked = fixture.qemu.take_names().into_iter().filter(|name| name == "device_del").count();
    assert!((2..=5).contains(&asked), "asked {asked} times in 0.6 s");
    assert_eq!(fixture.snapshot(), before);
    assert_eq!(api.list()[0].presence, Presence::Live);
}

pub fn a_request_of_somebody_else_is_waited_for(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| {
        model.unplug_behaviour = UnplugBehaviour::Never;
        model.ask("data");
    });
    assert_eq!(pending(api.unplug(&UnplugArgs::within("data", SHORT))), Why::Deadline);
    fixture.qemu.grant("data");
    done_by_process(&fixture, api.as_ref());
}

pub fn what_is_not_there_is_absent(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    let before = fixture.snapshot();
    for id in ["nosuch", "disk-pci-9", "data2"] {
        let answer = api.unplug(&UnplugArgs::of(id)).unwrap();
        assert_eq!(answer, Answer { state: State::Absent, device: None });
    }
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    done(api.unplug(&UnplugArgs::of("data")));
    assert_eq!(api.unplug(&UnplugArgs::of("data")).unwrap().state, State::Absent, "gone is gone");
    assert_ne!(fixture.snapshot(), before);
}

/// What the guest showed when the agent came is not what it shows now.
pub fn what_was_there_at_first_is_absent_once_it_is_gone(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    drop(api);
    let api = fixture.open(agent);
    done(api.unplug(&UnplugArgs::of("data")));
    assert_eq!(api.unplug(&UnplugArgs::of("data")).unwrap(), Answer { state: State::Absent, device: None });
}

pub fn what_is_not_ours_is_left_alone(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    fixture.qemu.model(|model| model.devices.push(Dev::new(Some("vnet9"), "virtio-net-pci", "pci.0", 9, 0)));
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    let before = fixture.snapshot();
    fails(api.unplug(&UnplugArgs::of("vnet9")), ErrorKind::Foreign);
    assert_eq!(fixture.qemu.take_names(), ["qom-list"], "whether it is still there");
    fixture.qemu.grant("vnet9");
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    assert_eq!(api.next_event(), None, "no news of ours");
    assert_eq!(fixture.snapshot().record, before.record);
    let place = Place { address: Some(("pci.0".into(), 9)), ..Place::default() };
    done(api.add_disk(&DiskArgs { place, ..fixture.disk("a.img") }));
}

pub fn a_kind_can_be_demanded(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    let wrong = UnplugArgs { kind: Some("nic"), ..UnplugArgs::of("data") };
    fails(api.unplug(&wrong), ErrorKind::Invalid);
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    done(api.unplug(&UnplugArgs { kind: Some("disk"), ..UnplugArgs::of("data") }));
}

/// A request that was lost is repeated after ten seconds, no sooner.
pub fn a_guest_that_did_not_hear_is_asked_again(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| {
        model.unplug_behaviour = UnplugBehaviour::Never;
        model.expiry = Some(Duration::from_secs(5));
    });
    let start = clock::now();
    clock::scope(|scope| {
        let waiting = scope.spawn(|| api.unplug(&UnplugArgs::within("data", 20_000)));
        assert!(host::eventually(|| fixture.qemu.take_names().contains(&"device_del".to_owned())));
        fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::AtOnce);
        done(waiting.join().unwrap());
    });
    assert!(clock::since(start) >= Duration::from_secs(10), "{:?}", clock::since(start));
    assert_eq!(fixture.qemu.take_names().into_iter().filter(|name| name == "device_del").count(), 1);
    assert_gone(&fixture);
}

/// What QEMU says to the repeated request is the answer, whatever the first one was told.
pub fn a_repeated_request_is_answered_for_itself(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| {
        model.unplug_behaviour = UnplugBehaviour::Never;
        model.expiry = Some(Duration::from_secs(5));
    });
    clock::scope(|scope| {
        let waiting = scope.spawn(|| api.unplug(&UnplugArgs::within("data", 11_000)));
        assert!(host::eventually(|| fixture.qemu.take_names().contains(&"device_del".to_owned())));
        fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Busy(1000));
        fails(waiting.join().unwrap(), ErrorKind::GuestBusy);
    });
    assert_eq!(api.list()[0].presence, Presence::Live);
}
