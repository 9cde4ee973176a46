//! Random guests and random histories against a model that is nothing but a set of claims.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::{SlotState, Topology, Want};
use super::*;
use crate::ErrorKind;

/// A bus as the model sees it: name, first and last slot that `Auto` may use. In the order of use.
type Open = Vec<(String, u8, u8)>;

#[derive(Clone, Debug)]
struct World {
    reply: Value,
    reserved: u8,
    open: Open,
    /// Who claims which slot (the empty id is a device without one), and whether its removal is pending.
    occupancy: BTreeMap<(String, u8), BTreeMap<String, bool>>,
}

impl World {
    fn is_free(&self, bus: &str, slot: u8) -> bool {
        self.occupancy.get(&(bus.to_owned(), slot)).is_none_or(BTreeMap::is_empty)
    }

    fn first_free(&self) -> Option<PciAddress> {
        self.open.iter().find_map(|(bus, first, last)| {
            (*first..=*last).find(|slot| self.is_free(bus, *slot)).map(|slot| at(bus, slot))
        })
    }

    fn add_user(&mut self, bus: &str, slot: u8, id: &str) {
        self.occupancy.entry((bus.to_owned(), slot)).or_default().entry(id.to_owned()).or_default();
    }
}

fn occupants(first: u8) -> impl Strategy<Value = BTreeSet<u8>> {
    prop_oneof![prop::collection::btree_set(first..32, 0..32), Just((first..32).collect())]
}

/// `pc`: built-in devices without ids, devices "n<slot>", bridges "b<slot>".
fn pc() -> impl Strategy<Value = World> {
    let slots = (occupants(1), prop::collection::btree_map(2u8..32, occupants(1), 0..3));
    (slots, prop_oneof![Just(4u8), 0u8..=32]).prop_map(|((root, bridges), reserved)| {
        let mut devices = vec![device(0, 0, "", I440FX)];
        let mut world = World { reply: Value::Null, reserved, open: vec![], occupancy: BTreeMap::new() };
        world.open.push(("pci.0".into(), reserved, 31));
        world.add_user("pci.0", 0, "");
        for slot in root.into_iter().filter(|slot| !bridges.contains_key(slot)) {
            let id = if slot % 5 == 0 { String::new() } else { format!("n{slot}") };
            devices.push(device(slot, 0, &id, NIC));
            world.add_user("pci.0", slot, &id);
        }
        for (slot, inside) in bridges {
            let name = format!("b{slot}");
            let behind: Vec<_> =
                inside.iter().map(|slot| device(*slot, 0, &format!("n{slot}"), NIC)).collect();
            inside.iter().for_each(|slot| world.add_user(&name, *slot, &format!("n{slot}")));
            devices.push(bridge(slot, 0, &name, PCI_BRIDGE, slot, &behind));
            world.add_user("pci.0", slot, &name);
            world.open.push((name, 1, 31));
        }
        world.reply = guest(&devices);
        world
    })
}

/// `q35`: ports "b<devfn>", listed in any order, some with a device, some with a bridge in them.
fn q35() -> impl Strategy<Value = World> {
    let ports = prop::collection::btree_map(8u8..120, prop::option::of(occupants(1)), 0..10);
    (ports, any::<bool>(), 0u8..=32).prop_map(|(ports, backwards, reserved)| {
        let mut devices = vec![device(0, 0, "", Q35)];
        let mut world = World { reply: Value::Null, reserved, open: vec![], occupancy: BTreeMap::new() };
        let mut legacy = Open::new();
        world.add_user("pcie.0", 0, "");
        for (devfn, inside) in ports {
            let (port, pp) = (format!("b{devfn}"), format!("pp{devfn}"));
            let behind = inside.map(|slots| {
                world.add_user(&port, 0, &pp);
                slots.iter().for_each(|slot| world.add_user(&pp, *slot, "n1"));
                legacy.push((pp.clone(), 1, 31));
                let behind: Vec<_> = slots.iter().map(|slot| device(*slot, 0, "n1", NIC)).collect();
                bridge(0, 0, &pp, PCIE_PCI_BRIDGE, devfn + 100, &behind)
            });
            let behind: Vec<_> = behind.into_iter().collect();
            devices.push(bridge(devfn >> 3, devfn & 7, &port, ROOT_PORT, devfn, &behind));
            world.add_user("pcie.0", devfn >> 3, &port);
            world.open.push((port, 0, 0));
        }
        if backwards {
            devices.reverse();
        }
        world.open.extend(legacy);
        world.reply = guest(&devices);
        world
    })
}

#[derive(Clone, Debug)]
enum Step {
    Auto,
    Pin,
    Occupy,
    Quarantine,
    Release,
}

/// A step at a bus (by number; one is unknown to the guest), a slot and an id.
fn steps() -> impl Strategy<Value = Vec<(Step, prop::sample::Index, u8, String)>> {
    let step = prop_oneof![
        4 => Just(Step::Auto),
        2 => Just(Step::Pin),
        2 => Just(Step::Occupy),
        2 => Just(Step::Quarantine),
        3 => Just(Step::Release),
    ];
    prop::collection::vec((step, any::<prop::sample::Index>(), 0u8..32, "n([1-9]|[12][0-9])"), 1..80)
}

fn check_drawing(slots: &SlotMap, world: &World) {
    for bus in slots.buses() {
        let (mut taken, mut quarantined, mut free) = (0, 0, 0);
        let open = world.open.iter().find(|(name, ..)| name == bus.name().as_str());
        for (slot, state) in bus.slots() {
            let occupancy = world.occupancy.get(&(bus.name().to_string(), slot.get()));
            let claimed = occupancy.is_some_and(|occupancy| !occupancy.is_empty());
            let pending = occupancy.is_some_and(|occupancy| occupancy.values().any(|pending| *pending));
            let automatic = open.is_some_and(|(_, first, last)| (*first..=*last).contains(&slot.get()));
            match state {
                SlotState::Free => assert!(!claimed && automatic),
                SlotState::Reserved => assert!(!claimed && slot.get() < world.reserved),
                SlotState::Taken { .. } => assert!(claimed && !pending),
                SlotState::Quarantined { id } => assert!(pending && occupancy.unwrap()[id]),
                SlotState::NotHotpluggable => assert!(!claimed && open.is_none()),
                SlotState::Unknown => panic!("every bus is numbered"),
            }
            taken += usize::from(automatic && claimed);
            quarantined += usize::from(automatic && pending);
            free += usize::from(state == SlotState::Free);
        }
        if open.is_some() {
            let count = bus.count();
            assert_eq!((count.taken, count.quarantined), (taken, quarantined));
            assert_eq!(count.total, taken + free, "{}", bus.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_map_is_the_set(mut world in prop_oneof![pc(), q35()], steps in steps()) {
        let mut slots = map(&Topology::from_query_pci(&world.reply).unwrap(), world.reserved);
        let mut names: Vec<_> = world.open.iter().map(|(name, ..)| name.clone()).collect();
        names.extend(["pcie.0".to_owned(), "unseen".to_owned()]);
        for (step, bus, slot, text) in steps {
            let name = bus.get(&names).clone();
            let address = at(&name, slot);
            let occupancy = world.occupancy.entry((name.clone(), slot)).or_default();
            match step {
                Step::Occupy => {
                    occupancy.entry(text.clone()).or_default();
                    slots.occupy(&address, &id(&text));
                }
                Step::Quarantine => {
                    occupancy.insert(text.clone(), true);
                    slots.quarantine(&address, &id(&text));
                }
                Step::Release => {
                    prop_assert_eq!(slots.release(&address, &id(&text)), occupancy.remove(&text).is_some());
                }
                Step::Auto => {
                    let chosen = slots.choose(&Want::Auto);
                    prop_assert_eq!(chosen.as_ref().ok().cloned(), world.first_free());
                    match chosen {
                        Ok(chosen) => {
                            world.add_user(chosen.bus.as_str(), chosen.slot.get(), "n1");
                            slots.occupy(&chosen, &id("n1"));
                        }
                        Err(error) => prop_assert_eq!(error.kind(), ErrorKind::NoSlot),
                    }
                }
                Step::Pin => {
                    let open = world.open.iter().find(|(open, ..)| *open == name);
                    let first = if name == "pci.0" { 0 } else { open.map_or(0, |(_, first, _)| *first) };
                    let in_range = open.is_some_and(|(_, _, last)| (first..=*last).contains(&slot));
                    let allowed = in_range && world.is_free(&name, slot);
                    let chosen = slots.choose(&Want::Pinned(address.clone()));
                    prop_assert_eq!(chosen.ok(), allowed.then_some(address));
                }
            }
        }
        check_drawing(&slots, &world);
    }
}
