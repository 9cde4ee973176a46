//! Descriptors that were on their way to QEMU when a connection ended.
//!
//! When a client goes, QEMU closes the descriptor that came with its last command, in one thread, while
//! another may be running that command (5.2 to 11.1; `tcp_chr_free_connection()` and `tcp_get_msgfds()` in
//! `chardev/char-socket.c` share it without a lock). What is then kept under the name, or in the fdset, is a
//! number that belongs to nothing: until QEMU opens something else. `closefd` and `remove-fd` would close
//! that, be it the image of another disk; so would the next descriptor of that name.
//!
//! Only the last descriptor that QEMU took can be such a one. Whatever cannot be told from it is left where
//! it is, and never touched again: names are used once, and fdsets get a [mark](node::UNCERTAIN_TAG).

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::plan::{self, UndoStep};
use super::store_step::May;
use super::tap_teardown::own_tap;
use super::transaction::Residue;
use crate::disk::{DiskSpec, Identity, node};
use crate::error::Result;
use crate::ids::DeviceId;
use crate::log::Level;
use crate::model::{Device, Intent, Operation, Spec};
use crate::net::spec::NicSpec;
use crate::qmp::Command;
use crate::sorted::object;

impl GuestState {
    /// A new connection: what was begun on another one may have been cut off.
    pub(super) fn mark_fds_uncertain(&mut self) {
        let contents = self.contents();
        let is_open = |intent: &&Intent| {
            matches!(intent.operation, Operation::Add | Operation::RollbackAdd) && !intent.fds_settled
        };
        let adds = contents.journal().intents.iter().filter(is_open);
        let cut_off: Vec<DeviceId> = adds.map(|intent| intent.device.id.clone()).collect();
        self.phases.reconnect(&cut_off);
    }

    /// Takes back what was handed over for a device, as far as QEMU is known to have it; `absent` is what it
    /// had not made of it. The rest is put where nobody comes across it.
    pub(super) async fn recover_passed_fds(
        &mut self,
        may: May<'_>,
        device: &Device,
        absent: &[UndoStep],
        deadline: &Deadline,
    ) -> Result<Vec<Residue>> {
        let mut passed = plan::passed_fds(device, &self.fdsets.of(&device.id));
        let mut made = plan::possible_backend(device, self.version);
        // An object may be another device's as well, and then says nothing about this one.
        made.retain(|made| !matches!(made, UndoStep::ObjectDel(_)));
        // A netdev that is claimed first is always found.
        let is_proof = !made.iter().any(UndoStep::prepares);
        if is_proof && made.iter().any(|made| !absent.contains(made)) {
            return self.tear_down(may, &passed, deadline).await.map(|report| report.left);
        }
        match &device.spec {
            Spec::Nic(spec) => self.close_passed_names(may, device, spec, &passed, deadline).await,
            Spec::Disk(spec) => {
                let lost = self.uncertain_fdsets(&self.fdsets.of(&device.id), spec).await;
                self.mark_uncertain(may, &device.id, &lost, deadline).await?;
                passed.retain(|set| !lost.iter().any(|lost| *set == UndoStep::RemoveFd(*lost)));
                self.tear_down(may, &passed, deadline).await.map(|report| report.left)
            }
            Spec::Controller(_) => Ok(Vec::new()),
        }
    }

    /// In the order in which they were handed over, until as many are closed as QEMU has descriptors of the
    /// tap: those were the last ones, so that whatever came before has arrived. A name that is not there,
    /// since QEMU refused it for instance, has none.
    async fn close_passed_names(
        &mut self,
        may: May<'_>,
        device: &Device,
        spec: &NicSpec,
        names: &[UndoStep],
        deadline: &Deadline,
    ) -> Result<Vec<Residue>> {
        let mut left = Vec::new();
        let mut arrived = self.taps_received(device, spec).await;
        let before_taps = names.len().saturating_sub(usize::from(spec.queues));
        for (at, name) in names.iter().enumerate() {
            if arrived == 0 {
                self.log.write(Level::Debug, || format!("left alone, if it is there: {}", name.residue()));
                continue;
            }
            let report = self.tear_down(may, std::slice::from_ref(name), deadline).await?;
            if at >= before_taps && report.absent.is_empty() {
                arrived -= 1;
            }
            left.extend(report.left);
        }
        // Where descriptors of it stay with QEMU, it would stay as well.
        if let Some(tap) = own_tap(device) {
            self.delete_tap(tap).await;
        }
        Ok(left)
    }

    /// How many descriptors of the tap QEMU has, as far as that can be told.
    async fn taps_received(&mut self, device: &Device, spec: &NicSpec) -> usize {
        let Some(tap) = &spec.ifname else { return 0 };
        let shares =
            |other: &Device| matches!(&other.spec, Spec::Nic(nic) if nic.ifname.as_ref() == Some(tap));
        if self.contents().record().devices.iter().any(shares) {
            return 0;
        }
        let error = match self.taps_of_qemu().await.and_then(|taps| taps.count(tap)) {
            Ok(count) => return count,
            Err(error) => error,
        };
        match (own_tap(device), spec.queues) {
            // It goes with its only descriptor, and the agent that made it has none any more.
            (Some(_), 1) => usize::from(self.find_tap(spec).await.is_ok()),
            _ => {
                self.log.write(Level::Info, || format!("what QEMU has of tap {tap} stays: {error}"));
                0
            }
        }
    }

    /// Those of the fdsets of a disk that may have lost what they had.
    pub(super) async fn uncertain_fdsets(&self, sets: &[u32], spec: &DiskSpec) -> Vec<u32> {
        let images = self.image_files(spec).await;
        let numbers = sets.iter().flat_map(|set| self.fdsets.numbers(*set)).copied().collect();
        let seen = match self.qemu_pid() {
            Ok(qemu) => self.identify_descriptors(qemu, numbers).await,
            Err(error) => Err(error),
        };
        let Ok(seen) = seen else { return sets.last().copied().into_iter().collect() };
        let is_image = |number: &i32| seen.get(number).is_some_and(|identity| images.contains(identity));
        sets.iter().copied().filter(|set| !self.fdsets.numbers(*set).iter().all(is_image)).collect()
    }

    /// Which files were passed for a disk. Nothing is opened that was not: by now its image may name others.
    async fn image_files(&self, spec: &DiskSpec) -> Vec<Identity> {
        let chain = match &spec.chain {
            Some(chain) => Some(chain.as_ref().clone()),
            None => self.open_image(spec).await.ok().map(|image| image.chain),
        };
        chain.map(|chain| chain.layers.iter().map(|layer| layer.identity).collect()).unwrap_or_default()
    }

    /// Nobody is to take these sets for a disk's, be it another agent.
    pub(super) async fn mark_uncertain(
        &mut self,
        may: May<'_>,
        owner: &DeviceId,
        sets: &[u32],
        deadline: &Deadline,
    ) -> Result<()> {
        for set in sets {
            // Any descriptor will do; this one takes no file.
            let mark = self.make_mark().await?;
            let arguments = object([("fdset-id", (*set).into()), ("opaque", node::UNCERTAIN_TAG.into())]);
            let mut command = Command::new("add-fd", arguments);
            command.fd = Some(mark);
            self.send_one(may, command, deadline).await?;
            self.fdsets.disown(*set);
            self.log.write(Level::Warning, || {
                format!("fdset {set} of {owner} stays: the client that made it was cut off, and QEMU may have lost what is in it")
            });
        }
        Ok(())
    }
}
