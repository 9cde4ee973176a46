//! A live guest: adding and removing NICs, disks and SCSI controllers as transactions against its monitor and its record.

mod access;
mod add;
mod add_plan;
mod add_transaction;
mod address_discovery;
mod async_add;
mod bridge;
mod buses;
mod call_lock;
pub mod coldplug;
mod controller;
mod describe;
mod device_reports;
mod devices_without_id;
mod difference;
mod disk;
mod dry_run;
mod eligibility;
mod events;
mod fd_recovery;
mod foreign;
mod graph;
mod guest;
mod holders;
mod identity;
mod inventory;
mod link;
mod listener;
mod modify;
mod netdevs;
mod nic;
mod notify;
mod outcome;
mod overlay;
mod passthrough;
mod plan;
mod poll_fd;
mod qmp_events;
mod recovery;
mod repair;
mod resize;
mod retained_fds;
mod session;
mod slots;
mod takeover;
mod tap_teardown;
mod transaction;
mod unplug;
mod unplug_request;
mod unplug_wait;
mod verify;
mod verify_disk;

pub use access::Access;
pub use add::AddRequest;
pub use add_plan::Placement;
pub use controller::ControllerRequest;
pub use describe::MISSING;
pub use difference::{Difference, Mismatch};
pub use disk::DiskRequest;
pub use dry_run::DryRun;
pub use events::{AddFailure, DeviceRef, Event, EventKind, IoAction, IoError};
pub use guest::{DeviceInfo, DeviceState, Guest, SlotInfo, SlotStatus};
pub use listener::Listener;
pub use nic::{NicRequest, TapSource};
pub use outcome::{DeferReason, Outcome, PendingReason};
pub use passthrough::RawCommand;
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

fn want(placement: &Placement) -> Want {
    placement.address.as_ref().and_then(Address::pci).cloned().map_or(Want::Auto, Want::Place)
}
