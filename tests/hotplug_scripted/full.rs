//! Guests whose slots run out, and whose record lets devices wait for the next boot then.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::BootRequest;
use kvm_hotplug::ids::{BusName, Slot};
use kvm_hotplug::slots::pci::{SlotRange, WhenFull};
use kvm_hotplug::store::RecordFile;

use crate::support::api::*;
use crate::support::fixture::Fixture;

const LAST: u8 = 31;

/// On a `pc`, slots from `first` to the last but one are nobody's.
fn fill(fixture: &Fixture, first: u8) {
    let mut record = RecordFile::load(&fixture.runtime).unwrap();
    record.set_when_full(WhenFull::NextBoot).unwrap();
    let slot = |number| Slot::new(number).unwrap();
    let bus = BusName::parse("pci.0").unwrap();
    record
        .reserve_slots(SlotRange { bus, first: slot(first), last: slot(LAST - 1), kinds: Vec::new() })
        .unwrap();
}

fn waits(result: Result<Answer, Failure>) -> Item {
    let answer = result.unwrap();
    assert_eq!(answer.state, State::AfterReboot(Later::Full));
    let device = answer.device.unwrap();
    assert_eq!((device.presence, &device.address), (Presence::AddAfterReboot, &None));
    device
}

pub fn a_device_that_finds_no_slot_waits_for_the_bridge_of_the_next_boot(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    fill(&fixture, 5);
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&fixture.nic(1)));
    assert_eq!(nic.address, Some(("pci.0".to_owned(), 4)));
    fixture.qemu.take_seen();
    let before = fixture.snapshot();
    let live_only = Place { live_only: true, ..Place::default() };
    let refused = fails(
        api.add_disk(&DiskArgs { place: live_only, ..fixture.disk("a.img") }),
        ErrorKind::NotHotpluggable,
    );
    assert!(refused.text.contains("the next boot makes a PCI bridge"), "{refused:?}");
    let disk =
        DiskArgs { place: Place { id: Some("data".into()), ..Place::default() }, ..fixture.disk("a.img") };
    for _ in 0..2 {
        waits(api.add_disk(&disk));
    }
    // Its controller would need the slot.
    waits(api.add_disk(&DiskArgs { model: Some("scsi-hd".into()), ..fixture.disk_as("late", "b.img") }));
    waits(api.add_nic(&fixture.nic(1)));
    assert_eq!(fixture.recorded().len(), 4);
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new(), "the running guest is not touched");
    assert_eq!((fixture.snapshot().qemu, fixture.snapshot().taps), (before.qemu, before.taps));
    assert!(fixture.record().bridges.is_empty(), "the boot makes it");
    assert_eq!(api.list().iter().filter(|item| item.later == Some(Later::Full)).count(), 3);
    // Who names the last slot has it.
    let place = Place { address: Some(("pci.0".into(), LAST)), ..Place::default() };
    let pinned = done(api.add_disk(&DiskArgs { place, ..fixture.disk("c.img") }));
    assert_eq!(pinned.address, Some(("pci.0".to_owned(), LAST)));
    let refused = fails(api.add_disk(&fixture.disk("d.img")), ErrorKind::NoSlot);
    assert!(refused.text.contains("no free slot"), "{refused:?}");
    done(api.unplug(&UnplugArgs::of(&pinned.id)));
    drop(api);
    let record = RecordFile::load(&fixture.runtime).unwrap();
    let plan = record.boot_plan(0).unwrap();
    assert_eq!((plan.devices, plan.bridges, plan.new_bridges), (5, 1, 1), "and a controller");
    let argv = record.plan_command(BootRequest { fd_base: 3, ..BootRequest::default() }).unwrap().argv;
    assert!(argv.iter().any(|word| word.contains("pci-bridge") && word.contains("addr=1f")), "{argv:?}");
    assert!(argv.iter().any(|word| word.contains("id=data") && word.contains("bus=bridge1")), "{argv:?}");
}

pub fn a_bridge_has_only_so_many_slots(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    fill(&fixture, 4);
    let api = fixture.open(agent);
    for number in 0..31 {
        waits(api.add_disk(&fixture.disk_as(&format!("d{number}"), &format!("{number}.img"))));
    }
    let before = fixture.snapshot();
    let refused = fails(api.add_disk(&fixture.disk("more.img")), ErrorKind::NoSlot);
    assert!(refused.text.contains("31 devices wait for the PCI bridge"), "{refused:?}");
    assert_eq!(fixture.snapshot().record, before.record);
    drop(api);
    let record = RecordFile::load(&fixture.runtime).unwrap();
    assert_eq!((record.boot_plan(0).unwrap().bridges, record.boot_plan(0).unwrap().free), (1, 0));
}

pub fn a_device_that_finds_no_port_waits_for_one(agent: &dyn Agent) {
    let fixture = Fixture::q35(2);
    RecordFile::load(&fixture.runtime).unwrap().set_when_full(WhenFull::NextBoot).unwrap();
    let api = fixture.open(agent);
    done(api.add_nic(&fixture.nic(1)));
    done(api.add_disk(&fixture.disk("a.img")));
    fixture.qemu.take_seen();
    waits(api.add_disk(&fixture.disk_as("data", "b.img")));
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    assert_eq!(api.describe(Some("data")).unwrap().unwrap()["state"], "after-reboot");
    done(api.unplug(&UnplugArgs::of("data")));
    assert_eq!(fixture.recorded().len(), 2);
}

/// As a record has it, whatever made it.
fn record_bridge(fixture: &Fixture, slot: u8, more: &str) {
    let bridge = format!(r#"{{"id":"bridge1","slot":{slot},"chassis_nr":1{more}}}"#);
    let text =
        fixture.record_text().replacen(r#""nics":"#, &format!(r#""pci_bridges":[{bridge}],"nics":"#), 1);
    std::fs::write(&fixture.runtime, text).unwrap();
}

pub fn a_recorded_bridge_that_the_guest_lacks_is_told(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    record_bridge(&fixture, 30, "");
    let api = fixture.open(agent);
    let differences = api.verify().unwrap();
    assert_eq!(differences.len(), 1);
    assert!(
        differences[0].contains("bridge1") && differences[0].contains("no such bridge"),
        "{differences:?}"
    );
    drop(api);
    // One that comes with the next boot is in nobody's way but in its slot.
    let fixture = Fixture::pc();
    record_bridge(&fixture, 4, r#","presence":"add-after-reboot""#);
    let api = fixture.open(agent);
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    assert_eq!(done(api.add_nic(&fixture.nic(1))).address, Some(("pci.0".to_owned(), 5)));
}

pub fn of_a_list_those_wait_that_find_no_slot(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    fill(&fixture, 6);
    let api = fixture.open(agent);
    let disk = |id: &str| {
        let path = fixture.disk(&format!("{id}.img")).path;
        serde_json::json!({"type": "disk", "id": id, "path": path, "format": "raw"})
    };
    let list = serde_json::json!(["a", "b", "c", "d"].map(disk)).to_string();
    api.apply(&list, ApplyArgs::default()).result.unwrap();
    let waiting: Vec<String> =
        api.list().into_iter().filter(|item| item.later == Some(Later::Full)).map(|item| item.id).collect();
    assert_eq!(waiting, ["c", "d"]);
    assert_eq!(fixture.recorded().len(), 4);
    assert!(!fixture.journal().exists());
}
