//! Mends what a record and its guest do not agree about, where that is safe.

use std::collections::BTreeSet;

use super::device_reports::Confirmed;
use super::difference::{Difference, Mismatch};
use super::events::EventKind;
use super::guest_state::GuestState;
use super::identity::Shown;
use super::inventory::PeripheralIds;
use super::limit::Deadline;
use super::plan::UndoStep;
use super::store_step::Undurable;
use crate::error::Result;
use crate::ids::DeviceId;
use crate::model::Device;

impl GuestState {
    /// Mends what is safe to mend: a device that the guest no longer has leaves the record, and what stood
    /// behind it is taken down; one that sits elsewhere is recorded where it sits; orphans with our tag are
    /// removed. Answers what is left.
    pub(super) async fn repair(&mut self, deadline: &Deadline) -> Result<Vec<Difference>> {
        let differences = self.verify(deadline).await?;
        let mut orphans = BTreeSet::new();
        self.finish_missing(&differences, deadline).await?;
        for difference in &differences {
            match difference.what {
                Mismatch::Address => self.record_real_address(&difference.id, deadline).await?,
                Mismatch::OrphanNode | Mismatch::OrphanFdset => {
                    orphans.insert(difference.id.clone());
                }
                _ => {}
            }
        }
        if !orphans.is_empty() {
            let peripheral_ids = PeripheralIds::ask(self, deadline).await?;
            for owner in orphans.iter().filter(|owner| !peripheral_ids.has(owner)) {
                self.remove_orphans(owner, deadline).await?;
            }
        }
        if differences.iter().any(|difference| difference.what.is_repairable()) {
            return self.verify(deadline).await;
        }
        Ok(differences)
    }

    /// Clears up behind those that QOM, asked now that this is decided, does not have.
    async fn finish_missing(&mut self, differences: &[Difference], deadline: &Deadline) -> Result<()> {
        let missing = differences.iter().filter(|difference| difference.what == Mismatch::Missing);
        let missing: Vec<Device> =
            missing.filter_map(|difference| self.known_device(&difference.id)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let confirmed = self.confirm_in_qom(&missing.iter().collect::<Vec<_>>(), deadline).await?;
        let gone = confirmed.into_iter().filter_map(|confirmed| match confirmed {
            Confirmed::Detached(gone) => Some(gone),
            Confirmed::Refused | Confirmed::Present => None,
        });
        self.finish_removals(&gone.collect::<Vec<_>>(), deadline).await.map(drop)
    }

    /// Only where the device itself sits: another one that has its id says nothing about it.
    async fn record_real_address(&mut self, id: &str, deadline: &Deadline) -> Result<()> {
        let Some(device) = self.known_device(id) else { return Ok(()) };
        let Some(found) = self.real_address(&device, deadline).await? else { return Ok(()) };
        let peripheral_ids = PeripheralIds::ask(self, deadline).await?;
        let anywhere = Device { address: None, ..device };
        let shown = self.identify(&[&anywhere], &peripheral_ids, deadline).await?;
        if !shown.into_iter().all(Shown::is_itself) {
            return Ok(());
        }
        let mut next = self.contents().record().clone();
        if let Some(device) = next.devices.iter_mut().find(|device| device.id.as_str() == id) {
            device.address = Some(found);
        }
        self.needs_resync = true;
        self.replace(next).await
    }

    async fn remove_orphans(&mut self, owner: &str, deadline: &Deadline) -> Result<()> {
        let owner = DeviceId::parse(owner)?;
        let sets = self.fdsets.of(&owner);
        let may = Undurable::Orphan.may();
        let mut left = self.tear_down(may, &[UndoStep::BlockdevDel((&owner).into())], deadline).await?.left;
        // A node that stays is in use, by whomever, and may have to open its descriptors again.
        if left.is_empty() {
            let sets: Vec<UndoStep> = sets.into_iter().map(UndoStep::RemoveFd).collect();
            left = self.tear_down(may, &sets, deadline).await?.left;
            self.fdsets.release(&owner);
        }
        for residue in left {
            self.events.guest(EventKind::Undone, format!("left behind of {owner}: {residue}"));
        }
        Ok(())
    }
}
