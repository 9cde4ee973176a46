//! What QOM says of a device's place: true also while the guest has not numbered its buses.

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BusName, PciAddress, Slot};
use crate::sanitize;

use super::read::MAX_DEVICES;

/// Where QEMU keeps devices with and without an id.
pub const CONTAINERS: [&str; 2] = ["/machine/peripheral", "/machine/peripheral-anon"];

/// One entry of `qom-list /machine/peripheral` (devices with an id) or `/machine/peripheral-anon` (without).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QomChild {
    /// The last component of its QOM path: the id, or `device[N]` for a device without one.
    pub name: String,
    /// Its QOM type, such as `virtio-net-pci`.
    pub driver: String,
}

impl QomChild {
    /// The children in a `qom-list` reply; properties that are not children are left out.
    pub fn list(reply: &Value) -> Result<Vec<Self>> {
        let bad = |what: &str| Error::new(ErrorKind::Protocol, format!("qom-list: {what}"));
        let entries = reply.as_array().ok_or_else(|| bad("the reply is not a list"))?;
        if entries.len() > MAX_DEVICES {
            return Err(bad(&format!("more than {MAX_DEVICES} entries")));
        }
        let mut children = Vec::new();
        for entry in entries {
            let text = |name: &str| {
                let value = entry.get(name).and_then(Value::as_str);
                value.ok_or_else(|| bad(&format!("{name:?} is missing or not a string")))
            };
            let (name, kind) = (text("name")?, text("type")?);
            let driver = kind.strip_prefix("child<").and_then(|rest| rest.strip_suffix('>'));
            // No device can be called otherwise, and its name goes into questions about it.
            if let (Some(driver), Some(name)) = (driver, sanitize::id(name)) {
                children.push(Self { name: name.to_owned(), driver: sanitize::name(driver) });
            }
        }
        Ok(children)
    }
}

/// Where QOM says a device sits; input of [`Topology::place`](super::Topology::place).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QomAddress {
    /// The device's id; `None` for the children of `/machine/peripheral-anon`.
    pub id: Option<String>,
    /// QOM path of the bus: the value of the device's `parent_bus` property.
    pub parent_bus: String,
    /// Slot times 8 plus function: the value of its `addr` property.
    pub devfn: u8,
    /// Its QOM type.
    pub driver: String,
}

impl QomAddress {
    /// From the values of the device's `parent_bus` and `addr` properties. `None` for what is not a PCI
    /// device: a SCSI disk has no `addr` and a device that was never placed has -1.
    pub fn from_qom(id: Option<&str>, driver: &str, parent_bus: &Value, addr: &Value) -> Option<Self> {
        Some(Self {
            id: id.map(str::to_owned),
            parent_bus: parent_bus.as_str()?.to_owned(),
            devfn: addr.as_u64().and_then(|devfn| u8::try_from(devfn).ok())?,
            driver: sanitize::name(driver),
        })
    }

    /// The address, or `None` on a bus that has no name to rely on.
    pub fn address(&self) -> Option<PciAddress> {
        let (BusRef::Bridge(name) | BusRef::Machine(name)) = self.bus()?;
        Some(PciAddress { bus: BusName::parse(name).ok()?, slot: Slot::new(self.devfn >> 3)? })
    }

    pub(super) fn bus(&self) -> Option<BusRef<'_>> {
        BusRef::parse(&self.parent_bus)
    }
}

/// The bus a QOM path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BusRef<'a> {
    /// The bus behind the bridge with this id.
    Bridge(&'a str),
    /// A bus of the machine itself: the root bus, or the one inside a `pxb`.
    Machine(&'a str),
}

impl<'a> BusRef<'a> {
    /// `/machine/peripheral/rp1/rp1` is the bus of port `rp1`,
    /// `/machine/peripheral/scsi0/virtio-backend/scsi0.0` is not a PCI bus, and nothing below
    /// `peripheral-anon` has a name to rely on: a port without an id has a bus called `pcie.0`, like the root
    /// complex.
    fn parse(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/machine/")?;
        if let Some(inside) = rest.strip_prefix("peripheral/") {
            let (device, bus) = inside.split_once('/')?;
            return (device == bus).then_some(Self::Bridge(bus));
        }
        if rest.starts_with("peripheral-anon/") {
            return None;
        }
        rest.rsplit('/').next().map(Self::Machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_name_buses() {
        for (path, bus) in [
            ("/machine/i440fx/pci.0", Some(BusRef::Machine("pci.0"))),
            ("/machine/unattached/device[28]/pxb1", Some(BusRef::Machine("pxb1"))),
            ("/machine/peripheral/rp1/rp1", Some(BusRef::Bridge("rp1"))),
            ("/machine/peripheral/scsi0/virtio-backend/scsi0.0", None),
            ("/machine/peripheral/usb/usb.0", None),
            ("/machine/peripheral-anon/device[0]/pcie.0", None),
            ("pcie.0", None),
            ("", None),
        ] {
            assert_eq!(BusRef::parse(path), bus, "{path}");
        }
    }

    #[test]
    fn only_children_are_listed() {
        let reply =
            json!([{"name": "type", "type": "string"}, {"name": "n1", "type": "child<virtio-net-pci>"}]);
        let n1 = QomChild { name: "n1".into(), driver: "virtio-net-pci".into() };
        assert_eq!(QomChild::list(&reply).unwrap(), [n1]);
        let odd = json!([{"name": "a\u{1b}b", "type": "child<x>"}, {"name": "x".repeat(256), "type": "child<x>"},
                         {"name": "n", "type": "child<scsi-\u{1b}]0;a\u{7}>"}]);
        assert_eq!(
            QomChild::list(&odd).unwrap(),
            [QomChild { name: "n".into(), driver: "scsi-?]0;a?".into() }]
        );
        for bad in [json!({}), json!([1]), json!([{"name": 1, "type": "x"}])] {
            assert_eq!(QomChild::list(&bad).unwrap_err().kind(), ErrorKind::Protocol, "{bad}");
        }
    }

    #[test]
    fn what_has_no_pci_address_is_no_placement() {
        let bus = json!("/machine/i440fx/pci.0");
        for addr in [json!(null), json!(-1), json!(256), json!("3")] {
            assert_eq!(QomAddress::from_qom(None, "x", &bus, &addr), None, "{addr}");
        }
        assert_eq!(QomAddress::from_qom(None, "x", &json!(7), &json!(24)), None);
        assert_eq!(QomAddress::from_qom(Some("n1"), "x", &bus, &json!(24)).unwrap().devfn, 24);
    }
}
