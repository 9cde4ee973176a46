//! QOM, as far as plugging devices is about it.

use serde_json::{Value, json};

use super::{Dev, Machine, Model};
use crate::command::{Answer, QmpError, path_of};

const PERIPHERAL: &str = "/machine/peripheral";
const ANONYMOUS: &str = "/machine/peripheral-anon";
const OBJECTS: &str = "/objects";
const UNATTACHED: &str = "/machine/unattached";

impl Model {
    pub(super) fn qom_list(&self, path: &str) -> Answer {
        let mut entries = vec![json!({ "name": "type", "type": "string" })];
        let child = |device: &Dev| {
            let kind = format!("child<{}>", device.driver);
            let own = path_of(device.id.as_ref()?);
            let name = own.strip_prefix(path)?.strip_prefix('/')?;
            Some(json!({ "name": name, "type": kind }))
        };
        match path {
            PERIPHERAL | ANONYMOUS | UNATTACHED => entries.extend(self.devices.iter().filter_map(child)),
            OBJECTS => entries.extend(self.list_objects()),
            _ => return Err(QmpError::absent(path)),
        }
        Ok(entries.into())
    }

    /// A bus that refuses has none, and the others have the chipset's.
    fn hotplug_handler(&self, path: &str) -> Answer {
        let (_, bus) = path.rsplit_once('/').unwrap_or_default();
        let closed = self.tells_closed && self.closed.contains(bus)
            || bus == self.root() && self.machine != Machine::Pc && !self.version.shows_root_handler();
        Ok(json!(match path.rsplit_once('/') {
            _ if closed => "",
            Some((port, _)) if port.starts_with(PERIPHERAL) && self.version.has_native_ports() => port,
            _ => "/machine/unattached/device[2]",
        }))
    }

    pub(super) fn qom_get(&self, path: &str, property: &str) -> Answer {
        if property == "hotplug-handler" {
            return self.hotplug_handler(path);
        }
        if let Some(answer) = self.object_property(path, property) {
            return answer;
        }
        let id = path.strip_prefix(PERIPHERAL).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path);
        let device = self.device(id).ok_or_else(|| QmpError::absent(path))?;
        let answer = match property {
            "type" => Some(json!(device.driver)),
            "parent_bus" => Some(json!(self.bus_path(device))),
            "mac" if device.driver.starts_with("virtio-net") => {
                Some(json!(device.mac.as_deref().unwrap_or("52:54:00:12:34:56")))
            }
            "netdev" => device.netdev.as_ref().map(|netdev| json!(netdev)),
            "drive" if device.is_cd() => Some(json!(device.drive.as_deref().unwrap_or_default())),
            "drive" => device.drive.as_ref().map(|drive| json!(drive)),
            _ => own_place(device, property),
        };
        let unknown = || QmpError::generic(format!("Property '{}.{property}' not found", device.driver));
        answer.or_else(|| device.properties.get(property).cloned()).ok_or_else(unknown)
    }

    fn bus_path(&self, device: &Dev) -> String {
        let bus = &device.bus;
        if device.unit.is_some() {
            let controller = bus.strip_suffix(".0").unwrap_or_default();
            return format!("{PERIPHERAL}/{controller}/virtio-backend/{bus}");
        }
        if bus == self.root() { self.machine.root_path().into() } else { format!("{PERIPHERAL}/{bus}/{bus}") }
    }
}

fn own_place(device: &Dev, property: &str) -> Option<Value> {
    match (device.unit, property) {
        (Some((channel, _, _)), "channel") => Some(json!(channel)),
        (Some((_, target, _)), "scsi-id") => Some(json!(target)),
        (Some((_, _, lun)), "lun") => Some(json!(lun)),
        (None, "addr") => Some(json!((device.slot << 3) | device.function)),
        _ => None,
    }
}
