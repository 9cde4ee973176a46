//! `query-pci`.

use serde_json::{Value, json};

use super::machine::Region;
use super::{Dev, Model};
use crate::command::is_path;

impl Model {
    pub(super) fn query_pci(&self) -> Value {
        json!([{ "bus": 0, "devices": self.on_bus(self.root(), 0) }])
    }

    fn on_bus(&self, bus: &str, number: u8) -> Vec<Value> {
        let on_it = self.devices.iter().filter(|device| device.bus == bus && device.unit.is_none());
        let mut devices: Vec<&Dev> = on_it.collect();
        devices.sort_by_key(|device| (device.slot, device.function));
        devices.into_iter().map(|device| self.pci_device(device, number)).collect()
    }

    fn pci_device(&self, device: &Dev, bus: u8) -> Value {
        let built = device.pci;
        let mut value = json!({
            "bus": bus,
            "slot": device.slot,
            "function": device.function,
            "qdev_id": device.id.as_deref().filter(|id| !is_path(id)).unwrap_or_default(),
            "class_info": { "class": built.class.0, "desc": built.class.1 },
            "id": { "vendor": built.id.0, "device": built.id.1 },
            "irq_pin": built.pin,
            "regions": built.regions.iter().map(|region| show(region, device)).collect::<Vec<_>>(),
        });
        if built.pin > 0 {
            value["irq"] = if device.configured { 10 } else { 0 }.into();
        }
        if let Some((vendor, number)) = built.subsystem {
            value["id"]["subsystem-vendor"] = vendor.into();
            value["id"]["subsystem"] = number.into();
        }
        if device.driver == "pcie-root-port" {
            value["pci_bridge"] = self.bridge(device, bus);
        }
        value
    }

    /// What is behind a bridge is shown once the firmware has numbered the bus there.
    fn bridge(&self, device: &Dev, bus: u8) -> Value {
        let (secondary, last, shown) = self.numbers_of(device);
        // As the registers are after a reset.
        let (io, memory) = (
            json!({ "base": 0xf000, "limit": 0xfff }),
            json!({ "base": 0xfff0_0000_u32, "limit": 0xf_ffff }),
        );
        let mut bridge = json!({ "bus": {
            "number": bus, "secondary": secondary, "subordinate": last,
            "io_range": io, "memory_range": memory.clone(), "prefetchable_range": memory,
        }});
        if let Some(shown) = shown {
            bridge["devices"] = self.on_bus(shown, secondary).into();
        }
        bridge
    }

    /// The number of the bus behind a port, the last one further behind, and the bus that QEMU finds by it.
    fn numbers_of<'a>(&'a self, port: &'a Dev) -> (u8, u8, Option<&'a str>) {
        let id = |port: &'a Dev| port.id.as_deref().unwrap_or_default();
        if self.numbering {
            let mut ports = self.devices.iter().filter(|device| device.driver == "pcie-root-port");
            return (255, 0, ports.next_back().map(id));
        }
        if !self.numbered {
            return (0, 0, None);
        }
        let number = port.slot.saturating_sub(3) * 8 + port.function + 1;
        (number, number, Some(id(port)))
    }
}

/// Addresses are made up; -1 is what QEMU says of a region that the guest has not mapped.
fn show(region: &Region, device: &Dev) -> Value {
    let made_up = 0x1000 * (i64::from(device.slot) * 8 + i64::from(region.bar) + 1);
    // A ROM is mapped only while somebody reads it.
    let address = if device.configured && region.bar < 6 { made_up } else { -1 };
    let mut value = json!({ "bar": region.bar, "size": region.size, "address": address });
    match region.memory {
        Some((prefetch, wide)) => {
            value["type"] = "memory".into();
            value["prefetch"] = prefetch.into();
            value["mem_type_64"] = wide.into();
        }
        None => value["type"] = "io".into(),
    }
    value
}
