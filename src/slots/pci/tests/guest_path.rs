//! Where a guest finds its devices, in real replies.

use super::*;

fn topology(json: &str) -> Topology {
    Topology::from_query_pci(&parse(json)).unwrap()
}

macro_rules! capture {
    ($name:literal) => {
        include_str!(concat!("../testdata/", $name, ".json"))
    };
}

fn found(topology: &Topology, bus: &str, slot: u8, id: &str) -> (String, Option<u8>, u8, bool) {
    let path = topology.guest_path(id, &at(bus, slot)).unwrap();
    (path.way, path.bus, path.function, path.shared)
}

#[test]
fn ways_lead_from_the_root() {
    let pc = topology(capture!("pc-fw"));
    assert_eq!(found(&pc, "pci.0", 7, "n1"), ("07.0".to_owned(), Some(0), 0, false));
    assert_eq!(found(&pc, "pci.0", 9, "mf1"), ("09.1".to_owned(), Some(0), 1, true));
    assert_eq!(found(&pc, "pci.0", 9, "mf0"), ("09.0".to_owned(), Some(0), 0, true));
    assert_eq!(found(&pc, "br1", 3, "n2"), ("05.0/03.0".to_owned(), Some(1), 0, false));
    // Plugged since the guest was asked.
    assert_eq!(found(&pc, "br1", 20, "new"), ("05.0/14.0".to_owned(), Some(1), 0, false));
    assert!(pc.guest_path("n1", &at("pci.0", 7)).unwrap().on_acpi_bus);
    assert!(!pc.guest_path("n2", &at("br1", 3)).unwrap().on_acpi_bus);
    assert_eq!(pc.guest_path("n1", &at("unheard-of", 0)), None);
    let q35 = topology(capture!("q35-fw"));
    assert_eq!(found(&q35, "dp2", 0, "n2"), ("02.1/00.0/01.0/00.0".to_owned(), Some(5), 0, false));
    let pxb = topology(capture!("pxb-fw"));
    assert_eq!(found(&pxb, "prp", 0, "h0"), ("80:00.0/00.0".to_owned(), Some(129), 0, false));
}

/// The firmware gives the buses behind bridges their numbers; the ways are there before.
#[test]
fn only_numbers_are_the_guests() {
    for (cold, qom, firmware) in [
        (capture!("pc-cold"), capture!("pc-qom"), capture!("pc-fw")),
        (capture!("q35-cold"), capture!("q35-qom"), capture!("q35-fw")),
        (capture!("pxb-cold"), capture!("pxb-qom"), capture!("pxb-fw")),
    ] {
        let (mut before, after) = (topology(cold), topology(firmware));
        placements(qom).into_iter().for_each(|placement| before.place(placement).unwrap());
        let names: Vec<BusName> = after.buses().filter_map(|bus| bus.name().cloned()).collect();
        for bus in names {
            let address = PciAddress { bus: bus.clone(), slot: Slot::new(1).unwrap() };
            let path = |topology: &Topology| topology.guest_path("nobody", &address).unwrap();
            assert_eq!(path(&before).way, path(&after).way, "{bus}");
            let is_root = after.bus(bus.as_str()).unwrap().kind().is_root();
            assert_eq!(path(&before).bus.is_some(), is_root, "{bus}");
            assert!(path(&after).bus.is_some(), "{bus}");
        }
    }
}
