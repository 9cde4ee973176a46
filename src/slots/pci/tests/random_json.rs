//! QEMU may be in its guest's hands: whatever it answers is an answer or an error, never a crash.

use proptest::prelude::*;

use super::super::{QomChild, Want};
use super::*;
use crate::ErrorKind;

#[test]
fn a_wrong_field_is_named() {
    let good =
        || guest(&[device(0, 0, "", I440FX), bridge(1, 0, "br1", PCI_BRIDGE, 1, &[device(2, 0, "n1", NIC)])]);
    for (pointer, value, named) in [
        ("", json!({}), "the reply"),
        ("/0", json!(7), "bus"),
        ("/0/bus", json!(256), "bus"),
        ("/0/devices", json!("x"), "devices"),
        ("/0/devices/1/slot", json!(32), "slot"),
        ("/0/devices/1/slot", json!(-1), "slot"),
        ("/0/devices/1/function", json!(8), "function"),
        ("/0/devices/1/id", json!(null), "vendor"),
        ("/0/devices/1/id/device", json!(65536), "device"),
        ("/0/devices/1/qdev_id", json!([]), "qdev_id"),
        ("/0/devices/1/class_info/desc", json!(1), "desc"),
        ("/0/devices/1/regions", json!({}), "regions"),
        ("/0/devices/1/regions", json!([{}]), "address"),
        ("/0/devices/1/regions", json!([{"address": 1.5}]), "address"),
        ("/0/devices/1/pci_bridge", json!(true), "bus"),
        ("/0/devices/1/pci_bridge/bus/secondary", json!("1"), "secondary"),
        ("/0/devices/1/pci_bridge/devices", json!({}), "devices"),
        ("/0/devices/1/pci_bridge/devices/0", json!([]), "slot"),
    ] {
        let mut reply = good();
        *reply.pointer_mut(pointer).unwrap() = value;
        let error = Topology::from_query_pci(&reply).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{pointer}");
        assert!(error.message().contains(named), "{pointer}: {error}");
    }
    assert!(Topology::from_query_pci(&good()).is_ok());
}

#[test]
fn sizes_are_bounded() {
    let nested = |depth: u8| {
        let wrap = |inside: Value, done| bridge(1, 0, "", PCI_BRIDGE, depth - done, &[inside]);
        guest(&[(0..depth).fold(device(1, 0, "", NIC), wrap)])
    };
    assert!(Topology::from_query_pci(&nested(32)).is_ok());
    let many_devices = |count| guest(&vec![device(1, 0, "", NIC); count]);
    assert!(Topology::from_query_pci(&many_devices(4096)).is_ok());
    let many_buses = |count| guest(&vec![bridge(1, 0, "", PCI_BRIDGE, 0, &[]); count]);
    assert!(Topology::from_query_pci(&many_buses(255)).is_ok());
    for too_much in [nested(33), many_devices(4097), many_buses(256)] {
        assert_eq!(Topology::from_query_pci(&too_much).unwrap_err().kind(), ErrorKind::Protocol);
    }
}

#[test]
fn what_qom_adds_is_bounded() {
    let place = |topology: &mut Topology, id: String, parent: String, driver: &str| {
        let parent = json!(format!("/machine/peripheral/{parent}/{parent}"));
        topology.place(QomAddress::from_qom(Some(&id), driver, &parent, &json!(8)).unwrap())
    };
    let fresh = || {
        let devices = [device(0, 0, "", I440FX), bridge(1, 0, "b0", PCI_BRIDGE, 0, &[])];
        Topology::from_query_pci(&guest(&devices)).unwrap()
    };
    let mut topology = fresh();
    let error = (0..100)
        .find_map(|n| place(&mut topology, format!("b{}", n + 1), format!("b{n}"), "pci-bridge").err());
    assert_eq!(error.unwrap().kind(), ErrorKind::Protocol);
    assert!(topology.buses().count() < 40);

    // Backwards, so that everything waits for the last one, which settles the whole chain.
    let mut topology = fresh();
    for n in (0..20).rev() {
        place(&mut topology, format!("b{}", n + 1), format!("b{n}"), "pci-bridge").unwrap();
    }
    assert_eq!(topology.buses().count(), 22);

    let mut topology = fresh();
    let error = (0..5000).find_map(|n| place(&mut topology, format!("d{n}"), "nowhere".into(), "x").err());
    assert_eq!(error.unwrap().kind(), ErrorKind::Protocol);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1i64..40).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["rp1", "pci.0", "child<pci-bridge>"]).prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "bus",
        "devices",
        "slot",
        "function",
        "qdev_id",
        "class_info",
        "desc",
        "id",
        "vendor",
        "device",
        "regions",
        "address",
        "pci_bridge",
        "secondary",
        "name",
        "type",
    ]);
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..10)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A valid reply with one value somewhere replaced, which gets further in than noise does.
fn damaged() -> impl Strategy<Value = Value> {
    let capture = include_str!("../testdata/pc-fw.json");
    (any::<prop::sample::Index>(), any_json()).prop_map(move |(place, value)| {
        let mut reply = parse(capture);
        let mut pointers = Vec::new();
        collect(&reply, String::new(), &mut pointers);
        *reply.pointer_mut(&pointers[place.index(pointers.len())]).unwrap() = value;
        reply
    })
}

fn collect(value: &Value, at: String, pointers: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(n, item)| (n.to_string(), item)).collect(),
        Value::Object(map) => map.iter().map(|(name, item)| (name.clone(), item)).collect(),
        _ => vec![],
    };
    for (name, child) in children {
        collect(child, format!("{at}/{name}"), pointers);
    }
    pointers.push(at);
}

fn use_all_of(topology: &Topology) {
    let slots = map(topology, 4);
    let _ = slots.choose(&Want::Auto).map_err(|error| error.to_string());
    for bus in slots.buses() {
        assert!(bus.slots().count() <= 32);
    }
    if let Some(found) = topology.find("rp1") {
        let _ = found.check_removable();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(
        reply in prop_oneof![any_json(), damaged()],
        id in prop::option::of(".{0,8}|rp1"),
        driver in "pci-bridge|pcie-root-port|.{0,8}",
        bus in prop_oneof![
            any_json(),
            "/machine/(peripheral/rp1/rp1|i440fx/pci.0|peripheral-anon/.{0,4}|.{0,8})".prop_map(Value::from),
        ],
        addr in prop_oneof![any_json(), (0u8..=255).prop_map(Value::from)],
    ) {
        let _ = QomChild::list(&reply);
        if let Ok(mut topology) = Topology::from_query_pci(&reply) {
            use_all_of(&topology);
            if let Some(placement) = QomAddress::from_qom(id.as_deref(), &driver, &bus, &addr) {
                let _ = topology.place(placement);
                use_all_of(&topology);
            }
        }
    }
}
