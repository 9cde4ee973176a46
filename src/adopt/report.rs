//! What an adoption tells: what is recorded, what stays as it is, and what to know of the next start.

use serde::Serialize;
use serde_json::Value;

use crate::model::Device;

/// The report. Its members are what programs read as JSON (docs/json.md).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Devices that are in the record.
    pub recorded: Vec<Recorded>,
    /// Devices that stay in the command, or are in the guest alone.
    pub left: Vec<Left>,
    /// Options that were given the place that QEMU had found.
    pub pinned: Vec<Pinned>,
    /// Options that the recorded command does not have.
    pub dropped: Vec<Dropped>,
    /// What stands in the way of a start, or may make it differ.
    pub warnings: Vec<String>,
}

/// A device that is in the record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recorded {
    /// Its id.
    pub id: String,
    /// `nic`, `disk` or `controller`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The device model.
    pub model: String,
    /// Where it sits.
    pub address: Value,
    /// What the record does not keep of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A device that is not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Left {
    /// Its id; left out for one that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The device model, or the option that makes it.
    pub model: String,
    /// Where QOM has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether QEMU says that it can take the device out while the guest runs, by its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hotpluggable: Option<bool>,
    /// Why.
    pub why: String,
}

/// An option that was given a place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pinned {
    /// The device's id, or its model.
    pub what: String,
    /// The bus.
    pub bus: String,
    /// Slot and function, hexadecimal; of a SCSI device target and LUN, as in `3:0`.
    pub addr: String,
}

/// An option that the recorded command does not have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dropped {
    /// As it stood in the command.
    pub option: String,
    /// Why.
    pub why: String,
}

impl Recorded {
    pub(super) fn of(device: &Device, notes: Vec<String>) -> Self {
        Self {
            id: device.id.to_string(),
            kind: device.kind().name(),
            model: device.model().to_owned(),
            address: serde_json::to_value(&device.address).unwrap_or_default(),
            notes,
        }
    }
}
