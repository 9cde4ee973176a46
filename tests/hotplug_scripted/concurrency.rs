//! Several calls of one handle are under way at once: what waits for the guest holds up nobody, and each is
//! answered once.
#![allow(unreachable_pub)]

use std::collections::BTreeSet;
use std::time::Duration;

use kvm_hotplug::ErrorKind;
use serde_json::json;

use crate::async_add::{hold, no_wait, no_wait_disk};
use crate::removing::{SHORT, pending};
use crate::support::api::*;
use crate::support::clock;
use crate::support::fake::{Act, UnplugBehaviour};
use crate::support::fixture::Fixture;
use crate::support::host;

/// No test takes that long: whatever waits so long waits until the test lets it go.
pub const LONG: u64 = 60_000;

const MAC: &str = "52:54:00:00:00:11";

type Waiting<'scope> = clock::Waiting<'scope, Result<Answer, Failure>>;

/// A NIC "lan" and disks "data" and "more" in a guest that lets go of nothing before the test says so.
pub fn with_devices(agent: &dyn Agent) -> (Fixture, Box<dyn Api>) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_nic(&fixture.nic_as("lan", MAC)));
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    done(api.add_disk(&fixture.disk_as("more", "b.img")));
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    fixture.qemu.take_seen();
    (fixture, api)
}

/// Waits until QEMU has been asked for the device.
#[track_caller]
pub fn asked_for(fixture: &Fixture, id: &str) {
    let is_asked = || fixture.qemu.model(|model| model.device(id).is_some_and(|it| it.asked.is_some()));
    assert!(host::eventually(is_asked), "QEMU was not asked for {id}");
}

pub fn removes<'scope>(
    scope: &clock::Scope<'scope, '_>,
    fixture: &Fixture,
    api: &'scope dyn Api,
    id: &'scope str,
) -> Waiting<'scope> {
    let waiting = scope.spawn(move || api.unplug(&UnplugArgs::within(id, LONG)));
    asked_for(fixture, id);
    waiting
}

fn drain(api: &dyn Api) -> Vec<Notification> {
    std::iter::from_fn(|| api.next_event()).collect()
}

fn sent(seen: &[String], command: &str) -> usize {
    seen.iter().filter(|name| *name == command).count()
}

/// All that an event loop hears until nothing is under way any more.
fn hear(fixture: &Fixture, api: &dyn Api, count: usize) -> Vec<Notification> {
    let mut heard = Vec::new();
    let patience = clock::now() + Duration::from_secs(20);
    while heard.len() < count || fixture.journal().exists() {
        assert!(clock::now() < patience, "{heard:?}");
        api.process(AMPLE).unwrap();
        heard.extend(drain(api));
        clock::sleep(Duration::from_millis(1));
    }
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    heard.extend(drain(api));
    heard
}

#[track_caller]
fn assert_quiet(fixture: &Fixture, api: &dyn Api) {
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    assert_eq!(drain(api), [], "what a call answers is no event");
    assert!(!fixture.journal().exists(), "the journal is still there");
}

pub fn a_removal_that_waits_holds_up_nobody(agent: &dyn Agent) {
    let (fixture, api) = with_devices(agent);
    let api = api.as_ref();
    clock::scope(|scope| {
        let data = removes(scope, &fixture, api, "data");
        // None of these comes back before it is done, and all of them do while the removal waits.
        done(api.add_nic(&fixture.nic_as("web", "52:54:00:00:00:12")));
        let state = |id: &str| api.list().into_iter().find(|item| item.id == id).map(|item| item.presence);
        assert_eq!(state("web"), Some(Presence::Live));
        assert!(matches!(state("data"), Some(Presence::Pending(_))), "{:?}", state("data"));
        assert_eq!(api.set_link("lan", false, AMPLE).unwrap(), Changed::Done);
        assert_eq!(api.resize("more", SizeArgs::bytes(3 << 20), AMPLE).unwrap(), 3 << 20);
        let place = |id: &str| api.list().into_iter().find(|item| item.id == id).unwrap().address;
        let of_data = api
            .slots()
            .unwrap()
            .into_iter()
            .find(|slot| Some((slot.bus.clone(), slot.slot)) == place("data"));
        assert_eq!(of_data.unwrap().state, SlotUse::Quarantined);
        assert!(api.describe(Some("data")).unwrap().is_some());
        assert_eq!(api.repair().unwrap(), Vec::<String>::new());
        api.qmp(&QmpArgs::new("query-status", json!({}))).unwrap();
        assert_eq!(api.process(AMPLE).unwrap(), 0);
        let lan = removes(scope, &fixture, api, "lan");
        assert_eq!(
            pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("more") })),
            Why::NotAwaited
        );
        assert!(!data.is_finished() && !lan.is_finished(), "the guest has let go of nothing");
        fixture.qemu.grant("lan");
        done(lan.join().unwrap());
        assert!(!data.is_finished(), "the guest has not let go of that one");
        fixture.qemu.grant("data");
        done(data.join().unwrap());
    });
    fixture.qemu.grant("more");
    let heard = hear(&fixture, api, 1);
    let heard: Vec<_> = heard.iter().map(|news| (news.what, news.id.as_deref())).collect();
    assert_eq!(heard, [(EventKind::Removed, Some("more"))], "the only one that no call has answered");
    assert_eq!(fixture.recorded(), ["web"]);
    assert_quiet(&fixture, api);
}

pub fn two_removals_of_one_device_are_one(agent: &dyn Agent) {
    let (fixture, api) = with_devices(agent);
    let api = api.as_ref();
    clock::scope(|scope| {
        let first = removes(scope, &fixture, api, "data");
        let second = scope.spawn(|| api.unplug(&UnplugArgs::within("data", LONG)));
        let ids = ["data".to_owned(), "lan".to_owned()];
        let many = scope.spawn(move || api.unplug_all(&ids, LONG));
        asked_for(&fixture, "lan");
        // One that waits less long is answered for itself.
        assert_eq!(pending(api.unplug(&UnplugArgs::within("data", SHORT))), Why::Deadline);
        assert!(!first.is_finished() && !second.is_finished());
        fixture.qemu.grant("data");
        done(first.join().unwrap());
        done(second.join().unwrap());
        assert!(!many.is_finished(), "the guest has not let go of the other one");
        fixture.qemu.grant("lan");
        many.join().unwrap().into_iter().for_each(|answer| assert_eq!(answer.unwrap().state, State::Done));
    });
    let seen = fixture.qemu.take_names();
    for (command, times) in [("device_del", 2), ("blockdev-del", 1), ("remove-fd", 1), ("netdev_del", 1)] {
        assert_eq!(sent(&seen, command), times, "{command}: {seen:?}");
    }
    assert_eq!(fixture.recorded(), ["more"]);
    assert_quiet(&fixture, api);
}

pub fn a_refusal_answers_all_that_wait(agent: &dyn Agent) {
    let (fixture, api) = with_devices(agent);
    let api = api.as_ref();
    clock::scope(|scope| {
        let first = removes(scope, &fixture, api, "data");
        let second = scope.spawn(|| api.unplug(&UnplugArgs::within("data", LONG)));
        let lan = removes(scope, &fixture, api, "lan");
        fixture.qemu.refuse("data");
        // Whoever comes after the refusal asks again.
        fails(first.join().unwrap(), ErrorKind::GuestRefused);
        while !second.is_finished() {
            fixture.qemu.refuse("data");
            clock::sleep(Duration::from_millis(1));
        }
        fails(second.join().unwrap(), ErrorKind::GuestRefused);
        assert!(!lan.is_finished(), "the refusal was about the other one");
        fixture.qemu.grant("lan");
        done(lan.join().unwrap());
    });
    assert_eq!(fixture.recorded(), ["data", "more"]);
    assert!(!fixture.journal().exists());
}

pub fn what_is_being_removed_is_not_added(agent: &dyn Agent) {
    let (fixture, api) = with_devices(agent);
    let api = api.as_ref();
    clock::scope(|scope| {
        let data = removes(scope, &fixture, api, "data");
        let failure = fails(api.add_disk(&fixture.disk_as("data", "a.img")), ErrorKind::Conflict);
        assert!(failure.text.contains("data is being removed; wait until it is gone"), "{failure:?}");
        fails(api.add_disk(&no_wait_disk(fixture.disk_as("data", "a.img"))), ErrorKind::Conflict);
        fails(api.add_nic(&fixture.nic_as("data", "52:54:00:00:00:12")), ErrorKind::Conflict);
        assert!(!data.is_finished());
        fixture.qemu.grant("data");
        done(data.join().unwrap());
    });
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    assert_quiet(&fixture, api);
}

/// The thread that waits reads what is said of other things, and whoever watches the descriptor is told.
pub fn news_reach_an_event_loop_while_a_call_waits(agent: &dyn Agent) {
    let (fixture, api) = with_devices(agent);
    let api = api.as_ref();
    clock::scope(|scope| {
        let data = removes(scope, &fixture, api, "data");
        fixture.qemu.emit("SHUTDOWN", json!({ "guest": true, "reason": "guest-shutdown" }));
        // The socket shows it until the thread that waits has read it; after that, only the handle can.
        let stays_readable = || {
            (0..30).all(|_| {
                clock::sleep(Duration::from_millis(1));
                host::is_readable(api.fd())
            })
        };
        assert!(host::eventually(stays_readable), "nobody tells of it before the removal is done");
        assert_eq!(api.next_event().map(|news| news.what), Some(EventKind::Shutdown { by_guest: true }));
        // The guest gives up a device that nobody waits for.
        fixture.qemu.grant("lan");
        let lan = host::eventually(|| {
            api.process(AMPLE).unwrap();
            !fixture.recorded().contains(&"lan".to_owned())
        });
        assert!(lan && !data.is_finished());
        assert_eq!(drain(api).iter().map(|news| news.what).collect::<Vec<_>>(), [EventKind::RemovedByGuest]);
        fixture.qemu.grant("data");
        done(data.join().unwrap());
    });
    assert_quiet(&fixture, api);
}

/// What the guest was too busy for is asked for again, by the call that waits for it and by no other, and of
/// the same device.
pub fn a_busy_guest_is_asked_again_for_the_same_device(agent: &dyn Agent) {
    let (fixture, api) = with_devices(agent);
    let api = api.as_ref();
    let busy = "Hot-unplug failed: guest is busy (power indicator blinking)";
    (0..2000).for_each(|nth| fixture.qemu.fault("device_del", nth, Act::refuse(busy)));
    clock::scope(|scope| {
        let data = scope.spawn(|| api.unplug(&UnplugArgs::within("data", LONG)));
        assert!(host::eventually(|| fixture.qemu.take_names().contains(&"device_del".to_owned())));
        done(api.add_nic(&fixture.nic_as("web", "52:54:00:00:00:12")));
        api.process(AMPLE).unwrap();
        api.slots().unwrap();
        assert_eq!(drain(api), [], "nobody else asks for it");
        // It goes by itself, and another one comes in its place.
        fixture.qemu.grant("data");
        assert!(host::eventually(|| {
            api.process(AMPLE).unwrap();
            !fixture.recorded().contains(&"data".to_owned())
        }));
        done(api.add_disk(&fixture.disk_as("data", "c.img")));
        fixture.qemu.clear_faults();
        done(data.join().unwrap());
    });
    assert!(fixture.qemu.model(|model| model.device("data").is_some_and(|data| data.asked.is_none())));
    let recorded: BTreeSet<String> = fixture.recorded().into_iter().collect();
    assert_eq!(recorded, ["data", "lan", "more", "web"].map(String::from).into());
    assert_quiet(&fixture, api);
}

pub fn cancel_ends_all_calls_and_each_says_what_became_of_its_device(agent: &dyn Agent) {
    let (fixture, api) = with_devices(agent);
    let api = api.as_ref();
    clock::scope(|scope| {
        let data = removes(scope, &fixture, api, "data");
        let lan = removes(scope, &fixture, api, "lan");
        fixture.qemu.take_seen();
        fixture.qemu.fault("device_add", 0, Act::HangAfter);
        let web = fixture.nic_as("web", "52:54:00:00:00:12");
        let web = NicArgs { place: Place { timeout_ms: LONG, ..web.place }, ..web };
        let adding = scope.spawn(move || api.add_nic(&web));
        assert!(host::eventually(|| fixture.qemu.take_names().contains(&"device_add".to_owned())));
        // It has not had its turn yet, and would have to ask the guest.
        let looking = scope.spawn(|| api.slots());
        clock::sleep(Duration::from_millis(20));
        assert!(api.cancel());
        let failure = fails(data.join().unwrap(), ErrorKind::Canceled);
        assert_eq!(failure.left, ["device data: its removal is pending"]);
        let failure = fails(lan.join().unwrap(), ErrorKind::Canceled);
        assert_eq!(failure.left, ["device lan: its removal is pending"]);
        let failure = fails(adding.join().unwrap(), ErrorKind::Canceled);
        assert!(failure.left[0].starts_with("device web"), "{failure:?}");
        let looked = looking.join().unwrap();
        assert!(looked.is_err_and(|failure| failure.is(ErrorKind::Canceled)));
    });
    assert!(!api.cancel(), "nobody is in a call");
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::AtOnce);
    fixture.qemu.resume();
    let settled = host::eventually(|| {
        api.process(AMPLE).unwrap();
        api.list().iter().all(|item| item.id != "web")
    });
    assert!(settled && fixture.qemu.model(|model| model.device("web").is_none()));
    let is_pending = |item: &Item| matches!(item.presence, Presence::Pending(_));
    assert_eq!(api.list().iter().filter(|item| is_pending(item)).count(), 2, "no later call is cancelled");
}

pub fn several_adds_are_under_way_at_once(agent: &dyn Agent) {
    // The one with more queues takes two steps, so that one begun after it is done before it.
    let orders: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        for failing in [None, Some("netdev_add"), Some("blockdev-add"), Some("getfd")] {
            add_several(agent, order, failing);
        }
    }
}

fn add_several(agent: &dyn Agent, order: [usize; 3], failing: Option<&str>) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let api = api.as_ref();
    done(api.add_disk(&fixture.disk_as("first", "first.img")));
    if let Some(command) = failing {
        fixture.qemu.fault(command, 0, Act::refuse("out of luck"));
    }
    // QEMU stands still with the first command of the first one, whatever that is.
    let go = hold(&fixture, crate::support::fake::ANY);
    let mut answers = Vec::new();
    for which in order {
        let answer = match which {
            0 => api.add_nic(&no_wait(fixture.nic(1))),
            1 => api.add_nic(&no_wait(fixture.nic(4))),
            _ => api.add_disk(&no_wait_disk(fixture.disk("a.img"))),
        };
        let Ok(Answer { state: State::Pending(Why::NotAwaited), device: Some(device) }) = answer else {
            panic!("{order:?} {failing:?}: {answer:?}")
        };
        answers.push(device);
        assert_eq!(api.process(AMPLE).unwrap(), 0, "none is waited for");
        assert_eq!(api.list().len(), 1, "nor listed before it is there");
    }
    let of = |what: &dyn Fn(&Item) -> String| answers.iter().map(what).collect::<BTreeSet<_>>().len();
    assert_eq!(of(&|item| item.id.clone()), 3);
    assert_eq!(of(&|item| format!("{:?}", item.address)), 3);
    assert_eq!(of(&|item| item.generation.to_string()), 3);
    assert!(
        answers.iter().all(|item| item.generation > 1),
        "the first one has a number as well: {answers:?}"
    );
    drop(go);
    let heard = hear(&fixture, api, 3);
    let context = format!("{order:?} {failing:?}: {heard:#?}");
    assert_eq!(heard.len(), 3, "{context}");
    let failed: Vec<&Notification> =
        heard.iter().filter(|news| matches!(news.what, EventKind::AddFailed { .. })).collect();
    assert_eq!(failed.len(), usize::from(failing.is_some()), "{context}");
    for item in &answers {
        let news: Vec<&Notification> =
            heard.iter().filter(|news| news.id.as_deref() == Some(&item.id)).collect();
        assert!(news.len() == 1 && news[0].generation == item.generation, "{context}");
        let is_there = news[0].what == EventKind::Added;
        assert_eq!(fixture.recorded().contains(&item.id), is_there, "{context}");
        assert_eq!(fixture.qemu.model(|model| model.device(&item.id).is_some()), is_there, "{context}");
        let listed = api.list().into_iter().find(|listed| listed.id == item.id);
        assert_eq!(listed.map(|listed| listed.generation), is_there.then_some(item.generation), "{context}");
    }
    assert_eq!(api.repair().unwrap(), Vec::<String>::new(), "{context}");
    let last = answers.iter().map(|item| item.generation).max().unwrap();
    let disk = done(api.add_disk(&fixture.disk_as("last", "last.img")));
    assert!(disk.generation > last, "no number is used twice: {disk:?} {context}");
    let record = fixture.record();
    let places: BTreeSet<String> =
        record.devices.iter().map(|device| format!("{:?}", device.address)).collect();
    assert_eq!(places.len(), record.devices.len());
    assert_quiet(&fixture, api);
}

/// What is under way counts as there for whatever it must not share.
pub fn what_is_being_added_is_not_given_to_another_one(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let api = api.as_ref();
    let mut web = no_wait(fixture.nic_as("web", MAC));
    web.place.address = Some(("pci.0".into(), 7));
    let data = no_wait_disk(DiskArgs { serial: Some("one".into()), ..fixture.disk_as("data", "a.img") });
    let go = hold(&fixture, crate::support::fake::ANY);
    assert_eq!(pending(api.add_nic(&web)), Why::NotAwaited);
    assert_eq!(pending(api.add_disk(&data)), Why::NotAwaited);
    fails(api.add_nic(&no_wait(NicArgs { mac: Some(MAC.into()), ..fixture.nic(1) })), ErrorKind::Conflict);
    let same_tap = NicArgs { ifname: web.ifname.clone(), ..fixture.nic(1) };
    fails(api.add_nic(&no_wait(same_tap)), ErrorKind::Conflict);
    fails(api.add_disk(&no_wait_disk(fixture.disk("a.img"))), ErrorKind::Conflict);
    let same_serial = DiskArgs { serial: Some("one".into()), ..fixture.disk("b.img") };
    fails(api.add_disk(&no_wait_disk(same_serial)), ErrorKind::Conflict);
    let place = Place { address: Some(("pci.0".into(), 7)), ..Place::default() };
    let same_slot = DiskArgs { place, ..fixture.disk("b.img") };
    fails(api.add_disk(&no_wait_disk(same_slot)), ErrorKind::AddressTaken);
    // The same device again is waited for, and is there then.
    let (answer, again) = clock::scope(|scope| {
        let again = scope.spawn(|| {
            api.add_disk(&DiskArgs { serial: Some("one".into()), ..fixture.disk_as("data", "a.img") })
        });
        clock::sleep(Duration::from_millis(20));
        assert!(!again.is_finished());
        drop(go);
        (again.join().unwrap(), api.list())
    });
    assert_eq!(done(answer).id, "data");
    assert!(again.iter().any(|item| item.id == "data"));
    let heard = hear(&fixture, api, 2);
    assert!(heard.iter().all(|news| news.what == EventKind::Added) && heard.len() == 2, "{heard:?}");
    assert_eq!(fixture.recorded().len(), 2);
}

/// A call that looks at the whole guest while adds are under way settles nothing of theirs.
pub fn a_look_at_the_guest_leaves_adds_under_way_alone(agent: &dyn Agent) {
    for (queues, command) in [(1, "netdev_add"), (1, "device_add"), (4, "getfd"), (4, "device_add")] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let api = api.as_ref();
        done(api.add_disk(&fixture.disk_as("data", "a.img")));
        let go = hold(&fixture, command);
        let web = NicArgs { mac: Some(MAC.into()), ..no_wait(fixture.nic(queues)) };
        assert_eq!(pending(api.add_nic(&web)), Why::NotAwaited);
        clock::scope(|scope| {
            let looking = scope.spawn(|| api.slots());
            let repairing = scope.spawn(|| api.repair());
            let removing = scope.spawn(|| api.unplug(&UnplugArgs::of("data")));
            clock::sleep(Duration::from_millis(20));
            drop(go);
            assert!(looking.join().unwrap().is_ok());
            assert!(repairing.join().unwrap().is_ok());
            done(removing.join().unwrap());
        });
        let heard = hear(&fixture, api, 1);
        let whats: Vec<EventKind> = heard.iter().map(|news| news.what).collect();
        assert_eq!(whats, [EventKind::Added], "{queues} {command}: {heard:#?}");
        assert_eq!(fixture.recorded().len(), 1);
        assert_eq!(api.repair().unwrap(), Vec::<String>::new());
        assert_quiet(&fixture, api);
    }
}

/// A list of devices waits for an add of one of them before it takes places for the others.
pub fn a_list_that_waits_for_an_add_keeps_nobodys_place(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let api = api.as_ref();
    let web = fixture.nic_as("web", MAC);
    let go = hold(&fixture, "device_add");
    assert_eq!(pending(api.add_nic(&no_wait(web.clone()))), Why::NotAwaited);
    let nics = [fixture.nic(1), web];
    clock::scope(|scope| {
        let list = scope.spawn(|| api.add_all(&nics, &[], AMPLE));
        clock::sleep(Duration::from_millis(20));
        assert!(!list.is_finished());
        // It waits as well, but for nothing that the list has.
        let other = scope.spawn(|| api.add_disk(&fixture.disk("a.img")));
        drop(go);
        let disk = done(other.join().unwrap());
        let answers = list.join().unwrap().unwrap();
        let addresses: BTreeSet<_> = answers
            .iter()
            .map(|answer| answer.device.as_ref().unwrap().address.clone())
            .chain([disk.address])
            .collect();
        assert_eq!(addresses.len(), 3, "{answers:?}");
    });
    assert_eq!(fixture.recorded().len(), 3);
    assert_eq!(hear(&fixture, api, 1).len(), 1);
    assert_eq!(api.repair().unwrap(), Vec::<String>::new());
}

pub fn a_closed_handle_leaves_all_its_adds_to_the_next_one(agent: &dyn Agent) {
    for command in ["netdev_add", "device_add", "blockdev-add"] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let before = fixture.snapshot();
        let go = hold(&fixture, command);
        assert_eq!(pending(api.add_nic(&no_wait(fixture.nic_as("web", MAC)))), Why::NotAwaited);
        assert_eq!(pending(api.add_disk(&no_wait_disk(fixture.disk_as("data", "a.img")))), Why::NotAwaited);
        assert_eq!(
            pending(
                api.add_nic(&no_wait(NicArgs { queues: 4, ..fixture.nic_as("lan", "52:54:00:00:00:12") }))
            ),
            Why::NotAwaited
        );
        drop(api);
        // Whose add was done before is not told again.
        let left: Vec<&str> = ["web", "data", "lan"]
            .into_iter()
            .filter(|id| !fixture.recorded().contains(&(*id).to_owned()))
            .collect();
        assert!(left.len() >= 2, "{command}: {left:?}");
        drop(go);
        let api = fixture.open(agent);
        let heard = hear(&fixture, api.as_ref(), left.len());
        assert_eq!(heard.len(), left.len(), "{command}: {heard:?}");
        for id in left {
            let is_there = fixture.qemu.model(|model| model.device(id).is_some());
            let news = heard.iter().find(|news| news.id.as_deref() == Some(id)).unwrap();
            assert_eq!(news.what, if is_there { EventKind::Added } else { EventKind::Undone }, "{heard:?}");
            assert_eq!(fixture.recorded().contains(&id.to_owned()), is_there);
        }
        for id in fixture.recorded() {
            done(api.unplug(&UnplugArgs::of(&id)));
        }
        assert_eq!(fixture.snapshot().qemu, before.qemu, "{command}");
        assert_quiet(&fixture, api.as_ref());
    }
}

pub fn calls_that_wait_outlive_a_lost_monitor(agent: &dyn Agent) {
    let (fixture, api) = with_devices(agent);
    let api = api.as_ref();
    clock::scope(|scope| {
        let data = removes(scope, &fixture, api, "data");
        let same = scope.spawn(|| api.unplug(&UnplugArgs::within("data", LONG)));
        let lan = removes(scope, &fixture, api, "lan");
        let connections = fixture.qemu.connections();
        fixture.qemu.hang_up();
        assert!(host::eventually(|| fixture.qemu.connections() > connections));
        api.slots().unwrap();
        // One that has left while nobody heard it.
        fixture.qemu.model(|model| model.devices.retain(|device| device.id.as_deref() != Some("lan")));
        fixture.qemu.hang_up();
        done(lan.join().unwrap());
        assert!(!data.is_finished() && !same.is_finished());
        fixture.qemu.grant("data");
        done(data.join().unwrap());
        done(same.join().unwrap());
    });
    let lost = drain(api);
    let count = |what: EventKind| lost.iter().filter(|news| news.what == what).count();
    assert!(
        count(EventKind::MonitorLost) >= 2
            && count(EventKind::MonitorLost) == count(EventKind::MonitorRestored)
    );
    assert_eq!(lost.len(), 2 * count(EventKind::MonitorLost), "no event besides: {lost:?}");
    assert_eq!(fixture.recorded(), ["more"]);
    assert_quiet(&fixture, api);
}

pub fn calls_that_wait_are_told_when_the_monitor_does_not_come_back(agent: &dyn Agent) {
    let (fixture, api) = with_devices(agent);
    let api = api.as_ref();
    fixture.qemu.accept(false);
    clock::scope(|scope| {
        let within = |id| scope.spawn(move || api.unplug(&UnplugArgs::within(id, 10 * SHORT)));
        let all = [within("data"), within("data"), within("lan")];
        asked_for(&fixture, "data");
        asked_for(&fixture, "lan");
        fixture.qemu.hang_up();
        for (waiting, id) in all.into_iter().zip(["data", "data", "lan"]) {
            // Whichever tries to connect fails with that; those that wait for it have waited as long as they
            // wanted.
            match waiting.join().unwrap() {
                Ok(answer) => assert_eq!(answer.state, State::Pending(Why::Deadline)),
                // Nothing is left of one that came when the monitor was gone already.
                Err(failure) if failure.left.is_empty() => assert_eq!(failure.undo, 0, "{failure:?}"),
                Err(failure) => {
                    let left = format!("device {id}: its removal is pending");
                    assert!(failure.left.len() == 1 && failure.left[0].starts_with(&left), "{failure:?}");
                }
            }
        }
    });
    fixture.qemu.accept(true);
    assert!(host::eventually(|| api.process(AMPLE).is_ok()));
    let lost: Vec<EventKind> = drain(api).iter().map(|news| news.what).collect();
    assert_eq!(lost, [EventKind::MonitorLost, EventKind::MonitorRestored]);
    for id in ["data", "lan"] {
        fixture.qemu.grant(id);
    }
    let heard = hear(&fixture, api, 2);
    assert!(heard.len() == 2 && heard.iter().all(|news| news.what == EventKind::Removed), "{heard:?}");
}

/// Each asks about its own, and is told once.
pub fn adds_under_way_outlive_a_lost_monitor(agent: &dyn Agent) {
    for act in [Act::CloseBefore, Act::CloseAfter] {
        for command in ["device_add", "netdev_add", "blockdev-add", "getfd"] {
            let (fixture, api) = with_devices(agent);
            let api = api.as_ref();
            clock::scope(|scope| {
                let lan = removes(scope, &fixture, api, "lan");
                fixture.qemu.fault(command, 0, act.clone());
                assert_eq!(
                    pending(api.add_nic(&no_wait(NicArgs {
                        queues: 4,
                        ..fixture.nic_as("wan", "52:54:00:00:00:12")
                    }))),
                    Why::NotAwaited
                );
                assert_eq!(
                    pending(api.add_nic(&no_wait(fixture.nic_as("web", "52:54:00:00:00:13")))),
                    Why::NotAwaited
                );
                assert_eq!(
                    pending(api.add_disk(&no_wait_disk(fixture.disk_as("disk", "c.img")))),
                    Why::NotAwaited
                );
                // The thread that waits for the removal is the one that sees to all of it.
                let ids = ["wan", "web", "disk"];
                let settled = || {
                    let journal = std::fs::read_to_string(fixture.journal()).unwrap_or_default();
                    ids.iter().all(|id| !journal.contains(&format!("\"{id}\"")))
                };
                assert!(host::eventually(settled));
                assert!(!lan.is_finished());
                fixture.qemu.grant("lan");
                done(lan.join().unwrap());
                let heard = hear(&fixture, api, 0);
                let context = format!("{act:?} of {command}: {heard:#?}");
                for id in ids {
                    let is_there = fixture.qemu.model(|model| model.device(id).is_some());
                    let mine: Vec<EventKind> = heard
                        .iter()
                        .filter(|news| news.id.as_deref() == Some(id))
                        .map(|news| news.what)
                        .collect();
                    match mine[..] {
                        [EventKind::Added] => assert!(is_there, "{id}, {context}"),
                        [EventKind::AddFailed { .. }] => assert!(!is_there, "{id}, {context}"),
                        _ => panic!("{id} is to be told of once, {context}"),
                    }
                    assert_eq!(fixture.recorded().contains(&id.to_owned()), is_there, "{id}, {context}");
                }
            });
            assert_eq!(api.repair().unwrap(), Vec::<String>::new());
        }
    }
}
