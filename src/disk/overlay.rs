//! An image that the guest writes to instead of the recorded one, because somebody else put it there.

use serde::{Deserialize, Serialize};

/// Longest text that is kept of what QEMU says.
const LONGEST: usize = 1024;

/// An image that QEMU was given by somebody else for a disk of the record: an overlay, as by
/// `blockdev-snapshot-sync`, or the target of a mirror. The guest's data is there, and the record does not
/// have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Its block node in QEMU.
    pub node: String,
    /// QEMU's driver for it, such as qcow2; empty if QEMU did not say.
    pub driver: String,
    /// What QEMU calls its file; empty if QEMU did not say.
    pub file: String,
}

impl Overlay {
    /// From what QEMU says, cut where it is too long for any file.
    pub fn new(node: &str, driver: &str, file: &str) -> Self {
        let text = |text: &str| text.chars().take(LONGEST).collect();
        Self { node: text(node), driver: text(driver), file: text(file) }
    }
}

impl std::fmt::Display for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { node, driver, file } = self;
        let name = if file.is_empty() { node } else { file };
        match driver.is_empty() {
            true => write!(f, "{name} (block node {node})"),
            false => write!(f, "{name} ({driver}, block node {node})"),
        }
    }
}
