//! Which format a runtime file has, our own object or the list that Ganeti writes, and what depends on that.

use super::{ganeti, native};
use crate::disk::DiskSpec;
use crate::error::Result;
use crate::ids::{Address, DeviceId};
use crate::model::{DeviceKind, GanetiEntry, NicSettings, Record};
use crate::net::spec::NicSpec;
use crate::net::vhost::VhostMode;

c_enum! {
    /// Format of a runtime file. A record is saved in the one it has.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Format = kvm_runtime_format, KVM_RUNTIME_FORMAT {
        /// Our own: a JSON object.
        Native = 1,
        /// Ganeti's list: loaded with 4 entries (2.10 and later) or 3 (2.0 to 2.9), saved with 4, which
        /// Ganeti 3.0 and later load. All NICs and all disks then have the same queues, vhost, cache, aio and
        /// discard. A request for others, or for what Ganeti does not know, fails with -EINVAL.
        /// docs/ganeti.md has the details.
        Ganeti = 2,
    }
}

impl Format {
    /// The format's name in messages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Native => "kvm-hotplug's own format",
            Self::Ganeti => "a Ganeti list",
        }
    }
}

/// A format, with what a file says in it that a record has no place for.
#[derive(Clone, Debug, PartialEq)]
pub enum Dialect {
    /// Our own, in which a record says everything.
    Native,
    /// A list of Ganeti's.
    Ganeti(Box<ganeti::List>),
}

impl Dialect {
    /// Which format it is.
    pub fn format(&self) -> Format {
        match self {
            Self::Native => Format::Native,
            Self::Ganeti(_) => Format::Ganeti,
        }
    }

    /// Writes a record.
    pub fn encode(&self, record: &Record) -> Result<Vec<u8>> {
        match self {
            Self::Native => native::encode(record),
            Self::Ganeti(list) => ganeti::encode(record, list),
        }
    }

    /// What has to stand beside the file of a record, if anything.
    pub fn sidecar(&self, record: &Record) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Native => Ok(None),
            Self::Ganeti(list) => ganeti::Sidecar::encode(record, list),
        }
    }

    /// What may stand beside the file while the one record is replaced by the other: it goes with both.
    pub fn transitional(&self, old: &Record, next: &Self, new: &Record) -> Result<Option<Vec<u8>>> {
        match (self, next) {
            (Self::Ganeti(own), Self::Ganeti(list)) => ganeti::Sidecar::transitional((old, own), (new, list)),
            _ => Ok(None),
        }
    }

    /// What the file of the record that comes after `old` says.
    #[must_use]
    pub fn following(&self, old: &Record, next: &Record) -> Self {
        match self {
            Self::Native => Self::Native,
            Self::Ganeti(list) => Self::Ganeti(Box::new(list.following(old, next))),
        }
    }

    /// Refuses a record that no guest could have. Devices that shared an address in the list that was read
    /// still do.
    pub fn check(&self, record: &Record) -> Result<()> {
        match self {
            Self::Native => record.check(),
            Self::Ganeti(list) => record.check_sharing(|one, other| list.has_loaded(one, other)),
        }
    }

    /// Whether it is a list of Ganeti's, or was made of one.
    pub fn was_started_by_ganeti(&self, record: &Record) -> bool {
        matches!(self, Self::Ganeti(_)) || ganeti::was_made_of_a_list(record)
    }

    /// The id of a new device of `record`: what follows from its address, or what Ganeti looks for.
    pub fn new_id(&self, record: &Record, kind: DeviceKind, address: Option<&Address>) -> Result<DeviceId> {
        match self {
            Self::Native => record.new_id(kind, address),
            Self::Ganeti(_) => ganeti::new_id(kind),
        }
    }

    /// What a new NIC gets of what `wanted` and `vhost` leave open. The file may not have room for what they
    /// ask for.
    pub fn settle_nic(&self, wanted: &NicSpec, vhost: VhostMode) -> Result<NicSettings> {
        match self {
            Self::Native => Ok(NicSettings { queues: wanted.queues, vhost, vnet_hdr: true, rom: false }),
            Self::Ganeti(list) => list.settle_nic(wanted, vhost),
        }
    }

    /// Fills in what a request for a disk leaves open; `entry` is what Ganeti has of the disk.
    pub fn settle_disk(&self, wanted: &mut DiskSpec, entry: Option<&GanetiEntry>) -> Result<()> {
        match self {
            Self::Native => Ok(()),
            Self::Ganeti(list) => list.settle_disk(wanted, entry),
        }
    }

    /// Refuses a disk that the file has no room for.
    pub fn check_disk(&self, spec: &DiskSpec, entry: Option<&GanetiEntry>) -> Result<()> {
        match self {
            Self::Native => Ok(()),
            Self::Ganeti(list) => list.check_disk(spec, entry),
        }
    }
}
