//! The tap of a NIC that has left the guest: destroyed here, and not by QEMU.
//!
//! The kernel takes some 15 ms to destroy a tap, in whoever closes it last, or deletes it. If that is QEMU,
//! its guest stands still meanwhile. If the tap is deleted under a QEMU that still has it, QEMU finds it
//! broken, again and again, until it may close it. So the tap is held here as well, QEMU closes it, which
//! costs nothing then, and it is deleted afterwards.

use std::sync::Arc;

use super::guest_state::GuestState;
use super::host::{OwnTap, netns_of};
use super::tap_fds::{TapCache, TapFd};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::IfName;
use crate::log::Level;
use crate::model::{Device, Spec};
use crate::net::given::Given;
use crate::net::share::Taps;
use crate::net::spec::NicSpec;
use crate::planted::{self, Fault};
use crate::sys::descriptor::Descriptor;

/// The tap that was made for a NIC, if it was made here.
pub(super) fn own_tap(device: &Device) -> Option<OwnTap<'_>> {
    match &device.spec {
        Spec::Nic(spec @ NicSpec { ifname: Some(name), tap_identity: Some(identity), .. }) => {
            Some(OwnTap { name, identity, netns: netns_of(spec) })
        }
        _ => None,
    }
}

impl GuestState {
    /// Before QEMU is told to close it. Where it cannot be held, because this process may not look into QEMU,
    /// it is deleted now.
    pub(super) async fn keep_tap_open(&mut self, device: &Device) {
        let Some(tap) = own_tap(device) else { return };
        let is_held = self.tap_fds.iter().any(|held| held.nic == device.id);
        if is_held || self.phases.has_own_fds(&device.id) {
            return;
        }
        match self.share_tap_of_qemu(tap.name).await {
            Ok(fd) => self.tap_fds.push(TapFd { nic: device.id.clone(), _fd: fd }),
            Err(error) => {
                self.log.write(Level::Debug, || format!("tap {} is deleted first: {error}", tap.name));
                self.delete_tap(tap).await;
            }
        }
    }

    async fn share_tap_of_qemu(&mut self, name: &IfName) -> Result<Descriptor> {
        let taps = self.taps_of_qemu().await?;
        self.share_tap(taps, name).await
    }

    /// QEMU's taps. It is looked at once for all NICs that there were by then, since it may have any number
    /// of descriptors.
    pub(super) async fn taps_of_qemu(&mut self) -> Result<Arc<Taps>> {
        let next_generation = self.contents().record().next_generation;
        let seen = match self.tap_cache.take().filter(|seen| seen.next_generation == next_generation) {
            Some(seen) => seen,
            None => TapCache { taps: self.list_taps(self.qemu_pid()?).await?, next_generation },
        };
        Ok(self.tap_cache.insert(seen).taps.clone())
    }

    /// Refuses a tap that QEMU has, for whatever it is: a NIC of somebody else's, or a netdev that was left
    /// behind. The record does not know of it, and where this process may not look into QEMU, nobody does.
    pub(super) async fn check_not_in_qemu(&mut self, given: &Given) -> Result<()> {
        let Ok(qemu) = self.qemu_pid() else { return Ok(()) };
        if self.is_own_process(qemu).await? {
            // All descriptors of the caller's are there.
            return Ok(());
        }
        let Ok(taps) = self.taps_of_qemu().await else { return Ok(()) };
        if self.has_tap(taps, given).await? {
            let text = format!(
                "tap {} is open in QEMU already, for nothing that the record has; remove the netdev that has it first",
                given.name
            );
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        Ok(())
    }

    /// After QEMU has been told to close them. Whatever it did, they are deleted.
    pub(super) async fn delete_taps_kept_open(&mut self, devices: &[&Device]) {
        for device in devices {
            let held = self.tap_fds.iter().position(|held| held.nic == device.id);
            let Some(held) = held.map(|at| self.tap_fds.swap_remove(at)) else { continue };
            if let Some(tap) = own_tap(device) {
                self.delete_tap(tap).await;
            }
            drop(held);
        }
        if planted::has(Fault::TapsOfOthers) {
            for tap in self.contents().record().devices.iter().filter_map(own_tap) {
                self.delete_tap(tap).await;
            }
        }
    }

    pub(super) async fn delete_tap(&self, tap: OwnTap<'_>) {
        if let Err(error) = self.destroy_tap(tap).await {
            self.log.write(Level::Info, || format!("tap {} is left to QEMU: {error}", tap.name));
        }
    }
}
