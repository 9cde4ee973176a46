//! Devices that another program has started: in the fake QEMU and in the record, each with the names that its
//! backend has there.

use kvm_hotplug::disk::{DiskSpec, Format};
use kvm_hotplug::ids::{BusName, DeviceId, MacAddr, PciAddress, Slot};
use kvm_hotplug::model::{BackendNames, Device, Presence, Spec};
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::store::native;
use serde_json::{Value, json};

use super::fixture::Fixture;

pub const NETDEV: &str = "hostnet0";
pub const NODES: [&str; 2] = ["format0", "storage0"];
pub const DRIVE: &str = "drive0";

const SIZE: u64 = 1 << 20;

/// A NIC over a netdev whose tap QEMU has opened.
pub fn nic(fixture: &Fixture, id: &str, slot: u8) {
    let mac = MacAddr::local([0, 0, slot]);
    fixture.qemu.model(|model| {
        model.start_netdev(NETDEV);
        let more = json!({ "netdev": NETDEV, "mac": mac.to_string() });
        model.start_device(id, "virtio-net-pci", ("pci.0", slot), more);
    });
    record(fixture, id, slot, Spec::Nic(NicSpec::new(mac)), json!({ "netdev": NETDEV }));
}

/// A disk over a format node, which is over a node for the file.
pub fn disk(fixture: &Fixture, id: &str, slot: u8) {
    disk_over(fixture, id, slot, NODES);
}

/// The same with nodes of these names.
pub fn disk_over(fixture: &Fixture, id: &str, slot: u8, nodes: [&str; 2]) {
    let [top, file] = nodes;
    fixture.qemu.model(|model| {
        model.start_node(file, json!({ "driver": "file" }), SIZE);
        model.start_node(top, json!({ "driver": "raw", "file": file }), SIZE);
        model.start_device(id, "virtio-blk-pci", ("pci.0", slot), json!({ "drive": top }));
    });
    let path = fixture.disk(&format!("{id}.img")).path;
    record(fixture, id, slot, Spec::Disk(DiskSpec::new(path, Format::Raw)), json!({ "nodes": nodes }));
}

/// A disk over a drive.
pub fn drive(fixture: &Fixture, id: &str, slot: u8) {
    fixture.qemu.model(|model| {
        model.start_drive(DRIVE, SIZE);
        model.start_device(id, "virtio-blk-pci", ("pci.0", slot), json!({ "drive": DRIVE }));
    });
    let path = fixture.disk(&format!("{id}.img")).path;
    record(fixture, id, slot, Spec::Disk(DiskSpec::new(path, Format::Raw)), json!({ "drive": DRIVE }));
}

fn record(fixture: &Fixture, id: &str, slot: u8, spec: Spec, backend: Value) {
    let address = PciAddress { bus: BusName::parse("pci.0").unwrap(), slot: Slot::new(slot).unwrap() };
    let mut record = fixture.record();
    let backend: BackendNames = serde_json::from_value(backend).unwrap();
    record.add(Device {
        id: DeviceId::parse(id).unwrap(),
        generation: record.next_generation,
        address: Some(address.into()),
        presence: Presence::Live,
        spec,
        backend: Some(backend),
        properties: serde_json::Map::new(),
        ganeti: None,
        extra: serde_json::Map::new(),
    });
    std::fs::write(&fixture.runtime, native::encode(&record).unwrap()).unwrap();
}
