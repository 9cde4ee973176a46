//! Decides. Requests, answers of QEMU, events and the time go in; commands, host steps, writes and answers come out.

mod access;
mod add;
mod add_plan;
mod add_transaction;
mod address_discovery;
mod async_add;
mod board;
mod bridge;
mod buses;
mod controller;
mod describe;
mod device_reports;
mod devices_without_id;
mod difference;
pub(crate) mod disk;
mod dry_run;
mod eligibility;
mod events;
mod fd_recovery;
mod fdsets;
mod foreign;
mod graph;
mod guest_state;
mod holders;
mod host;
mod host_step;
mod identity;
mod inventory;
mod io;
mod limit;
mod link;
mod list;
mod listener;
mod modify;
mod netdevs;
pub(crate) mod nic;
mod notify;
mod operations;
mod outcome;
mod overlay;
mod passthrough;
mod phase;
mod phase_change;
mod phases;
mod plan;
mod qmp_events;
mod reconcile;
mod recovery;
mod repair;
mod request;
mod resize;
mod resync;
mod retained_fds;
mod store_step;
mod takeover;
mod talk;
mod tap_teardown;
mod teardown;
mod transaction;
mod unplug;
mod unplug_end;
mod unplug_op;
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
pub use host_step::{FoundTap, HostResult, HostStep, OpenedTap, PlanMove, TapState};
pub use io::{Connected, Effect, Given, Link, OpId};
pub use limit::Deadline;
pub use list::{DeviceInfo, DeviceState, SlotInfo, SlotStatus};
pub use listener::Listener;
pub use nic::{NicRequest, TapSource};
pub use operations::Demand;
pub use outcome::{DeferReason, Outcome, PendingReason};
pub use passthrough::RawCommand;
pub use request::{Answer, Engine, Request};
pub use resize::NewSize;
pub use store_step::StoreStep;
pub use unplug::{Removal, RemovalOfMany};

use crate::ids::Address;
pub use crate::qmp::OLDEST_QEMU;
use crate::slots::pci::Want;

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
