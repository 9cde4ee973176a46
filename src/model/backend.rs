//! The names of the backend of a device that another program has started. A backend that the library makes
//! has the id of its device.

use serde::{Deserialize, Serialize};

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
    /// Refuses names that no nodes of one disk can have.
    pub fn validate(&self) -> Result<()> {
        let bad = |what: String| Err(Error::invalid(format!("\"backend\": {what}")));
        let Self::Nodes(nodes) = self else { return Ok(()) };
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

    /// What they are the names of.
    pub fn word(&self) -> &'static str {
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
    fn names_are_checked() {
        let read = |text: &str| {
            let names: BackendNames = serde_json::from_str(text).map_err(|error| error.to_string())?;
            names.validate().map_err(|error| error.message().to_owned())?;
            assert_eq!(serde_json::to_string(&names).unwrap(), text);
            Ok::<_, String>(names.first().unwrap().to_string())
        };
        let long = "x".repeat(MAX_ID + 1);
        let many: Vec<String> = (0..=MAX_NODES).map(|number| format!("n{number}")).collect();
        assert_eq!(read(r#"{"netdev":"hostnet0"}"#).unwrap(), "hostnet0");
        assert_eq!(read(r#"{"nodes":["format0","storage0"]}"#).unwrap(), "format0");
        assert_eq!(read(&format!(r#"{{"drive":"{long}"}}"#)).unwrap(), long);
        for (text, why) in [
            (r#"{"nodes":[]}"#, "0 nodes, a disk has 1 to 32"),
            (&serde_json::json!({ "nodes": many }).to_string(), "33 nodes"),
            (&format!(r#"{{"nodes":["{long}"]}}"#), "at most 31 characters"),
            (r#"{"nodes":["a","b","a"]}"#, "node a is named twice"),
            (r##"{"nodes":["#block123"]}"##, "must start with a letter"),
            (r#"{"drive":"a\u0000"}"#, "is not allowed"),
            (r#"{"drive":"a","nodes":["b"]}"#, "expected"),
            (r#"{"fdset":"a"}"#, "unknown variant"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
