//! What happens while nobody waits: late departures, lost connections, cancelled calls, floods.
#![allow(unreachable_pub)]

use std::os::fd::RawFd;
use std::time::Duration;

use kvm_hotplug::ErrorKind;
use serde_json::json;

use super::removing::{SHORT, assert_gone, done_by_process, pending, with_disk};
use crate::support::api::*;
use crate::support::clock;
use crate::support::fake::{Act, Greeting, UnplugBehaviour, deleted};
use crate::support::fixture::Fixture;
use crate::support::host;

/// A level-triggered look at the handle's descriptor, through an epoll of the test's own: it has to nest.
fn is_readable(fd: RawFd, within_ms: u64) -> bool {
    let until = clock::now() + Duration::from_millis(within_ms);
    loop {
        if host::is_readable(fd) {
            return true;
        }
        if clock::now() >= until {
            return false;
        }
        clock::sleep(Duration::from_millis(1));
    }
}

pub fn drain(api: &dyn Api) -> Vec<Notification> {
    std::iter::from_fn(|| api.next_event()).collect()
}

pub fn a_late_departure_is_finished_by_process(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    pending(api.unplug(&UnplugArgs::within("data", SHORT)));
    assert_eq!(api.next_event(), None);
    let fd = api.fd();
    // On a busy machine, QEMU's answer to the request comes after the deadline.
    fixture.qemu.settle();
    assert_eq!(api.process(AMPLE).unwrap(), 0);
    assert!(!is_readable(fd, 20), "nothing to do yet");
    fixture.qemu.grant("data");
    assert!(is_readable(fd, 2000), "the monitor has something to say");
    assert!(fixture.qemu.snapshot().iter().any(|line| line.starts_with("node data")), "until somebody calls");
    assert_eq!(api.process(AMPLE).unwrap(), 1);
    assert!(is_readable(fd, 0), "an event can be fetched");
    let news = api.next_event().unwrap();
    assert_eq!((news.what, news.id.as_deref()), (EventKind::Removed, Some("data")));
    assert!(news.generation > 0);
    assert!(!is_readable(fd, 20), "all is fetched");
    assert_eq!(fd, api.fd());
    assert_gone(&fixture);
}

fn states(api: &dyn Api) -> Vec<Presence> {
    api.list().iter().map(|device_info| device_info.presence).collect()
}

/// Somebody has exported the disk's image, which stays open in QEMU. Nobody is made to wait for that, and
/// everybody is told.
pub fn an_image_that_is_exported_keeps_its_disk_pending(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| drop(model.exports.insert("backup".into(), "data".into())));
    for _ in 0..3 {
        fixture.qemu.take_seen();
        assert_eq!(pending(api.unplug(&UnplugArgs::of("data"))), Why::InUse);
        let described = api.describe(Some("data")).unwrap().unwrap();
        assert!(described["reason"].as_str().unwrap().contains("NBD export backup"), "{described}");
        let tries = fixture.qemu.take_names().into_iter().filter(|name| name == "blockdev-del").count();
        assert_eq!(tries, 1, "tried once, and not waited for");
        assert_eq!(states(&*api), [Presence::Pending(Why::InUse)]);
    }
    assert_eq!(drain(&*api), [], "the callers have their answers");
    fixture.qemu.take_seen();
    assert_eq!(api.process(AMPLE).unwrap(), 0);
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new(), "nothing is slower");
    drop(api);
    let api = fixture.open(agent);
    let tries = fixture.qemu.take_names().into_iter().filter(|name| name == "blockdev-del").count();
    assert_eq!(tries, 1, "by another agent neither");
    assert_eq!(drain(&*api).iter().map(|news| news.what).collect::<Vec<_>>(), [EventKind::Pending]);
    assert_eq!(states(&*api), [Presence::Pending(Why::InUse)]);
    fixture.qemu.model(|model| model.exports.clear());
    fixture.qemu.emit("BLOCK_EXPORT_DELETED", json!({ "id": "backup" }));
    assert!(is_readable(api.fd(), 2000), "there is something to do");
    assert_eq!(api.process(AMPLE).unwrap(), 1);
    assert_eq!(drain(&*api).iter().map(|news| news.what).collect::<Vec<_>>(), [EventKind::Removed]);
    assert_gone(&fixture);
}

/// The word of it comes before the greeting, when nobody has asked yet which fdsets there are.
pub fn one_that_left_before_the_greeting_leaves_nothing(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("data") }));
    drop(api);
    fixture.qemu.grant("data");
    fixture.qemu.settle();
    let word = json!({ "event": "DEVICE_DELETED", "data": { "device": "data", "path": "/machine/peripheral/data" },
        "timestamp": { "seconds": 1, "microseconds": 0 } });
    let greeting = json!({ "QMP": { "version": { "qemu": { "major": 7, "minor": 2, "micro": 22 }, "package": "" },
        "capabilities": ["oob"] } });
    fixture.qemu.greet(Greeting::bytes(format!("{word}\r\n{greeting}\r\n")));
    let api = fixture.open(agent);
    assert_gone(&fixture);
    assert_eq!(drain(&*api).iter().map(|news| news.what).collect::<Vec<_>>(), [EventKind::Removed]);
}

/// As QEMU does now and then when another client has just been killed, also more than once.
pub fn a_connection_that_is_lost_at_once_is_made_again(agent: &dyn Agent) {
    let (fixture, mut api) = with_disk(agent);
    for lost in [1, 4] {
        drop(api);
        (0..lost).for_each(|nth| fixture.qemu.fault("query-pci", nth, Act::CloseBefore));
        api = fixture.open(agent);
        assert_eq!(drain(&*api), [], "nobody had those connections");
    }
    drop(api);
    (0..5).for_each(|nth| fixture.qemu.fault("query-pci", nth, Act::CloseBefore));
    fails(fixture.try_open(agent).map(drop), ErrorKind::MonitorLost);
}

pub fn without_waiting_the_event_tells(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::After(Duration::from_millis(50)));
    let start = clock::now();
    let ask = UnplugArgs { wait: false, ..UnplugArgs::of("data") };
    assert_eq!(pending(api.unplug(&ask)), Why::NotAwaited);
    assert!(clock::since(start) < Duration::from_secs(2));
    assert!(is_readable(api.fd(), 2000));
    done_by_process(&fixture, api.as_ref());
    assert_eq!(drain(api.as_ref())[0].what, EventKind::Removed);
}

pub fn a_guest_may_let_go_unasked(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = done(api.add_disk(&fixture.disk_as("data", "a.img")));
    done(api.add_nic(&fixture.nic_as("data-nic", "52:54:00:00:00:09")));
    let fd = api.fd();
    assert!(!is_readable(fd, 20));
    for id in ["data", "data-nic"] {
        fixture.qemu.grant(id);
        assert!(is_readable(fd, 2000));
        assert!(host::eventually(|| api.process(AMPLE).unwrap() > 0));
        let news = api.next_event().unwrap();
        assert_eq!((news.what, news.id.as_deref()), (EventKind::RemovedByGuest, Some(id)));
    }
    assert_gone(&fixture);
    assert_eq!(fixture.snapshot().taps, Vec::<String>::new());
    assert_eq!(done(api.add_disk(&fixture.disk("a.img"))).address, disk.address, "its slot is free");
}

pub fn an_agent_that_comes_back_finishes_removals(agent: &dyn Agent) {
    for gone_meanwhile in [false, true] {
        let (fixture, api) = with_disk(agent);
        fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
        pending(api.unplug(&UnplugArgs::within("data", SHORT)));
        drop(api);
        if gone_meanwhile {
            fixture.qemu.grant("data");
            fixture.qemu.settle();
        }
        let api = fixture.open(agent);
        if !gone_meanwhile {
            assert!(matches!(api.list()[0].presence, Presence::Pending(_)), "{:?}", api.list());
            fails(api.add_disk(&fixture.disk_as("data", "a.img")), ErrorKind::Conflict);
            assert_eq!(done(api.add_nic(&fixture.nic(1))).id, "nic-pci-5", "the slot is in quarantine");
            done(api.unplug(&UnplugArgs { kind: Some("nic"), ..granted(&fixture, "nic-pci-5") }));
            fixture.qemu.grant("data");
        }
        done_by_process(&fixture, api.as_ref());
        assert!(drain(api.as_ref()).iter().any(|news| news.what == EventKind::Removed), "the caller is told");
    }
}

/// A removal that the guest grants at once, whatever it does about others.
fn granted(fixture: &Fixture, id: &str) -> UnplugArgs {
    fixture.qemu.model(|model| model.unplug_behaviours.insert(id.into(), UnplugBehaviour::AtOnce));
    UnplugArgs::of(id)
}

pub fn a_pending_removal_survives_a_lost_monitor(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    pending(api.unplug(&UnplugArgs::within("data", SHORT)));
    let fd = api.fd();
    fixture.qemu.hang_up();
    assert!(is_readable(fd, 2000), "the end of a connection is something to process");
    api.process(AMPLE).unwrap();
    assert_eq!(fd, api.fd());
    assert_eq!(drain(api.as_ref())[0].what, EventKind::MonitorLost);
    assert!(matches!(api.list()[0].presence, Presence::Pending(_)), "{:?}", api.list());
    assert_eq!(pending(api.unplug(&UnplugArgs::within("data", SHORT))), Why::Deadline);
    fixture.qemu.grant("data");
    assert!(is_readable(fd, 2000), "the new connection is watched too");
    done_by_process(&fixture, api.as_ref());
}

pub fn a_device_that_went_while_the_monitor_was_lost(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    // The connection breaks while the call waits, and the event is lost with it.
    clock::scope(|scope| {
        let waiting = scope.spawn(|| api.unplug(&UnplugArgs::of("data")));
        assert!(host::eventually(|| fixture.qemu.take_names().contains(&"device_del".to_owned())));
        fixture.qemu.accept(false);
        fixture.qemu.hang_up();
        fixture.qemu.grant("data");
        fixture.qemu.settle();
        fixture.qemu.accept(true);
        done(waiting.join().unwrap());
    });
    assert_gone(&fixture);
}

pub fn cancel_ends_the_wait_and_says_what_is_pending(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    assert!(!api.cancel(), "nobody is in a call");
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    let start = clock::now();
    let failure = clock::scope(|scope| {
        let waiting = scope.spawn(|| api.unplug(&UnplugArgs::of("data")));
        assert!(host::eventually(|| fixture.qemu.take_names().contains(&"device_del".to_owned())));
        clock::sleep(Duration::from_millis(30));
        assert!(api.cancel());
        fails(waiting.join().unwrap(), ErrorKind::Canceled)
    });
    assert!(clock::since(start) < Duration::from_secs(5), "{:?}", clock::since(start));
    assert_eq!(failure.left, ["device data: its removal is pending"]);
    assert!(matches!(api.list()[0].presence, Presence::Pending(_)), "the next call is not cancelled");
    fixture.qemu.grant("data");
    done_by_process(&fixture, api.as_ref());
}

/// What the guest has is asked in several steps, and the slots are known when the last one is done.
pub fn a_look_that_is_broken_off_gives_no_slot_away(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    let lan = done(api.add_nic(&fixture.nic_as("lan", "52:54:00:00:00:01")));
    pending(api.unplug(&UnplugArgs::within("data", SHORT)));
    // The one that is still recorded is gone from the guest's slots, and from nowhere else.
    fixture.qemu.model(|model| model.devices.retain(|device| device.id.as_deref() != Some("lan")));
    fixture.qemu.take_seen();
    fixture.qemu.fault("qom-get", 0, Act::Stall(Duration::from_millis(300)));
    clock::scope(|scope| {
        let looking = scope.spawn(|| api.repair());
        assert!(host::eventually(|| fixture.qemu.take_names().contains(&"qom-get".to_owned())));
        assert!(api.cancel());
        assert!(looking.join().unwrap().is_err());
    });
    let other = done(api.add_nic(&fixture.nic_as("wan", "52:54:00:00:00:02")));
    assert_ne!(other.address, lan.address);
}

pub fn cancel_of_an_add_says_what_became_of_it(agent: &dyn Agent) {
    for command in ["add-fd", "blockdev-add", "device_add"] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let disk = fixture.disk_as("data", "a.img");
        let before = fixture.snapshot();
        fixture.qemu.take_seen();
        fixture.qemu.fault(command, 0, Act::Stall(Duration::from_millis(300)));
        let failure = clock::scope(|scope| {
            let adding = scope.spawn(|| api.add_disk(&disk));
            assert!(host::eventually(|| fixture.qemu.take_names().contains(&command.to_owned())));
            assert!(api.cancel());
            fails(adding.join().unwrap(), ErrorKind::Canceled)
        });
        let settled = host::eventually(|| {
            api.process(AMPLE).unwrap();
            fixture.snapshot() == before
        });
        assert!(settled, "{command}: {failure:?}: {:#?}", fixture.snapshot());
        done(api.add_disk(&disk));
    }
}

pub fn a_flood_of_events_hides_nothing(agent: &dyn Agent) {
    let flood = || b"{\"event\":\"STOP\",\"data\":{}}\r\n".repeat(6000);
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    pending(api.unplug(&UnplugArgs::within("data", SHORT)));
    fixture.qemu.say(flood());
    fixture.qemu.grant("data");
    done_by_process(&fixture, api.as_ref());

    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::After(Duration::from_millis(100)));
    clock::scope(|scope| {
        let waiting = scope.spawn(|| api.unplug(&UnplugArgs::of("data")));
        fixture.qemu.say(flood());
        done(waiting.join().unwrap());
    });
    assert_gone(&fixture);
}

pub fn events_are_bounded(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    // Nobody fetches: each round leaves word of a lost connection.
    for _ in 0..1030 {
        fixture.qemu.hang_up();
        api.process(AMPLE).unwrap();
    }
    let news = drain(api.as_ref());
    assert!(matches!(news[0].what, EventKind::Lost(count) if count > 0), "{:?}", news[0]);
    assert!(news.len() < 1030, "{}", news.len());
    assert!(!is_readable(api.fd(), 20));
}

/// QEMU says that a device is gone some time after it has left, to whoever is connected by then; one agent
/// after another may have found it missing and have added the next one.
pub fn a_late_word_is_not_believed_by_later_agents(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let ask = fixture.nic_as("lan", "52:54:00:00:00:09");
    let mut api = fixture.open(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    for _ in 0..3 {
        done(api.add_nic(&ask));
        pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("lan") }));
        drop(api);
        fixture.qemu.grant("lan");
        fixture.qemu.settle();
        api = fixture.open(agent);
        assert_eq!(fixture.recorded(), Vec::<String>::new());
        drop(api);
        api = fixture.open(agent);
    }
    done(api.add_nic(&ask));
    pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("lan") }));
    let before = fixture.snapshot();
    for _ in 0..3 {
        fixture.qemu.emit("DEVICE_DELETED", deleted("lan"));
        assert!(is_readable(api.fd(), 2000));
        api.process(AMPLE).unwrap();
        assert_eq!(fixture.snapshot(), before);
    }
    fixture.qemu.grant("lan");
    assert!(host::eventually(|| api.process(AMPLE).is_ok() && fixture.recorded().is_empty()));
    assert!(!fixture.record_text().contains("unheard"), "QEMU has said it");
}

pub fn a_reset_completes_removals(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    pending(api.unplug(&UnplugArgs::within("data", SHORT)));
    fixture.qemu.emit("RESET", json!({ "guest": true, "reason": "guest-reset" }));
    fixture.qemu.grant("data");
    fixture.qemu.emit("DEVICE_DELETED", deleted("data"));
    done_by_process(&fixture, api.as_ref());
    let news = drain(api.as_ref());
    let removed: Vec<_> = news.iter().filter(|news| news.what == EventKind::Removed).collect();
    assert_eq!((news.len(), removed.len()), (2, 1), "the reset and the removal, once each: {news:?}");
}
