//! A change of medium that was interrupted: the record says which medium it is, and the drive is made so.

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::medium_plan::{Lock, nodes_of};
use super::plan::UndoStep;
use super::transaction::Residue;
use crate::error::{ErrorKind, Result};
use crate::ids::{BackendName, DeviceId};
use crate::model::{Device, Spec};

impl GuestState {
    /// Puts the recorded medium into the drive, and takes down what is behind the other one: `noted` has the
    /// nodes of both. What cannot be put in is told, and not tried for ever; what is left behind is tried by
    /// the next call.
    pub(super) async fn settle_medium(&mut self, noted: &Device, deadline: &Deadline) -> Result<()> {
        let journaled = self.journaled(&[noted])?;
        // A drive that has left the guest has nothing in it, and nothing that is kept for it.
        let recorded = self.recorded(noted.id.as_str());
        let in_drive = match &recorded {
            Some(recorded) => self.put_medium_back(recorded, noted, deadline).await?,
            None => None,
        };
        let kept = recorded.as_ref().map(nodes_of).unwrap_or_default();
        let all = noted.backend.as_ref().map_or(&[][..], |names| names.all());
        let mut is_clean = true;
        for node in all.iter().filter(|node| !kept.contains(node)) {
            // The drive uses it as long as nothing else can be put in.
            let is_used = in_drive.as_deref() == Some(node.as_str());
            is_clean &= !is_used && self.take_node_down(noted, node, deadline).await?.is_empty();
        }
        match is_clean {
            true => self.strike(journaled.nothing_to_record(), [noted]).await,
            false => Ok(()),
        }
    }

    /// Makes the drive have the recorded medium. If another one cannot be put in, it answers the node that is
    /// in the drive.
    async fn put_medium_back(
        &mut self,
        recorded: &Device,
        noted: &Device,
        deadline: &Deadline,
    ) -> Result<Option<String>> {
        let journaled = self.journaled(&[noted])?;
        let filled = match self.tray_of(recorded, deadline).await {
            Ok(tray) => self.fill(journaled.may(), recorded, &tray, Lock::Broken, deadline).await,
            Err(error) => Err(error),
        };
        match filled {
            Ok(()) => Ok(None),
            // The drive has left meanwhile, and what was in it is behind nothing.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.is_refusal() => {
                self.tell_change_stays(noted, &error);
                Ok(self.tray_of(recorded, deadline).await?.node)
            }
            Err(error) => Err(error),
        }
    }

    /// The node and what was handed over for it. Where there is no node of a new medium, the last descriptor
    /// may be one that QEMU has lost.
    async fn take_node_down(
        &mut self,
        noted: &Device,
        node: &BackendName,
        deadline: &Deadline,
    ) -> Result<Vec<Residue>> {
        let journaled = self.journaled(&[noted])?;
        let may = journaled.may();
        let report = self.tear_down(may, &[UndoStep::BlockdevDel(node.clone())], deadline).await?;
        let mut left = report.left;
        // A name that is no id was given by another program, whose sets are its own.
        let Ok(owner) = DeviceId::parse(node.as_str()) else { return Ok(left) };
        let mut sets = self.fdsets.of(&owner);
        let is_first = nodes_of(noted).first() == Some(node);
        let new = match &noted.spec {
            Spec::Disk(spec) if is_first && spec.has_medium() => Some(spec),
            Spec::Disk(_) | Spec::Nic(_) | Spec::Controller(_) => None,
        };
        if let Some(spec) = new.filter(|_| !report.absent.is_empty()) {
            let lost = self.uncertain_fdsets(&sets, spec).await;
            self.mark_uncertain(may, &owner, &lost, deadline).await?;
            sets.retain(|set| !lost.contains(set));
        }
        let sets: Vec<UndoStep> = sets.into_iter().map(UndoStep::RemoveFd).collect();
        left.extend(self.tear_down(may, &sets, deadline).await?.left);
        self.fdsets.release(&owner);
        Ok(left)
    }
}
