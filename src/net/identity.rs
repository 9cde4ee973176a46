//! Which tap a NIC has: names and indexes are used again.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::{IfName, MacAddr};

/// What tells a tap from any other that has its name, or will have it: names are used again, and indexes are
/// too, in other network namespaces. A tap's hardware address is made of that of its guest's NIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TapIdentity {
    pub(super) index: i32,
    pub(super) address: MacAddr,
}

impl TryFrom<String> for TapIdentity {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let parts = text.split_once('@').and_then(|(index, address)| Some((index.parse().ok()?, address)));
        let (index, address) = parts.ok_or_else(|| {
            Error::invalid(format!("tap identity {text:?}: is not of the form <ifindex>@<address>"))
        })?;
        Ok(Self { index, address: MacAddr::parse(address)? })
    }
}

impl From<TapIdentity> for String {
    fn from(identity: TapIdentity) -> Self {
        format!("{}@{}", identity.index, identity.address)
    }
}

/// Which tap a caller's descriptors belong to, as far as that can be seen: names are used again, and every
/// network namespace has its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenTap {
    /// The interface's index, if it is in the network namespace of whoever added the NIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<i32>,
    /// Its hardware address when it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<MacAddr>,
    /// The number of its network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) netns: Option<u64>,
}

impl GivenTap {
    /// Whether it is in the network namespace of whoever looked.
    pub fn is_here(&self) -> bool {
        self.index.is_some()
    }

    /// Whether the two are one, by what was seen of them; their names count where the rest does not tell.
    pub(super) fn is(&self, name: &IfName, other: &Self, other_name: &IfName) -> bool {
        let same_netns = self.netns.zip(other.netns).map(|(one, other)| one == other);
        let same_index = self.index.zip(other.index).map(|(one, other)| one == other);
        let same_address = self.address.zip(other.address).is_none_or(|(one, other)| one == other);
        let same_name = name == other_name;
        match (same_netns, same_index) {
            (Some(false), _) => false,
            (Some(true), Some(same)) => same,
            (Some(true), None) => same_name,
            // Indexes are counted in each namespace.
            (None, Some(same)) => same && (same_name || same_address),
            (None, None) => same_name && same_address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> IfName {
        IfName::parse(text).unwrap()
    }

    fn seen(index: Option<i32>, address: u8, netns: Option<u64>) -> GivenTap {
        GivenTap { index, address: Some(MacAddr::local([0, 0, address])), netns }
    }

    #[test]
    fn one_tap_or_two() {
        let (tap0, tap1) = (name("tap0"), name("tap1"));
        for (one, other, same_name, expected) in [
            // The same, also under another name, or with another address by now.
            (seen(Some(5), 1, Some(9)), seen(Some(5), 1, Some(9)), true, true),
            (seen(Some(5), 1, Some(9)), seen(Some(5), 2, Some(9)), true, true),
            (seen(Some(5), 1, Some(9)), seen(Some(5), 1, Some(9)), false, true),
            (seen(None, 1, Some(8)), seen(None, 2, Some(8)), true, true),
            (seen(Some(5), 1, None), seen(Some(5), 2, Some(9)), true, true),
            (seen(None, 1, None), seen(None, 1, None), true, true),
            // Another one that has its name, its index or its address.
            (seen(Some(5), 1, Some(9)), seen(Some(6), 1, Some(9)), true, false),
            (seen(Some(5), 1, Some(9)), seen(Some(5), 1, Some(8)), true, false),
            (seen(Some(5), 1, None), seen(Some(5), 2, None), false, false),
            (seen(Some(5), 1, None), seen(Some(6), 1, None), true, false),
            (seen(None, 1, None), seen(None, 2, None), true, false),
            (seen(None, 1, None), seen(None, 1, None), false, false),
            (seen(Some(5), 1, None), seen(None, 2, Some(8)), true, false),
        ] {
            let other_name = if same_name { &tap0 } else { &tap1 };
            assert_eq!(one.is(&tap0, &other, other_name), expected, "{one:?} {other:?} {same_name}");
            assert_eq!(other.is(other_name, &one, &tap0), expected, "{other:?} {one:?} {same_name}");
        }
        assert!(
            GivenTap::default().is(&tap0, &seen(Some(1), 1, Some(1)), &tap0),
            "nothing but a name is known"
        );
    }
}
