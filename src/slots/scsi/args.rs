//! The one place that writes a controller's arguments, for `device_add` and for the boot command alike.

use serde_json::{Map, Value};

use super::spec::ControllerSpec;
use crate::ids::{DeviceId, PciAddress};

/// Arguments of `device_add` for a controller.
pub fn device_args(id: &DeviceId, address: &PciAddress, spec: &ControllerSpec) -> Map<String, Value> {
    let mut args = Map::new();
    let mut set = |name: &str, value: Value| drop(args.insert(name.into(), value));
    set("driver", spec.model.as_str().into());
    set("id", id.as_str().into());
    set("bus", address.bus.as_str().into());
    set("addr", address.addr_text().into());
    if let Some(queues) = spec.queues {
        set("num_queues", queues.into());
    }
    if let Some(iothread) = &spec.iothread {
        let (name, value) = iothread.property(id);
        set(name, value);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BusName, Slot};
    use serde_json::json;

    #[test]
    fn controller_has_only_what_differs() {
        let id = DeviceId::parse("scsi-pci-14").unwrap();
        let address = PciAddress { bus: BusName::parse("pci.0").unwrap(), slot: Slot::new(14).unwrap() };
        let mut spec = ControllerSpec::default();
        let mut expected =
            json!({"driver": "virtio-scsi-pci", "id": "scsi-pci-14", "bus": "pci.0", "addr": "e"});
        assert_eq!(Value::from(device_args(&id, &address, &spec)), expected);
        spec.queues = Some(4);
        expected["num_queues"] = 4.into();
        assert_eq!(Value::from(device_args(&id, &address, &spec)), expected);
    }
}
