//! Names of devices, buses and interfaces, and Ethernet addresses.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Error, Result};

/// QEMU rejects block node names over 31 characters (measured, 7.2); one limit serves every id.
pub const MAX_ID: usize = 31;

/// Bus names are ids of bridges that somebody else may have chosen, and QEMU sets no limit for those.
pub const MAX_BUS_NAME: usize = 63;

fn check_id(what: &str, text: &str, max: usize) -> Result<()> {
    let bad = |why: String| Err(Error::invalid(format!("{what} {text:?}: {why}")));
    if text.is_empty() {
        return bad("is empty".into());
    }
    if text.len() > max {
        return bad(format!("has {} characters, at most {max} are allowed", text.len()));
    }
    // QEMU's id_wellformed(): a letter, then letters, digits, '-', '.', '_'.
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return bad("must start with a letter".into());
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))) {
        Some(odd) => bad(format!("{odd:?} is not allowed; use letters, digits, '-', '.' and '_'")),
        None => Ok(()),
    }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        // Shared: an operation copies names by the hundred, and changes none.
        pub struct $name(Arc<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                Self::parse(&text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

text_type! {
    /// The id of a device, and of the netdev or block node behind it.
    DeviceId
}

impl DeviceId {
    /// Accepts a letter followed by up to 30 letters, digits, `-`, `.` or `_`.
    pub fn parse(text: &str) -> Result<Self> {
        check_id("device id", text, MAX_ID).map(|()| Self(text.into()))
    }
}

text_type! {
    /// The name of a netdev, block node or drive that somebody else has chosen.
    BackendName
}

impl BackendName {
    /// Accepts what QEMU accepts as an id, up to 63 characters.
    pub fn parse(text: &str) -> Result<Self> {
        check_id("backend name", text, MAX_BUS_NAME).map(|()| Self(text.into()))
    }
}

impl BackendName {
    /// The name of an object that is made for a device and is no device itself, by what it is. It is no
    /// longer than a backend's name may be, since a device's id is shorter.
    pub(crate) fn of_helper(device: &DeviceId, word: &str) -> Self {
        Self(format!("{device}-{word}").into())
    }
}

/// A backend that the library makes has the id of its device.
impl From<&DeviceId> for BackendName {
    fn from(id: &DeviceId) -> Self {
        Self(id.0.clone())
    }
}

text_type! {
    /// The name of a bus. PCI: `pci.0`, `pcie.0`, or the id of the bridge or port it belongs to. SCSI: the id
    /// of the controller and `.0`.
    BusName
}

impl BusName {
    /// Accepts what QEMU accepts as an id, up to 63 characters.
    pub fn parse(text: &str) -> Result<Self> {
        check_id("bus name", text, MAX_BUS_NAME).map(|()| Self(text.into()))
    }
}

text_type! {
    /// The name of a network interface on the host.
    IfName
}

impl IfName {
    /// Accepts what the kernel's `dev_valid_name()` accepts, in printable ASCII.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Err(Error::invalid(format!("interface name {text:?}: {why}")));
        match text {
            "" => bad("is empty"),
            "." | ".." => bad("is reserved"),
            _ if text.len() > 15 => bad("has more than 15 characters"),
            _ if text.chars().any(|c| !c.is_ascii_graphic() || matches!(c, '/' | ':' | '%')) => {
                bad("contains a character the kernel does not allow")
            }
            _ => Ok(Self(text.into())),
        }
    }
}

/// Whether `text` has the form of a QEMU device model, such as `virtio-net-pci` or `e1000`.
pub fn is_model_name(text: &str) -> bool {
    // "-device help" lists devices and ends QEMU.
    text != "help"
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.len() <= MAX_BUS_NAME
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

/// An Ethernet address of one station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// Accepts six two-digit hexadecimal groups separated by colons; multicast and all-zero addresses are
    /// refused.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::invalid(format!("MAC address {text:?}: {why}"));
        let mut bytes = [0u8; 6];
        let mut groups = text.split(':');
        for byte in &mut bytes {
            let group = groups.next().ok_or_else(|| bad("needs six groups, such as 52:54:00:12:34:56"))?;
            if group.len() != 2 || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad("each group is two hexadecimal digits"));
            }
            *byte = u8::from_str_radix(group, 16).map_err(|_| bad("is not hexadecimal"))?;
        }
        if groups.next().is_some() {
            return Err(bad("has more than six groups"));
        }
        Self::from_bytes(bytes).map_err(|error| error.context(format!("MAC address {text:?}")))
    }

    /// Refuses multicast and all-zero addresses: no NIC can own those.
    pub fn from_bytes(bytes: [u8; 6]) -> Result<Self> {
        let [first, ..] = bytes;
        if first & 1 != 0 {
            return Err(Error::invalid("is a multicast address (lowest bit of the first group)"));
        }
        if bytes == [0; 6] {
            return Err(Error::invalid("is all zeros"));
        }
        Ok(Self(bytes))
    }

    /// A locally administered address under QEMU's customary 52:54:00 prefix.
    pub fn local(tail: [u8; 3]) -> Self {
        let [a, b, c] = tail;
        Self([0x52, 0x54, 0x00, a, b, c])
    }

    /// The six bytes in transmission order.
    pub fn bytes(&self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece: to format six numbers each time was 7 % of the instructions of an add.
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
        let mut text = [b':'; 17];
        for (place, byte) in text.chunks_mut(3).zip(self.0) {
            if let [high, low, ..] = place {
                (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl TryFrom<String> for MacAddr {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_qemu() {
        for good in ["a", "nic-pci-5", "Z9._-", &"x".repeat(31)] {
            assert!(DeviceId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "5nic", "-a", "a b", "a,b", "a/b", "é", "a\n", &"x".repeat(32)] {
            assert!(DeviceId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn interface_names_follow_the_kernel() {
        for good in ["tap0", "br-lan", "a.b", "x23456789012345"] {
            assert!(IfName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "eth0:1", "x234567890123456", "tap%d"] {
            assert!(IfName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn mac_addresses() {
        assert_eq!(MacAddr::parse("52:54:00:AB:cd:01").unwrap().to_string(), "52:54:00:ab:cd:01");
        for bad in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52-54-00-12-34-56",
            "5:54:00:12:34:56",
            "52:54:00:12:34:5g",
            "+2:54:00:12:34:56",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
        ] {
            assert!(MacAddr::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(MacAddr::local([1, 2, 3]).to_string(), "52:54:00:01:02:03");
    }
}
