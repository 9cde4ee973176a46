//! Devices and slots as callers see them.

use super::outcome::{DeferReason, PendingReason};
use crate::ids::Address;
use crate::model::Device;

/// Where a device is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// In the guest.
    Live,
    /// In the guest and asked to leave.
    Pending(PendingReason),
    /// Recorded as in the guest, which did not have it when it was last asked.
    Missing,
    /// Recorded for the next boot; why it is not in the guest now.
    AddAfterReboot(DeferReason),
    /// In the guest, gone with the next boot; why not now.
    RemoveAfterReboot(DeferReason),
}

/// A device and its state.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInfo {
    /// The device.
    pub device: Device,
    /// Its state.
    pub state: DeviceState,
}

/// One place, for showing to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Bus and slot, or bus, target and unit.
    pub address: Address,
    /// Free, reserved, taken, quarantined, or not hot-pluggable.
    pub state: SlotStatus,
    /// Id or description of what is there.
    pub occupant: String,
}

/// What a slot is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SlotStatus {
    /// Can be handed out.
    Free = 0,
    /// Left to QEMU, unless pinned.
    Reserved = 1,
    /// Somebody is there.
    Taken = 2,
    /// A removal is pending.
    Quarantined = 3,
    /// Empty, but takes no devices while the guest runs.
    NotHotpluggable = 4,
    /// The guest has not said.
    Unknown = 5,
    /// Left to a device of the record that the guest does not have.
    Missing = 6,
}
