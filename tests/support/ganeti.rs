//! Guests that Ganeti started: its runtime file, and a QEMU with the devices that it names.

use std::path::Path;

use kvm_hotplug::ids::Address;
use kvm_hotplug::model::DeviceKind;
use kvm_hotplug::store::RecordFile;
use serde_json::Value;

use super::fake::Dev;
use super::fixture::Fixture;

/// A file of `tests/data/ganeti`.
pub fn sample(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/ganeti/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The backends of the disks of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backends {
    /// `-drive`, until 3.0: it goes with the device, and is no node that could be removed.
    Drives,
    /// `-blockdev`, since 3.1.
    Nodes,
}

/// A guest of a list.
pub fn fixture(list: impl AsRef<[u8]>, backends: Backends) -> Fixture {
    let fixture = Fixture::pc();
    std::fs::write(&fixture.runtime, list).unwrap();
    let record = RecordFile::peek(&fixture.runtime).unwrap().record().clone();
    fixture.qemu.model(|model| {
        for device in &record.devices {
            let Some(Address::Pci(at)) = &device.address else { continue };
            let id = device.id.as_str();
            let mut dev = Dev::new(Some(id), device.model(), at.bus.as_str(), at.slot.get(), 0);
            dev.mac = device.mac().map(|mac| mac.to_string());
            match device.kind() {
                DeviceKind::Nic => {
                    dev.netdev = Some(id.to_owned());
                    model.netdevs.insert(id.to_owned(), Default::default());
                }
                _ => {
                    dev.drive = Some(id.to_owned());
                    if backends == Backends::Nodes {
                        model.nodes.insert(id.to_owned(), Default::default());
                    }
                }
            }
            model.devices.push(dev);
        }
    });
    fixture
}

/// The list in a file.
pub fn list(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
