//! What a record and its guest do not agree about.

use serde::Serialize;

c_enum! {
    /// What record and guest disagree about, and what kvm_hotplug_repair() does about it. Newer versions may
    /// add kinds: treat those as "something".
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Mismatch = kvm_hotplug_difference_kind, KVM_HOTPLUG_DIFFERENCE {
        /// Recorded, not in the guest. Repair drops it from the record.
        Missing = 1,
        /// In the guest, but neither in the record nor in its command: another program's, and left alone.
        /// Also PCI and SCSI devices without an id; bridges and ports count as the machine's.
        Foreign = 2,
        /// At another address than recorded. Repair records it.
        Address = 3,
        /// Is another device model.
        Model = 4,
        /// Has another netdev or block node as backend, or none.
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
        /// Writable where the record says read-only, or the reverse.
        ReadOnly = 11,
        /// The guest sees another size than the image has.
        Size = 12,
        /// Another setting; the texts say which.
        Setting = 13,
        /// A block node of ours without a device. Repair removes it.
        OrphanNode = 14,
        /// An fdset of ours without a device. Repair removes it.
        OrphanFdset = 15,
        /// The tap is on another host bridge than recorded, or on none.
        Bridge = 16,
        /// A root port or PCI bridge of the boot command is absent or elsewhere.
        Port = 17,
        /// The files of its image on this host are not the recorded ones, or may not be opened.
        Chain = 18,
        /// A netdev without a NIC that neither the record nor its command has; id is the netdev's. Not
        /// repaired: another program may be about to use it.
        OrphanNetdev = 19,
    }
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

    /// Whether [`GuestState::repair`] deals with it. What is left needs a decision that only the caller can
    /// take.
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
