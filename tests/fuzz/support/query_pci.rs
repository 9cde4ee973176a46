//! What a guest may show of its buses, and which slots are handed out for it.
//!
//! The input is one JSON object, every member optional: `pci`, the value of `query-pci`; `qom`, a list of
//! `[id, driver, parent_bus, addr]`; `own`, a list of `[bus, slot, id, pending]`; `reserved`, a number.

use std::collections::BTreeSet;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::ids::{BusName, DeviceId, PciAddress, Slot};
use kvm_hotplug::slots::pci::{
    QomAddress, QomChild, Rules, SlotMap, SlotState, Topology, Want, device_id_for,
};
use serde_json::Value;

/// More than a bus has.
const CHOICES: usize = 40;

fn list<'a>(input: &'a Value, key: &str) -> &'a [Value] {
    input[key].as_array().map_or(&[], Vec::as_slice)
}

fn claim(slots: &mut SlotMap, claim: &Value) -> Option<()> {
    let bus = BusName::parse(claim[0].as_str()?).ok()?;
    let slot = Slot::new(u8::try_from(claim[1].as_u64()?).ok()?)?;
    let id = DeviceId::parse(claim[2].as_str()?).ok()?;
    let address = PciAddress { bus, slot };
    match claim[3].as_bool() {
        Some(true) => slots.quarantine(&address, &id),
        _ => slots.occupy(&address, &id),
    }
    assert!(slots.choose(&Want::Pinned(address)).is_err(), "a claimed slot can be had");
    Some(())
}

fn state<'a>(slots: &'a SlotMap, address: &PciAddress) -> SlotState<'a> {
    let bus = slots.buses().find(|bus| *bus.name() == address.bus).expect("a bus that is there");
    bus.slots().find(|(slot, _)| *slot == address.slot).expect("a slot that the bus has").1
}

/// Takes one slot after the other. Each was free, is on a bus that takes devices, and is never given twice.
fn fill(topology: &Topology, slots: &mut SlotMap) {
    let mut given = BTreeSet::new();
    for number in 0..CHOICES {
        let address = match slots.choose(&Want::Auto) {
            Ok(address) => address,
            Err(error) => return assert_eq!(error.kind(), ErrorKind::NoSlot),
        };
        let bus = topology.bus(address.bus.as_str()).expect("a bus that the guest shows");
        assert!(bus.is_hotpluggable() && bus.is_known());
        assert_eq!(bus.in_slot(address.slot).count(), 0);
        assert_eq!(state(slots, &address), SlotState::Free);
        slots.choose(&Want::Pinned(address.clone())).expect("what is free can be pinned");
        device_id_for("nic", &address).expect("an id for every address");
        slots.occupy(&address, &DeviceId::parse(&format!("fuzz{number}")).unwrap());
        assert!(given.insert(address));
    }
}

fn run_input(input: &Value) {
    let Ok(mut topology) = Topology::from_query_pci(&input["pci"]) else { return };
    let _ = QomChild::list(&input["qom-list"]);
    for entry in list(input, "qom") {
        let driver = entry[1].as_str().unwrap_or_default();
        let placement = QomAddress::from_qom(entry[0].as_str(), driver, &entry[2], &entry[3]);
        if placement.is_some_and(|placement| topology.place(placement).is_err()) {
            return;
        }
    }
    let names: Vec<_> = topology.buses().filter_map(|bus| bus.name()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "two buses of one name");
    let reserved = input["reserved"].as_u64().and_then(|number| u8::try_from(number).ok());
    let Ok(rules) = Rules::new(reserved.unwrap_or(4)) else { return };
    let mut slots = SlotMap::new(&topology, rules);
    for entry in list(input, "own") {
        claim(&mut slots, entry);
    }
    for bus in topology.buses() {
        for (_, _, occupant) in bus.functions() {
            let found = occupant.id.as_deref().and_then(|id| topology.find(id));
            let _ = found.map(|found| (found.address(), found.check_removable()));
        }
    }
    fill(&topology, &mut slots);
}

/// What the target does with an input.
pub fn run(data: &[u8]) {
    if let Ok(input) = serde_json::from_slice(data) {
        run_input(&input);
    }
}
