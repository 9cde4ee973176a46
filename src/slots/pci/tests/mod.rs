//! Tests of the whole room: real replies (see `testdata/README.md`), and random guests against a plain model.

mod captures;
mod guest_path;
mod model;
mod random_json;
mod slots;

use serde_json::{Value, json};

use super::{QomAddress, Rules, SlotMap, Topology};
use crate::ids::{BusName, DeviceId, PciAddress, Slot};

fn at(bus: &str, slot: u8) -> PciAddress {
    PciAddress { bus: BusName::parse(bus).unwrap(), slot: Slot::new(slot).unwrap() }
}

fn id(text: &str) -> DeviceId {
    DeviceId::parse(text).unwrap()
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

fn map(topology: &Topology, reserved: u8) -> SlotMap {
    SlotMap::new(topology, Rules::new(reserved).unwrap())
}

/// The placements of a `*-qom.json`, in its (arbitrary) order.
fn placements(json: &str) -> Vec<QomAddress> {
    let children = parse(json);
    let read = |(path, child): (&String, &Value)| {
        let id = path.strip_prefix("/machine/peripheral/");
        let driver = child[0].as_str().unwrap().strip_prefix("child<").unwrap().strip_suffix('>').unwrap();
        QomAddress::from_qom(id, driver, &child[1], &child[2])
    };
    children.as_object().unwrap().iter().filter_map(read).collect()
}

fn device(slot: u8, function: u8, id: &str, ids: (u16, u16)) -> Value {
    json!({"bus": 0, "slot": slot, "function": function, "qdev_id": id, "class_info": {"class": 0, "desc": "Thing"},
           "id": {"vendor": ids.0, "device": ids.1}, "regions": []})
}

fn bridge(slot: u8, function: u8, id: &str, ids: (u16, u16), secondary: u8, behind: &[Value]) -> Value {
    let mut value = device(slot, function, id, ids);
    value["pci_bridge"] = json!({"bus": {"number": 0, "secondary": secondary, "subordinate": secondary}});
    if secondary != 0 {
        value["pci_bridge"]["devices"] = behind.into();
    }
    value
}

fn guest(devices: &[Value]) -> Value {
    json!([{"bus": 0, "devices": devices}])
}

const I440FX: (u16, u16) = (0x8086, 0x1237);
const Q35: (u16, u16) = (0x8086, 0x29c0);
const NIC: (u16, u16) = (0x1af4, 0x1000);
const ROOT_PORT: (u16, u16) = (0x1b36, 0x000c);
const PCI_BRIDGE: (u16, u16) = (0x1b36, 0x0001);
const PCIE_PCI_BRIDGE: (u16, u16) = (0x1b36, 0x000e);
