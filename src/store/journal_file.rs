//! The file of a journal. It is one of its own, beside the runtime file, so that no runtime format has to
//! carry it.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{native, versioned};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Device, DeviceKind, Intent, Journal, Operation, Peer};

const FORMAT: &str = "kvm-hotplug-journal";
const VERSION: u64 = 1;

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

/// Writes it.
pub fn encode(journal: &Journal) -> Result<Vec<u8>> {
    let intents = journal.intents.iter().map(Entry::from).collect();
    versioned::write(FORMAT, VERSION, File { qemu: journal.peer.as_deref(), intents })
}

/// Reads it.
pub fn decode(bytes: &[u8]) -> Result<Journal> {
    let file = versioned::open(bytes, FORMAT, VERSION)?;
    let list = file
        .get("intents")
        .and_then(Value::as_array)
        .ok_or_else(|| versioned::malformed("has no \"intents\""))?;
    let peer = file.get("qemu").cloned().map(serde_json::from_value::<Peer>).transpose();
    let peer = peer.map_err(|error| versioned::malformed(format!("\"qemu\": {error}")))?;
    let mut journal = Journal { intents: Vec::new(), peer: peer.map(Arc::new) };
    for (index, value) in list.iter().enumerate() {
        let intent = decode_intent(value)
            .map_err(|error| error.with_kind(ErrorKind::Format).context(format!("intents[{index}]")))?;
        journal.clear_intent(intent.device.id.as_str());
        journal.intents.push(intent);
    }
    Ok(journal)
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
