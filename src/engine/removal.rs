//! Removals as callers ask for them.

use crate::error::{Error, Result};
use crate::model::{Device, DeviceKind};

/// A removal as the caller asks for it.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Id of the device; of one that has none, its path in QOM.
    pub id: String,
    /// What it has to be, if the caller said so.
    pub kind: Option<DeviceKind>,
    /// Live or not at all: what would wait for a reboot is an error.
    pub live_only: bool,
    /// Wait for the guest; without, a granted removal is announced by an event.
    pub wait: bool,
    /// Also a disk whose data is in an image that the record does not have; that image stays as it is.
    pub leave_overlay: bool,
}

/// The removal of many devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemovalOfMany {
    /// See [`Removal::live_only`].
    pub live_only: bool,
    /// See [`Removal::wait`].
    pub wait: bool,
    /// See [`Removal::leave_overlay`].
    pub leave_overlay: bool,
}

impl Removal {
    /// Refuses a device that is not what the caller said.
    pub(crate) fn check_kind(&self, device: &Device) -> Result<()> {
        match self.kind.filter(|kind| *kind != device.kind()) {
            None => Ok(()),
            Some(kind) => {
                let text = format!("{} is a {}, not a {}", device.id, device.kind().title(), kind.title());
                Err(Error::invalid(text))
            }
        }
    }
}
