//! Changing the tap of a NIC on the host as one operation with the record: what moving it to another bridge
//! and setting its limits have in common.

use super::guest_state::GuestState;
use super::host::netns_of;
use super::host_step::HostStep;
use super::store_step::NotRecorded;
use crate::error::Result;
use crate::model::{Device, Operation, Record};

/// A change of a tap.
pub(super) struct TapChange {
    /// What the journal calls it.
    pub(super) operation: Operation,
    /// What changes it. A failure leaves the tap as it was, or says that it does not.
    pub(super) there: HostStep,
    /// What changes it back.
    pub(super) back: HostStep,
    /// What is done, for errors.
    pub(super) doing: String,
    /// What stays changed where it cannot be changed back.
    pub(super) left: String,
}

impl GuestState {
    /// Journals the change with the NIC as it was, makes it, and records what is `next`. If something fails
    /// and the tap cannot be put back, the next call settles it.
    pub(super) async fn change_tap(
        &mut self,
        before: &Device,
        after: &Device,
        next: Record,
        change: TapChange,
    ) -> Result<()> {
        let netns = before.nic().and_then(netns_of);
        let TapChange { operation, there, back, doing, left } = change;
        let journaled = self.prepare_change(next, operation, before).await?;
        if let Err(error) = self.step_on_tap(netns, there).await {
            if error.left().is_empty() {
                self.clear_change(journaled.give_up().nothing_to_record(), before).await;
            } else {
                self.needs_resync = true;
            }
            return Err(error.context(doing));
        }
        let Err(NotRecorded { error, journaled }) =
            self.commit_change(after, std::slice::from_ref(after), journaled).await
        else {
            return Ok(());
        };
        let kept = self.step_on_tap(netns, back).await.err().map(|cause| format!("{left} ({cause})"));
        Err(self.end_undo(before, journaled, error, kept.into_iter().collect()).await)
    }
}
