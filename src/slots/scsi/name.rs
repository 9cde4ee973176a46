//! Ids of SCSI disks, made from their addresses.

use crate::error::Result;
use crate::ids::{DeviceId, MAX_ID, ScsiAddress, fnv1a};

/// What all ids of controllers begin with that stand as they are in the ids of their disks.
const PLAIN: &str = "scsi";

/// The id of a `kind` of device (`disk`) at `address`; the same on every host, in every build.
///
/// - On a controller whose id begins with `scsi`, that id and the target: `disk-scsi-pci-7-3` on
///   `scsi-pci-7.0`, `disk-scsi-3` on `scsi.0`; units other than 0 follow a dot: `disk-scsi-3.1`.
/// - On any other, or where that has more than 31 characters, `scsi-x` and the FNV-1a hash of bus, target and
///   unit in 16 hexadecimal digits: `disk-scsi-x85944171f73967e8`.
///
/// Two addresses of one guest get two ids, up to a hash collision, and none that a PCI address gives. An id
/// pinned by a caller may of course be the same, so check before use.
pub fn device_id_for(kind: &str, address: &ScsiAddress) -> Result<DeviceId> {
    let ScsiAddress { bus, target, lun, .. } = address;
    let unit = if lun.get() == 0 { format!("{target}") } else { format!("{target}.{lun}") };
    let plain = address.controller().filter(|id| id.starts_with(PLAIN));
    let plain = plain.map(|controller| format!("{kind}-{controller}-{unit}"));
    let text = plain.filter(|id| id.len() <= MAX_ID).unwrap_or_else(|| {
        let hash = fnv1a(format!("{bus} {target} {lun}").as_bytes());
        format!("{kind}-{PLAIN}-x{hash:016x}")
    });
    DeviceId::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BusName, Lun};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(bus: &str, target: u8, lun: u16) -> ScsiAddress {
        let bus = BusName::parse(bus).unwrap();
        ScsiAddress { lun: Lun::new(lun).unwrap(), ..ScsiAddress::of_target(bus, target) }
    }

    #[test]
    fn ids_are_readable_where_they_can_be() {
        for (bus, target, lun, id) in [
            ("scsi.0", 3, 0, "disk-scsi-3"),
            ("scsi-pci-7.0", 0, 0, "disk-scsi-pci-7-0"),
            ("scsi-pci-rp1.0", 255, 16383, "disk-scsi-pci-rp1-255.16383"),
            ("scsi-pci-a-port-name.0", 255, 1, "disk-scsi-pci-a-port-name-255.1"),
            ("scsi-pci-a-port-name.0", 255, 10, "disk-scsi-xeab4092a32b976ab"),
            ("hba.0", 3, 0, "disk-scsi-x27da4a56cfbf1ff5"),
            ("scsi", 3, 0, "disk-scsi-x01112a2dfcd87f66"),
        ] {
            assert_eq!(
                device_id_for("disk", &at(bus, target, lun)).unwrap().as_str(),
                id,
                "{bus} {target} {lun}"
            );
        }
    }

    /// Names that are apt to be mistaken for one another.
    fn names() -> impl Strategy<Value = String> {
        prop_oneof![
            "scsi(-[0-9]{1,2}(\\.[0-9])?)?\\.0",
            "scsi-x[0-9a-f]{16}\\.0",
            "(scsi-pci-|pci-|hba)[0-9a-b.]{1,3}\\.0",
            "[a-z][a-z.]{29,60}\\.0",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn different_addresses_get_different_ids(
            addresses in prop::collection::btree_set((names(), any::<u8>(), prop_oneof![Just(0u16), 0u16..3, 0u16..=16383]), 1..40)
        ) {
            let mut seen = BTreeMap::new();
            for (bus, target, lun) in addresses {
                let address = at(&bus, target, lun);
                let id = device_id_for("disk", &address).unwrap();
                prop_assert!(!id.as_str().starts_with("disk-pci-"));
                prop_assert_eq!(&device_id_for("disk", &address).unwrap(), &id);
                let other = seen.insert(id.clone(), address);
                prop_assert_eq!(other, None, "{}", id);
            }
        }
    }
}
