//! Where a device sits: bus and slot, or for a SCSI disk bus, channel, target and lun.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::BusName;
use crate::error::{Error, Result};

/// Slots on one conventional PCI bus.
pub const SLOTS: u8 = 32;

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident($number:ty), 0..=$last:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name($number);

        impl $name {
            /// The largest one.
            pub const LAST: Self = Self($last);

            /// `None` if there is no such one.
            pub fn new(number: $number) -> Option<Self> {
                (number <= $last).then_some(Self(number))
            }

            /// The number.
            pub fn get(self) -> $number {
                self.0
            }
        }

        impl TryFrom<u64> for $name {
            type Error = Error;
            fn try_from(number: u64) -> Result<Self> {
                <$number>::try_from(number)
                    .ok()
                    .and_then(Self::new)
                    .ok_or_else(|| Error::invalid(format!(concat!($what, " {}: there are ", $what, "s 0 to {}"), number, $last)))
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> u64 {
                value.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_type! {
    /// A slot number on a PCI bus.
    Slot(u8), 0..=31, "slot"
}

number_type! {
    /// A channel of a SCSI bus. virtio-scsi has one: "bad scsi channel id: 1" (QEMU 5.2 to 11.1).
    Channel(u8), 0..=0, "SCSI channel"
}

number_type! {
    /// A logical unit of a SCSI target: 0 to 16383 on virtio-scsi, "bad scsi device lun: 16384" (QEMU 5.2 to
    /// 11.1).
    Lun(u16), 0..=16383, "SCSI lun"
}

/// A place on a PCI bus: always function 0 of its slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PciAddress {
    /// The bus.
    pub bus: BusName,
    /// The slot on it.
    pub slot: Slot,
}

impl PciAddress {
    /// The slot as QEMU's `addr` property reads it: hexadecimal text ("e" is slot 14; a JSON number would be
    /// a devfn).
    pub fn addr_text(&self) -> String {
        format!("{:x}", self.slot.get())
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} slot {}", self.bus, self.slot)
    }
}

/// A place on the bus of a SCSI controller, with the numbers that virtio-scsi has room for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScsiAddress {
    /// The bus: the id of the controller and `.0`.
    pub bus: BusName,
    /// Always 0.
    pub channel: Channel,
    /// 0 to 255 (QEMU's `scsi-id`; 256 is "bad scsi device id", QEMU 5.2 to 11.1).
    pub target: u8,
    /// The unit of the target.
    pub lun: Lun,
}

impl ScsiAddress {
    /// The first unit of a target.
    pub fn of_target(bus: BusName, target: u8) -> Self {
        Self { bus, channel: Channel::default(), target, lun: Lun::default() }
    }

    /// The id of the controller that the bus belongs to: QEMU calls the only bus of a controller `c` `c.0`.
    /// `None` for a bus of another name, which a controller without an id has.
    pub fn controller(&self) -> Option<&str> {
        self.bus.as_str().strip_suffix(".0").filter(|id| !id.is_empty())
    }
}

impl fmt::Display for ScsiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} target {} lun {}", self.bus, self.target, self.lun)
    }
}

/// Where a device sits, whatever kind of bus it needs.
///
/// In files a PCI address is `{"bus", "slot"}` and a SCSI address `{"bus", "channel", "target", "lun"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "AddressFields", into = "AddressFields")]
pub enum Address {
    /// On a PCI bus: NICs, disks that are PCI devices, SCSI controllers.
    Pci(PciAddress),
    /// On the bus of a SCSI controller.
    Scsi(ScsiAddress),
}

impl Address {
    /// The bus, of either kind.
    pub fn bus(&self) -> &BusName {
        match self {
            Self::Pci(address) => &address.bus,
            Self::Scsi(address) => &address.bus,
        }
    }

    /// The PCI address, if it is one.
    pub fn pci(&self) -> Option<&PciAddress> {
        match self {
            Self::Pci(address) => Some(address),
            Self::Scsi(_) => None,
        }
    }

    /// The SCSI address, if it is one.
    pub fn scsi(&self) -> Option<&ScsiAddress> {
        match self {
            Self::Pci(_) => None,
            Self::Scsi(address) => Some(address),
        }
    }
}

impl From<PciAddress> for Address {
    fn from(address: PciAddress) -> Self {
        Self::Pci(address)
    }
}

impl From<ScsiAddress> for Address {
    fn from(address: ScsiAddress) -> Self {
        Self::Scsi(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(address) => address.fmt(f),
            Self::Scsi(address) => address.fmt(f),
        }
    }
}

/// An address as it stands in a file. Read as one struct and sorted out after that, so that an error can name
/// the field.
#[derive(Serialize, Deserialize)]
struct AddressFields {
    bus: BusName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<Slot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<Channel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lun: Option<Lun>,
}

impl TryFrom<AddressFields> for Address {
    type Error = Error;

    fn try_from(fields: AddressFields) -> Result<Self> {
        let AddressFields { bus, slot, channel, target, lun } = fields;
        match (slot, channel, target, lun) {
            (Some(slot), None, None, None) => Ok(Self::Pci(PciAddress { bus, slot })),
            (None, Some(channel), Some(target), Some(lun)) => {
                Ok(Self::Scsi(ScsiAddress { bus, channel, target, lun }))
            }
            _ => Err(Error::invalid(format!(
                "address on {bus}: needs either \"slot\" (PCI) or \"channel\", \"target\" and \"lun\" (SCSI)"
            ))),
        }
    }
}

impl From<Address> for AddressFields {
    fn from(address: Address) -> Self {
        match address {
            Address::Pci(PciAddress { bus, slot }) => {
                Self { bus, slot: Some(slot), channel: None, target: None, lun: None }
            }
            Address::Scsi(ScsiAddress { bus, channel, target, lun }) => {
                Self { bus, slot: None, channel: Some(channel), target: Some(target), lun: Some(lun) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn bus(name: &str) -> BusName {
        BusName::parse(name).unwrap()
    }

    fn read(value: Value) -> std::result::Result<Address, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn slots_are_hexadecimal_for_qemu() {
        let address = PciAddress { bus: bus("pci.0"), slot: Slot::new(14).unwrap() };
        assert_eq!(address.addr_text(), "e");
        assert_eq!(Address::from(address).to_string(), "pci.0 slot 14");
        assert_eq!((Slot::LAST.get(), Slot::new(32)), (31, None));
    }

    #[test]
    fn scsi_numbers_have_the_ranges_of_virtio_scsi() {
        let address = ScsiAddress { lun: Lun::LAST, ..ScsiAddress::of_target(bus("scsi-pci-7.0"), 255) };
        assert_eq!(address.controller(), Some("scsi-pci-7"));
        assert_eq!(Address::from(address).to_string(), "scsi-pci-7.0 target 255 lun 16383");
        assert_eq!((Channel::new(1), Lun::new(16384)), (None, None));
        for (name, controller) in
            [("scsi.0", Some("scsi")), ("a.0.0", Some("a.0")), ("scsi.1", None), ("pci", None)]
        {
            assert_eq!(ScsiAddress::of_target(bus(name), 0).controller(), controller, "{name}");
        }
    }

    #[test]
    fn files_have_the_fields_of_one_kind() {
        for (value, text) in [
            (json!({"bus": "pci.0", "slot": 5}), "pci.0 slot 5"),
            (json!({"bus": "scsi.0", "channel": 0, "target": 3, "lun": 1}), "scsi.0 target 3 lun 1"),
        ] {
            let address = read(value.clone()).unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(serde_json::to_value(address).unwrap(), value);
        }
        for (value, why) in [
            (json!({"slot": 5}), "missing field `bus`"),
            (json!({"bus": "pci.0"}), "needs either \"slot\""),
            (json!({"bus": "pci.0", "slot": 32}), "slot 32: there are slots 0 to 31"),
            (json!({"bus": "pci.0", "slot": 5, "lun": 0}), "needs either"),
            (json!({"bus": "scsi.0", "target": 1, "lun": 0}), "needs either"),
            (
                json!({"bus": "scsi.0", "channel": 1, "target": 1, "lun": 0}),
                "SCSI channel 1: there are SCSI channels 0 to 0",
            ),
            (json!({"bus": "scsi.0", "channel": 0, "target": 256, "lun": 0}), "256"),
            (
                json!({"bus": "scsi.0", "channel": 0, "target": 1, "lun": 16384}),
                "SCSI lun 16384: there are SCSI luns 0 to 16383",
            ),
            (json!({"bus": "scsi.0", "channel": 0, "target": -1, "lun": 0}), "-1"),
        ] {
            let error = read(value.clone()).unwrap_err();
            assert!(error.contains(why), "{value}: {error}");
        }
    }
}
