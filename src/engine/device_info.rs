//! Devices and slots as callers see them.

use serde::Serialize;

use super::guest_view::GuestView;
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
    /// What the guest calls it.
    pub view: GuestView,
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

c_enum! {
    /// What a slot is used for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum SlotStatus = kvm_hotplug_slot_state, KVM_HOTPLUG_SLOT {
        /// Can be chosen.
        Free = 0,
        /// Left to QEMU, unless a request names it.
        Reserved = 1,
        /// A device is there.
        Taken = 2,
        /// A removal is pending there.
        Quarantined = 3,
        /// Empty, but takes no devices while the guest runs.
        NotHotpluggable = 4,
        /// QEMU has not reported it yet.
        Unknown = 5,
        /// Kept for a recorded device that the guest does not have.
        Missing = 6,
    }
}
