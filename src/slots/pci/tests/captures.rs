//! What QEMU 7.2 really answered.

use std::collections::BTreeMap;

use super::super::{BusKind, SlotState, Topology, Want};
use super::*;

macro_rules! capture {
    ($name:literal) => {
        include_str!(concat!("../testdata/", $name, ".json"))
    };
}

fn topology(json: &str) -> Topology {
    Topology::from_query_pci(&parse(json)).unwrap()
}

fn merged(query: &str, qom: &str) -> Topology {
    let mut topology = topology(query);
    for placement in placements(qom) {
        topology.place(placement).unwrap();
    }
    topology
}

/// Bus name → kind and what sits there ("3.0 n2").
fn picture(topology: &Topology) -> BTreeMap<String, (BusKind, Vec<String>)> {
    let mut picture = BTreeMap::new();
    for bus in topology.buses() {
        let name = bus.name().map_or_else(|| format!("unnamed {:?}", bus.path), ToString::to_string);
        let label = |(slot, function, occupant): (Slot, u8, &super::super::Occupant)| {
            format!("{}.{function} {}", slot.get(), occupant.id.as_deref().unwrap_or("-"))
        };
        picture.insert(name, (bus.kind(), bus.functions().map(label).collect()));
    }
    picture
}

#[test]
fn pc_after_firmware() {
    let topology = topology(capture!("pc-fw"));
    let picture = picture(&topology);
    assert!(!topology.has_unnumbered());
    let root = [
        "0.0 -",
        "1.0 -",
        "1.1 -",
        "1.3 -",
        "5.0 br1",
        "6.0 -",
        "7.0 n1",
        "8.0 scsi0",
        "9.0 mf0",
        "9.1 mf1",
        "10.0 h2",
        "11.0 brh",
    ];
    assert_eq!(picture["pci.0"], (BusKind::ConventionalRoot, root.map(String::from).to_vec()));
    assert_eq!(
        picture["br1"],
        (BusKind::PciBridge, ["0.0 h3", "2.0 h1", "3.0 n2"].map(String::from).to_vec())
    );
    assert_eq!(picture["brh"], (BusKind::PciBridge, vec![]));
    assert_eq!(picture["unnamed [0, 48]"], (BusKind::PciBridge, vec!["4.0 n3".to_owned()]));
    assert_eq!(picture.len(), 4);
    let n1 = topology.find("n1").unwrap();
    assert_eq!((n1.address(), n1.function, n1.occupant.configured), (Some(at("pci.0", 7)), 0, true));
    assert_eq!(n1.occupant.description, "Ethernet controller");
    n1.check_removable().unwrap();
    assert_eq!(topology.find("n3").unwrap().address(), None);
    assert!(topology.find("sd0").is_none());
}

#[test]
fn q35_after_firmware() {
    let topology = topology(capture!("q35-fw"));
    let kinds: Vec<_> = topology.buses().filter_map(|bus| Some((bus.name()?.as_str(), bus.kind()))).collect();
    assert_eq!(
        kinds,
        [
            ("pcie.0", BusKind::PcieRoot),
            ("rp1", BusKind::RootPort),
            ("rp2", BusKind::RootPort),
            ("up1", BusKind::UpstreamPort),
            ("dp1", BusKind::DownstreamPort),
            ("dp2", BusKind::DownstreamPort),
            ("rp3", BusKind::RootPort),
            ("pp1", BusKind::PciePciBridge),
            ("rpoff", BusKind::RootPort),
            ("dmi1", BusKind::DmiBridge),
            ("br1", BusKind::PciBridge),
        ]
    );
    assert_eq!(topology.find("n2").unwrap().address(), Some(at("dp2", 0)));
    assert!(!topology.has_unnumbered());
    for (bus, open) in
        [("pcie.0", false), ("up1", false), ("dmi1", false), ("dp1", true), ("pp1", true), ("br1", true)]
    {
        assert_eq!(topology.bus(bus).unwrap().is_hotpluggable(), open, "{bus}");
    }
}

/// Before firmware `query-pci` hides what QOM shows; with QOM merged the topology is the same as afterwards.
#[test]
fn the_merged_view_before_firmware_is_the_view_after() {
    for (cold, qom, firmware) in [
        (capture!("pc-cold"), capture!("pc-qom"), capture!("pc-fw")),
        (capture!("q35-cold"), capture!("q35-qom"), capture!("q35-fw")),
        (capture!("pxb-cold"), capture!("pxb-qom"), capture!("pxb-fw")),
        (capture!("pxbpc-cold"), capture!("pxbpc-qom"), capture!("pxbpc-fw")),
    ] {
        let before = topology(cold);
        assert!(before.has_unnumbered());
        let merged = merged(cold, qom);
        let (mut expected, mut seen) = (picture(&topology(firmware)), picture(&merged));
        // The one thing QOM cannot tell: what is on the bridge without an id.
        expected.retain(|name, _| !name.starts_with("unnamed"));
        seen.retain(|name, _| !name.starts_with("unnamed"));
        assert_eq!(seen, expected);
        assert_ne!(picture(&before), picture(&merged));
        assert!(
            merged
                .buses()
                .filter(|bus| bus.name().is_some())
                .all(|bus| bus.is_known() || !bus.is_hotpluggable())
        );
    }
}

#[test]
fn the_order_of_the_qom_walk_does_not_matter() {
    let expected = picture(&merged(capture!("q35-cold"), capture!("q35-qom")));
    let mut order = placements(capture!("q35-qom"));
    for _ in 0..order.len() {
        order.rotate_left(1);
        for reversed in [order.clone(), order.iter().rev().cloned().collect()] {
            let mut topology = topology(capture!("q35-cold"));
            for placement in reversed {
                topology.place(placement).unwrap();
            }
            assert_eq!(picture(&topology), expected);
        }
    }
}

#[test]
fn unnumbered_ports_are_not_handed_out_before_qom_was_asked() {
    let blind = map(&topology(capture!("q35-cold")), 4);
    let error = blind.choose(&Want::Auto).unwrap_err();
    assert!(error.message().contains("rp1, rp2, rp3, rpoff: not numbered"), "{error}");
    assert_eq!(blind.choose(&Want::Pinned(at("rp1", 0))).unwrap_err().kind(), crate::ErrorKind::State);
    let port = blind.buses().find(|bus| bus.name().as_str() == "rp1").unwrap();
    assert!(port.slots().all(|(_, state)| state == SlotState::Unknown));

    let mut topology = merged(capture!("q35-cold"), capture!("q35-qom"));
    let free = map(&topology, 4).choose(&Want::Auto).unwrap();
    assert_eq!(free, at("rpoff", 0));
    topology.forbid_hotplug(&free.bus).unwrap();
    assert_eq!(map(&topology, 4).choose(&Want::Auto).unwrap(), at("br1", 1));
    assert!(topology.forbid_hotplug(&BusName::parse("none").unwrap()).is_err());
}

#[test]
fn bus_0_is_the_root_wherever_it_is_listed() {
    let pxb = topology(capture!("pxb-fw"));
    assert_eq!(pxb.bus("pcie.0").unwrap().kind(), BusKind::PcieRoot);
    assert_eq!(map(&pxb, 4).choose(&Want::Auto).unwrap(), at("rp1", 0));
    let h0 = pxb.find("h0").unwrap();
    assert_eq!((h0.address(), h0.occupant.configured), (Some(at("prp", 0)), false));

    let pxb = topology(capture!("pxbpc-fw"));
    assert!(!pxb.bus("pxb1").unwrap().is_hotpluggable());
    assert!(pxb.bus("b2").unwrap().is_hotpluggable());
}

#[test]
fn a_shared_slot_is_not_given_up() {
    let topology = topology(capture!("pc-fw"));
    for (id, other) in [("mf0", "mf1"), ("mf1", "mf0")] {
        let located = topology.find(id).unwrap();
        let error = located.check_removable().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::NotHotpluggable);
        assert!(error.message().contains(&format!("with {other}")), "{error}");
        assert_eq!(located.neighbours().count(), 1);
    }
}

#[test]
fn only_function_0_can_go() {
    let devices = [device(0, 0, "", I440FX), device(5, 1, "lone", NIC)];
    let topology = Topology::from_query_pci(&guest(&devices)).unwrap();
    let error = topology.find("lone").unwrap().check_removable().unwrap_err();
    assert!(error.message().contains("function 1"), "{error}");
}

/// A number that leads nowhere is the guest's mistake or malice, and says nothing of what is behind the
/// bridge.
#[test]
fn a_bus_is_numbered_when_it_has_a_number_and_a_list() {
    for (secondary, list, numbered) in
        [(0, None, false), (0, Some(vec![]), false), (9, None, false), (9, Some(vec![]), true)]
    {
        let mut port = bridge(1, 0, "rp1", ROOT_PORT, secondary, &[]);
        let keys = port["pci_bridge"].as_object_mut().unwrap();
        keys.remove("devices");
        keys.extend(list.map(|list: Vec<Value>| ("devices".to_owned(), list.into())));
        let topology = Topology::from_query_pci(&guest(&[device(0, 0, "", Q35), port])).unwrap();
        assert_eq!(topology.bus("rp1").unwrap().is_numbered(), numbered, "{topology:?}");
        assert_eq!(topology.has_unnumbered(), !numbered);
    }
}

#[test]
fn a_device_on_a_bus_without_hotplug_is_not_given_up() {
    let topology = topology(capture!("q35-fw"));
    assert!(topology.find("n1").unwrap().check_removable().is_ok());
    for id in ["hdmi1", "rpoff"] {
        let error = topology.find(id).unwrap().check_removable().unwrap_err();
        assert!(error.message().contains("not hot-pluggable"), "{error}");
    }
}

/// A guest can give two bridges the same number; QEMU then shows the devices of one behind both, and neither
/// is believed.
#[test]
fn qom_wins_over_bus_numbers() {
    let n1 = device(3, 0, "n1", NIC);
    let twice = [
        device(0, 0, "", I440FX),
        bridge(4, 0, "br1", PCI_BRIDGE, 1, std::slice::from_ref(&n1)),
        bridge(5, 0, "br2", PCI_BRIDGE, 1, std::slice::from_ref(&n1)),
    ];
    let mut topology = Topology::from_query_pci(&guest(&twice)).unwrap();
    assert!(topology.has_unnumbered());
    assert!(topology.find("n1").is_none());
    let bus = serde_json::json!("/machine/peripheral/br2/br2");
    topology.place(QomAddress::from_qom(Some("n1"), "virtio-net-pci", &bus, &24.into()).unwrap()).unwrap();
    assert_eq!(topology.find("n1").unwrap().address(), Some(at("br2", 3)));
    assert_eq!(topology.bus("br1").unwrap().functions().count(), 0);
}

/// QEMU finds the bus behind a bridge by its number, so another bridge that claims this number hides it.
#[test]
fn a_number_that_another_bridge_claims_is_not_believed() {
    let ranged = |slot, id: &str, secondary: u8, subordinate: u8| {
        let mut port = bridge(slot, 0, id, ROOT_PORT, secondary, &[]);
        port["pci_bridge"]["bus"]["subordinate"] = subordinate.into();
        port
    };
    for (ranges, numbered) in [
        // The firmware of a PC begins with 255 and 0 everywhere, then gives numbers, the last one open for a
        // while.
        ([(255, 0), (255, 0), (255, 0)], [false, false, false]),
        ([(1, 255), (255, 0), (255, 0)], [true, false, false]),
        ([(1, 1), (2, 255), (255, 0)], [true, true, false]),
        ([(1, 1), (2, 2), (255, 0)], [true, true, true]),
        ([(1, 1), (2, 2), (3, 3)], [true, true, true]),
        ([(1, 3), (2, 2), (4, 9)], [true, false, true]),
    ] {
        let ports = [("a", ranges[0]), ("b", ranges[1]), ("c", ranges[2])];
        let mut devices = vec![device(0, 0, "", Q35)];
        devices.extend((1..).zip(ports).map(|(slot, (id, (first, last)))| ranged(slot, id, first, last)));
        let topology = Topology::from_query_pci(&guest(&devices)).unwrap();
        let found = ["a", "b", "c"].map(|id| topology.bus(id).unwrap().is_numbered());
        assert_eq!(found, numbered, "{ranges:?}");
    }
    // The number of the bus that the bridge is on, and that of another root.
    let nested = bridge(1, 0, "deep", PCI_BRIDGE, 1, &[]);
    let outer = bridge(4, 0, "outer", PCI_BRIDGE, 1, &[nested]);
    let expander = serde_json::json!({"bus": 9, "devices": []});
    let mut reply = guest(&[device(0, 0, "", I440FX), outer, bridge(5, 0, "nine", PCI_BRIDGE, 9, &[])]);
    reply.as_array_mut().unwrap().push(expander);
    let topology = Topology::from_query_pci(&reply).unwrap();
    let numbered = ["outer", "deep", "nine"].map(|id| topology.bus(id).unwrap().is_numbered());
    assert_eq!(numbered, [true, false, false]);
}

#[test]
fn a_port_without_an_id_is_not_mistaken_for_the_root() {
    let mut topology = topology(capture!("q35-cold"));
    let before = picture(&topology);
    for bus in [
        "/machine/peripheral-anon/device[0]/pcie.0",
        "/machine/peripheral/scsi0/virtio-backend/scsi0.0",
        "/machine/unattached/device[3]/ide.0",
        "/machine/peripheral/pcie.0/pcie.0",
        "",
    ] {
        let bus = serde_json::json!(bus);
        topology
            .place(QomAddress::from_qom(Some("n9"), "virtio-net-pci", &bus, &56.into()).unwrap())
            .unwrap();
    }
    assert_eq!(picture(&topology), before);
    assert!(topology.find("n9").is_none());
}

#[test]
fn an_unknown_machine_keeps_its_ports() {
    let devices = [
        device(0, 0, "", (0x1234, 1)),
        bridge(1, 0, "rp1", ROOT_PORT, 1, &[]),
        bridge(2, 0, "x", (1, 1), 2, &[]),
    ];
    let topology = Topology::from_query_pci(&guest(&devices)).unwrap();
    let root = topology.buses().next().unwrap();
    assert_eq!((root.name(), root.kind(), root.is_hotpluggable()), (None, BusKind::OtherRoot, false));
    assert_eq!(topology.bus("x").unwrap().kind(), BusKind::OtherBridge);
    let slots = map(&topology, 4);
    assert_eq!(slots.choose(&Want::Auto).unwrap(), at("rp1", 0));
    assert_eq!(
        slots.choose(&Want::Pinned(at("x", 4))).unwrap_err().kind(),
        crate::ErrorKind::NotHotpluggable
    );
    assert_eq!(
        map(&Topology::from_query_pci(&guest(&[])).unwrap(), 4).choose(&Want::Auto).unwrap_err().kind(),
        crate::ErrorKind::NoSlot
    );
}

#[test]
fn the_name_of_a_bus_is_given_once() {
    let devices = [
        bridge(1, 0, "pci.0", PCI_BRIDGE, 1, &[device(7, 0, "", NIC)]),
        bridge(2, 0, "br", PCI_BRIDGE, 2, &[]),
        bridge(3, 0, "br", PCI_BRIDGE, 3, &[]),
        bridge(4, 0, &"x".repeat(64), PCI_BRIDGE, 4, &[]),
        device(0, 0, "", I440FX),
    ];
    let topology = Topology::from_query_pci(&guest(&devices)).unwrap();
    let names: Vec<_> = topology.buses().filter_map(|bus| bus.name()).map(BusName::as_str).collect();
    assert_eq!(names, ["pci.0", "br"]);
    assert_eq!(topology.bus("pci.0").unwrap().kind(), BusKind::ConventionalRoot);
    assert_eq!(topology.buses().count(), 5);
}

#[test]
fn text_from_qemu_is_made_printable() {
    let mut odd = device(1, 0, "a\nb", NIC);
    odd["class_info"]["desc"] = "\u{1b}[31mred\n".repeat(40).into();
    let topology = Topology::from_query_pci(&guest(&[device(0, 0, "", I440FX), odd])).unwrap();
    let (_, _, occupant) = topology.bus("pci.0").unwrap().functions().last().unwrap();
    assert_eq!(occupant.id, None);
    assert!(
        occupant.description.len() == 64 && occupant.description.starts_with("?[31mred?"),
        "{occupant:?}"
    );
}
