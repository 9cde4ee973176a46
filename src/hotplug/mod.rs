//! A live guest: adding and removing NICs, disks and SCSI controllers as transactions against its monitor and its record.

mod arrival;
mod asking;
mod attach;
mod batch;
mod bridge;
mod buses;
mod change;
pub mod cold;
mod controller;
mod describe;
mod difference;
mod disk;
mod doubt;
mod events;
mod gate;
mod graph;
mod guest;
mod heard;
mod hearing;
mod holders;
mod identity;
mod leaving;
mod link;
mod listener;
mod mend;
mod nameless;
mod netdevs;
mod news;
mod nic;
mod obstacle;
mod outcome;
mod overlay;
mod places;
mod plan;
mod plug;
mod preview;
mod raw;
mod readiness;
mod recovery;
mod resize;
mod session;
mod spare;
mod succession;
mod survey;
mod taps;
mod transaction;
mod unplaced;
mod unplug;
mod verify;
mod verify_disk;

pub use attach::Wish;
pub use batch::Addition;
pub use controller::ControllerRequest;
pub use describe::MISSING;
pub use difference::{Difference, Mismatch};
pub use disk::DiskRequest;
pub use events::{AddFailure, Event, IoAction, IoError, Subject, What};
pub use guest::{DeviceState, Guest, Listed, SlotLine, SlotUse};
pub use listener::Listener;
pub use nic::{NicRequest, TapSource};
pub use outcome::{AfterReboot, Outcome, Waiting};
pub use preview::Preview;
pub use raw::RawCommand;
pub use resize::NewSize;
pub use unplug::{Removal, RemovalOfMany};

use crate::ids::Address;
use crate::pci::Want;
pub use crate::qmp::OLDEST_QEMU;

/// NIC models that can be plugged into a running guest.
pub const LIVE_NIC_MODELS: &[&str] =
    &["virtio-net-pci", "virtio-net-pci-non-transitional", "virtio-net-pci-transitional"];

/// Disk models that can be plugged into a running guest.
pub const LIVE_DISK_MODELS: &[&str] = &[
    "virtio-blk-pci",
    "virtio-blk-pci-non-transitional",
    "virtio-blk-pci-transitional",
    "scsi-hd",
    "scsi-block",
];

fn want(wish: &Wish) -> Want {
    wish.address.as_ref().and_then(Address::pci).cloned().map_or(Want::Auto, Want::Place)
}
