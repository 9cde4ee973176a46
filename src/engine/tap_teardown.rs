//! The tap of a NIC that has left the guest: destroyed here, and not by QEMU.
//!
//! The kernel takes some 15 ms to destroy a tap, in whoever closes it last, or deletes it. If that is QEMU, its guest stands still
//! meanwhile. If the tap is deleted under a QEMU that still has it, QEMU finds it broken, again and again, until it may close it.
//! So the tap is held here as well, QEMU closes it, which costs nothing then, and it is deleted afterwards.

use std::os::fd::{AsFd, OwnedFd};

use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{DeviceId, IfName};
use crate::log::Level;
use crate::model::{Device, Spec};
use crate::net::given::Given;
use crate::net::identity::TapIdentity;
use crate::net::link;
use crate::net::share;
use crate::net::spec::NicSpec;

/// A tap that QEMU is about to close.
#[derive(Debug)]
pub(super) struct TapFd {
    nic: DeviceId,
    _fd: OwnedFd,
}

/// What was seen of QEMU's descriptors.
#[derive(Debug)]
pub(super) struct TapCache {
    taps: share::Taps,
    /// Of the record at that moment: a NIC that is added later has a higher number.
    next_generation: u64,
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
    pub(super) fn keep_tap_open(&mut self, device: &Device) {
        let Some((name, identity)) = own_tap(device) else { return };
        let is_held = self.tap_fds.iter().any(|held| held.nic == device.id);
        if is_held || self.nics_with_own_fds.contains(&device.id) {
            return;
        }
        match self.share_tap(name) {
            Ok(fd) => self.tap_fds.push(TapFd { nic: device.id.clone(), _fd: fd }),
            Err(error) => {
                self.log.write(Level::Debug, || format!("tap {name} is deleted first: {error}"));
                self.delete_tap(name, identity);
            }
        }
    }

    fn share_tap(&mut self, name: &IfName) -> Result<OwnedFd> {
        self.taps_of_qemu()?.share(name)
    }

    /// QEMU's taps. It is looked at once for all NICs that there were by then, since it may have any number of descriptors.
    pub(super) fn taps_of_qemu(&mut self) -> Result<&share::Taps> {
        let next_generation = self.runtime().record().next_generation;
        let seen = match self.tap_cache.take().filter(|seen| seen.next_generation == next_generation) {
            Some(seen) => seen,
            None => {
                let qemu = self.qemu_pid()?;
                TapCache { taps: share::Taps::of_process(qemu, share::PATIENCE)?, next_generation }
            }
        };
        Ok(&self.tap_cache.insert(seen).taps)
    }

    /// Refuses a tap that QEMU has, for whatever it is: a NIC of somebody else's, or a netdev that was left behind. The record does
    /// not know of it, and where this process may not look into QEMU, nobody does.
    pub(super) fn check_not_in_qemu(&mut self, given: &Given) -> Result<()> {
        let qemu = self.qemu_pid().ok();
        if qemu.is_none_or(|qemu| u32::try_from(qemu) == Ok(std::process::id())) {
            // All descriptors of the caller's are there.
            return Ok(());
        }
        let Ok(taps) = self.taps_of_qemu() else { return Ok(()) };
        let Ok(mut taps) = taps.share_all(&given.name) else { return Ok(()) };
        if taps.any(|tap| tap.is_ok_and(|tap| given.is_behind(tap.as_fd()))) {
            let text = format!(
                "tap {} is open in QEMU already, for nothing that the record has; remove the netdev that has it first",
                given.name
            );
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        Ok(())
    }

    /// After QEMU has been told to close them. Whatever it did, they are deleted.
    pub(super) fn delete_taps_kept_open(&mut self, devices: &[&Device]) {
        for device in devices {
            let held = self.tap_fds.iter().position(|held| held.nic == device.id);
            let Some(held) = held.map(|at| self.tap_fds.swap_remove(at)) else { continue };
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
