//! What an entry of a list says of a device in Ganeti's words.

use super::json::{Json, Object};
use crate::ids::Address;
use crate::model::Device;
use crate::net::spec::NicSpec;

/// Mode and link of a NIC. One whose tap is on no bridge is routed, as far as Ganeti's scripts are concerned.
pub(super) fn connection(spec: &NicSpec) -> (&'static str, String) {
    match &spec.bridge {
        Some(bridge) => ("bridged", bridge.to_string()),
        None => ("routed", String::new()),
    }
}

/// What a device's `-device` says, the way Ganeti notes it; empty for a device without a place.
pub(super) fn hvinfo(device: &Device) -> Object {
    let id = || Json::from(device.id.as_str());
    let (driver, bus) = (Json::from(device.model()), |bus: &str| Json::from(bus));
    match &device.address {
        Some(Address::Pci(address)) => Object::from([
            ("driver", driver),
            ("id", id()),
            ("bus", bus(address.bus.as_str())),
            ("addr", format!("{:#x}", address.slot.get()).into()),
        ]),
        Some(Address::Scsi(address)) => Object::from([
            ("driver", driver),
            ("id", id()),
            ("bus", bus(address.bus.as_str())),
            ("channel", u64::from(address.channel.get()).into()),
            ("scsi-id", u64::from(address.target).into()),
            ("lun", u64::from(address.lun.get()).into()),
        ]),
        None => Object::default(),
    }
}
