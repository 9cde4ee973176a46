//! The runtime files of Ganeti: a list of command line, NICs, hypervisor parameters and, since 2.10, disks.
//!
//! | entries | Ganeti | NICs and disks |
//! |---|---|---|
//! | 2 | 2.0.0beta1 | refused |
//! | 3 | 2.0 to 2.9 | NICs without a place; disks in the command line, where they cannot be managed |
//! | 4 | 2.10 to 2.15 | a slot number `pci` each |
//! | 4 | 2.16 and later | an object `hvinfo` each: driver, id, bus and address |
//!
//! A list is kept as it was read, with all that is unknown here. Saved unchanged it is written as it was, but
//! for what no Ganeti of today can read: a missing list of disks is added, and NICs of 2.0 are rewritten.
//! With the first change it is written the way Ganeti itself does: in today's form (see [`upgrade`]), with
//! everything else as it was.
//!
//! What stands in further entries is kept. Two devices of a list may have one place: Ganeti forgets devices
//! that QEMU no longer has, and gives their places away (2.10 to 2.15). Such a list is loaded, since its
//! guest runs: verifying says which of them is missing, and no boot is made of it.
//!
//! How NICs and disks were started, queues and cache mode for instance, stands in the hypervisor parameters,
//! and is the same for all of them. A device that differs has no place in the list and is refused.

mod convert;
mod device;
mod element;
mod entry;
mod json;
mod list;
mod params;
mod read;
mod seed;
mod settings;
mod sidecar;
mod upgrade;
mod uuid;
mod write;

pub(crate) use convert::{to_list, to_native, was_made_of_a_list};
pub use list::List;
pub use read::decode;
pub(crate) use sidecar::Sidecar;
pub(crate) use uuid::new_id;
pub(crate) use write::encode;
