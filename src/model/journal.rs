//! What was about to be done, and removals the guest has not granted: on disk before the first command.
//!
//! It is a file of its own, beside the runtime file, so that no runtime format has to carry it.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::peer::Peer;
use super::record::{Device, DeviceKind};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{native, versioned};

const FORMAT: &str = "kvm-hotplug-journal";
const VERSION: u64 = 1;

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
    /// Its link is being set; until that is recorded, the recorded state is the one that counts.
    SetLink,
    /// Its tap is being moved to another bridge; the intent's device has the bridge it comes from.
    Move,
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
    /// The QEMU that they are meant for; unknown for a journal of an older version, and for one that has come with its guest
    /// from another host.
    pub peer: Option<Arc<Peer>>,
}

/// The journal as it is written.
#[derive(Serialize)]
struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    qemu: Option<&'a Peer>,
    intents: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "verb")]
    operation: Operation,
    #[serde(rename = "group", skip_serializing_if = "Option::is_none")]
    batch: Option<u64>,
    #[serde(rename = "answered", skip_serializing_if = "std::ops::Not::not")]
    fds_settled: bool,
    #[serde(flatten)]
    device: Named<'a>,
}

/// A device under the word for its kind.
struct Named<'a>(&'a Device);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0.kind().word(), native::Written::from(self.0))])
    }
}

impl<'a> From<&'a Intent> for Entry<'a> {
    fn from(intent: &'a Intent) -> Self {
        Self {
            operation: intent.operation,
            batch: intent.batch,
            fds_settled: intent.fds_settled,
            device: Named(&intent.device),
        }
    }
}

impl Journal {
    /// Notes an operation, replacing an earlier one on the same device.
    pub fn log_intent(&mut self, operation: Operation, device: &Device) {
        self.clear_intent(device.id.as_str());
        self.intents.push(Intent { operation, device: device.clone(), batch: None, fds_settled: false });
    }

    /// Notes that an add is to be undone whose commands have all been answered.
    pub fn log_failed_add(&mut self, device: &Device) {
        self.clear_intent(device.id.as_str());
        let device = device.clone();
        self.intents.push(Intent {
            operation: Operation::RollbackAdd,
            device,
            batch: None,
            fds_settled: true,
        });
    }

    /// Notes that all of these are being plugged in, as one operation.
    pub fn log_add(&mut self, devices: &[Device]) {
        let batch = devices.first().filter(|_| devices.len() > 1).map(|first| first.generation);
        for device in devices {
            self.clear_intent(device.id.as_str());
            self.intents.push(Intent {
                operation: Operation::Add,
                device: device.clone(),
                batch,
                fds_settled: false,
            });
        }
    }

    /// Forgets the operations on these devices.
    pub fn clear_intents<'a>(&mut self, devices: impl IntoIterator<Item = &'a Device>) {
        devices.into_iter().for_each(|device| self.clear_intent(device.id.as_str()));
    }

    /// Forgets the operation on a device.
    pub fn clear_intent(&mut self, id: &str) {
        self.intents.retain(|intent| intent.device.id.as_str() != id);
    }

    /// The operation on a device.
    pub fn find(&self, id: &str) -> Option<&Intent> {
        self.intents.iter().find(|intent| intent.device.id.as_str() == id)
    }

    /// Writes it.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let intents = self.intents.iter().map(Entry::from).collect();
        versioned::write(FORMAT, VERSION, File { qemu: self.peer.as_deref(), intents })
    }

    /// Reads it.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let file = versioned::open(bytes, FORMAT, VERSION)?;
        let list = file
            .get("intents")
            .and_then(Value::as_array)
            .ok_or_else(|| versioned::malformed("has no \"intents\""))?;
        let peer = file.get("qemu").cloned().map(serde_json::from_value::<Peer>).transpose();
        let peer = peer.map_err(|error| versioned::malformed(format!("\"qemu\": {error}")))?;
        let mut journal = Self { intents: Vec::new(), peer: peer.map(Arc::new) };
        for (index, value) in list.iter().enumerate() {
            let intent = decode_intent(value)
                .map_err(|error| error.with_kind(ErrorKind::Format).context(format!("intents[{index}]")))?;
            journal.clear_intent(intent.device.id.as_str());
            journal.intents.push(intent);
        }
        Ok(journal)
    }
}

fn decode_intent(value: &Value) -> Result<Intent> {
    let operation = serde_json::from_value(value.get("verb").cloned().unwrap_or_default())
        .map_err(|error| Error::invalid(format!("\"verb\": {error}")))?;
    let given = DeviceKind::ALL.into_iter().filter_map(|kind| Some((kind, value.get(kind.word())?.clone())));
    let mut given: Vec<(DeviceKind, Value)> = given.collect();
    match (given.pop(), given.is_empty()) {
        (Some((kind, device)), true) => {
            let batch = value.get("group").and_then(Value::as_u64);
            let fds_settled = value.get("answered").and_then(Value::as_bool).unwrap_or_default();
            Ok(Intent { operation, device: native::device_from_value(kind, device)?, batch, fds_settled })
        }
        _ => Err(Error::invalid("needs either \"nic\", \"disk\" or \"scsi\"")),
    }
}
