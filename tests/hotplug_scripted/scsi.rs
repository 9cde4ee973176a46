//! SCSI disks, and the controller that comes with the first.
#![allow(unreachable_pub)]

use kvm_hotplug::ids::Address;
use kvm_hotplug::{ErrorKind, model, store};
use serde_json::json;

use crate::removing::{SHORT, pending};
use crate::support::api::*;
use crate::support::fake::{Act, Dev, Setup, UnplugBehaviour};
use crate::support::fixture::Fixture;
use crate::support::host;

fn disk(fixture: &Fixture, name: &str) -> DiskArgs {
    DiskArgs { model: Some("scsi-hd".into()), ..fixture.disk(name) }
}

fn on_bus(fixture: &Fixture, name: &str, bus: &str) -> DiskArgs {
    let place = Place { scsi_bus: Some(bus.into()), ..Place::default() };
    DiskArgs { place, ..disk(fixture, name) }
}

fn at(fixture: &Fixture, name: &str, bus: &str, target: u8) -> DiskArgs {
    let place = Place { address: Some((bus.into(), target)), ..Place::default() };
    DiskArgs { place, ..disk(fixture, name) }
}

/// A controller that QEMU was started with.
fn machine_controller(id: &str, driver: &str, slot: u8) -> Dev {
    Dev::new(Some(id), driver, "pci.0", slot, 0)
}

fn unit(id: Option<&str>, driver: &str, bus: &str, target: u64) -> Dev {
    Dev { unit: Some((0, target, 0)), ..Dev::new(id, driver, bus, 0, 0) }
}

fn place(item: &Item) -> (&str, &str, u8) {
    let (bus, number) = item.address.as_ref().unwrap();
    (&item.id, bus, *number)
}

pub fn a_scsi_disk_brings_its_controller(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let start = fixture.snapshot();
    fixture.qemu.take_seen();
    let first = done(api.add_disk(&disk(&fixture, "a.img")));
    assert_eq!(fixture.qemu.take_names(), ["add-fd", "blockdev-add", "device_add", "device_add"]);
    assert_eq!(place(&first), ("disk-scsi-pci-4-0", "scsi-pci-4.0", 0));
    assert_eq!(fixture.recorded(), ["scsi-pci-4", "disk-scsi-pci-4-0"]);
    assert!(!fixture.journal().exists());
    let device_info = api.list();
    assert_eq!((device_info[0].kind, place(&device_info[0])), ("scsi", ("scsi-pci-4", "pci.0", 4)));
    assert_eq!(api.describe(Some("scsi-pci-4")).unwrap().unwrap()["type"], "controller");
    fixture.qemu.take_seen();
    let second = done(api.add_disk(&disk(&fixture, "b.img")));
    assert_eq!(fixture.qemu.take_names(), ["add-fd", "blockdev-add", "device_add"]);
    assert_eq!(place(&second), ("disk-scsi-pci-4-1", "scsi-pci-4.0", 1));
    let failure = fails(api.unplug(&UnplugArgs::of("scsi-pci-4")), ErrorKind::Conflict);
    assert_eq!(failure.errno, libc::EBUSY);
    assert!(
        failure.text.contains("disk-scsi-pci-4-0 at target 0, disk-scsi-pci-4-1 at target 1"),
        "{failure:?}"
    );
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    done(api.unplug(&UnplugArgs::of(&first.id)));
    assert_eq!(
        fixture.qemu.take_names(),
        ["x-debug-query-block-graph", "device_del", "qom-list", "blockdev-del", "remove-fd"],
        "the guest is not asked"
    );
    assert_eq!(
        place(&done(api.add_disk(&disk(&fixture, "a.img")))),
        place(&first),
        "the target is free again"
    );
    done(api.unplug(&UnplugArgs::of(&first.id)));
    done(api.unplug(&UnplugArgs { kind: Some("disk"), ..UnplugArgs::of(&second.id) }));
    assert_eq!(fixture.recorded(), ["scsi-pci-4"], "the controller stays");
    fails(api.unplug(&UnplugArgs { kind: Some("disk"), ..UnplugArgs::of("scsi-pci-4") }), ErrorKind::Invalid);
    done(api.unplug(&UnplugArgs { kind: Some("scsi"), ..UnplugArgs::of("scsi-pci-4") }));
    let left = fixture.snapshot();
    assert_eq!(
        (left.qemu, left.files),
        (start.qemu, vec!["a.img".into(), "b.img".into(), "web1.runtime".into()])
    );
    assert_eq!(fixture.recorded(), Vec::<String>::new());
    fixture.qemu.take_seen();
    done(api.add_disk(&disk(&fixture, "a.img")));
    assert_eq!(
        fixture.qemu.take_names(),
        ["add-fd", "blockdev-add", "device_add", "device_add"],
        "it brings one again"
    );
}

pub fn a_scsi_disk_again_is_a_success(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let ask =
        DiskArgs { place: Place { id: Some("data".into()), ..Place::default() }, ..disk(&fixture, "a.img") };
    let first = done(api.add_disk(&ask));
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    assert_eq!(done(api.add_disk(&ask)), first);
    for (bus, same) in [("scsi-pci-4.0", true), ("scsi-pci-9.0", false)] {
        let place = Place { scsi_bus: Some(bus.into()), ..ask.place.clone() };
        let again = api.add_disk(&DiskArgs { place, ..ask.clone() });
        let pinned = Place { address: Some((bus.into(), 0)), ..ask.place.clone() };
        let exactly = api.add_disk(&DiskArgs { place: pinned, ..ask.clone() });
        for result in [again, exactly] {
            match same {
                true => assert_eq!(done(result), first),
                false => assert!(fails(result, ErrorKind::Conflict).text.contains("another address")),
            }
        }
    }
    let other = fails(api.add_disk(&DiskArgs { model: None, ..ask.clone() }), ErrorKind::Conflict);
    assert!(other.text.contains("another model"), "{other:?}");
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    assert_eq!(fixture.snapshot(), before);
}

pub fn a_controller_can_be_added_by_itself(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    let place = Place { id: Some("hba".into()), address: Some(("pci.0".into(), 9)), ..Place::default() };
    let ask = ControllerArgs { place, queues: Some(4), ..ControllerArgs::default() };
    let controller = done(api.add_controller(&ask));
    assert_eq!((controller.kind, controller.address.clone()), ("scsi", Some(("pci.0".into(), 9))));
    let seen = fixture.qemu.take_seen();
    assert_eq!(
        seen[0].arguments,
        json!({"driver": "virtio-scsi-pci", "id": "hba", "bus": "pci.0", "addr": "9", "num_queues": 4})
    );
    assert_eq!(done(api.add_controller(&ask)), controller);
    let other = ControllerArgs { queues: Some(2), ..ask.clone() };
    assert!(fails(api.add_controller(&other), ErrorKind::Conflict).text.contains("another queues"));
    fails(api.add_controller(&ControllerArgs { queues: Some(1022), ..ask }), ErrorKind::Invalid);
    let second = done(api.add_controller(&ControllerArgs::default()));
    assert_eq!(place_of_first_disk(&fixture, api.as_ref()), "hba.0", "the first one that was recorded");
    done(api.unplug(&UnplugArgs::of(&second.id)));
    let later = ControllerArgs { model: Some("megasas".into()), ..ControllerArgs::default() };
    let answer = api.add_controller(&later).unwrap();
    assert_eq!(answer.state, State::AfterReboot(Later::Model));
}

fn place_of_first_disk(fixture: &Fixture, api: &dyn Api) -> String {
    done(api.add_disk(&disk(fixture, "first.img"))).address.unwrap().0
}

pub fn a_controller_of_the_machine_is_used(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    fixture.qemu.model(|model| {
        model.devices.push(machine_controller("scsi", "virtio-scsi-pci", 3));
        model.devices.push(unit(Some("cd"), "scsi-cd", "scsi.0", 0));
    });
    let api = fixture.open(agent);
    let first = done(api.add_disk(&disk(&fixture, "a.img")));
    assert_eq!(place(&first), ("disk-scsi-1", "scsi.0", 1));
    assert_eq!(fixture.recorded(), ["disk-scsi-1"], "somebody else's controller is not recorded");
    for foreign in ["cd", "scsi"] {
        fails(api.unplug(&UnplugArgs::of(foreign)), ErrorKind::Foreign);
    }
    // Another agent sees the same.
    drop(api);
    let api = fixture.open(agent);
    assert_eq!(place(&done(api.add_disk(&disk(&fixture, "b.img")))), ("disk-scsi-2", "scsi.0", 2));
    done(api.add_controller(&ControllerArgs::default()));
    assert_eq!(place_of_first_disk(&fixture, api.as_ref()), "scsi-pci-4.0", "what is recorded comes first");
    drop(api);
    let api = fixture.open(agent);
    assert_eq!(done(api.add_disk(&disk(&fixture, "d.img"))).id, "disk-scsi-pci-4-1");
    done(api.unplug(&UnplugArgs::of(&first.id)));
}

pub fn scsi_places_can_be_pinned(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    fixture.qemu.model(|model| {
        model.devices.push(machine_controller("scsi", "virtio-scsi-pci", 3));
        model.devices.push(unit(None, "scsi-cd", "scsi.0", 6));
        model.devices.push(unit(Some("cd"), "scsi-cd", "scsi.0", 7));
    });
    let api = fixture.open(agent);
    done(api.add_controller(&ControllerArgs::default()));
    let pinned = done(api.add_disk(&at(&fixture, "a.img", "scsi.0", 200)));
    assert_eq!(place(&pinned), ("disk-scsi-200", "scsi.0", 200));
    assert_eq!(
        place(&done(api.add_disk(&on_bus(&fixture, "b.img", "scsi.0")))),
        ("disk-scsi-0", "scsi.0", 0)
    );
    for (ask, kind, words) in [
        (at(&fixture, "c.img", "scsi.0", 200), ErrorKind::AddressTaken, "taken by disk-scsi-200"),
        (at(&fixture, "c.img", "scsi.0", 7), ErrorKind::AddressTaken, "taken by cd"),
        (at(&fixture, "c.img", "nope.0", 1), ErrorKind::NotFound, "the guest has scsi-pci-4.0, scsi.0"),
        (on_bus(&fixture, "c.img", "nope.0"), ErrorKind::NotFound, "no such SCSI bus"),
        (on_bus(&fixture, "c.img", "pci.0"), ErrorKind::NotFound, "no such SCSI bus"),
    ] {
        let failure = fails(api.add_disk(&ask), kind);
        assert!(failure.text.contains(words), "{failure:?}");
    }
    let slots = api.slots().unwrap();
    let scsi: Vec<(&str, u8, SlotUse, &str)> = slots
        .iter()
        .filter(|slot| slot.bus.starts_with("scsi"))
        .map(|slot| (slot.bus.as_str(), slot.slot, slot.state, slot.occupant.as_str()))
        .collect();
    assert_eq!(
        scsi,
        [
            ("scsi-pci-4.0", 0, SlotUse::Free, ""),
            ("scsi.0", 0, SlotUse::Taken, "disk-scsi-0"),
            ("scsi.0", 1, SlotUse::Free, ""),
            ("scsi.0", 7, SlotUse::Taken, "cd"),
            ("scsi.0", 200, SlotUse::Taken, "disk-scsi-200"),
        ]
    );
}

pub fn a_target_taken_behind_our_back_is_passed_over(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&disk(&fixture, "a.img")));
    let behind = |model: &mut crate::support::fake::Model| {
        model.devices.push(unit(Some("theirs"), "scsi-hd", "scsi-pci-4.0", 1));
    };
    fixture.qemu.model(behind);
    assert_eq!(done(api.add_disk(&disk(&fixture, "b.img"))).id, "disk-scsi-pci-4-2");
    fixture.qemu.model(|model| model.devices.push(unit(Some("too"), "scsi-hd", "scsi-pci-4.0", 9)));
    let failure = fails(api.add_disk(&at(&fixture, "c.img", "scsi-pci-4.0", 9)), ErrorKind::AddressTaken);
    assert!(failure.text.contains("lun already used by 'too'"), "{failure:?}");
    assert_eq!(failure.left, Vec::<String>::new());
}

pub fn a_slot_for_the_controller_taken_behind_our_back(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.model(|model| model.devices.push(machine_controller("theirs", "virtio-net-pci", 4)));
    let disk = done(api.add_disk(&disk(&fixture, "a.img")));
    assert_eq!(place(&disk), ("disk-scsi-pci-5-0", "scsi-pci-5.0", 0));
    assert_eq!(fixture.recorded(), ["scsi-pci-5", "disk-scsi-pci-5-0"]);
}

pub fn a_full_guest_has_no_room_for_a_controller(agent: &dyn Agent) {
    let fixture = Fixture::q35(1);
    let api = fixture.open(agent);
    done(api.add_disk(&fixture.disk("a.img")));
    let before = fixture.snapshot();
    let failure = fails(api.add_disk(&disk(&fixture, "b.img")), ErrorKind::NoSlot);
    assert!(
        failure.text.contains("has no SCSI controller, and one cannot be added: no free slot"),
        "{failure:?}"
    );
    let (mut after, mut start) = (fixture.snapshot(), before);
    (after.files, start.files) = (Vec::new(), Vec::new());
    assert_eq!(after, start);
    done(api.unplug(&UnplugArgs::of("disk-pci-rp0")));
    assert_eq!(done(api.add_disk(&disk(&fixture, "b.img"))).id, "disk-scsi-pci-rp0-0");
}

pub fn a_full_scsi_bus_is_told_with_numbers(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    fixture.qemu.model(|model| {
        model.devices.push(machine_controller("scsi", "virtio-scsi-pci", 3));
        for target in 0..256 {
            model.devices.push(unit(Some(&format!("d{target}")), "scsi-hd", "scsi.0", target));
        }
    });
    let api = fixture.open(agent);
    let failure = fails(api.add_disk(&disk(&fixture, "a.img")), ErrorKind::NoSlot);
    assert!(failure.text.contains("scsi.0: 256 of 256 taken (0 quarantined)"), "{failure:?}");
    fixture.qemu.model(|model| model.devices.retain(|device| device.id.as_deref() != Some("d77")));
    api.slots().unwrap();
    assert_eq!(done(api.add_disk(&disk(&fixture, "a.img"))).id, "disk-scsi-77");
}

pub fn addresses_of_the_wrong_kind_are_refused(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    let place = Place { scsi_bus: Some("scsi.0".into()), ..Place::default() };
    let settings = [
        DiskArgs { serial: Some("x".into()), model: Some("scsi-block".into()), ..fixture.disk("a.img") },
        DiskArgs { model: Some("scsi-block".into()), ..fixture.disk("a.img") },
    ];
    for ask in settings {
        fails(api.add_disk(&ask), ErrorKind::Invalid);
    }
    // C has one field for both kinds of bus: there, it is a PCI bus that the guest does not have.
    let wrong = api.add_disk(&DiskArgs { place, ..fixture.disk("a.img") }).unwrap_err();
    assert!(wrong.is(ErrorKind::Invalid) || wrong.is(ErrorKind::NotFound), "{wrong:?}");
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    let mut after = fixture.snapshot();
    after.files.retain(|name| name != "a.img");
    assert_eq!(after, before);
}

pub fn a_scsi_disk_leaves_whatever_the_guest_is_doing(agent: &dyn Agent) {
    for (state, event) in [("paused", "STOP"), ("suspended", "SUSPEND"), ("guest-panicked", "GUEST_PANICKED")]
    {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let disk = done(api.add_disk(&disk(&fixture, "a.img")));
        fixture.qemu.model(|model| model.run_state = state.into());
        fixture.qemu.emit(event, json!({}));
        fixture.qemu.settle();
        done(api.unplug(&UnplugArgs::of(&disk.id)));
        assert_eq!(fixture.recorded(), ["scsi-pci-4"], "{state}");
        let controller = UnplugArgs::within("scsi-pci-4", SHORT);
        let why = pending(api.unplug(&controller));
        assert!(matches!(why, Why::Paused | Why::Asleep | Why::Stopped), "{why:?}");
    }
    let fixture = Fixture::new(Setup { run_state: "prelaunch".into(), ..Setup::default() });
    let api = fixture.open(agent);
    let disk = done(api.add_disk(&disk(&fixture, "a.img")));
    done(api.unplug(&UnplugArgs::of(&disk.id)));
}

pub fn a_controller_does_not_come_for_nothing(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let ask = disk(&fixture, "a.img");
    let before = fixture.snapshot();
    // The block node fails before anything is plugged in.
    fixture.qemu.take_seen();
    fixture.qemu.fault("blockdev-add", 0, Act::refuse("no"));
    fails(api.add_disk(&ask), ErrorKind::Qmp);
    assert_eq!(fixture.qemu.take_names(), ["add-fd", "blockdev-add", "remove-fd"]);
    assert_eq!(fixture.snapshot(), before);
    // The disk fails when its controller is in: it goes again.
    fixture.qemu.fault("device_add", 1, Act::refuse("Failed to get \"write\" lock"));
    let failure = fails(api.add_disk(&ask), ErrorKind::ImageLocked);
    assert_eq!((failure.undo, failure.left.clone()), (1, Vec::new()), "{failure:?}");
    assert!(
        failure.text.contains("disk disk-scsi-pci-4-0 at scsi-pci-4.0 target 0 lun 0, with SCSI controller")
    );
    assert_eq!(fixture.snapshot(), before);
    // And with a guest that does not let go of it.
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    fixture.qemu.fault("device_add", 1, Act::refuse("no"));
    // Time for everything but the guest, also under a sanitizer.
    let impatient = DiskArgs { place: Place { timeout_ms: 10 * SHORT, ..Place::default() }, ..ask.clone() };
    let failure = fails(api.add_disk(&impatient), ErrorKind::Qmp);
    assert_eq!(failure.left, ["device scsi-pci-4: its removal is pending"]);
    assert_eq!(fixture.recorded(), Vec::<String>::new());
    let device_info = api.list();
    assert!(
        device_info.len() == 1 && matches!(device_info[0].presence, Presence::Pending(_)),
        "{device_info:?}"
    );
    // Nothing is put on a controller that is on its way out.
    assert_eq!(done(api.add_disk(&ask)).id, "disk-scsi-pci-5-0");
    fixture.qemu.grant("scsi-pci-4");
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    assert!(!fixture.journal().exists());
    assert_eq!(fixture.recorded(), ["scsi-pci-5", "disk-scsi-pci-5-0"]);
}

pub fn a_dead_agents_controller_goes_with_its_disk(agent: &dyn Agent) {
    for (command, nth) in [("blockdev-add", 0), ("device_add", 0), ("device_add", 1)] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let ask = disk(&fixture, "a.img");
        let before = fixture.snapshot();
        // The answer is lost, and then the monitor does not answer either: to be settled by the next agent.
        fixture.qemu.fault(command, nth, Act::CloseAfter);
        fixture.qemu.fault("query-pci", 0, Act::CloseBefore);
        let failure = api.add_disk(&ask).unwrap_err();
        drop(api);
        // What the caller was told counts: with an error, all of it goes.
        let api = fixture.open(agent);
        let settled = host::eventually(|| {
            api.process(AMPLE).unwrap();
            fixture.snapshot() == before
        });
        assert!(settled, "{command} {nth}: {failure:?}: {:#?}", fixture.snapshot());
    }
}

pub fn a_controller_left_without_the_disk_it_came_for_goes(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    // What an agent leaves that dies when QEMU has refused the disk, and nothing has been taken back yet.
    let (journal, copy) = (fixture.journal(), fixture.dir.path().join("copy"));
    fixture.qemu.hook("device_add", 1, {
        let (journal, copy) = (journal.clone(), copy.clone());
        move || assert!(std::fs::copy(journal, copy).unwrap() > 0)
    });
    fixture.qemu.fault("device_add", 1, Act::refuse("no"));
    fails(api.add_disk(&disk(&fixture, "a.img")), ErrorKind::Qmp);
    drop(api);
    fixture.qemu.model(|model| model.devices.push(machine_controller("scsi-pci-4", "virtio-scsi-pci", 4)));
    std::fs::rename(copy, &journal).unwrap();
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    // The first to come asks, and dies as well before the guest has let go.
    drop(fixture.open(agent));
    let api = fixture.open(agent);
    assert!(matches!(api.list()[0].presence, Presence::Pending(_)), "{:?}", api.list());
    fixture.qemu.grant("scsi-pci-4");
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    assert_eq!((fixture.recorded(), journal.exists()), (Vec::new(), false));
}

pub fn with_its_controller_a_disk_goes_unasked(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&disk(&fixture, "a.img")));
    done(api.add_disk(&disk(&fixture, "b.img")));
    fixture.qemu.grant("scsi-pci-4");
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    let mut gone: Vec<String> = std::iter::from_fn(|| api.next_event())
        .filter(|news| news.what == EventKind::RemovedByGuest)
        .filter_map(|news| news.id)
        .collect();
    gone.sort();
    assert_eq!(gone, ["disk-scsi-pci-4-0", "disk-scsi-pci-4-1", "scsi-pci-4"]);
    assert_eq!(fixture.recorded(), Vec::<String>::new());
    assert_eq!(done(api.add_disk(&disk(&fixture, "a.img"))).id, "disk-scsi-pci-4-0");
}

pub fn what_cannot_be_plugged_in_on_scsi_waits_for_a_reboot(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    fixture.qemu.model(|model| model.devices.push(machine_controller("hba", "lsi53c895a", 3)));
    let api = fixture.open(agent);
    let answer = api.add_disk(&on_bus(&fixture, "a.img", "hba.0")).unwrap();
    assert_eq!(answer.state, State::AfterReboot(Later::Controller));
    assert_eq!(answer.device.unwrap().address, Some(("hba.0".into(), 0)));
    let answer = api.add_disk(&at(&fixture, "b.img", "hba.0", 3)).unwrap();
    assert_eq!(answer.state, State::AfterReboot(Later::Controller));
    fails(api.add_disk(&at(&fixture, "c.img", "hba.0", 3)), ErrorKind::AddressTaken);
    let live = Place { live_only: true, scsi_bus: Some("hba.0".into()), ..Place::default() };
    fails(api.add_disk(&DiskArgs { place: live, ..disk(&fixture, "c.img") }), ErrorKind::NotHotpluggable);
    // A controller that comes with the next boot can be given disks for then.
    let cold = ControllerArgs { model: Some("pvscsi".into()), ..ControllerArgs::default() };
    let cold = api.add_controller(&ControllerArgs {
        place: Place { id: Some("pv".into()), ..Place::default() },
        ..cold
    });
    assert_eq!(cold.unwrap().state, State::AfterReboot(Later::Model));
    let answer = api.add_disk(&on_bus(&fixture, "c.img", "pv.0")).unwrap();
    assert_eq!(answer.state, State::AfterReboot(Later::Controller));
    let id = Some(answer.device.as_ref().unwrap().id.clone());
    let again = DiskArgs { place: Place { id, ..Place::default() }, ..disk(&fixture, "c.img") };
    assert_eq!(
        api.add_disk(&again).unwrap().state,
        State::AfterReboot(Later::Controller),
        "the same when asked again"
    );
    let why: Vec<_> = api.list().into_iter().map(|item| item.later.unwrap()).collect();
    assert_eq!(why, [Later::Controller, Later::Controller, Later::Model, Later::Controller]);
    fails(api.unplug(&UnplugArgs::of("pv")), ErrorKind::Conflict);
    done(api.unplug(&UnplugArgs::of(&answer.device.unwrap().id)));
    done(api.unplug(&UnplugArgs::of("pv")));
    assert_eq!(
        done(api.add_disk(&disk(&fixture, "d.img"))).id,
        "disk-scsi-pci-4-0",
        "the usable kind is brought"
    );
    // Too old for all of it.
    let fixture = Fixture::new(Setup { version: (4, 2, 1), ..Setup::default() });
    let api = fixture.open(agent);
    let answer = api.add_disk(&disk(&fixture, "a.img")).unwrap();
    assert_eq!((answer.state, answer.device.unwrap().address), (State::AfterReboot(Later::QemuTooOld), None));
}

/// Why the disk waits is to be seen in the record, of which the list is made.
pub fn a_disk_that_waits_with_its_controller_is_listed(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&disk(&fixture, "a.img")));
    drop(api);
    let mut record = fixture.record();
    record.devices.iter_mut().for_each(|device| device.presence = model::Presence::AddAfterReboot);
    let next = Fixture::pc();
    store::RecordFile::load(&next.runtime).unwrap().replace(record).unwrap();
    let later: Vec<_> = next.open(agent).list().into_iter().map(|item| item.later).collect();
    assert_eq!(later, [Some(Later::Recorded), Some(Later::Controller)], "the controller, then the disk");
}

pub fn scsi_places_are_in_the_file(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&disk(&fixture, "a.img")));
    let file: serde_json::Value = serde_json::from_str(&fixture.record_text()).unwrap();
    assert_eq!(file["controllers"][0]["address"], json!({"bus": "pci.0", "slot": 4}));
    let address = json!({"bus": "scsi-pci-4.0", "channel": 0, "target": 0, "lun": 0});
    assert_eq!(file["disks"][0]["address"], address);
    let record = fixture.record();
    assert!(matches!(record.devices[1].address, Some(Address::Scsi(_))));
}
