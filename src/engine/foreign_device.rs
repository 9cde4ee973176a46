//! A device that only QEMU has: what is asked of the shell about it, and what it turns out to be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Map;

use super::shown::Shown;
use crate::ids::{Address, DeviceId};
use crate::model::{BackendNames, Spec};

/// What QEMU shows of a device, for the shell to find out what is behind it on the host.
#[derive(Debug)]
pub struct ForeignDevice {
    /// The device.
    pub id: DeviceId,
    /// QEMU's process.
    pub pid: i32,
    /// All that QEMU shows.
    pub(crate) shown: Shown,
    /// Whether vhost moves the packets of the recorded NICs, by their netdevs.
    pub vhosts: BTreeMap<String, bool>,
    /// The image that is expected behind it.
    pub image: Option<PathBuf>,
}

/// What a device turned out to be.
#[derive(Clone, Debug)]
pub struct Recognized {
    /// Its settings.
    pub spec: Spec,
    /// Where it sits.
    pub address: Address,
    /// What QEMU calls its backend, if that is not its id.
    pub backend: Option<BackendNames>,
    /// What else the record keeps of it.
    pub properties: Map<String, serde_json::Value>,
}
