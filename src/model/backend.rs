//! The names of the backend of a device that another program has started. A backend that the library makes
//! has the id of its device.

use serde::{Deserialize, Serialize};

use super::device::DeviceKind;
use crate::error::{Error, Result};
use crate::ids::{BackendName, MAX_ID};

/// Most nodes of one disk: two for each image that a chain may have.
pub const MAX_NODES: usize = 32;

/// What QEMU calls the backend of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendNames {
    /// A NIC's netdev.
    Netdev(BackendName),
    /// The nodes of a disk that its monitor owns (`-blockdev`), each above the ones that follow. The first is
    /// the one that the device has.
    Nodes(Vec<BackendName>),
    /// The drive of a disk (`-drive`). QEMU deletes it with the device.
    Drive(BackendName),
}

impl BackendNames {
    /// Refuses names that a device of this kind cannot have.
    pub fn validate(&self, kind: DeviceKind) -> Result<()> {
        let bad = |what: String| Err(Error::invalid(format!("\"backend\": {what}")));
        match (self, kind) {
            (Self::Netdev(_), DeviceKind::Nic) | (Self::Drive(_), DeviceKind::Disk) => Ok(()),
            (Self::Nodes(nodes), DeviceKind::Disk) => {
                if nodes.is_empty() || nodes.len() > MAX_NODES {
                    return bad(format!("{} nodes, a disk has 1 to {MAX_NODES}", nodes.len()));
                }
                if let Some(long) = nodes.iter().find(|node| node.as_str().len() > MAX_ID) {
                    return bad(format!("node {long}: a node's name has at most {MAX_ID} characters"));
                }
                let twice = |(index, node)| nodes.iter().take(index).any(|above| above == node);
                match nodes.iter().enumerate().find(|entry| twice(*entry)) {
                    Some((_, node)) => bad(format!("node {node} is named twice")),
                    None => Ok(()),
                }
            }
            _ => bad(format!("a {} has no {}", kind.title(), self.word())),
        }
    }

    /// All of them.
    pub fn all(&self) -> &[BackendName] {
        match self {
            Self::Nodes(nodes) => nodes,
            Self::Netdev(name) | Self::Drive(name) => std::slice::from_ref(name),
        }
    }

    /// The one that the device's property `netdev` or `drive` says.
    pub fn first(&self) -> Option<&BackendName> {
        self.all().first()
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Netdev(_) => "netdev",
            Self::Nodes(_) => "block node",
            Self::Drive(_) => "drive",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_names() {
        let read = |kind, text: &str| {
            let names: BackendNames = serde_json::from_str(text).map_err(|error| error.to_string())?;
            names.validate(kind).map_err(|error| error.message().to_owned())?;
            assert_eq!(serde_json::to_string(&names).unwrap(), text);
            Ok::<_, String>(names.first().unwrap().to_string())
        };
        let long = "x".repeat(MAX_ID + 1);
        let many: Vec<String> = (0..=MAX_NODES).map(|number| format!("n{number}")).collect();
        let (nic, disk, controller) = (DeviceKind::Nic, DeviceKind::Disk, DeviceKind::Controller);
        assert_eq!(read(nic, r#"{"netdev":"hostnet0"}"#).unwrap(), "hostnet0");
        assert_eq!(read(disk, r#"{"nodes":["format0","storage0"]}"#).unwrap(), "format0");
        assert_eq!(read(disk, &format!(r#"{{"drive":"{long}"}}"#)).unwrap(), long);
        for (kind, text, why) in [
            (nic, r#"{"drive":"a"}"#, "a NIC has no drive"),
            (disk, r#"{"netdev":"a"}"#, "a disk has no netdev"),
            (controller, r#"{"nodes":["a"]}"#, "a SCSI controller has no block node"),
            (disk, r#"{"nodes":[]}"#, "0 nodes, a disk has 1 to 32"),
            (disk, &serde_json::json!({ "nodes": many }).to_string(), "33 nodes"),
            (disk, &format!(r#"{{"nodes":["{long}"]}}"#), "at most 31 characters"),
            (disk, r#"{"nodes":["a","b","a"]}"#, "node a is named twice"),
            (disk, r##"{"nodes":["#block123"]}"##, "must start with a letter"),
            (disk, r#"{"drive":"a\u0000"}"#, "is not allowed"),
            (disk, r#"{"drive":"a","nodes":["b"]}"#, "expected"),
            (disk, r#"{"fdset":"a"}"#, "unknown variant"),
        ] {
            let error = read(kind, text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
