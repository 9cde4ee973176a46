//! Ids are used again: what QEMU says of an id, and what it shows under it, may be about another device.
#![allow(unreachable_pub)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::runtime::RecordFile;
use serde_json::json;

use super::removing::{SHORT, pending, with_disk};
use crate::support::api::*;
use crate::support::fake::{Act, Dev, Manner, Netdev, deleted};
use crate::support::host;
use crate::support::world::World;

const MAC: &str = "52:54:00:00:00:09";
const OTHER_MAC: &str = "52:54:00:00:00:0a";

fn drain(api: &dyn Api) -> Vec<News> {
    std::iter::from_fn(|| api.next_event()).collect()
}

fn whats(api: &dyn Api) -> Vec<EventKind> {
    drain(api).iter().map(|news| news.what).collect()
}

/// The device leaves and QEMU says nothing, as long as it holds a last reference.
fn leaves_silently(world: &World, id: &str) {
    world.qemu.model(|model| model.devices.retain(|device| device.id.as_deref() != Some(id)));
}

/// The journal as it is when QEMU gets the first command of this name while the work is done.
fn journal_during(world: &World, command: &str, work: impl FnOnce()) -> Vec<u8> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (path, into): (PathBuf, _) = (world.journal(), seen.clone());
    world.qemu.hook(command, 0, move || *into.lock().unwrap() = std::fs::read(path).unwrap());
    work();
    let bytes = std::mem::take(&mut *seen.lock().unwrap());
    assert!(!bytes.is_empty(), "{command} was never sent");
    bytes
}

/// Whether a call is waiting for the guest by now.
fn asked(world: &World) -> bool {
    world.qemu.take_names().contains(&"device_del".to_owned())
}

pub fn a_late_word_does_not_end_the_removal_of_the_present_one(agent: &dyn Agent) {
    let world = World::pc();
    let lan = world.nic_as("lan", MAC);
    world.qemu.model(|model| model.manner = Manner::Never);
    // An add that is taken back: the NIC is in the guest and has been asked for.
    let api = world.open(agent);
    world.qemu.fault("device_add", 1, Act::refuse("no such luck"));
    let place = Place { timeout_ms: SHORT, ..Place::default() };
    let failure = api.add_all(std::slice::from_ref(&lan), &[DiskAsk { place, ..world.disk("a.img") }], SHORT);
    assert!(failure.unwrap_err().left[0].starts_with("device lan"));
    drop(api);
    leaves_silently(&world, "lan");
    drop(world.open(agent));
    let api = world.open(agent);
    assert_eq!(world.recorded(), Vec::<String>::new());
    done(api.add_nic(&lan));
    pending(api.unplug(&UnplugAsk { wait: false, ..UnplugAsk::of("lan") }));
    let before = world.picture();
    for _ in 0..3 {
        world.qemu.emit("DEVICE_DELETED", deleted("lan"));
        world.qemu.settle();
        api.process(AMPLE).unwrap();
        assert_eq!(world.picture(), before);
    }
    assert_eq!(whats(&*api), []);
    world.qemu.grant("lan");
    assert!(host::eventually(|| api.process(AMPLE).is_ok() && world.recorded().is_empty()));
    assert_eq!(whats(&*api), [EventKind::Removed]);
}

pub fn several_late_words_end_nothing_while_a_call_waits(agent: &dyn Agent) {
    for wait in [true, false] {
        let world = World::pc();
        let api = world.open(agent);
        done(api.add_nic(&world.nic_as("lan", MAC)));
        world.qemu.model(|model| model.manner = Manner::Never);
        world.qemu.take_seen();
        let late = || world.qemu.emit("DEVICE_DELETED", deleted("lan"));
        if !wait {
            // The word comes just before the answer to the request.
            let mut event =
                json!({ "event": "DEVICE_DELETED", "timestamp": { "seconds": 1, "microseconds": 0 } });
            event["data"] = deleted("lan");
            world.qemu.fault("device_del", 0, Act::Around(format!("{event}\r\n").into(), Vec::new()));
            pending(api.unplug(&UnplugAsk { wait, ..UnplugAsk::of("lan") }));
            assert!(world.qemu.snapshot().iter().any(|line| line.starts_with("netdev lan")));
            continue;
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| api.unplug(&UnplugAsk::of("lan")));
            assert!(host::eventually(|| asked(&world)));
            for _ in 0..3 {
                late();
                assert!(host::eventually(|| world.qemu.take_names().contains(&"qom-list".to_owned())));
                assert!(world.qemu.snapshot().iter().any(|line| line.starts_with("netdev lan")));
            }
            assert!(!waiting.is_finished());
            world.qemu.grant("lan");
            done(waiting.join().unwrap());
        });
        assert!(!world.qemu.snapshot().iter().any(|line| line.contains("lan")));
        late();
        world.qemu.settle();
        api.process(AMPLE).unwrap();
        assert_eq!(whats(&*api), []);
    }
}

pub fn a_refusal_of_what_is_gone_is_no_refusal(agent: &dyn Agent) {
    let (world, api) = with_disk(agent);
    world.qemu.model(|model| model.manner = Manner::Never);
    world.qemu.take_seen();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| api.unplug(&UnplugAsk::of("data")));
        assert!(host::eventually(|| asked(&world)));
        leaves_silently(&world, "data");
        world.qemu.emit("DEVICE_UNPLUG_GUEST_ERROR", deleted("data"));
        done(waiting.join().unwrap());
    });
    assert!(world.recorded().is_empty() && !world.journal().exists());
    assert_eq!(whats(&*api), []);
}

pub fn device_del_that_does_not_find_it_is_no_proof(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    done(api.add_nic(&world.nic_as("lan", MAC)));
    world.qemu.model(|model| model.manner = Manner::Never);
    let error = json!({ "error": { "class": "DeviceNotFound", "desc": "Device 'lan' not found" } });
    world.qemu.fault("device_del", 0, Act::Instead(format!("{error}\r\n").into()));
    let answer = api.unplug(&UnplugAsk::within("lan", SHORT));
    assert!(world.qemu.snapshot().iter().any(|line| line.starts_with("netdev lan")), "{answer:?}");
    pending(answer);
    assert_eq!(world.recorded(), ["lan"]);
    world.qemu.grant("lan");
    assert!(host::eventually(|| api.process(AMPLE).is_ok() && world.recorded().is_empty()));
}

/// Struck from the record because of something that was not so; its removal is still in the journal.
pub fn a_removal_struck_from_the_record_goes_on(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    world.qemu.model(|model| model.manner = Manner::Never);
    done(api.add_nic(&world.nic_as("lan", MAC)));
    done(api.add_disk(&world.disk_as("data", "a.img")));
    for id in ["lan", "data"] {
        pending(api.unplug(&UnplugAsk { wait: false, ..UnplugAsk::of(id) }));
    }
    drop(api);
    let mut runtime = RecordFile::load(&world.runtime).unwrap();
    let mut next = runtime.record().clone();
    next.devices.clear();
    runtime.replace(next).unwrap();
    drop(runtime);
    let api = world.open(agent);
    assert!(world.journal().exists(), "the devices are there");
    let states: Vec<Presence> = api.list().iter().map(|item| item.presence).collect();
    assert!(matches!(states[..], [Presence::Pending(_), Presence::Pending(_)]), "{states:?}");
    world.qemu.grant("lan");
    world.qemu.grant("data");
    assert!(host::eventually(|| api.process(AMPLE).is_ok() && !world.journal().exists()));
    let left = world.qemu.snapshot();
    assert!(!left.iter().any(|line| line.contains("lan") || line.contains("data")), "{left:?}");
    assert_eq!(world.picture().taps, Vec::<String>::new());
}

/// A world where a NIC "lan" was taken out, another one of that id is in the guest, and this journal is there again.
fn with_another(
    agent: &dyn Agent,
    command: &str,
    operation: &str,
    change: impl FnOnce(&mut Dev),
) -> (World, Box<dyn Api>) {
    let world = World::pc();
    let api = world.open(agent);
    let lan = world.nic_as("lan", MAC);
    let journal = journal_during(&world, command, || {
        done(api.add_nic(&lan));
        done(api.unplug(&UnplugAsk::of("lan")));
    });
    drop(api);
    let journal = String::from_utf8(journal).unwrap().replace("\"add\"", operation);
    let mut other = Dev { mac: Some(MAC.into()), ..Dev::new(Some("lan"), "virtio-net-pci", "pci.0", 4, 0) };
    other.netdev = Some("lan".into());
    change(&mut other);
    world.qemu.model(|model| {
        model.netdevs.extend(other.netdev.clone().map(|id| (id, Netdev::default())));
        model.devices.push(other);
    });
    let before = world.qemu.snapshot();
    std::fs::write(world.journal(), journal).unwrap();
    world.qemu.take_seen();
    let api = world.open(agent);
    world.qemu.settle();
    assert_eq!(world.qemu.snapshot(), before, "somebody else's");
    (world, api)
}

fn is_left_alone(world: &World, api: &dyn Api) {
    assert!(!world.qemu.take_names().contains(&"device_del".to_owned()));
    assert!(world.recorded().is_empty(), "{:?}", world.record());
    assert!(!world.journal().exists());
    assert!(!whats(api).contains(&EventKind::Added));
    fails(api.unplug(&UnplugAsk::of("lan")), ErrorKind::Foreign);
}

pub fn an_interrupted_add_does_not_adopt_another_device(agent: &dyn Agent) {
    let mac = |device: &mut Dev| device.mac = Some(OTHER_MAC.into());
    let slot = |device: &mut Dev| device.slot = 9;
    let model = |device: &mut Dev| (device.driver, device.mac) = ("virtio-blk-pci".into(), None);
    for change in [mac as fn(&mut Dev), slot, model] {
        let (world, api) = with_another(agent, "getfd", "\"add\"", change);
        is_left_alone(&world, &*api);
    }
    // What the add made itself and the other one does not use goes.
    let (world, api) = with_another(agent, "getfd", "\"add\"", |device| {
        (device.mac, device.netdev) = (Some(OTHER_MAC.into()), Some("wan".into()));
    });
    assert!(world.qemu.take_names().contains(&"netdev_del".to_owned()));
    is_left_alone(&world, &*api);
}

pub fn an_add_that_is_undone_leaves_another_device_alone(agent: &dyn Agent) {
    let (world, api) =
        with_another(agent, "getfd", "\"undo-add\"", |device| device.mac = Some(OTHER_MAC.into()));
    is_left_alone(&world, &*api);
}

pub fn a_removal_does_not_take_another_device(agent: &dyn Agent) {
    // Also while it is recorded: the one that was to go is gone.
    let (world, api) = with_another(agent, "device_del", "", |device| device.mac = Some(OTHER_MAC.into()));
    is_left_alone(&world, &*api);

    let world = World::pc();
    let api = world.open(agent);
    world.qemu.model(|model| model.manner = Manner::Never);
    done(api.add_nic(&world.nic_as("lan", MAC)));
    pending(api.unplug(&UnplugAsk { wait: false, ..UnplugAsk::of("lan") }));
    drop(api);
    leaves_silently(&world, "lan");
    world.qemu.model(|model| {
        let other = Dev::new(Some("lan"), "virtio-net-pci", "pci.0", 4, 0);
        model.devices.push(Dev { mac: Some(OTHER_MAC.into()), netdev: Some("lan".into()), ..other });
    });
    let before = world.qemu.snapshot();
    world.qemu.take_seen();
    let api = world.open(agent);
    assert_eq!(world.qemu.snapshot(), before);
    is_left_alone(&world, &*api);
}

pub fn what_qemu_does_not_say_of_a_place_takes_nothing_down(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    done(api.add_nic(&world.nic_as("lan", MAC)));
    done(api.add_disk(&world.disk_as("data", "a.img")));
    let before = world.picture();
    for refused in [2, 4] {
        // The places of both, one after the other.
        (0..refused).for_each(|nth| world.qemu.fault("qom-get", nth, Act::refuse("not now")));
        api.repair().unwrap();
        assert_eq!(world.qemu.faults_left(), 0);
        assert_eq!(world.picture(), before);
    }
    assert_eq!(whats(&*api), []);
    // A device that belongs to the node is there, though nobody knows where.
    world.qemu.model(|model| {
        for device in model.devices.iter_mut().filter(|device| device.id.as_deref() == Some("data")) {
            device.bus = "somewhere".into();
        }
    });
    let before = world.qemu.snapshot();
    let mut runtime_gone = world.record();
    drop(api);
    runtime_gone.devices.clear();
    let mut runtime = RecordFile::load(&world.runtime).unwrap();
    runtime.replace(runtime_gone).unwrap();
    drop(runtime);
    let api = world.open(agent);
    api.repair().unwrap();
    assert_eq!(world.qemu.snapshot(), before);
}

pub fn the_number_of_an_attachment_is_kept_until_it_is_written_down(agent: &dyn Agent) {
    let world = World::pc();
    let api = world.open(agent);
    world.qemu.model(|model| model.manner = Manner::Never);
    world.qemu.fault("device_add", 1, Act::refuse("no such luck"));
    let failure = api.add_all(&[world.nic_as("lan", MAC)], &[world.disk("a.img")], SHORT).unwrap_err();
    assert!(failure.left[0].starts_with("device lan"), "{failure:?}");
    let noted = world.record().next_generation;
    // No rights keep root from writing; a directory in the way does.
    let obstacle = world.dir.path().join("web1.runtime.new");
    std::fs::create_dir(&obstacle).unwrap();
    world.qemu.grant("lan");
    world.qemu.settle();
    assert!(api.process(AMPLE).is_err());
    assert!(world.journal().exists(), "the journal has the number until the record does");
    std::fs::remove_dir(&obstacle).unwrap();
    api.process(AMPLE).unwrap();
    assert!(!world.journal().exists());
    assert!(world.record().next_generation > noted);
    assert_eq!(whats(&*api).iter().filter(|what| **what == EventKind::Undone).count(), 1);
}

/// Somebody else takes it out between the question what is there and the record.
pub fn a_device_that_goes_while_its_add_is_completed(agent: &dyn Agent) {
    let world = World::pc();
    let mut api = world.open(agent);
    let ask = world.nic_as("lan", MAC);
    let journal = journal_during(&world, "device_add", || drop(done(api.add_nic(&ask))));
    drop(api);
    let mut runtime = RecordFile::load(&world.runtime).unwrap();
    let mut next = runtime.record().clone();
    next.devices.clear();
    runtime.replace(next).unwrap();
    drop(runtime);
    std::fs::write(world.journal(), journal).unwrap();
    world.qemu.take_seen();
    world.qemu.fault("qom-get", 8, Act::Stall(Duration::from_millis(400)));
    api = std::thread::scope(|scope| {
        scope.spawn(|| {
            let is_asked = || world.qemu.faults_left() == 0;
            assert!(host::eventually(is_asked));
            leaves_silently(&world, "lan");
        });
        world.open(agent)
    });
    assert_eq!(world.recorded(), Vec::<String>::new());
    assert!(!world.journal().exists());
    assert_eq!(whats(&*api), [EventKind::Undone]);
    assert!(!world.qemu.snapshot().iter().any(|line| line.contains("lan")));
    done(api.add_nic(&ask));
}

pub fn what_a_call_answers_is_no_event(agent: &dyn Agent) {
    let of_devices = |api: &dyn Api| {
        let news = drain(api);
        news.into_iter().filter(|news| news.id.is_some()).collect::<Vec<_>>()
    };
    // A removal whose end is found by a new connection.
    let (world, api) = with_disk(agent);
    world.qemu.model(|model| model.manner = Manner::Never);
    world.qemu.take_seen();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| api.unplug(&UnplugAsk::of("data")));
        assert!(host::eventually(|| asked(&world)));
        world.qemu.accept(false);
        world.qemu.hang_up();
        leaves_silently(&world, "data");
        world.qemu.accept(true);
        done(waiting.join().unwrap());
    });
    assert_eq!(of_devices(&*api), []);
    // The same when the answer to the request is lost, and when that to clearing up is.
    for command in ["device_del", "blockdev-del", "remove-fd"] {
        let (world, api) = with_disk(agent);
        world.qemu.fault(command, 0, Act::CloseAfter);
        done(api.unplug(&UnplugAsk::of("data")));
        assert_eq!(of_devices(&*api), [], "{command}");
        assert_eq!(world.qemu.faults_left(), 0);
    }
    // An add whose answer is lost.
    let world = World::pc();
    let api = world.open(agent);
    world.qemu.fault("device_add", 0, Act::CloseAfter);
    done(api.add_disk(&world.disk_as("data", "a.img")));
    assert_eq!(of_devices(&*api), []);
    // One that nobody waits for has one event.
    world.qemu.fault("device_add", 0, Act::CloseAfter);
    let place = Place { no_wait: true, ..world.disk_as("more", "b.img").place };
    api.add_disk(&DiskAsk { place, ..world.disk("b.img") }).unwrap();
    assert!(host::eventually(|| api.process(AMPLE).is_ok() && world.recorded().contains(&"more".to_owned())));
    let added: Vec<EventKind> = of_devices(&*api).iter().map(|news| news.what).collect();
    assert_eq!(added, [EventKind::Added]);
}

pub fn an_old_record_with_unheard_ids_loads(agent: &dyn Agent) {
    let world = World::pc();
    let text = world.record_text().replacen('{', "{\n  \"unheard\": [\"lan\", \"data\"],", 1);
    std::fs::write(&world.runtime, text).unwrap();
    let api = world.open(agent);
    done(api.add_disk(&world.disk_as("data", "a.img")));
    done(api.unplug(&UnplugAsk::of("data")));
    assert!(!world.record_text().contains("unheard"), "{}", world.record_text());
}
