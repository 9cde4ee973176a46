//! Who keeps a block node whose disk has left the guest: an export, a job, or a node above it. What they use
//! stays, and so does the removal of the disk, until they let go.

use serde_json::Value;

use super::graph::{self, BlockGraph, Holder};
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::{PendingReason, ShortText};
use super::plan::UndoStep;
use super::report::Report;
use super::transaction::Residue;
use crate::error::Result;
use crate::ids::DeviceId;
use crate::model::{Device, DeviceKind};

impl Residue {
    /// Whether it is to be free in a moment: QEMU has not taken the device apart yet.
    pub(super) fn is_only_late(&self) -> bool {
        self.is_in_use() && self.holders.is_none()
    }

    /// Why the removal of its disk goes on.
    pub(super) fn why_kept(&self) -> PendingReason {
        PendingReason::InUse(ShortText::new(self.holders.as_deref().unwrap_or("it does not say for whom")))
    }
}

impl GuestState {
    /// Finds out who uses the block nodes among these.
    pub(super) async fn name_holders(&mut self, left: &mut [Residue], deadline: &Deadline) -> Result<()> {
        if !left.iter().any(Residue::is_in_use) {
            return Ok(());
        }
        let batch = self.ask(graph::holder_questions().to_vec(), deadline).await;
        if let Some(error) = batch.failure {
            return Err(error);
        }
        // A QEMU that does not have one of the questions says nothing about that.
        let mut answers =
            batch.replies.into_iter().map(|reply| reply.and_then(Result::ok).unwrap_or_default());
        let [graph, exports, jobs] = [(); 3].map(|()| answers.next().unwrap_or(Value::Null));
        let graph = BlockGraph::read(&graph);
        for residue in left.iter_mut().filter(|residue| residue.is_in_use()) {
            let UndoStep::BlockdevDel(node) = &residue.undo_step else { continue };
            let holders = graph.holders(node.as_str(), &exports, &jobs);
            let owner_of = |node: &str| self.owner_of_backend(DeviceKind::Disk, node);
            let owner = owner_of(node.as_str());
            let id = owner.as_ref().map_or(node.as_str(), DeviceId::as_str);
            // Its own node above goes first, and this one with the next try.
            let is_own = |holder: &&Holder| match holder {
                Holder::Node(above) => owner.is_some() && owner_of(above) == owner,
                holder => holder.is_device(id),
            };
            let others: Vec<String> =
                holders.iter().filter(|holder| !is_own(holder)).map(Holder::to_string).collect();
            residue.holders = (!others.is_empty()).then(|| others.join(", "));
        }
        Ok(())
    }

    /// Why the removal of this device goes on, though the guest has let go of it.
    pub(super) fn why_kept(&self, device: &Device) -> Option<PendingReason> {
        let why = self.phases.request(&device.id)?.why;
        matches!(why, PendingReason::InUse(_)).then_some(why)
    }

    /// Finishes the removals that somebody stood in the way of, who may have let go by now.
    pub(super) async fn finish_released(&mut self, deadline: &Deadline) -> Result<()> {
        let kept =
            self.phases.requests().filter(|(_, request)| matches!(request.why, PendingReason::InUse(_)));
        let ids: Vec<String> = kept.map(|(id, _)| id.to_string()).collect();
        ids.iter().for_each(|id| self.add_report(id, Report::NotFound));
        self.process_reports(deadline).await
    }
}
