//! What QOM says of a SCSI device's place.

use serde_json::Value;

use crate::ids::{BusName, Channel, Lun, ScsiAddress};

/// The properties that [`address`] reads, in its order.
pub const PLACE_PROPERTIES: [&str; 4] = ["parent_bus", "channel", "scsi-id", "lun"];

/// Whether it is the QOM type of a SCSI device: `scsi-hd`, `scsi-block`, `scsi-cd`, `scsi-generic`.
pub fn is_unit(driver: &str) -> bool {
    driver.starts_with("scsi-")
}

/// The address in the values of [`PLACE_PROPERTIES`]. `None` for what is not a SCSI device, or sits on a
/// controller without an id: the name of such a bus (`scsi.0`) may be that of another one, too.
pub fn address(values: [&Value; 4]) -> Option<ScsiAddress> {
    let [bus, channel, target, lun] = values;
    let (controller, bus) = bus.as_str()?.strip_prefix("/machine/peripheral/")?.split_once('/')?;
    let bus = BusName::parse(bus.rsplit('/').next()?).ok()?;
    let address = ScsiAddress {
        bus,
        channel: Channel::try_from(channel.as_u64()?).ok()?,
        target: u8::try_from(target.as_u64()?).ok()?,
        lun: Lun::try_from(lun.as_u64()?).ok()?,
    };
    (address.controller() == Some(controller)).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_of_qemu_7_2() {
        let read = |bus: &str, channel: i32, target: i32, lun: i32| {
            let address = address([&json!(bus), &json!(channel), &json!(target), &json!(lun)]);
            address.map(|address| address.to_string())
        };
        let bus = "/machine/peripheral/scsi/virtio-backend/scsi.0";
        assert_eq!(read(bus, 0, 3, 1).as_deref(), Some("scsi.0 target 3 lun 1"));
        // lsi53c895a has no backend below it.
        assert_eq!(read("/machine/peripheral/lsi/lsi.0", 0, 6, 0).as_deref(), Some("lsi.0 target 6 lun 0"));
        assert_eq!(read("/machine/peripheral-anon/device[0]/virtio-backend/scsi.0", 0, 3, 1), None);
        assert_eq!(read("/machine/peripheral/rp1/rp1", 0, 3, 1), None);
        assert_eq!(read("/machine/peripheral/a/virtio-backend/scsi.0", 0, 3, 1), None);
        assert_eq!(read("scsi.0", 0, 3, 1), None);
        for (channel, target, lun) in [(1, 0, 0), (0, 256, 0), (0, 0, 16384), (-1, 0, 0)] {
            assert_eq!(read(bus, channel, target, lun), None, "{channel} {target} {lun}");
        }
        assert_eq!(address([&json!(bus), &Value::Null, &Value::Null, &Value::Null]), None);
    }
}
