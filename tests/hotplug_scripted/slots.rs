//! Where devices end up.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::ids::{BusName, Slot};
use kvm_hotplug::slots::pci::{SlotKind, SlotPolicy, SlotRange};
use kvm_hotplug::store::RecordFile;

use super::adding::MAC;
use crate::support::api::*;
use crate::support::fake::{Dev, Machine, Setup};
use crate::support::fixture::Fixture;
use crate::support::host;

fn at(bus: &str, slot: u8) -> Option<(String, u8)> {
    Some((bus.to_owned(), slot))
}

fn pinned(fixture: &Fixture, bus: &str, slot: u8) -> DiskArgs {
    let place = Place { address: at(bus, slot), ..Place::default() };
    DiskArgs { place, ..fixture.disk(&format!("{}.img", host::unique())) }
}

pub fn pinned_addresses(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    fixture
        .qemu
        .model(|model| model.devices.push(Dev::new(Some("agent0"), "virtio-serial-pci", "pci.0", 7, 0)));
    let api = fixture.open(agent);
    let device = done(api.add_disk(&pinned(&fixture, "pci.0", 12)));
    assert_eq!((device.id.as_str(), &device.address), ("disk-pci-12", &at("pci.0", 12)));
    assert_eq!(
        done(api.add_disk(&pinned(&fixture, "pci.0", 3))).address,
        at("pci.0", 3),
        "reserved, but pinned"
    );
    fixture.qemu.take_seen();
    for (slot, by) in [(12, "disk-pci-12"), (7, "agent0"), (1, "ISA bridge")] {
        let failure = fails(api.add_disk(&pinned(&fixture, "pci.0", slot)), ErrorKind::AddressTaken);
        assert!(failure.text.contains(by), "{failure:?}");
    }
    fails(api.add_disk(&pinned(&fixture, "nosuchbus", 0)), ErrorKind::NotFound);
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
}

pub fn pinned_addresses_on_q35(agent: &dyn Agent) {
    let fixture = Fixture::q35(4);
    let api = fixture.open(agent);
    let device = done(api.add_disk(&pinned(&fixture, "rp2", 0)));
    assert_eq!(device.id, "disk-pci-rp2");
    fixture.qemu.take_seen();
    let failure = fails(api.add_disk(&pinned(&fixture, "pcie.0", 9)), ErrorKind::NotHotpluggable);
    assert!(failure.text.contains("rp0"), "names the buses that do: {failure:?}");
    fails(api.add_disk(&pinned(&fixture, "rp2", 0)), ErrorKind::AddressTaken);
    fails(api.add_disk(&pinned(&fixture, "rp1", 1)), ErrorKind::Invalid);
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
}

/// By the record's rules, and across agents.
pub fn slots_by_the_rules_of_the_record(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let slot = |number| Slot::new(number).unwrap();
    let mut record = RecordFile::load(&fixture.runtime).unwrap();
    record.set_slot_policy(SlotPolicy::LongestFree).unwrap();
    let bus = BusName::parse("pci.0").unwrap();
    let kinds = vec![SlotKind::Nic];
    record.reserve_slots(SlotRange { bus, first: slot(4), last: slot(5), kinds }).unwrap();
    drop(record);
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&fixture.nic(1)));
    let disk = done(api.add_disk(&fixture.disk("a.img")));
    assert_eq!((&nic.address, &disk.address), (&at("pci.0", 4), &at("pci.0", 6)));
    done(api.unplug(&UnplugArgs::of(&nic.id)));
    done(api.unplug(&UnplugArgs::of(&disk.id)));
    let nic = done(api.add_nic(&fixture.nic(1)));
    let disk = done(api.add_disk(&fixture.disk("a.img")));
    assert_eq!((&nic.address, &disk.address), (&at("pci.0", 5), &at("pci.0", 7)));
    drop(api);
    let api = fixture.open(agent);
    assert_eq!(done(api.add_disk(&fixture.disk("b.img"))).address, at("pci.0", 8));
    assert_eq!(done(api.add_nic(&fixture.nic(1))).address, at("pci.0", 9), "4 was given up before");
}

pub fn an_exhausted_guest_is_told_with_numbers(agent: &dyn Agent) {
    let fixture = Fixture::q35(2);
    let api = fixture.open(agent);
    done(api.add_nic(&fixture.nic(1)));
    let disk = done(api.add_disk(&fixture.disk("a.img")));
    assert_eq!(disk.id, "disk-pci-rp1");
    fixture.disk("b.img");
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    for result in [api.add_nic(&fixture.nic(1)), api.add_disk(&fixture.disk("b.img"))] {
        let failure = fails(result, ErrorKind::NoSlot);
        assert_eq!(failure.errno, libc::ENOSPC);
        assert!(failure.text.contains("2 of 2 taken (0 quarantined)"), "{failure:?}");
    }
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    assert_eq!(fixture.snapshot(), before, "no tap was left either");
    done(api.unplug(&UnplugArgs::of(&disk.id)));
    assert_eq!(done(api.add_nic(&fixture.nic(1))).id, "nic-pci-rp1", "and given back");
}

pub fn a_slot_taken_behind_our_back_is_passed_over(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.model(|model| {
        model.devices.push(Dev::new(Some("intruder"), "virtio-rng-pci", "pci.0", 4, 0));
        model.devices.push(Dev::new(Some("another"), "virtio-rng-pci", "pci.0", 5, 0));
    });
    for (nic, slot) in [(true, 6), (false, 7)] {
        let device = if nic { api.add_nic(&fixture.nic(1)) } else { api.add_disk(&fixture.disk("a.img")) };
        assert_eq!(done(device).address, at("pci.0", slot));
    }
    let left: Vec<String> =
        fixture.qemu.snapshot().into_iter().filter(|line| line.contains("pci-4")).collect();
    assert_eq!(left, Vec::<String>::new(), "the first attempt left something");
    assert!(!fixture.journal().exists());
    assert_eq!(fixture.snapshot().taps.len(), 1);
}

pub fn a_pinned_slot_taken_behind_our_back_is_an_error(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture
        .qemu
        .model(|model| model.devices.push(Dev::new(Some("intruder"), "virtio-rng-pci", "pci.0", 4, 0)));
    let disk = pinned(&fixture, "pci.0", 4);
    let before = fixture.snapshot();
    let failure = fails(api.add_disk(&disk), ErrorKind::AddressTaken);
    assert!(failure.qmp_desc.unwrap().contains("in use by"), "QEMU said so");
    assert_eq!(fixture.snapshot(), before);
}

fn state_of(api: &dyn Api, bus: &str, slot: u8) -> SlotUse {
    let slots = api.slots().unwrap();
    slots.into_iter().find(|line| line.bus == bus && line.slot == slot).unwrap().state
}

/// QOM tells, so no device is tried where it cannot go, nor is one promised that nobody waits for.
pub fn a_bus_that_takes_nothing_is_known_beforehand(agent: &dyn Agent) {
    let fixture = Fixture::q35(6);
    let closed = ["rp0", "rp1", "rp2", "rp3", "rp4"].map(str::to_owned);
    fixture.qemu.model(|model| model.closed.extend(closed));
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    let nic = fixture.nic(1);
    api.add_nic(&NicArgs { place: Place { no_wait: true, ..nic.place.clone() }, ..nic }).unwrap();
    while api.process(AMPLE).unwrap() == 0 {}
    assert_eq!(api.next_event().unwrap().what, EventKind::Added);
    assert_eq!(api.list()[0].address, at("rp5", 0));
    let tries = fixture.qemu.take_names().into_iter().filter(|name| name == "device_add").count();
    assert_eq!(tries, 1, "no other port was tried");
    fails(api.add_disk(&pinned(&fixture, "rp1", 0)), ErrorKind::NotHotpluggable);
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new(), "nor one that was asked for");
    drop(api);
    let api = fixture.open(agent);
    assert_eq!(state_of(&*api, "rp0", 0), SlotUse::NotHotpluggable);
    assert_eq!(state_of(&*api, "rp5", 0), SlotUse::Taken);
    let fixture = Fixture::pc();
    fixture.qemu.model(|model| model.closed.extend(["pci.0".to_owned()]));
    let api = fixture.open(agent);
    assert_eq!(state_of(&*api, "pci.0", 9), SlotUse::NotHotpluggable);
    fails(api.add_nic(&fixture.nic(1)), ErrorKind::NoSlot);
}

/// As after a QEMU that somebody started by hand at the same socket.
pub fn what_the_guest_does_not_have_is_not_called_live(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&fixture.nic(1)));
    let disk = done(api.add_disk(&fixture.disk("a.img")));
    let presences =
        |api: &dyn Api| api.list().iter().map(|device_info| device_info.presence).collect::<Vec<_>>();
    assert_eq!(presences(&*api), [Presence::Live, Presence::Live]);
    drop(api);
    fixture.qemu.model(|model| {
        model
            .devices
            .retain(|device| device.id.as_deref() != Some(&nic.id) && device.id.as_deref() != Some(&disk.id));
    });
    let api = fixture.open(agent);
    assert_eq!(presences(&*api), [Presence::Missing, Presence::Missing]);
    for (bus, slot) in [nic.address, disk.address].map(Option::unwrap) {
        assert_eq!(state_of(&*api, &bus, slot), SlotUse::Missing);
    }
    let described = api.describe(Some(&disk.id)).unwrap().unwrap();
    assert_eq!(described["state"], "missing");
    assert!(described["reason"].as_str().unwrap().contains("the guest does not have it"), "{described}");
}

pub fn a_port_without_hotplug_is_learnt_once(agent: &dyn Agent) {
    let fixture = Fixture::q35(4);
    fixture.qemu.model(|model| model.closed.extend(["rp0".to_owned(), "rp1".to_owned()]));
    fixture.qemu.model(|model| model.tells_closed = false);
    let api = fixture.open(agent);
    assert_eq!(done(api.add_nic(&fixture.nic(1))).address, at("rp2", 0));
    fixture.qemu.take_seen();
    assert_eq!(done(api.add_disk(&fixture.disk("a.img"))).address, at("rp3", 0));
    assert_eq!(
        fixture.qemu.take_names(),
        ["add-fd", "blockdev-add", "device_add"],
        "no port is tried or asked about twice"
    );
    let slots = api.slots().unwrap();
    let state =
        |bus: &str| slots.iter().find(|line| line.bus == bus && line.occupant.is_empty()).unwrap().state;
    assert_eq!((state("rp0"), state("pcie.0")), (SlotUse::NotHotpluggable, SlotUse::NotHotpluggable));
    let failure = fails(api.add_nic(&fixture.nic(1)), ErrorKind::NoSlot);
    assert!(failure.text.contains("rp0, rp1"), "{failure:?}");
    fails(api.add_disk(&pinned(&fixture, "rp1", 0)), ErrorKind::NotHotpluggable);
    assert_eq!(fixture.snapshot().taps.len(), 1);
}

pub fn before_the_firmware_ran_ports_are_not_believed_empty(agent: &dyn Agent) {
    let setup = Setup { machine: Machine::Q35(3), numbered: false, ..Setup::default() };
    let fixture = Fixture::new(Setup { run_state: "prelaunch".into(), ..setup });
    fixture.qemu.model(|model| model.devices.push(Dev::new(Some("cold"), "virtio-net-pci", "rp0", 0, 0)));
    let api = fixture.open(agent);
    assert_eq!(done(api.add_disk(&fixture.disk("a.img"))).address, at("rp1", 0));
    assert_eq!(done(api.add_nic(&fixture.nic(1))).address, at("rp2", 0));
    fails(api.add_disk(&fixture.disk("b.img")), ErrorKind::NoSlot);
}

pub fn a_shared_slot_is_not_unplugged(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let device = done(api.add_disk(&fixture.disk("a.img")));
    drop(api);
    fixture.qemu.model(|model| model.devices.push(Dev::new(Some("mf1"), "virtio-rng-pci", "pci.0", 4, 1)));
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    let failure = fails(api.unplug(&UnplugArgs::of(&device.id)), ErrorKind::NotHotpluggable);
    assert!(failure.text.contains("mf1"), "{failure:?}");
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
}

pub fn the_record_keeps_its_slots_even_if_the_guest_does_not_show_them(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_nic(&NicArgs { mac: Some(MAC.into()), ..fixture.nic(1) }));
    drop(api);
    fixture.qemu.model(|model| {
        model.devices.retain(|device| device.id.is_none());
        model.netdevs.clear();
    });
    let api = fixture.open(agent);
    assert_eq!(done(api.add_disk(&fixture.disk("a.img"))).address, at("pci.0", 5));
    let slots = api.slots().unwrap();
    let slot = |number: u8| slots.iter().find(|line| line.bus == "pci.0" && line.slot == number).unwrap();
    assert_eq!((slot(4).state, slot(4).occupant.as_str()), (SlotUse::Missing, "nic-pci-4"));
    assert_eq!((slot(3).state, slot(6).state), (SlotUse::Reserved, SlotUse::Free));
    assert_eq!((slot(1).state, slot(1).occupant.as_str()), (SlotUse::Taken, "ISA bridge"));
}

pub fn a_recorded_device_that_the_guest_lacks_is_not_there_already(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = fixture.disk_as("data", "a.img");
    done(api.add_disk(&disk));
    drop(api);
    // Ejected by the guest while no agent was listening.
    fixture.qemu.grant("data");
    fixture.qemu.settle();
    let api = fixture.open(agent);
    let failure = fails(api.add_disk(&disk), ErrorKind::Conflict);
    assert!(failure.text.contains("guest does not have it"), "{failure:?}");
    done(api.unplug(&UnplugArgs::of("data")));
    done(api.add_disk(&disk));
    assert!(fixture.qemu.model(|model| model.device("data").is_some()));
}

/// Seen with QEMU 11.1: after each reset all bridges have the number 255 for a moment, and `query-pci` shows
/// no device.
pub fn while_the_firmware_numbers_the_buses_devices_are_where_they_are(agent: &dyn Agent) {
    let world = Fixture::q35(4);
    let api = world.open(agent);
    let nic = done(api.add_nic(&world.nic(1)));
    assert_eq!(nic.address, at("rp0", 0));
    world.qemu.model(|model| {
        model.devices.push(Dev::new(Some("theirs"), "virtio-rng-pci", "rp1", 0, 0));
        model.devices.push(Dev::new(Some("last"), "virtio-rng-pci", "rp3", 0, 0));
        model.numbering = true;
    });
    for _ in 0..2 {
        let mut left = api.repair().unwrap();
        left.sort();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].contains("last") && left[0].contains("rp3 slot 0.0"), "{left:?}");
        assert!(left[1].contains("theirs") && left[1].contains("rp1 slot 0.0"), "{left:?}");
    }
    let used = ["rp0", "rp1", "rp2", "rp3"].map(|port| state_of(&*api, port, 0));
    assert_eq!(used, [SlotUse::Taken, SlotUse::Taken, SlotUse::Free, SlotUse::Taken]);
    let failure = fails(api.unplug(&UnplugArgs::of("theirs")), ErrorKind::Foreign);
    assert!(failure.text.contains("theirs"), "{failure:?}");
    world.qemu.take_seen();
    assert_eq!(done(api.add_disk(&world.disk("a.img"))).address, at("rp2", 0));
    let tries = world.qemu.take_names().iter().filter(|name| *name == "device_add").count();
    assert_eq!(tries, 1);
}
