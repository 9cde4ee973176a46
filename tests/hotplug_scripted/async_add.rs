//! Adds that are not waited for: what is said at once, and what comes of them.
#![allow(unreachable_pub)]

use std::time::Duration;

use kvm_hotplug::ErrorKind;

use crate::adding::MAC;
use crate::removing::{SHORT, pending};
use crate::support::api::*;
use crate::support::clock::{self, Hold};
use crate::support::fake::Act;
use crate::support::fake::clock::Gate;
use crate::support::fixture::{Fixture, Snapshot};
use crate::support::host;

pub fn no_wait(nic: NicArgs) -> NicArgs {
    NicArgs { place: Place { no_wait: true, ..nic.place }, ..nic }
}

pub fn no_wait_disk(disk: DiskArgs) -> DiskArgs {
    DiskArgs { place: Place { no_wait: true, ..disk.place }, ..disk }
}

/// QEMU does not get on with the next `command` until this is dropped.
pub fn hold(fixture: &Fixture, command: &str) -> Hold {
    let go = Gate::new();
    let wait = go.clone();
    fixture.qemu.hook(command, 0, move || wait.pass());
    Hold(go)
}

/// What an event loop does until there is news: it waits for the descriptor, and calls process.
fn news(api: &dyn Api) -> Notification {
    assert!(host::eventually(|| host::is_readable(api.fd()) && api.process(AMPLE).unwrap() > 0));
    api.next_event().unwrap()
}

fn arrived(api: &dyn Api, id: &str) {
    let news = news(api);
    assert_eq!((&news.what, news.id.as_deref()), (&EventKind::Added, Some(id)), "{news:?}");
    let device_info = api.list().into_iter().find(|item| item.id == id).unwrap();
    assert_eq!((device_info.presence, device_info.generation), (Presence::Live, news.generation));
}

fn failed(api: &dyn Api, id: &str, expected: ErrorKind) -> Notification {
    let news = news(api);
    let EventKind::AddFailed { kind, errno } = news.what else { panic!("{news:?}") };
    assert_eq!((kind, news.id.as_deref()), (expected as i32, Some(id)), "{news:?}");
    assert!(errno > 0, "{news:?}");
    news
}

/// All of it, but for the names that an unused file may have. The thread behind the socket may still be
/// closing a descriptor that it was sent.
fn same(fixture: &Fixture, before: &Snapshot) {
    assert!(host::eventually(|| fixture.snapshot().taps == before.taps), "{:?}", fixture.snapshot().taps);
    let after = fixture.snapshot();
    assert_eq!((&after.qemu, &after.record), (&before.qemu, &before.record));
    assert!(!fixture.journal().exists());
}

pub fn an_add_that_is_not_waited_for_ends_with_an_event(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    for (queues, id) in [(1, "nic-pci-4"), (4, "nic-pci-5")] {
        let go = hold(&fixture, "device_add");
        assert_eq!(pending(api.add_nic(&no_wait(fixture.nic(queues)))), Why::NotAwaited);
        assert!(fixture.journal().exists(), "an agent that dies now is to be followed by one that knows");
        assert_eq!(api.process(AMPLE).unwrap(), 0, "it is not waited for here either");
        assert!(api.list().iter().all(|item| item.id != id) && !fixture.recorded().contains(&id.to_owned()));
        drop(go);
        arrived(api.as_ref(), id);
        assert!(fixture.recorded().contains(&id.to_owned()) && !fixture.journal().exists());
    }
    let go = hold(&fixture, "blockdev-add");
    assert_eq!(pending(api.add_disk(&no_wait_disk(fixture.disk_as("data", "a.img")))), Why::NotAwaited);
    assert_eq!(api.process(AMPLE).unwrap(), 0);
    drop(go);
    arrived(api.as_ref(), "data");
    assert_eq!(api.process(AMPLE).unwrap(), 0);
    assert!(!host::is_readable(api.fd()));
    fixture.qemu.take_seen();
    assert_eq!(done(api.add_disk(&no_wait_disk(fixture.disk_as("data", "a.img")))).id, "data", "it is there");
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
}

pub fn a_call_that_needs_the_guest_waits_for_the_add(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let go = hold(&fixture, "device_add");
    assert_eq!(pending(api.add_nic(&no_wait(fixture.nic_as("web", MAC)))), Why::NotAwaited);
    let failure = fails(api.unplug(&UnplugArgs::within("web", SHORT)), ErrorKind::Timeout);
    assert!(failure.text.contains("still under way"), "{failure:?}");
    clock::scope(|scope| {
        scope.spawn(move || {
            clock::sleep(Duration::from_millis(SHORT));
            drop(go);
        });
        assert_eq!(done(api.add_nic(&fixture.nic(1))).id, "nic-pci-5", "the slot of the first one is taken");
    });
    arrived(api.as_ref(), "web");
    done(api.unplug(&UnplugArgs::of("web")));
    assert_eq!(fixture.recorded(), ["nic-pci-5"]);
}

pub fn an_inventory_leaves_an_add_to_the_operation_that_is_at_it(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let go = hold(&fixture, "device_add");
    assert_eq!(pending(api.add_nic(&no_wait(fixture.nic_as("web", MAC)))), Why::NotAwaited);
    clock::scope(|scope| {
        scope.spawn(move || {
            clock::sleep(Duration::from_millis(SHORT));
            drop(go);
        });
        let slots = api.slots().unwrap();
        let slot = slots.iter().find(|slot| slot.occupant == "web");
        assert_eq!(slot.map(|slot| slot.state), Some(SlotUse::Taken), "{slots:?}");
    });
    arrived(api.as_ref(), "web");
    api.process(AMPLE).unwrap();
    let news: Vec<Notification> = std::iter::from_fn(|| api.next_event()).collect();
    assert!(news.is_empty(), "told twice: {news:?}");
    assert!(!fixture.journal().exists());
}

pub fn an_add_that_qemu_refuses_is_taken_back_and_told(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    for (queues, command) in [(1, "netdev_add"), (1, "device_add"), (2, "device_add"), (2, "getfd")] {
        fixture.qemu.fault(command, 0, Act::refuse("out of luck"));
        let mut nic = no_wait(fixture.nic(queues));
        nic.place.id = Some("web".into());
        assert_eq!(pending(api.add_nic(&nic)), Why::NotAwaited);
        let news = failed(api.as_ref(), "web", ErrorKind::Qmp);
        assert!(news.text.contains(command) && news.text.contains("out of luck"), "{news:?}");
        same(&fixture, &before);
    }
    // It was told its place; the next one gets another.
    fixture.qemu.fault(
        "device_add",
        0,
        Act::refuse("PCI: slot 4 function 0 not available for virtio-net-pci, in use by x"),
    );
    assert_eq!(pending(api.add_nic(&no_wait(fixture.nic(1)))), Why::NotAwaited);
    failed(api.as_ref(), "nic-pci-4", ErrorKind::AddressTaken);
    same(&fixture, &before);
    done(api.add_nic(&fixture.nic(1)));
}

pub fn an_add_without_an_answer_fails_at_its_deadline(agent: &dyn Agent) {
    for act in [Act::HangBefore, Act::HangAfter] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let before = fixture.snapshot();
        fixture.qemu.fault("device_add", 0, act);
        let mut nic = no_wait(fixture.nic_as("web", MAC));
        nic.place.timeout_ms = SHORT;
        assert_eq!(pending(api.add_nic(&nic)), Why::NotAwaited);
        let patience = clock::now() + Duration::from_secs(5);
        while api.process(SHORT).is_ok_and(|news| news == 0) {
            assert!(clock::now() < patience);
            clock::sleep(Duration::from_millis(2));
        }
        let news = api.next_event().unwrap();
        assert!(
            matches!(news.what, EventKind::AddFailed { kind, .. } if kind == ErrorKind::Timeout as i32),
            "{news:?}"
        );
        assert!(news.text.contains("unknown, settled by the next call"), "{news:?}");
        fixture.qemu.resume();
        assert!(host::eventually(|| {
            drop(api.process(AMPLE));
            fixture.qemu.model(|model| model.device("web").is_none()) && !fixture.journal().exists()
        }));
        same(&fixture, &before);
    }
}

pub fn a_connection_lost_during_an_add_is_asked_about(agent: &dyn Agent) {
    for (act, is_added) in [(Act::CloseAfter, true), (Act::CloseBefore, false)] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let before = fixture.snapshot();
        fixture.qemu.fault("device_add", 0, act);
        assert_eq!(pending(api.add_nic(&no_wait(fixture.nic_as("web", MAC)))), Why::NotAwaited);
        let mut heard = vec![news(api.as_ref())];
        heard.extend(std::iter::from_fn(|| api.next_event()));
        let count = |what: &dyn Fn(&EventKind) -> bool| heard.iter().filter(|news| what(&news.what)).count();
        let added = count(&|what| *what == EventKind::Added);
        let failed = count(&|what| matches!(what, EventKind::AddFailed { .. }));
        assert_eq!((added, failed), (usize::from(is_added), usize::from(!is_added)), "{heard:?}");
        assert_eq!(fixture.recorded().len(), added);
        if !is_added {
            same(&fixture, &before);
        }
    }
}

pub fn a_closed_handle_leaves_the_add_to_the_next_one(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let go = hold(&fixture, "device_add");
    assert_eq!(pending(api.add_nic(&no_wait(fixture.nic_as("web", MAC)))), Why::NotAwaited);
    drop(api);
    drop(go);
    let api = fixture.open(agent);
    let what = api.next_event().map(|news| news.what);
    let there = fixture.qemu.model(|model| model.device("web").is_some());
    assert_eq!(what, Some(if there { EventKind::Added } else { EventKind::Undone }));
    assert_eq!(fixture.recorded().len(), usize::from(there));
    assert!(!fixture.journal().exists());
}

pub fn many_that_are_not_waited_for(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    let nics = [
        no_wait(fixture.nic(1)),
        fixture.nic(2),
        NicArgs { model: Some("ne2k_pci".into()), ..fixture.nic(1) },
    ];
    let disks = [fixture.disk_as("data", "a.img")];
    let states = |answers: Vec<Answer>| answers.into_iter().map(|answer| answer.state).collect::<Vec<_>>();
    let waits = || State::Pending(Why::NotAwaited);
    let expected = [waits(), waits(), State::AfterReboot(Later::Model), waits()];
    fixture.qemu.fault("blockdev-add", 0, Act::refuse("out of luck"));
    assert_eq!(states(api.add_all(&nics, &disks, AMPLE).unwrap()), expected);
    for _ in 0..4 {
        assert!(matches!(news(api.as_ref()).what, EventKind::AddFailed { .. }));
    }
    fixture.disk("a.img");
    same(&fixture, &before);
    assert_eq!(states(api.add_all(&nics, &disks, AMPLE).unwrap()), expected);
    for id in ["nic-pci-4", "nic-pci-5", "data"] {
        arrived(api.as_ref(), id);
    }
    assert_eq!(api.process(AMPLE).unwrap(), 0, "what waits for a reboot is in no guest");
    assert_eq!(fixture.recorded().len(), 4);
}
