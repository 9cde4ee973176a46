//! What was about to be done, and removals the guest has not granted: on disk before the first command.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::device::Device;
use super::peer::Peer;

/// What is being done to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// It is being plugged in; if it is in the guest, the add is completed.
    Add,
    /// Plugging it in was answered with an error; if it is in the guest, it is to leave.
    #[serde(rename = "undo-add")]
    RollbackAdd,
    /// It is being unplugged.
    Remove,
    /// It is to be unplugged once the adds of the same batch are recorded; until then the guest has not been
    /// asked. If they are taken back, it stays.
    RemoveNext,
    /// Its link is being set; until that is recorded, the recorded state is the one that counts.
    SetLink,
    /// Its tap is being moved to another bridge; the intent's device has the bridge it comes from.
    Move,
    /// Its limits are being set; until that is recorded, the recorded ones count.
    SetLimits,
    /// The medium of a CD drive is being changed. The intent's device has the new one, and among its nodes
    /// those of both.
    ChangeMedium,
}

/// One unfinished operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// What is being done.
    pub operation: Operation,
    /// To which device; its settings say what backends there may be.
    pub device: Device,
    /// Those that have the same number are one operation: all of it or nothing.
    pub batch: Option<u64>,
    /// Every command that handed over a descriptor for it has been answered.
    pub fds_settled: bool,
}

/// All unfinished operations of one guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    /// Oldest first.
    pub intents: Vec<Intent>,
    /// The QEMU that they are meant for; unknown for a journal of an older version, and for one that has come
    /// with its guest from another host.
    pub peer: Option<Arc<Peer>>,
}

impl Journal {
    /// Notes an operation, replacing an earlier one on the same device.
    pub fn log_intent(&mut self, operation: Operation, device: &Device) {
        self.note(Intent { operation, device: device.clone(), batch: None, fds_settled: false });
    }

    /// Notes that an add is to be undone whose commands have all been answered.
    pub fn log_failed_add(&mut self, device: &Device) {
        let (operation, device) = (Operation::RollbackAdd, device.clone());
        self.note(Intent { operation, device, batch: None, fds_settled: true });
    }

    /// Notes that all of these are being plugged in, as one operation.
    pub fn log_add(&mut self, devices: &[Device]) {
        let batch = devices.first().filter(|_| devices.len() > 1).map(|first| first.generation);
        for device in devices {
            let (operation, device) = (Operation::Add, device.clone());
            self.note(Intent { operation, device, batch, fds_settled: false });
        }
    }

    /// Notes removals that follow these adds, in the same write: the adds and the removals are one operation.
    pub fn log_removals_after(&mut self, adds: &[Device], removals: &[Device]) {
        let Some(batch) = adds.first().map(|first| first.generation).filter(|_| !removals.is_empty()) else {
            return;
        };
        for intent in &mut self.intents {
            if adds.iter().any(|device| device.id == intent.device.id) {
                intent.batch = Some(batch);
            }
        }
        for device in removals {
            let (operation, device) = (Operation::RemoveNext, device.clone());
            self.note(Intent { operation, device, batch: Some(batch), fds_settled: false });
        }
    }

    /// The adds of these devices are recorded: they are forgotten, and the removals that follow them begin.
    pub fn complete_adds<'a>(&mut self, devices: impl IntoIterator<Item = &'a Device>) {
        for device in devices {
            let batch = self.find(device.id.as_str()).and_then(|intent| intent.batch);
            for intent in &mut self.intents {
                if intent.operation == Operation::RemoveNext && intent.batch == batch {
                    (intent.operation, intent.batch) = (Operation::Remove, None);
                }
            }
            self.intents.retain(|intent| intent.device.id != device.id);
        }
    }

    fn note(&mut self, intent: Intent) {
        self.clear_intent(intent.device.id.as_str());
        // As a rule it is the only one, and a vector that grows takes room for four.
        self.intents.reserve_exact(1);
        self.intents.push(intent);
    }

    /// Forgets the operations on these devices.
    pub fn clear_intents<'a>(&mut self, devices: impl IntoIterator<Item = &'a Device>) {
        devices.into_iter().for_each(|device| self.clear_intent(device.id.as_str()));
    }

    /// Forgets the operation on a device. With an add that is not recorded go the removals that were to
    /// follow it.
    pub fn clear_intent(&mut self, id: &str) {
        let add = self.find(id).filter(|intent| intent.operation == Operation::Add);
        if let Some(batch) = add.and_then(|intent| intent.batch) {
            self.intents
                .retain(|intent| intent.operation != Operation::RemoveNext || intent.batch != Some(batch));
        }
        self.intents.retain(|intent| intent.device.id.as_str() != id);
    }

    /// The operation on a device.
    pub fn find(&self, id: &str) -> Option<&Intent> {
        self.intents.iter().find(|intent| intent.device.id.as_str() == id)
    }
}
