use super::*;
use proptest::prelude::*;

fn bus(name: &str) -> BusName {
    BusName::parse(name).unwrap()
}

fn at(name: &str, target: u8, lun: u16) -> ScsiAddress {
    ScsiAddress { lun: Lun::new(lun).unwrap(), ..ScsiAddress::of_target(bus(name), target) }
}

fn id(name: &str) -> DeviceId {
    DeviceId::parse(name).unwrap()
}

fn open(_: &str) -> Option<String> {
    None
}

fn with(controllers: &[&str]) -> ScsiMap {
    let mut map = ScsiMap::default();
    controllers.iter().for_each(|id| map.add_controller(id, "virtio-scsi-pci", true));
    map
}

fn refusal(map: &ScsiMap, want: &Want) -> (ErrorKind, String) {
    let error = map.choose(want, open).unwrap_err();
    (error.kind(), error.message().to_owned())
}

#[test]
fn the_first_free_target_of_the_first_controller() {
    let mut map = ScsiMap::default();
    map.add_controller("scsi", "virtio-scsi-pci", false);
    map.add_controller("scsi-pci-9", "virtio-scsi-pci", true);
    map.add_controller("scsi-pci-4", "virtio-scsi-pci", true);
    map.add_controller("hba", "lsi53c895a", false);
    map.add_controller("scsi-pci-9", "virtio-scsi-pci", false);
    assert_eq!(map.choose(&Want::Auto, open).unwrap(), Some(at("scsi-pci-9.0", 0, 0)));
    map.occupy(&at("scsi-pci-9.0", 0, 0), &id("a"));
    map.see(&at("scsi-pci-9.0", 1, 5), None, "scsi-cd");
    assert_eq!(
        map.choose(&Want::Auto, open).unwrap(),
        Some(at("scsi-pci-9.0", 2, 0)),
        "a unit takes its target"
    );
    let closed = |id: &str| (id == "scsi-pci-9").then(|| "it is on its way out".to_owned());
    assert_eq!(map.choose(&Want::Auto, closed).unwrap(), Some(at("scsi-pci-4.0", 0, 0)));
    let error = map.choose(&Want::OnBus(bus("scsi-pci-9.0")), closed).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotHotpluggable, "scsi-pci-9.0: it is on its way out")
    );
    map.remove_controller("scsi-pci-9");
    map.remove_controller("scsi-pci-4");
    assert_eq!(
        map.choose(&Want::Auto, open).unwrap(),
        Some(at("scsi.0", 0, 0)),
        "what is not recorded comes last"
    );
    map.remove_controller("scsi");
    assert_eq!(map.choose(&Want::Auto, open).unwrap(), None, "one has to be added");
}

#[test]
fn a_pinned_place_is_free_or_refused_by_name() {
    let mut map = with(&["scsi"]);
    map.add_controller("hba", "lsi53c895a", false);
    map.occupy(&at("scsi.0", 3, 0), &id("a"));
    map.quarantine(&at("scsi.0", 4, 1), &id("b"));
    map.see(&at("scsi.0", 5, 0), None, "scsi-cd");
    map.occupy(&at("gone.0", 0, 0), &id("c"));
    for (address, kind, words) in [
        (at("scsi.0", 3, 0), ErrorKind::AddressTaken, "scsi.0 target 3 lun 0 is taken by a"),
        (at("scsi.0", 4, 1), ErrorKind::AddressTaken, "still belongs to b"),
        (at("scsi.0", 5, 0), ErrorKind::AddressTaken, "taken by scsi-cd"),
        (at("nope.0", 0, 0), ErrorKind::NotFound, "the guest has hba.0, scsi.0"),
        (at("gone.0", 1, 0), ErrorKind::NotFound, "no such SCSI bus"),
        (at("hba.0", 0, 0), ErrorKind::NotHotpluggable, "a lsi53c895a, does not tell"),
    ] {
        let (found, text) = refusal(&map, &Want::Pinned(address.clone()));
        assert!(found == kind && text.contains(words), "{address}: {found:?} {text}");
    }
    for free in [at("scsi.0", 3, 1), at("scsi.0", 4, 0), at("scsi.0", 255, 16383)] {
        assert_eq!(map.choose(&Want::Pinned(free.clone()), open).unwrap(), Some(free));
    }
    assert!(refusal(&ScsiMap::default(), &Want::OnBus(bus("scsi.0"))).1.contains("the guest has none"));
}

#[test]
fn a_full_bus_says_how_full() {
    let mut map = with(&["a", "b"]);
    for target in 0..=255 {
        map.occupy(&at("a.0", target, 0), &id(&format!("d{target}")));
    }
    assert_eq!(map.choose(&Want::Auto, open).unwrap(), Some(at("b.0", 0, 0)));
    let (kind, text) = refusal(&map, &Want::OnBus(bus("a.0")));
    assert!(kind == ErrorKind::NoSlot && text.contains("a.0: 256 of 256 taken (0 quarantined)"), "{text}");
    for target in 0..=255 {
        map.quarantine(&at("b.0", target, 7), &id(&format!("e{target}")));
    }
    let (kind, text) = refusal(&map, &Want::Auto);
    assert_eq!(kind, ErrorKind::NoSlot);
    assert!(
        text.contains("a.0: 256 of 256 taken (0 quarantined); b.0: 256 of 256 taken (256 quarantined)"),
        "{text}"
    );
    assert!(map.release(&at("b.0", 9, 7), &id("e9")));
    assert_eq!(map.choose(&Want::Auto, open).unwrap(), Some(at("b.0", 9, 0)));
}

#[test]
fn people_are_shown_what_is_taken_and_what_is_next() {
    let mut map = with(&["a"]);
    map.add_controller("hba", "megasas", false);
    map.occupy(&at("a.0", 0, 0), &id("d"));
    map.quarantine(&at("a.0", 2, 3), &id("e"));
    map.see(&at("hba.0", 1, 0), Some("f"), "scsi-hd");
    let lines: Vec<String> = map.lines().iter().map(|(at, state)| format!("{at}: {state:?}")).collect();
    assert_eq!(
        lines,
        [
            "a.0 target 0 lun 0: Taken(\"d\")",
            "a.0 target 1 lun 0: Free",
            "a.0 target 2 lun 3: Quarantined(\"e\")",
            "hba.0 target 1 lun 0: Taken(\"f\")",
        ]
    );
}

#[derive(Clone, Debug)]
enum Step {
    Take(u8),
    Pin(u8, u8, u16),
    Quarantine(usize),
    Release(usize),
    See(u8, u8, u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..3).prop_map(Step::Take),
        3 => (0u8..3, 0u8..6, 0u16..3).prop_map(|(bus, target, lun)| Step::Pin(bus, target, lun)),
        2 => any::<prop::sample::Index>().prop_map(|index| Step::Quarantine(index.index(64))),
        3 => any::<prop::sample::Index>().prop_map(|index| Step::Release(index.index(64))),
        1 => (0u8..3, 0u8..6, 0u16..3).prop_map(|(bus, target, lun)| Step::See(bus, target, lun)),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a list of who sits where: nothing is handed out twice, the first free target is, nothing is
    /// lost.
    #[test]
    fn no_place_is_handed_out_twice(steps in steps()) {
        let mut map = with(&["c0", "c1", "c2"]);
        let mut placed: Vec<(ScsiAddress, DeviceId)> = Vec::new();
        let mut seen: BTreeSet<ScsiAddress> = BTreeSet::new();
        for (number, step) in steps.into_iter().enumerate() {
            let new = id(&format!("d{number}"));
            let taken = |address: &ScsiAddress| placed.iter().any(|(at, _)| at == address) || seen.contains(address);
            match step {
                Step::Take(at_bus) => {
                    let name = bus(&format!("c{at_bus}.0"));
                    let want = if at_bus == 2 { Want::Auto } else { Want::OnBus(name.clone()) };
                    let name = if at_bus == 2 { bus("c0.0") } else { name };
                    let chosen = map.choose(&want, open).unwrap().unwrap();
                    let used = |target: u8| {
                        placed.iter().map(|(at, _)| at).chain(&seen).any(|at| at.bus == name && at.target == target)
                    };
                    prop_assert_eq!(&chosen, &ScsiAddress::of_target(name.clone(), (0..=255).find(|t| !used(*t)).unwrap()));
                    map.occupy(&chosen, &new);
                    placed.push((chosen, new));
                }
                Step::Pin(at_bus, target, lun) => {
                    let address = at(&format!("c{at_bus}.0"), target, lun);
                    let free = !taken(&address);
                    prop_assert_eq!(map.choose(&Want::Pinned(address.clone()), open).is_ok(), free, "{}", address);
                    if free {
                        map.occupy(&address, &new);
                        placed.push((address, new));
                    }
                }
                Step::Quarantine(index) if index < placed.len() => {
                    let (address, id) = &placed[index];
                    map.quarantine(address, id);
                    let refused = map.choose(&Want::Pinned(address.clone()), open).unwrap_err();
                    prop_assert!(refused.message().contains("removal is pending"), "{}", refused);
                }
                Step::Release(index) if index < placed.len() => {
                    let (address, id) = placed.swap_remove(index);
                    prop_assert!(map.release(&address, &id));
                    prop_assert!(!map.release(&address, &id), "twice");
                }
                Step::See(at_bus, target, lun) => {
                    let address = at(&format!("c{at_bus}.0"), target, lun);
                    map.see(&address, None, "scsi-cd");
                    seen.insert(address);
                }
                Step::Quarantine(_) | Step::Release(_) => {}
            }
            let listed: BTreeSet<ScsiAddress> = map.occupancy().map(|(address, _)| address).collect();
            let expected = placed.iter().map(|(at, _)| at.clone()).chain(seen.iter().cloned()).collect();
            prop_assert_eq!(listed, expected);
        }
    }
}
