//! The tap of a NIC that has left the guest: destroyed here, and not by QEMU.
//!
//! The kernel takes some 15 ms to destroy a tap, in whoever closes it last, or deletes it. If that is QEMU, its guest stands still
//! meanwhile. If the tap is deleted under a QEMU that still has it, QEMU finds it broken, again and again, until it may close it.
//! So the tap is held here as well, QEMU closes it, which costs nothing then, and it is deleted afterwards.

use std::os::fd::OwnedFd;

use super::session::Session;
use crate::error::Result;
use crate::ids::{DeviceId, IfName};
use crate::log::Level;
use crate::net::link::{self, TapIdentity};
use crate::net::share;
use crate::net::spec::NicSpec;
use crate::runtime::{Device, Spec};

/// A tap that QEMU is about to close.
#[derive(Debug)]
pub(super) struct HeldTap {
    nic: DeviceId,
    _fd: OwnedFd,
}

/// The tap that was made for a NIC, if it was made here.
pub(super) fn own_tap(device: &Device) -> Option<(&IfName, &TapIdentity)> {
    match &device.spec {
        Spec::Nic(NicSpec { ifname: Some(name), tap_identity: Some(identity), .. }) => Some((name, identity)),
        _ => None,
    }
}

impl Session {
    /// Before QEMU is told to close it. Where it cannot be held, because this process may not look into QEMU, it is deleted now.
    pub(super) fn hold_tap(&mut self, device: &Device) {
        let Some((name, identity)) = own_tap(device) else { return };
        if self.held_taps.iter().any(|held| held.nic == device.id) {
            return;
        }
        match self.share_tap(name) {
            Ok(fd) => self.held_taps.push(HeldTap { nic: device.id.clone(), _fd: fd }),
            Err(error) => {
                self.log.write(Level::Debug, || format!("tap {name} is deleted first: {error}"));
                self.delete_tap(name, identity);
            }
        }
    }

    fn share_tap(&mut self, name: &IfName) -> Result<OwnedFd> {
        let qemu = self.monitor()?.peer()?;
        share::from_process(qemu, name)
    }

    /// After QEMU has been told to close them. Whatever it did, they are deleted.
    pub(super) fn delete_held_taps(&mut self, devices: &[&Device]) {
        for device in devices {
            let held = self.held_taps.iter().position(|held| held.nic == device.id);
            let Some(held) = held.map(|at| self.held_taps.swap_remove(at)) else { continue };
            if let Some((name, identity)) = own_tap(device) {
                self.delete_tap(name, identity);
            }
            drop(held);
        }
    }

    pub(super) fn delete_tap(&self, name: &IfName, identity: &TapIdentity) {
        if let Err(error) = link::destroy(name, identity) {
            self.log.write(Level::Info, || format!("tap {name} is left to QEMU: {error}"));
        }
    }
}
