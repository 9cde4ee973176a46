//! What a record and its guest do not agree about.

/// What record and guest disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mismatch {
    /// Recorded, but not in the guest.
    Missing = 1,
    /// In the guest, but not recorded: somebody else's.
    Foreign = 2,
    /// Sits elsewhere than recorded.
    Address = 3,
    /// Is another device model.
    Model = 4,
    /// Has another netdev or block node behind it, or none.
    Backend = 5,
    /// Has another MAC address.
    Mac = 6,
    /// Has another number of queues or interrupt vectors.
    Queues = 7,
    /// Announces another MTU.
    Mtu = 8,
    /// Loads another option ROM.
    Rom = 9,
    /// Has another serial.
    Serial = 10,
    /// Is writable where the record says read-only, or the reverse.
    ReadOnly = 11,
    /// The guest sees another size than the image has.
    Size = 12,
    /// Another setting; the texts say which.
    Setting = 13,
    /// A block node of ours that belongs to no device.
    OrphanNode = 14,
    /// An fdset with our tag that belongs to no device.
    OrphanFdset = 15,
    /// The tap is on another bridge of the host.
    Bridge = 16,
    /// A root port that the record has is not there, or is elsewhere.
    Port = 17,
    /// The files that the image is made of on this host are not those that were recorded, or not to be opened.
    Chain = 18,
    /// A netdev that no NIC has, and nobody knows of.
    OrphanNetdev = 19,
}

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What about.
    pub what: Mismatch,
    /// Id of the device, node, or owner of the fdset; empty for a device without one.
    pub id: String,
    /// What the record says.
    pub recorded: String,
    /// What the guest shows.
    pub found: String,
}

impl Mismatch {
    pub(super) fn of_property(name: &str) -> Self {
        match name {
            "type" => Self::Model,
            "netdev" | "drive" => Self::Backend,
            "mac" => Self::Mac,
            "mq" | "vectors" | "num-queues" => Self::Queues,
            "host_mtu" => Self::Mtu,
            "romfile" => Self::Rom,
            "serial" => Self::Serial,
            _ => Self::Setting,
        }
    }

    /// Whether [`GuestState::repair`] deals with it. What is left needs a decision that only the caller can take.
    pub fn is_repairable(self) -> bool {
        matches!(self, Self::Missing | Self::Address | Self::OrphanNode | Self::OrphanFdset)
    }
}

impl Difference {
    pub(super) fn new(
        what: Mismatch,
        id: impl ToString,
        recorded: impl ToString,
        found: impl ToString,
    ) -> Self {
        let (id, recorded, found) = (id.to_string(), recorded.to_string(), found.to_string());
        Self { what, id, recorded, found }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, id, recorded, found } = self;
        match what {
            Mismatch::Missing => write!(f, "{id} is recorded at {recorded}, the guest does not have it"),
            Mismatch::Foreign if id.is_empty() => {
                write!(f, "a device without an id at {found} is not in the record")
            }
            Mismatch::Foreign => write!(f, "{id} at {found} is not in the record"),
            Mismatch::OrphanNode => write!(f, "block node {id} belongs to no device"),
            Mismatch::OrphanNetdev => write!(f, "netdev {id} belongs to no NIC"),
            Mismatch::OrphanFdset => write!(f, "fdset {found} of {id} belongs to no device"),
            _ => write!(f, "{id}: the record says {recorded}, the guest has {found}"),
        }
    }
}
