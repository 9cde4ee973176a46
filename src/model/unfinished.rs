//! What is unfinished of a guest that has ended, and what is not known of one that may run.

use super::journal::{Intent, Operation};
use super::record::Record;
use super::state::State;

/// Whether the device of an unfinished operation, if it is the one that is recorded, leaves the record with
/// the QEMU that has ended: its removal is done, or the add that was to be taken back is. In all other cases
/// the record says what the next QEMU has: an add that is not in it is dropped, and a change counts as far as
/// it is in it. `is_there`: the QEMU that runs now was started with the recorded device all the same.
pub fn ends_with_qemu(operation: Operation, is_there: bool) -> bool {
    match operation {
        Operation::Remove | Operation::RollbackAdd => !is_there,
        Operation::Add
        | Operation::RemoveNext
        | Operation::SetLink
        | Operation::Move
        | Operation::SetLimits
        | Operation::ChangeMedium => false,
    }
}

/// Takes from the record of a guest that does not run what its end has finished.
pub fn end_all(record: &mut Record, intents: &[Intent]) {
    for Intent { operation, device, .. } in intents {
        let recorded = record.find(device.id.as_str());
        let is_it = recorded.is_some_and(|recorded| recorded.generation == device.generation);
        if is_it && ends_with_qemu(*operation, false) {
            record.remove(&device.id);
        }
    }
}

/// Whether the record does not say how the operation ends, as long as the guest may run.
fn is_open(intent: &Intent, record: &Record) -> bool {
    let recorded = record.find(intent.device.id.as_str());
    let is_about_it = recorded.map(|recorded| recorded.generation == intent.device.generation);
    match intent.operation {
        // A guest that is left off, or at its source, lets go of the device as it ends.
        Operation::Remove | Operation::RemoveNext => false,
        Operation::Add => is_about_it.is_none(),
        Operation::RollbackAdd => is_about_it != Some(false),
        Operation::SetLink | Operation::Move | Operation::SetLimits | Operation::ChangeMedium => {
            is_about_it == Some(true)
        }
    }
}

impl State {
    /// The first unfinished operation of which the record does not say how it ends.
    pub fn open_intent(&self) -> Option<&Intent> {
        self.journal.intents.iter().find(|intent| is_open(intent, &self.record))
    }
}

impl Operation {
    /// What is said of a device in whose journal it stands.
    pub fn condition(self) -> String {
        let what = match self {
            Self::Add => "it was being added",
            Self::RollbackAdd => "its add failed and was being undone",
            Self::Remove => "it was being removed",
            Self::RemoveNext => "it was to be removed once other devices were added",
            Self::SetLink => "its link was being set",
            Self::Move => "it was being moved to another bridge",
            Self::SetLimits => "its limits were being set",
            Self::ChangeMedium => "its medium was being changed",
        };
        format!("{what}, and how that ended is not written down")
    }
}

impl Intent {
    /// What is unfinished, in words.
    pub fn text(&self) -> String {
        let id = &self.device.id;
        match self.operation {
            Operation::Add => format!("adding {id} was interrupted"),
            Operation::RollbackAdd => format!("adding {id} was interrupted, and is to be taken back"),
            Operation::Remove => format!("removing {id} has begun, and the guest may still have it"),
            Operation::RemoveNext => format!("removing {id} was to begin once other devices were added"),
            Operation::SetLink => format!("setting the link of {id} was interrupted"),
            Operation::Move => format!("moving {id} to another bridge was interrupted"),
            Operation::SetLimits => format!("setting the limits of {id} was interrupted"),
            Operation::ChangeMedium => format!("changing the medium of {id} was interrupted"),
        }
    }
}
