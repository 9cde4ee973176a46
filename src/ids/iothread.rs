//! Which thread of QEMU does the I/O of a disk or of a SCSI controller.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name::{BackendName, DeviceId};
use crate::error::{Error, Result};
use crate::sorted::object;

/// QEMU's property for several iothreads.
pub const MAPPING: &str = "iothread-vq-mapping";

/// Queues that are given are numbers from 0 on, and a device has at most so many.
const MOST_QUEUES: u16 = 1024;

/// An iothread, by whose it is; or several, among which the queues of the device are divided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoThread {
    /// The device's own: it is made with the device, and deleted after it.
    Own,
    /// One of this name that is made with the first device that asks for it, and deleted after the last.
    Shared(BackendName),
    /// One of this name that QEMU has already.
    Existing(BackendName),
    /// Several, each of which is made as a shared one.
    SharedMapping(QueueMapping),
    /// Several that QEMU has already.
    ExistingMapping(QueueMapping),
}

/// Which iothread does which queues of a device: QEMU's `iothread-vq-mapping`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<QueuesOfThread>")]
pub struct QueueMapping(Vec<QueuesOfThread>);

/// The queues that one iothread does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueuesOfThread {
    iothread: BackendName,
    /// None: QEMU gives each iothread a queue in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vqs: Option<Vec<u16>>,
}

impl TryFrom<Vec<QueuesOfThread>> for QueueMapping {
    type Error = String;

    /// What QEMU refuses: no iothread, one that is named twice, a queue that has two, and queues of some
    /// only.
    fn try_from(entries: Vec<QueuesOfThread>) -> std::result::Result<Self, String> {
        let mut names = BTreeSet::new();
        let mut queues = BTreeSet::new();
        let gives_queues = entries.first().ok_or("it names no iothread")?.vqs.is_some();
        for QueuesOfThread { iothread, vqs } in &entries {
            if !names.insert(iothread) {
                return Err(format!("{iothread} is named twice"));
            }
            if vqs.is_some() != gives_queues {
                return Err("vqs is given for some iothreads only".to_owned());
            }
            if vqs.as_ref().is_some_and(Vec::is_empty) {
                return Err(format!("{iothread} has no queue"));
            }
            for queue in vqs.iter().flatten() {
                if *queue >= MOST_QUEUES {
                    return Err(format!("queue {queue} is more than {}", MOST_QUEUES - 1));
                }
                if !queues.insert(*queue) {
                    return Err(format!("queue {queue} is given twice"));
                }
            }
        }
        Ok(Self(entries))
    }
}

impl IoThread {
    /// What their ids in QEMU are, for a device with this id.
    pub fn names(&self, device: &DeviceId) -> Vec<BackendName> {
        match self {
            Self::Own => vec![BackendName::of_helper(device, "iothread")],
            Self::Shared(name) | Self::Existing(name) => vec![name.clone()],
            Self::SharedMapping(mapping) | Self::ExistingMapping(mapping) => mapping.names(),
        }
    }

    /// Those that QEMU has to have already.
    pub fn existing_names(&self) -> Vec<BackendName> {
        match self {
            Self::Existing(name) => vec![name.clone()],
            Self::ExistingMapping(mapping) => mapping.names(),
            Self::Own | Self::Shared(_) | Self::SharedMapping(_) => Vec::new(),
        }
    }

    /// The property of a device that says it, and its value.
    pub fn property(&self, device: &DeviceId) -> (&'static str, Value) {
        match self {
            Self::SharedMapping(mapping) | Self::ExistingMapping(mapping) => (MAPPING, mapping.to_value()),
            Self::Own | Self::Shared(_) | Self::Existing(_) => {
                let name = self.names(device).into_iter().next();
                ("iothread", name.as_ref().map(BackendName::as_str).into())
            }
        }
    }

    /// Whether it is several, which not each QEMU takes.
    pub fn is_mapping(&self) -> bool {
        matches!(self, Self::SharedMapping(_) | Self::ExistingMapping(_))
    }

    /// Whether the library makes it.
    pub fn is_made(&self) -> bool {
        !matches!(self, Self::Existing(_) | Self::ExistingMapping(_))
    }

    /// The one that QEMU has under this name, or those of a JSON array.
    pub fn existing(text: &str) -> Result<Self> {
        Ok(match QueueMapping::of_text(text)? {
            Some(mapping) => Self::ExistingMapping(mapping),
            None => Self::Existing(BackendName::parse(text)?),
        })
    }

    /// One that is made: the device's own, one of this name, or those of a JSON array.
    pub fn made(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else { return Ok(Self::Own) };
        Ok(match QueueMapping::of_text(text)? {
            Some(mapping) => Self::SharedMapping(mapping),
            None => Self::Shared(BackendName::parse(text)?),
        })
    }

    /// As callers write it: a name or a JSON array; none for the device's own.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Own => None,
            Self::Shared(name) | Self::Existing(name) => Some(name.to_string()),
            Self::SharedMapping(mapping) | Self::ExistingMapping(mapping) => {
                Some(mapping.to_value().to_string())
            }
        }
    }
}

impl QueueMapping {
    /// None for what is no JSON array: no name begins as one.
    fn of_text(text: &str) -> Result<Option<Self>> {
        if !text.trim_start().starts_with('[') {
            return Ok(None);
        }
        let read = serde_json::from_str(text);
        read.map(Some).map_err(|error| {
            let form = r#"[{"iothread": ID, "vqs": [QUEUE, ...]}, ...], or without vqs"#;
            Error::invalid(format!("mapping of queues: {error}; it is {form}"))
        })
    }

    fn names(&self) -> Vec<BackendName> {
        self.0.iter().map(|entry| entry.iothread.clone()).collect()
    }

    fn to_value(&self) -> Value {
        let entry = |entry: &QueuesOfThread| {
            let mut written = object([("iothread", entry.iothread.as_str().into())]);
            written.extend(entry.vqs.as_ref().map(|queues| ("vqs".to_owned(), queues.clone().into())));
            Value::from(written)
        };
        self.0.iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_records() {
        let id = DeviceId::parse(&"x".repeat(31)).unwrap();
        for (text, name, is_made) in [
            (r#""own""#, format!("{id}-iothread"), true),
            (r#"{"shared":"io"}"#, "io".to_owned(), true),
            (r#"{"existing":"io"}"#, "io".to_owned(), false),
            (r#"{"shared-mapping":[{"iothread":"a"},{"iothread":"b"}]}"#, "a b".to_owned(), true),
            (r#"{"existing-mapping":[{"iothread":"a","vqs":[1,0]}]}"#, "a".to_owned(), false),
        ] {
            let iothread: IoThread = serde_json::from_str(text).unwrap();
            let names: Vec<String> = iothread.names(&id).iter().map(ToString::to_string).collect();
            assert_eq!((names.join(" "), iothread.is_made()), (name, is_made));
            assert_eq!(serde_json::to_string(&iothread).unwrap(), text);
            let written = iothread.text();
            let again = match is_made {
                true => IoThread::made(written.as_deref()).unwrap(),
                false => IoThread::existing(written.as_deref().unwrap()).unwrap(),
            };
            assert_eq!(again, iothread);
        }
        for text in [r#""other""#, r#"{"shared":"a,b"}"#, r#"{"existing":""}"#, r#""shared""#] {
            assert!(serde_json::from_str::<IoThread>(text).is_err(), "{text}");
        }
        assert!(IoThread::existing("a b").is_err() && IoThread::made(Some("")).is_err());
        assert_eq!(IoThread::made(None).unwrap(), IoThread::Own);
    }

    #[test]
    fn mappings_that_qemu_would_refuse() {
        for (text, why) in [
            ("[]", "names no iothread"),
            ("[1]", "expected struct"),
            (r#"[{"iothread":"a"},{"iothread":"a"}]"#, "a is named twice"),
            (r#"[{"iothread":"a","vqs":[0]},{"iothread":"b"}]"#, "for some iothreads only"),
            (r#"[{"iothread":"a","vqs":[0]},{"iothread":"b","vqs":[1,0]}]"#, "queue 0 is given twice"),
            (r#"[{"iothread":"a","vqs":[]}]"#, "a has no queue"),
            (r#"[{"iothread":"a","vqs":[1024]}]"#, "queue 1024 is more than 1023"),
            (r#"[{"iothread":"a","vqs":[-1]}]"#, "expected u16"),
            (r#"[{"iothread":"a,b"}]"#, "a,b"),
            (r#"[{"iothread":"a","queues":[0]}]"#, "unknown field"),
            ("[", "EOF"),
        ] {
            let error = IoThread::existing(text).unwrap_err();
            assert!(error.message().contains(why), "{text}: {error}");
            assert!(IoThread::made(Some(text)).is_err());
        }
        let mapping =
            IoThread::made(Some(r#" [{"iothread":"a","vqs":[0, 2]},{"iothread":"b","vqs":[1]}]"#)).unwrap();
        let id = DeviceId::parse("data").unwrap();
        let (name, value) = mapping.property(&id);
        assert_eq!(name, "iothread-vq-mapping");
        assert_eq!(value.to_string(), r#"[{"iothread":"a","vqs":[0,2]},{"iothread":"b","vqs":[1]}]"#);
        assert_eq!(IoThread::Own.property(&id), ("iothread", "data-iothread".into()));
    }
}
