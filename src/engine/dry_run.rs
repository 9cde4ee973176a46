//! What an add or a removal would do.

use serde_json::{Map, Value, json};

use super::outcome::Outcome;
use crate::ids::Address;
use crate::model::{Device, Spec};

/// What would happen.
#[derive(Clone, Debug, PartialEq)]
pub struct DryRun {
    /// The answer that the call would give if all went well.
    pub outcome: Outcome,
    /// The commands QEMU would get, in order; none if nothing is to be done in the guest.
    pub commands: Vec<(String, Map<String, Value>)>,
    /// What would be opened or changed on the host, for people.
    pub host: Vec<String>,
    /// Of an add: how many free slots devices then get unasked.
    pub slots_left: Option<usize>,
}

/// What an add comes to before anything is opened or changed.
// Clippy of Rust 1.85 takes T for nothing, and the rest for large beside it.
#[allow(clippy::large_enum_variant)]
pub(super) enum Preparation<T> {
    /// It is there already.
    Answer(Outcome),
    /// The guest has it, and the record gets it.
    Adopt(Device),
    /// It has to wait for the next boot.
    Later(Spec, super::outcome::DeferReason),
    /// It can be done, with this.
    Now(T),
}

impl DryRun {
    pub(super) fn nothing(outcome: Outcome) -> Self {
        Self { outcome, commands: Vec::new(), host: Vec::new(), slots_left: None }
    }

    /// As JSON, for machines.
    pub fn to_json(&self) -> Value {
        let (answer, device, reason) = match &self.outcome {
            Outcome::Done(device) => ("done", Some(device), String::new()),
            Outcome::AfterReboot(device, why) => ("after-reboot", Some(device), why.to_string()),
            Outcome::Pending(device, why) => ("pending", Some(device), why.to_string()),
            Outcome::DoneByPath => ("done", None, String::new()),
            Outcome::PendingByPath(why) => ("pending", None, why.to_string()),
            Outcome::Absent => ("absent", None, String::new()),
        };
        let address = device.and_then(|device| device.address.as_ref());
        let scsi = address.and_then(Address::scsi);
        let commands: Vec<Value> =
            self.commands.iter().map(|(name, args)| json!({ "execute": name, "arguments": args })).collect();
        json!({
            "answer": answer,
            "reason": reason,
            "id": device.map(|device| device.id.as_str()),
            "bus": address.map(|address| address.bus().as_str()),
            "slot": address.and_then(Address::pci).map(|address| address.slot),
            "channel": scsi.map(|address| address.channel),
            "target": scsi.map(|address| address.target),
            "lun": scsi.map(|address| address.lun),
            "commands": commands,
            "host": self.host,
            "slots_left": self.slots_left,
        })
    }
}
