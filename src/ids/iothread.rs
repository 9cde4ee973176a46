//! Which thread of QEMU does the I/O of a disk or of a SCSI controller.

use serde::{Deserialize, Serialize};

use super::name::{BackendName, DeviceId};
use crate::error::Result;

/// An iothread, by whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoThread {
    /// The device's own: it is made with the device, and deleted after it.
    Own,
    /// One of this name that is made with the first device that asks for it, and deleted after the last.
    Shared(BackendName),
    /// One of this name that QEMU has already.
    Existing(BackendName),
}

impl IoThread {
    /// What its id in QEMU is, for a device with this id.
    pub fn name(&self, device: &DeviceId) -> BackendName {
        match self {
            Self::Own => BackendName::of_helper(device, "iothread"),
            Self::Shared(name) | Self::Existing(name) => name.clone(),
        }
    }

    /// Whether the library makes it.
    pub fn is_made(&self) -> bool {
        !matches!(self, Self::Existing(_))
    }

    /// The one that QEMU has under this name.
    pub fn existing(name: &str) -> Result<Self> {
        BackendName::parse(name).map(Self::Existing)
    }

    /// One that is made: the device's own, or one of this name.
    pub fn made(name: Option<&str>) -> Result<Self> {
        name.map_or(Ok(Self::Own), |name| BackendName::parse(name).map(Self::Shared))
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
        ] {
            let iothread: IoThread = serde_json::from_str(text).unwrap();
            assert_eq!((iothread.name(&id).as_str(), iothread.is_made()), (name.as_str(), is_made));
            assert_eq!(serde_json::to_string(&iothread).unwrap(), text);
        }
        for text in [r#""other""#, r#"{"shared":"a,b"}"#, r#"{"existing":""}"#, r#""shared""#] {
            assert!(serde_json::from_str::<IoThread>(text).is_err(), "{text}");
        }
        assert!(IoThread::existing("a b").is_err() && IoThread::made(Some("")).is_err());
        assert_eq!(IoThread::made(None).unwrap(), IoThread::Own);
    }
}
