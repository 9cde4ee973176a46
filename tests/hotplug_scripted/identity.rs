//! Ids are used again: what QEMU says of an id, and what it shows under it, may be about another device.
#![allow(unreachable_pub)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::store::RecordFile;
use serde_json::json;

use super::removing::{SHORT, pending, with_disk};
use crate::support::api::*;
use crate::support::clock;
use crate::support::fake::{Act, Dev, Netdev, UnplugBehaviour, deleted};
use crate::support::fixture::Fixture;
use crate::support::host;

const MAC: &str = "52:54:00:00:00:09";
const OTHER_MAC: &str = "52:54:00:00:00:0a";

fn drain(api: &dyn Api) -> Vec<Notification> {
    std::iter::from_fn(|| api.next_event()).collect()
}

fn whats(api: &dyn Api) -> Vec<EventKind> {
    drain(api).iter().map(|news| news.what).collect()
}

/// The device leaves and QEMU says nothing, as long as it holds a last reference.
fn leaves_silently(fixture: &Fixture, id: &str) {
    fixture.qemu.model(|model| model.devices.retain(|device| device.id.as_deref() != Some(id)));
}

/// The journal as it is when QEMU gets the first command of this name while the work is done.
fn journal_during(fixture: &Fixture, command: &str, work: impl FnOnce()) -> Vec<u8> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (path, into): (PathBuf, _) = (fixture.journal(), seen.clone());
    fixture.qemu.hook(command, 0, move || *into.lock().unwrap() = std::fs::read(path).unwrap());
    work();
    let bytes = std::mem::take(&mut *seen.lock().unwrap());
    assert!(!bytes.is_empty(), "{command} was never sent");
    bytes
}

/// Whether a call is waiting for the guest by now.
fn asked(fixture: &Fixture) -> bool {
    fixture.qemu.take_names().contains(&"device_del".to_owned())
}

/// It waits for the next boot, so that what left the guest under its id is another device.
pub fn a_device_of_the_next_boot_does_not_go_with_its_namesake(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let later = NicArgs { model: Some("ne2k_pci".into()), ..fixture.nic_as("lan", MAC) };
    assert_eq!(api.add_nic(&later).unwrap().state, State::AfterReboot(Later::Model));
    let before = fixture.record_text();
    fixture.qemu.emit("DEVICE_DELETED", deleted("lan"));
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    assert_eq!((whats(&*api), fixture.record_text()), (vec![], before));
}

pub fn a_late_word_does_not_end_the_removal_of_the_present_one(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let lan = fixture.nic_as("lan", MAC);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    // An add that is taken back: the NIC is in the guest and has been asked for.
    let api = fixture.open(agent);
    fixture.qemu.fault("device_add", 1, Act::refuse("no such luck"));
    let place = Place { timeout_ms: SHORT, ..Place::default() };
    let failure =
        api.add_all(std::slice::from_ref(&lan), &[DiskArgs { place, ..fixture.disk("a.img") }], SHORT);
    assert!(failure.unwrap_err().left[0].starts_with("device lan"));
    drop(api);
    leaves_silently(&fixture, "lan");
    drop(fixture.open(agent));
    let api = fixture.open(agent);
    assert_eq!(fixture.recorded(), Vec::<String>::new());
    done(api.add_nic(&lan));
    pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("lan") }));
    let before = fixture.snapshot();
    for _ in 0..3 {
        fixture.qemu.emit("DEVICE_DELETED", deleted("lan"));
        fixture.qemu.settle();
        api.process(AMPLE).unwrap();
        assert_eq!(fixture.snapshot(), before);
    }
    assert_eq!(whats(&*api), []);
    fixture.qemu.grant("lan");
    assert!(host::eventually(|| api.process(AMPLE).is_ok() && fixture.recorded().is_empty()));
    assert_eq!(whats(&*api), [EventKind::Removed]);
}

pub fn several_late_words_end_nothing_while_a_call_waits(agent: &dyn Agent) {
    for wait in [true, false] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        done(api.add_nic(&fixture.nic_as("lan", MAC)));
        fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
        fixture.qemu.take_seen();
        let late = || fixture.qemu.emit("DEVICE_DELETED", deleted("lan"));
        if !wait {
            // The word comes just before the answer to the request.
            let mut event =
                json!({ "event": "DEVICE_DELETED", "timestamp": { "seconds": 1, "microseconds": 0 } });
            event["data"] = deleted("lan");
            fixture.qemu.fault("device_del", 0, Act::Around(format!("{event}\r\n").into(), Vec::new()));
            pending(api.unplug(&UnplugArgs { wait, ..UnplugArgs::of("lan") }));
            assert!(fixture.qemu.snapshot().iter().any(|line| line.starts_with("netdev lan")));
            continue;
        }
        clock::scope(|scope| {
            let waiting = scope.spawn(|| api.unplug(&UnplugArgs::of("lan")));
            assert!(host::eventually(|| asked(&fixture)));
            for _ in 0..3 {
                late();
                assert!(host::eventually(|| fixture.qemu.take_names().contains(&"qom-list".to_owned())));
                assert!(fixture.qemu.snapshot().iter().any(|line| line.starts_with("netdev lan")));
            }
            assert!(!waiting.is_finished());
            fixture.qemu.grant("lan");
            done(waiting.join().unwrap());
        });
        assert!(!fixture.qemu.snapshot().iter().any(|line| line.contains("lan")));
        late();
        fixture.qemu.settle();
        api.process(AMPLE).unwrap();
        assert_eq!(whats(&*api), []);
    }
}

pub fn a_refusal_of_what_is_gone_is_no_refusal(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    fixture.qemu.take_seen();
    clock::scope(|scope| {
        let waiting = scope.spawn(|| api.unplug(&UnplugArgs::of("data")));
        assert!(host::eventually(|| asked(&fixture)));
        leaves_silently(&fixture, "data");
        fixture.qemu.emit("DEVICE_UNPLUG_GUEST_ERROR", deleted("data"));
        done(waiting.join().unwrap());
    });
    assert!(fixture.recorded().is_empty() && !fixture.journal().exists());
    assert_eq!(whats(&*api), []);
}

pub fn device_del_that_does_not_find_it_is_no_proof(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_nic(&fixture.nic_as("lan", MAC)));
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    let error = json!({ "error": { "class": "DeviceNotFound", "desc": "Device 'lan' not found" } });
    fixture.qemu.fault("device_del", 0, Act::Instead(format!("{error}\r\n").into()));
    let answer = api.unplug(&UnplugArgs::within("lan", SHORT));
    assert!(fixture.qemu.snapshot().iter().any(|line| line.starts_with("netdev lan")), "{answer:?}");
    pending(answer);
    assert_eq!(fixture.recorded(), ["lan"]);
    fixture.qemu.grant("lan");
    assert!(host::eventually(|| api.process(AMPLE).is_ok() && fixture.recorded().is_empty()));
}

/// Struck from the record because of something that was not so; its removal is still in the journal.
pub fn a_removal_struck_from_the_record_goes_on(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    done(api.add_nic(&fixture.nic_as("lan", MAC)));
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    for id in ["lan", "data"] {
        pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of(id) }));
    }
    drop(api);
    let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
    let mut next = runtime.record().clone();
    next.devices.clear();
    runtime.replace(next).unwrap();
    drop(runtime);
    let api = fixture.open(agent);
    assert!(fixture.journal().exists(), "the devices are there");
    let states: Vec<Presence> = api.list().iter().map(|item| item.presence).collect();
    assert!(matches!(states[..], [Presence::Pending(_), Presence::Pending(_)]), "{states:?}");
    fixture.qemu.grant("lan");
    fixture.qemu.grant("data");
    assert!(host::eventually(|| api.process(AMPLE).is_ok() && !fixture.journal().exists()));
    let left = fixture.qemu.snapshot();
    assert!(!left.iter().any(|line| line.contains("lan") || line.contains("data")), "{left:?}");
    assert_eq!(fixture.snapshot().taps, Vec::<String>::new());
}

/// A world where a NIC "lan" was taken out, another one of that id is in the guest, and this journal is there
/// again.
fn with_another(
    agent: &dyn Agent,
    command: &str,
    operation: &str,
    change: impl FnOnce(&mut Dev),
) -> (Fixture, Box<dyn Api>) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let lan = fixture.nic_as("lan", MAC);
    let journal = journal_during(&fixture, command, || {
        done(api.add_nic(&lan));
        done(api.unplug(&UnplugArgs::of("lan")));
    });
    drop(api);
    let journal = String::from_utf8(journal).unwrap().replace("\"add\"", operation);
    let mut other = Dev { mac: Some(MAC.into()), ..Dev::new(Some("lan"), "virtio-net-pci", "pci.0", 4, 0) };
    other.netdev = Some("lan".into());
    change(&mut other);
    fixture.qemu.model(|model| {
        model.netdevs.extend(other.netdev.clone().map(|id| (id, Netdev::default())));
        model.devices.push(other);
    });
    let before = fixture.qemu.snapshot();
    std::fs::write(fixture.journal(), journal).unwrap();
    fixture.qemu.take_seen();
    let api = fixture.open(agent);
    fixture.qemu.settle();
    assert_eq!(fixture.qemu.snapshot(), before, "somebody else's");
    (fixture, api)
}

fn is_left_alone(fixture: &Fixture, api: &dyn Api) {
    assert!(!fixture.qemu.take_names().contains(&"device_del".to_owned()));
    assert!(fixture.recorded().is_empty(), "{:?}", fixture.record());
    assert!(!fixture.journal().exists());
    assert!(!whats(api).contains(&EventKind::Added));
    fails(api.unplug(&UnplugArgs::of("lan")), ErrorKind::Foreign);
}

pub fn an_interrupted_add_does_not_adopt_another_device(agent: &dyn Agent) {
    let mac = |device: &mut Dev| device.mac = Some(OTHER_MAC.into());
    let slot = |device: &mut Dev| device.slot = 9;
    let model = |device: &mut Dev| (device.driver, device.mac) = ("virtio-blk-pci".into(), None);
    for change in [mac as fn(&mut Dev), slot, model] {
        let (fixture, api) = with_another(agent, "getfd", "\"add\"", change);
        is_left_alone(&fixture, &*api);
    }
    // What the add made itself and the other one does not use goes.
    let (fixture, api) = with_another(agent, "getfd", "\"add\"", |device| {
        (device.mac, device.netdev) = (Some(OTHER_MAC.into()), Some("wan".into()));
    });
    assert!(fixture.qemu.take_names().contains(&"netdev_del".to_owned()));
    is_left_alone(&fixture, &*api);
}

pub fn an_add_that_is_undone_leaves_another_device_alone(agent: &dyn Agent) {
    let (fixture, api) =
        with_another(agent, "getfd", "\"undo-add\"", |device| device.mac = Some(OTHER_MAC.into()));
    is_left_alone(&fixture, &*api);
}

pub fn a_removal_does_not_take_another_device(agent: &dyn Agent) {
    // Also while it is recorded: the one that was to go is gone.
    let (fixture, api) = with_another(agent, "device_del", "", |device| device.mac = Some(OTHER_MAC.into()));
    is_left_alone(&fixture, &*api);

    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    done(api.add_nic(&fixture.nic_as("lan", MAC)));
    pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("lan") }));
    drop(api);
    leaves_silently(&fixture, "lan");
    fixture.qemu.model(|model| {
        let other = Dev::new(Some("lan"), "virtio-net-pci", "pci.0", 4, 0);
        model.devices.push(Dev { mac: Some(OTHER_MAC.into()), netdev: Some("lan".into()), ..other });
    });
    let before = fixture.qemu.snapshot();
    fixture.qemu.take_seen();
    let api = fixture.open(agent);
    assert_eq!(fixture.qemu.snapshot(), before);
    is_left_alone(&fixture, &*api);
}

/// A NIC "lan" of somebody else, in the place of ours.
fn is_replaced(fixture: &Fixture, netdev: Option<&str>) {
    leaves_silently(fixture, "lan");
    fixture.qemu.model(|model| {
        let other = Dev::new(Some("lan"), "virtio-net-pci", "pci.0", 4, 0);
        let netdev = netdev.map(str::to_owned);
        model.devices.push(Dev { mac: Some(OTHER_MAC.into()), netdev, ..other });
    });
}

/// Nothing is unfinished about it, so that nobody has looked what it is before the caller asks for its
/// removal.
pub fn a_removal_does_not_take_another_device_that_came_unheard(agent: &dyn Agent) {
    for netdev in [None, Some("lan")] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        done(api.add_nic(&fixture.nic_as("lan", MAC)));
        drop(api);
        is_replaced(&fixture, netdev);
        let api = fixture.open(agent);
        fixture.qemu.take_seen();
        done(api.unplug(&UnplugArgs::of("lan")));
        let has_netdev = fixture.qemu.snapshot().iter().any(|line| line.starts_with("netdev lan"));
        assert_eq!(has_netdev, netdev.is_some());
        assert!(fixture.qemu.snapshot().iter().any(|line| line.starts_with("device lan")));
        is_left_alone(&fixture, &*api);
    }
}

/// Somebody else's device has left without a word since the guest was asked: it is not called there any more.
pub fn a_device_of_somebody_elses_that_has_left_is_absent(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    fixture.qemu.model(|model| {
        let other = Dev::new(Some("wan"), "virtio-net-pci", "pci.0", 9, 0);
        model.devices.push(Dev { mac: Some(OTHER_MAC.into()), ..other });
    });
    let api = fixture.open(agent);
    fails(api.unplug(&UnplugArgs::of("wan")), ErrorKind::Foreign);
    leaves_silently(&fixture, "wan");
    assert_eq!(api.unplug(&UnplugArgs::of("wan")).unwrap().state, State::Absent);
}

/// QEMU says that the device is gone while it answers the question before `device_del`: another one may have
/// its id by then.
pub fn what_is_said_before_a_request_counts(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_nic(&fixture.nic_as("lan", MAC)));
    fixture.qemu.model(|model| model.run_state = "paused".into());
    fixture.qemu.emit("STOP", json!({}));
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    is_replaced(&fixture, None);
    let gone = json!({ "event": "DEVICE_DELETED", "data": deleted("lan"),
                       "timestamp": { "seconds": 0, "microseconds": 0 } });
    fixture.qemu.fault("query-status", 0, Act::Around(format!("{gone}\r\n").into(), Vec::new()));
    fixture.qemu.take_seen();
    done(api.unplug(&UnplugArgs::of("lan")));
    assert!(!fixture.qemu.take_names().contains(&"device_del".to_owned()));
    assert!(fixture.qemu.snapshot().iter().any(|line| line.starts_with("device lan")));
    assert!(fixture.recorded().is_empty() && !fixture.journal().exists());
}

pub fn what_qemu_does_not_say_of_a_place_takes_nothing_down(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_nic(&fixture.nic_as("lan", MAC)));
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    let before = fixture.snapshot();
    for refused in [2, 4] {
        // The places of both, one after the other.
        (0..refused).for_each(|nth| fixture.qemu.fault("qom-get", nth, Act::refuse("not now")));
        api.repair().unwrap();
        assert_eq!(fixture.qemu.faults_left(), 0);
        assert_eq!(fixture.snapshot(), before);
    }
    assert_eq!(whats(&*api), []);
    // A device that belongs to the node is there, though nobody knows where.
    fixture.qemu.model(|model| {
        for device in model.devices.iter_mut().filter(|device| device.id.as_deref() == Some("data")) {
            device.bus = "somewhere".into();
        }
    });
    let before = fixture.qemu.snapshot();
    let mut runtime_gone = fixture.record();
    drop(api);
    runtime_gone.devices.clear();
    let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
    runtime.replace(runtime_gone).unwrap();
    drop(runtime);
    let api = fixture.open(agent);
    api.repair().unwrap();
    assert_eq!(fixture.qemu.snapshot(), before);
}

pub fn the_number_of_an_attachment_is_kept_until_it_is_written_down(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    fixture.qemu.fault("device_add", 1, Act::refuse("no such luck"));
    let failure =
        api.add_all(&[fixture.nic_as("lan", MAC)], &[fixture.disk("a.img")], 10 * SHORT).unwrap_err();
    assert!(failure.left[0].starts_with("device lan"), "{failure:?}");
    let noted = fixture.record().next_generation;
    // No rights keep root from writing; a directory in the way does.
    let obstacle = fixture.dir.path().join("web1.runtime.new");
    std::fs::create_dir(&obstacle).unwrap();
    fixture.qemu.grant("lan");
    fixture.qemu.settle();
    assert!(api.process(AMPLE).is_err());
    assert!(fixture.journal().exists(), "the journal has the number until the record does");
    std::fs::remove_dir(&obstacle).unwrap();
    api.process(AMPLE).unwrap();
    assert!(!fixture.journal().exists());
    assert!(fixture.record().next_generation > noted);
    let heard = drain(&*api);
    let undone = heard.iter().filter(|news| news.what == EventKind::Undone).count();
    assert_eq!(undone, 1, "{failure:?}: {heard:?}");
}

/// Somebody else takes it out between the question what is there and the record.
pub fn a_device_that_goes_while_its_add_is_completed(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let mut api = fixture.open(agent);
    let ask = fixture.nic_as("lan", MAC);
    let journal = journal_during(&fixture, "device_add", || drop(done(api.add_nic(&ask))));
    drop(api);
    let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
    let mut next = runtime.record().clone();
    next.devices.clear();
    runtime.replace(next).unwrap();
    drop(runtime);
    std::fs::write(fixture.journal(), journal).unwrap();
    fixture.qemu.take_seen();
    fixture.qemu.fault("qom-get", 8, Act::Stall(Duration::from_millis(400)));
    api = clock::scope(|scope| {
        scope.spawn(|| {
            let is_asked = || fixture.qemu.faults_left() == 0;
            assert!(host::eventually(is_asked));
            leaves_silently(&fixture, "lan");
        });
        fixture.open(agent)
    });
    assert_eq!(fixture.recorded(), Vec::<String>::new());
    assert!(!fixture.journal().exists());
    assert_eq!(whats(&*api), [EventKind::Undone]);
    assert!(!fixture.qemu.snapshot().iter().any(|line| line.contains("lan")));
    done(api.add_nic(&ask));
}

pub fn what_a_call_answers_is_no_event(agent: &dyn Agent) {
    let of_devices = |api: &dyn Api| {
        let news = drain(api);
        news.into_iter().filter(|news| news.id.is_some()).collect::<Vec<_>>()
    };
    // A removal whose end is found by a new connection.
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    fixture.qemu.take_seen();
    clock::scope(|scope| {
        let waiting = scope.spawn(|| api.unplug(&UnplugArgs::of("data")));
        assert!(host::eventually(|| asked(&fixture)));
        fixture.qemu.accept(false);
        fixture.qemu.hang_up();
        leaves_silently(&fixture, "data");
        fixture.qemu.accept(true);
        done(waiting.join().unwrap());
    });
    assert_eq!(of_devices(&*api), []);
    // The same when the answer to the request is lost, and when that to clearing up is.
    for command in ["device_del", "blockdev-del", "remove-fd"] {
        let (fixture, api) = with_disk(agent);
        fixture.qemu.fault(command, 0, Act::CloseAfter);
        done(api.unplug(&UnplugArgs::of("data")));
        assert_eq!(of_devices(&*api), [], "{command}");
        assert_eq!(fixture.qemu.faults_left(), 0);
    }
    // An add whose answer is lost.
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.fault("device_add", 0, Act::CloseAfter);
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    assert_eq!(of_devices(&*api), []);
    // One that nobody waits for has one event.
    fixture.qemu.fault("device_add", 0, Act::CloseAfter);
    let place = Place { no_wait: true, ..fixture.disk_as("more", "b.img").place };
    api.add_disk(&DiskArgs { place, ..fixture.disk("b.img") }).unwrap();
    assert!(host::eventually(
        || api.process(AMPLE).is_ok() && fixture.recorded().contains(&"more".to_owned())
    ));
    let added: Vec<EventKind> = of_devices(&*api).iter().map(|news| news.what).collect();
    assert_eq!(added, [EventKind::Added]);
}

pub fn an_old_record_with_tombstones_loads(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let text = fixture.record_text().replacen('{', "{\n  \"unheard\": [\"lan\", \"data\"],", 1);
    std::fs::write(&fixture.runtime, text).unwrap();
    let api = fixture.open(agent);
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    done(api.unplug(&UnplugArgs::of("data")));
    assert!(!fixture.record_text().contains("unheard"), "{}", fixture.record_text());
}
