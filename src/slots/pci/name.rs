//! Device ids made from addresses.

use crate::error::Result;
use crate::ids::{DeviceId, MAX_ID, PciAddress, fnv1a};

/// The id of a `kind` of device (`nic`, `disk`) at `address`; the same on every host, in every build.
///
/// - on the root bus `nic-pci-5`, with the slot in decimal;
/// - on a port, whose only slot is 0, `nic-pci-rp1`, with the name of the bus;
/// - on a bridge `nic-pci-br1.5`, with name and slot;
/// - on a port whose name could be read as bridge and slot, `nic-pci-pci.3.0`, with name and slot as well;
/// - where that has more than 31 characters, or looks like what follows, `x` and the FNV-1a hash of the name
///   in 16 hexadecimal digits take the name's place: `nic-pci-x85944171f73967e8.5`.
///
/// Two addresses of one guest get two ids, up to a hash collision; one root bus is assumed. An id pinned by a
/// caller may of course be the same, so check before use. Fails only for a `kind` that is no start of an id,
/// or is longer than 6 characters and needs the hash.
pub fn device_id_for(kind: &str, address: &PciAddress) -> Result<DeviceId> {
    let (name, slot) = (address.bus.as_str(), address.slot.get());
    let tail = match (name, slot) {
        ("pci.0" | "pcie.0", _) => slot.to_string(),
        (_, 0) if !ends_like_a_slot(name) => name.to_owned(),
        _ => format!("{name}.{slot}"),
    };
    let plain = format!("{kind}-pci-{tail}");
    if plain.len() <= MAX_ID && !is_like_a_hash(name) {
        return DeviceId::parse(&plain);
    }
    let hash = fnv1a(name.as_bytes());
    DeviceId::parse(&match slot {
        0 => format!("{kind}-pci-x{hash:016x}"),
        _ => format!("{kind}-pci-x{hash:016x}.{slot}"),
    })
}

/// A port called `br1.5` would read like slot 5 of `br1`; libvirt calls its ports `pci.1` and so on.
fn ends_like_a_slot(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.rsplit_once('.').is_some_and(|(_, end)| digits(end))
}

/// A bus may be called what a hash looks like.
fn is_like_a_hash(name: &str) -> bool {
    name.strip_prefix('x').is_some_and(|rest| {
        let head = rest.split('.').next().unwrap_or(rest);
        head.len() == 16 && head.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BusName, Slot};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(bus: &str, slot: u8) -> PciAddress {
        PciAddress { bus: BusName::parse(bus).unwrap(), slot: Slot::new(slot).unwrap() }
    }

    #[test]
    fn ids_are_readable_where_they_can_be() {
        for (kind, bus, slot, id) in [
            ("nic", "pci.0", 5, "nic-pci-5"),
            ("disk", "pci.0", 31, "disk-pci-31"),
            ("nic", "pcie.0", 3, "nic-pci-3"),
            ("nic", "rp1", 0, "nic-pci-rp1"),
            ("disk", "br1", 6, "disk-pci-br1.6"),
            ("disk", "a-port-name-of-23-chars", 0, "disk-pci-xf63b8c54771fe45a"),
            // As libvirt names its ports; slot 1 of a bridge called "pci" is another place.
            ("nic", "pci.1", 0, "nic-pci-pci.1.0"),
            ("nic", "pci", 1, "nic-pci-pci.1"),
            ("disk", "pci.12", 4, "disk-pci-pci.12.4"),
            ("nic", "foobar.1", 0, "nic-pci-foobar.1.0"),
            // Named like the hash above, which must not give it the same id.
            ("disk", "xf63b8c54771fe45a", 0, "disk-pci-xcd18080e244f910c"),
        ] {
            assert_eq!(device_id_for(kind, &at(bus, slot)).unwrap().as_str(), id, "{bus} {slot}");
        }
        assert!(device_id_for("5", &at("pci.0", 5)).is_err());
    }

    /// Names that are apt to be mistaken for one another.
    fn names() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("pci.0".to_owned()),
            "pci(\\.[0-9]{1,2}){0,3}",
            "[abx][0-9a-b.]{0,3}(\\.[0-9]{1,2})?",
            "x[0-9a-f]{16}(\\.5)?",
            "[a-z][a-z.]{29,62}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn different_addresses_get_different_ids(addresses in prop::collection::btree_set((names(), 0u8..32), 1..40)) {
            let mut seen = BTreeMap::new();
            for (bus, slot) in addresses {
                let address = at(&bus, slot);
                for kind in ["nic", "disk"] {
                    let id = device_id_for(kind, &address).unwrap();
                    prop_assert_eq!(&device_id_for(kind, &address).unwrap(), &id);
                    let other = seen.insert(id.clone(), (kind, address.clone()));
                    prop_assert_eq!(other, None, "{}", id);
                }
            }
        }
    }
}
