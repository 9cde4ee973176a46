//! What a client gets to see: `query-pci` and the object tree.

use serde_json::{Value, json};

use super::model::{Answer, Dev, Model};
use super::wire::QmpError;

const PERIPHERAL: &str = "/machine/peripheral";
const ANONYMOUS: &str = "/machine/peripheral-anon";

impl Model {
    pub(super) fn query_pci(&self) -> Value {
        json!([{ "bus": 0, "devices": self.on_bus(self.root(), 0) }])
    }

    fn on_bus(&self, bus: &str, number: u8) -> Vec<Value> {
        let on_it = self.devices.iter().filter(|device| device.bus == bus);
        on_it.map(|device| self.pci_device(device, number)).collect()
    }

    fn pci_device(&self, device: &Dev, bus: u8) -> Value {
        let address = if device.configured { 0x1000 * i64::from(device.slot) + 4096 } else { -1 };
        let (vendor, number) = device.pci_id;
        let mut value = json!({
            "bus": bus,
            "slot": device.slot,
            "function": device.function,
            "qdev_id": device.id.as_deref().unwrap_or(""),
            "class_info": { "class": 512, "desc": device.driver },
            "id": { "vendor": vendor, "device": number },
            "irq_pin": 1,
            "regions": [{ "bar": 0, "size": 32, "address": address, "type": "io" }],
        });
        if device.driver == "pcie-root-port" {
            let (secondary, last, shown) = self.numbers_of(device);
            value["pci_bridge"] =
                json!({ "bus": { "number": bus, "secondary": secondary, "subordinate": last } });
            if let Some(shown) = shown {
                value["pci_bridge"]["devices"] = self.on_bus(&shown, secondary).into();
            }
        }
        value
    }

    /// The number of the bus behind a port, the last one further behind, and the bus that QEMU finds by it.
    fn numbers_of(&self, port: &Dev) -> (u8, u8, Option<String>) {
        let id = |port: &Dev| port.id.clone().unwrap_or_default();
        if self.numbering {
            let mut ports = self.devices.iter().filter(|device| device.driver == "pcie-root-port");
            return (255, 0, ports.next_back().map(id));
        }
        match self.numbered {
            true => {
                let number = (port.slot - 3) * 8 + port.function + 1;
                (number, number, Some(id(port)))
            }
            false => (0, 0, None),
        }
    }

    pub(super) fn qom_list(&self, path: &str) -> Answer {
        let mut entries = vec![json!({ "name": "type", "type": "string" })];
        let child = |device: &Dev| {
            let kind = format!("child<{}>", device.driver);
            device.id.as_ref().map(|id| json!({ "name": id, "type": kind }))
        };
        match path {
            PERIPHERAL => entries.extend(self.devices.iter().filter_map(child)),
            ANONYMOUS => {}
            _ => return Err(QmpError::absent(path)),
        }
        Ok(entries.into())
    }

    /// A bus that refuses has none, and the others have the chipset's.
    fn hotplug_handler(&self, path: &str) -> Answer {
        let (_, bus) = path.rsplit_once('/').unwrap_or_default();
        let handler =
            if self.tells_closed && self.closed.contains(bus) { "" } else { "/machine/unattached/device[2]" };
        Ok(json!(handler))
    }

    pub(super) fn qom_get(&self, path: &str, property: &str) -> Answer {
        if property == "hotplug-handler" {
            return self.hotplug_handler(path);
        }
        let id = path.strip_prefix(PERIPHERAL).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
        let device = self.device(id).ok_or_else(|| QmpError::absent(path))?;
        if let Some((channel, target, lun)) = device.unit {
            return match property {
                "type" => Ok(json!(device.driver)),
                "drive" => Ok(json!(device.drive)),
                "parent_bus" => {
                    let controller = device.bus.strip_suffix(".0").unwrap_or_default();
                    Ok(json!(format!("{PERIPHERAL}/{controller}/virtio-backend/{}", device.bus)))
                }
                "channel" => Ok(json!(channel)),
                "scsi-id" => Ok(json!(target)),
                "lun" => Ok(json!(lun)),
                _ => Err(QmpError::generic(format!("Property '{}.{property}' not found", device.driver))),
            };
        }
        match property {
            "type" => Ok(json!(device.driver)),
            "mac" if device.driver.starts_with("virtio-net") => {
                Ok(json!(device.mac.as_deref().unwrap_or("52:54:00:12:34:56")))
            }
            "netdev" if device.netdev.is_some() => Ok(json!(device.netdev)),
            "drive" if device.drive.is_some() => Ok(json!(device.drive)),
            "parent_bus" if device.bus == "pci.0" => Ok(json!("/machine/i440fx/pci.0")),
            "parent_bus" if device.bus == "pcie.0" => Ok(json!("/machine/q35/pcie.0")),
            "parent_bus" => Ok(json!(format!("{PERIPHERAL}/{0}/{0}", device.bus))),
            "addr" => Ok(json!((device.slot << 3) | device.function)),
            _ => Err(QmpError::generic(format!("Property '{}.{property}' not found", device.driver))),
        }
    }
}
