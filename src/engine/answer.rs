//! What callers are told.

use serde_json::Value;

use super::applied::Applied;
use super::device_info::{DeviceInfo, SlotInfo};
use super::difference::Difference;
use super::dry_run::DryRun;
use super::events::Event;
use super::io::Link;
use super::outcome::Outcome;
use crate::error::Result;
use crate::model::Device;
use crate::qmp::Version;
use crate::sys::descriptor::Descriptor;

/// What a caller is told.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// What has become of the devices, in the order of the request.
    Outcomes(Vec<Outcome>),
    /// The same for each by itself.
    Each(Vec<Result<Outcome>>),
    /// What has become of the device.
    Outcome(Box<Outcome>),
    /// The disk, and its size in bytes.
    Resized(Box<Device>, u64),
    /// What QEMU returned.
    Value(Value),
    /// The caller's end of a connection.
    Descriptor(Descriptor),
    /// What is known, if there is such a device.
    Described(Option<Value>),
    /// How many events can be fetched.
    Count(usize),
    /// Devices with their states.
    Devices(Vec<DeviceInfo>),
    /// An event, if there is one.
    Event(Option<Event>),
    /// Slots with what is in them.
    Slots(Vec<SlotInfo>),
    /// What would be done.
    Plan(Box<DryRun>),
    /// What has become of the devices of a list.
    Applied(Box<Applied>),
    /// What record and guest disagree about.
    Differences(Vec<Difference>),
    /// QEMU's version, and the connection if there is one.
    Facts(Version, Option<Link>),
}

impl Answer {
    pub(super) fn outcome(outcome: Outcome) -> Self {
        Self::Outcome(Box::new(outcome))
    }

    pub(super) fn plan(plan: DryRun) -> Self {
        Self::Plan(Box::new(plan))
    }
}
