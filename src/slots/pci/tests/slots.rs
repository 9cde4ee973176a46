//! Choosing, pinning, releasing: one table or story each.

use super::super::{
    BusKind, Count, MAX_RANGES, NewDevice, Room, SlotKind, SlotPolicy, SlotRange, SlotRules, SlotState,
    Topology, Want, WhenFull,
};
use super::*;
use crate::ErrorKind;
use crate::error::errno;

fn pc(devices: &[Value]) -> Topology {
    let mut all = vec![device(0, 0, "", I440FX), device(1, 0, "", NIC), device(1, 1, "", NIC)];
    all.extend_from_slice(devices);
    Topology::from_query_pci(&guest(&all)).unwrap()
}

fn q35() -> Topology {
    let nic = [device(0, 0, "n1", NIC)];
    let legacy = [bridge(0, 0, "pp1", PCIE_PCI_BRIDGE, 4, &[])];
    Topology::from_query_pci(&guest(&[
        device(0, 0, "", Q35),
        bridge(3, 0, "rp3", ROOT_PORT, 3, &legacy),
        bridge(2, 1, "rp2", ROOT_PORT, 2, &[]),
        bridge(2, 0, "rp1", ROOT_PORT, 1, &nic),
        bridge(5, 0, "", ROOT_PORT, 6, &[]),
        bridge(6, 0, "rp9", ROOT_PORT, 5, &[]),
        bridge(7, 0, "dmi", (0x8086, 0x244e), 7, &[]),
    ]))
    .unwrap()
}

/// Everything that `Auto` hands out until nothing is left.
fn drain(slots: &mut SlotMap) -> Vec<String> {
    let mut given = Vec::new();
    while let Ok(address) = slots.choose(&Want::Auto) {
        slots.occupy(&address, &id("x"));
        given.push(format!("{}/{}", address.bus, address.slot.get()));
    }
    given
}

#[test]
fn pc_fills_the_root_upward_then_its_bridges() {
    let inner = [device(0, 0, "", NIC), device(2, 0, "n2", NIC)];
    let topology = pc(&[bridge(9, 0, "b9", PCI_BRIDGE, 1, &inner), bridge(8, 0, "b8", PCI_BRIDGE, 2, &[])]);
    let given = drain(&mut map(&topology, 4));
    let root = (4..=31).filter(|slot| ![8, 9].contains(slot)).map(|slot| format!("pci.0/{slot}"));
    let b8 = (1..=31).map(|slot| format!("b8/{slot}"));
    let b9 = (1..=31).filter(|slot| *slot != 2).map(|slot| format!("b9/{slot}"));
    assert_eq!(given, root.chain(b8).chain(b9).collect::<Vec<_>>());
}

#[test]
fn q35_fills_ports_by_their_place_then_the_legacy_bridge() {
    let given = drain(&mut map(&q35(), 4));
    let legacy = (1..=31).map(|slot| format!("pp1/{slot}"));
    assert_eq!(given, ["rp2/0", "rp9/0"].map(String::from).into_iter().chain(legacy).collect::<Vec<_>>());
}

#[test]
fn reserved_slots_are_for_those_who_ask() {
    for (reserved, first) in [(0, Some(2)), (4, Some(4)), (31, Some(31)), (32, None)] {
        let slots = map(&pc(&[]), reserved);
        assert_eq!(slots.choose(&Want::Auto).ok(), first.map(|slot| at("pci.0", slot)), "{reserved}");
        assert_eq!(slots.choose(&Want::Pinned(at("pci.0", 3))).unwrap(), at("pci.0", 3));
    }
    assert_eq!(Rules::new(33).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(Rules::default().reserved(), 4);
}

#[test]
fn pinned_addresses_and_what_is_said_of_them() {
    let mut pc_map = map(&pc(&[device(5, 0, "n5", NIC), bridge(9, 0, "b9", PCI_BRIDGE, 1, &[])]), 4);
    pc_map.quarantine(&at("pci.0", 6), &id("disk-pci-6"));
    pc_map.occupy(&at("absent", 1), &id("n7"));
    let q35_map = map(&q35(), 4);
    for (slots, address, kind, says) in [
        (&pc_map, at("pci.0", 0), ErrorKind::AddressTaken, "taken by Thing"),
        (&pc_map, at("pci.0", 5), ErrorKind::AddressTaken, "taken by n5"),
        (&pc_map, at("pci.0", 6), ErrorKind::AddressTaken, "disk-pci-6: its removal is pending"),
        (&pc_map, at("b9", 0), ErrorKind::Invalid, "slots 1 to 31"),
        (&pc_map, at("rp1", 0), ErrorKind::NotFound, "the guest has pci.0, b9 ("),
        (&pc_map, at("absent", 2), ErrorKind::NotFound, "the guest has pci.0, b9 ("),
        (&q35_map, at("rp2", 1), ErrorKind::Invalid, "only slot 0"),
        (&q35_map, at("pcie.0", 9), ErrorKind::NotHotpluggable, "these do: rp1, rp2, rp3, rp9, pp1"),
        (&q35_map, at("dmi", 9), ErrorKind::NotHotpluggable, "DMI-to-PCI bridge"),
        (&q35_map, at("rp3", 0), ErrorKind::AddressTaken, "taken by pp1"),
    ] {
        let error = slots.choose(&Want::Pinned(address.clone())).unwrap_err();
        assert_eq!(error.kind(), kind, "{address}");
        assert!(error.message().contains(says), "{error}");
        assert!(error.message().contains(&address.to_string()), "{error}");
    }
    // Where there are others, slot 0 may stand for any.
    for (slots, bus, slot) in [(&pc_map, "pci.0", 4), (&pc_map, "b9", 1), (&q35_map, "rp9", 0)] {
        assert_eq!(slots.choose(&Want::Place(at(bus, 0))).unwrap(), at(bus, slot));
    }
    assert_eq!(pc_map.choose(&Want::Place(at("b9", 31))).unwrap(), at("b9", 31));
    for (slots, address) in [(&pc_map, at("b9", 31)), (&pc_map, at("pci.0", 2)), (&q35_map, at("rp9", 0))] {
        assert_eq!(slots.choose(&Want::Pinned(address.clone())).unwrap(), address);
    }
}

const IGB: NewDevice<'_> = NewDevice { kind: Some(SlotKind::Nic), model: "igb" };

/// An `igb` in slot n of a bus with many has virtual functions in n + 16 and n + 17.
#[test]
fn slots_of_virtual_functions_are_kept_free() {
    let shown = pc(&[device(5, 0, "nic1", (0x8086, 0x10c9)), device(28, 0, "n28", NIC)]);
    let mut slots = map(&shown, 4);
    for (slot, by) in [(5, "nic1"), (21, "nic1"), (22, "nic1")] {
        let error = slots.choose(&Want::Pinned(at("pci.0", slot))).unwrap_err();
        assert!(error.message().contains(by), "{error}");
    }
    // 5 is taken, 4 would have its functions in 20 and 21, and 6 in 22 and 23.
    assert_eq!(slots.choose_for(&Want::Auto, &IGB).unwrap(), at("pci.0", 7));
    assert_eq!(slots.choose_for(&Want::Place(at("pci.0", 0)), &IGB).unwrap(), at("pci.0", 7));
    for (slot, says) in [
        (4, "its virtual functions need slot 21, which is taken by nic1"),
        (12, "its virtual functions need slot 28, which is taken by n28"),
        (15, "the slots 16 and 17 behind its own, and the bus ends before them"),
    ] {
        let error = slots.choose_for(&Want::Pinned(at("pci.0", slot)), &IGB).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddressTaken);
        assert!(error.message().contains(says), "{error}");
    }
    assert_eq!(slots.places(&at("pci.0", 7), "igb"), [7, 23, 24].map(|slot| at("pci.0", slot)));
    assert_eq!(slots.places(&at("pci.0", 7), "e1000"), [at("pci.0", 7)]);
    for place in slots.places(&at("pci.0", 7), "igb") {
        slots.occupy(&place, &id("nic2"));
    }
    assert!(slots.choose(&Want::Pinned(at("pci.0", 24))).is_err());
    let mut given = Vec::new();
    while let Ok(address) = slots.choose_for(&Want::Auto, &IGB) {
        slots.places(&address, "igb").iter().for_each(|place| slots.occupy(place, &id("x")));
        given.push(address.slot.get());
    }
    assert_eq!(given, [9, 13]);
    let error = slots.choose_for(&Want::Auto, &IGB).unwrap_err();
    assert!(
        error.message().starts_with("igb needs the slots 16 and 17 behind its own too: no free"),
        "{error}"
    );
    // Behind a port the bus has no other device.
    assert_eq!(map(&q35(), 4).choose_for(&Want::Auto, &IGB).unwrap(), at("rp2", 0));
    for slot in [5, 21, 22] {
        slots.release(&at("pci.0", slot), &id("nic1"));
    }
    assert_eq!(slots.choose(&Want::Pinned(at("pci.0", 21))).unwrap(), at("pci.0", 21));
}

fn ruled(topology: &Topology, rules: &SlotRules) -> SlotMap {
    SlotMap::new(topology, Rules::of(4, rules).unwrap())
}

fn range(first: u8, last: u8, kinds: &[SlotKind]) -> SlotRange {
    let slot = |number| Slot::new(number).unwrap();
    SlotRange {
        bus: BusName::parse("pci.0").unwrap(),
        first: slot(first),
        last: slot(last),
        kinds: kinds.to_vec(),
    }
}

#[test]
fn ranges_are_for_those_who_ask_or_for_some_kinds() {
    let mut rules = SlotRules::default();
    rules.reserve(range(4, 9, &[SlotKind::Nic, SlotKind::Disk])).unwrap();
    rules.reserve(range(8, 11, &[SlotKind::Disk])).unwrap();
    rules.reserve(range(12, 13, &[])).unwrap();
    let slots = ruled(&pc(&[device(4, 0, "n4", NIC)]), &rules);
    let auto = |kind| {
        slots
            .choose_for(&Want::Auto, &NewDevice { kind, model: "" })
            .map(|address| address.slot.get())
            .unwrap()
    };
    assert_eq!(auto(Some(SlotKind::Nic)), 5);
    assert_eq!(auto(Some(SlotKind::Disk)), 5);
    assert_eq!((auto(Some(SlotKind::Controller)), auto(None)), (14, 14));
    assert_eq!(slots.choose(&Want::Pinned(at("pci.0", 12))).unwrap(), at("pci.0", 12));
    let bus = slots.buses().next().unwrap();
    assert_eq!(bus.count(), Count { total: 26, taken: 1, quarantined: 0, reserved: 6 });
    let reserved = bus.slots().filter(|(_, state)| *state == SlotState::Reserved).count();
    assert_eq!(reserved, 11, "2 and 3, 5 to 13");
    // What was said of the same slots before is replaced.
    rules.reserve(range(4, 9, &[])).unwrap();
    assert_eq!(rules.reserved.len(), 3);
    let nic = NewDevice { kind: Some(SlotKind::Nic), model: "" };
    assert_eq!(ruled(&pc(&[]), &rules).choose_for(&Want::Auto, &nic).unwrap(), at("pci.0", 14));
    assert_eq!(rules.reserve(range(9, 8, &[])).unwrap_err().kind(), ErrorKind::Format);
    for slot in 14..32 {
        drop(rules.reserve(range(slot, 31, &[])));
    }
    for first in 0..8 {
        (first..8).for_each(|last| drop(rules.reserve(range(first, last, &[]))));
    }
    assert!(rules.reserved.len() <= MAX_RANGES);
}

#[test]
fn a_slot_that_was_given_up_is_the_last_to_be_given_again() {
    let mut rules = SlotRules::default();
    rules.note_freed(&at("pci.0", 4));
    assert!(rules.freed.is_empty(), "nothing is remembered until it is asked for");
    rules.set_policy(SlotPolicy::LongestFree);
    [5, 4, 6, 5].iter().for_each(|slot| rules.note_freed(&at("pci.0", *slot)));
    let order = drain(&mut ruled(&pc(&[]), &rules));
    let expected: Vec<String> = (7..32).chain([4, 6, 5]).map(|slot| format!("pci.0/{slot}")).collect();
    assert_eq!(order, expected);
    assert_eq!(ruled(&pc(&[]), &rules).choose(&Want::Place(at("pci.0", 0))).unwrap(), at("pci.0", 7));
    let text = serde_json::to_string(&rules).unwrap();
    assert_eq!(serde_json::from_str::<SlotRules>(&text).unwrap(), rules);
    rules.set_policy(SlotPolicy::FirstFree);
    assert_eq!(serde_json::to_string(&rules).unwrap(), r#"{"policy":"first-free"}"#);
}

#[test]
fn the_last_slot_is_kept_for_a_bridge_where_devices_wait_for_one() {
    let waiting = SlotRules { when_full: WhenFull::NextBoot, ..SlotRules::default() };
    let nic = NewDevice { kind: Some(SlotKind::Nic), model: "virtio-net-pci" };
    let room = |slots: &SlotMap| slots.room_to_make(&nic);
    let mut slots = ruled(&pc(&[]), &waiting);
    assert_eq!((room(&slots), slots.left_for(&nic)), (None, 27));
    let order = drain(&mut slots);
    assert_eq!((order.len(), order.last().map(String::as_str)), (27, Some("pci.0/30")));
    assert_eq!((room(&slots), slots.left_for(&nic)), (Some(Room::Bridge), 0));
    assert_eq!(slots.slot_for_bridge(), Some(at("pci.0", 31)));
    // Who pins it has it, and then there is none to make.
    slots.occupy(&slots.choose(&Want::Pinned(at("pci.0", 31))).unwrap(), &id("a"));
    assert_eq!((room(&slots), slots.slot_for_bridge()), (None, None));
    // Behind a bridge there is room; the last slot before it stays free for another one.
    let mut slots = ruled(&pc(&[bridge(4, 0, "b4", PCI_BRIDGE, 1, &[])]), &waiting);
    let order = drain(&mut slots);
    assert_eq!((order.len(), order.last().map(String::as_str)), (26 + 31, Some("b4/31")));
    assert_eq!(room(&slots), Some(Room::Bridge));
    // Slots that only some devices get are none for a bridge, and the others wait for nothing that comes.
    let mut rules = waiting.clone();
    rules.reserve(range(0, 31, &[SlotKind::Disk])).unwrap();
    assert_eq!(room(&ruled(&pc(&[]), &rules)), None);
    let mut slots = ruled(&q35(), &waiting);
    assert_eq!(room(&slots), None);
    drain(&mut slots);
    assert_eq!((room(&slots), slots.left_for(&nic)), (Some(Room::RootPort), 0));
    let mut slots = ruled(&q35(), &SlotRules::default());
    drain(&mut slots);
    assert_eq!(room(&slots), None);
    let text = serde_json::to_string(&waiting).unwrap();
    assert_eq!(text, r#"{"policy":"first-free","when_full":"next-boot"}"#);
    assert_eq!(serde_json::from_str::<SlotRules>(&text).unwrap(), waiting);
}

#[test]
fn exhaustion_counts_every_bus() {
    let text = |slots: &mut SlotMap| {
        drain(slots);
        let error = slots.choose(&Want::Auto).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::NoSlot, errno::ENOSPC));
        error.message().to_owned()
    };
    assert_eq!(
        text(&mut map(&pc(&[bridge(9, 0, "b9", PCI_BRIDGE, 1, &[])]), 4)),
        "no free slot (pci.0: 28 of 28 taken (0 quarantined), 4 reserved; b9: 31 of 31 taken (0 quarantined)); \
         reserve fewer slots or pin a reserved one, or remove a device, or start the guest with a pci-bridge that \
         has an id"
    );
    let mut slots = map(&q35(), 4);
    slots.quarantine(&at("rp9", 0), &id("nic-pci-rp9"));
    assert_eq!(
        text(&mut slots),
        "no free slot (root and downstream ports: 4 of 4 taken (1 quarantined); pp1: 31 of 31 taken \
         (0 quarantined); pcie.0, dmi: not hot-pluggable; buses without a name of their own, not usable: 1); wait \
         for the pending removals, or remove a device, or start the guest with more pcie-root-ports that have ids"
    );
    let empty = Topology::from_query_pci(&json!([])).unwrap();
    assert!(text(&mut map(&empty, 4)).starts_with(
        "no free slot (the guest shows no PCI bus); start the guest with a machine that has one"
    ));
}

#[test]
fn a_message_stays_short_when_there_are_many_bridges() {
    let bridges: Vec<_> =
        (4..32).map(|slot| bridge(slot, 0, &format!("b{slot}"), PCI_BRIDGE, slot, &[])).collect();
    let mut slots = map(&pc(&bridges), 4);
    drain(&mut slots);
    let text = slots.choose(&Want::Auto).unwrap_err().to_string();
    assert!(text.contains("and 20 more") && !text.contains("b12"), "{text}");
}

#[test]
fn a_slot_is_free_when_its_last_owner_is_gone() {
    let mut slots = map(&pc(&[device(5, 0, "n5", NIC), device(6, 0, "m0", NIC), device(6, 1, "m1", NIC)]), 4);
    let pin = |slots: &SlotMap, slot| slots.choose(&Want::Pinned(at("pci.0", slot))).is_ok();
    let five = at("pci.0", 5);
    assert!(!slots.release(&five, &id("n6")) && !pin(&slots, 5), "somebody else's");
    slots.occupy(&five, &id("n5"));
    slots.occupy(&five, &id("recorded"));
    assert!(slots.release(&five, &id("n5")) && !pin(&slots, 5), "two records claim it");
    assert!(slots.release(&five, &id("recorded")) && pin(&slots, 5));
    assert!(!slots.release(&five, &id("n5")), "twice");
    assert!(
        slots.release(&at("pci.0", 6), &id("m0")) && !pin(&slots, 6),
        "the other function is still there"
    );
    assert!(!slots.release(&at("pci.0", 1), &id("Thing")), "a built-in device has no id");
    assert!(!slots.release(&at("nowhere", 1), &id("n5")));
}

#[test]
fn a_quarantined_slot_stays_quarantined_when_recorded_again() {
    let mut slots = map(&pc(&[device(5, 0, "n5", NIC)]), 4);
    let five = at("pci.0", 5);
    slots.quarantine(&five, &id("n5"));
    slots.occupy(&five, &id("n5"));
    let text = slots.choose(&Want::Pinned(five.clone())).unwrap_err().to_string();
    assert!(text.contains("pending"), "{text}");
    assert!(slots.release(&five, &id("n5")));
    assert_eq!(slots.choose(&Want::Pinned(five.clone())).unwrap(), five);
}

#[test]
fn the_map_can_be_drawn() {
    let mut topology =
        pc(&[device(5, 0, "n5", NIC), bridge(9, 0, "b9", PCI_BRIDGE, 1, &[device(0, 0, "low", NIC)])]);
    topology.forbid_hotplug(&BusName::parse("b9").unwrap()).unwrap();
    let mut slots = map(&topology, 4);
    slots.quarantine(&at("pci.0", 6), &id("d6"));
    slots.occupy(&at("later", 7), &id("n7"));
    let views: Vec<_> = slots.buses().map(|bus| (bus.name().to_string(), bus.kind())).collect();
    assert_eq!(
        views,
        [
            ("pci.0".to_owned(), BusKind::ConventionalRoot),
            ("b9".to_owned(), BusKind::PciBridge),
            ("later".to_owned(), BusKind::Unseen),
        ]
    );
    let drawn: Vec<Vec<_>> = slots.buses().map(|bus| bus.slots().collect()).collect();
    let states = |bus: usize| drawn[bus].iter().map(|(slot, state)| (slot.get(), *state)).collect::<Vec<_>>();
    assert_eq!(
        states(0)[..8],
        [
            (0, SlotState::Taken { by: "Thing" }),
            (1, SlotState::Taken { by: "Thing" }),
            (2, SlotState::Reserved),
            (3, SlotState::Reserved),
            (4, SlotState::Free),
            (5, SlotState::Taken { by: "n5" }),
            (6, SlotState::Quarantined { id: "d6" }),
            (7, SlotState::Free),
        ]
    );
    assert_eq!(states(0).len(), 32);
    assert_eq!(states(1)[..2], [(0, SlotState::Taken { by: "low" }), (1, SlotState::NotHotpluggable)]);
    assert_eq!(states(1).len(), 32);
    assert_eq!(states(2), [(7, SlotState::Taken { by: "n7" })]);
    let count = slots.buses().next().unwrap().count();
    assert_eq!(count, Count { total: 28, taken: 3, quarantined: 1, reserved: 4 });
}

#[test]
fn a_clone_is_a_dry_run() {
    let slots = map(&pc(&[]), 4);
    let mut trial = slots.clone();
    drain(&mut trial);
    assert!(trial.choose(&Want::Auto).is_err());
    assert_eq!(slots.choose(&Want::Auto).unwrap(), at("pci.0", 4));
}
