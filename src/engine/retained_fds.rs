//! Descriptors of an add that failed while the guest did not run. QEMU before 9.1 closes none then, whatever
//! it answers to `remove-fd`: they are kept as they are for the next try, and given back when the guest runs.

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::plan::UndoStep;
use super::store_step::Undurable;
use crate::error::{Error, Result};
use crate::ids::DeviceId;
use crate::qmp::Version;
use crate::sys::descriptor::Descriptor;

/// Since this version QEMU closes a descriptor when it is told to.
const CLOSES_ALWAYS: Version = Version { major: 9, minor: 1, micro: 0 };

impl GuestState {
    /// Takes out of what is to be taken back the descriptors that QEMU would not close now. They stay in sets
    /// that can be used again.
    pub(super) async fn retain_fds(
        &mut self,
        undo_steps: &mut Vec<UndoStep>,
        deadline: &Deadline,
    ) -> Result<()> {
        let is_set = |undo_step: &UndoStep| matches!(undo_step, UndoStep::RemoveFd(_));
        let closes = self.version >= CLOSES_ALWAYS;
        if closes || !undo_steps.iter().any(is_set) || self.run_state(deadline).await?.is_none() {
            return Ok(());
        }
        for undo_step in undo_steps.iter() {
            if let UndoStep::RemoveFd(set) = undo_step {
                self.fdsets.retain(*set);
            }
        }
        undo_steps.retain(|undo_step| !is_set(undo_step));
        // They are given back when the guest runs.
        self.needs_resync = true;
        Ok(())
    }

    /// Says in the error of an add what is kept of it.
    pub(super) fn with_retained_fds(&self, error: Error) -> Error {
        let kept = self.fdsets.retained();
        if kept.is_empty() {
            return error;
        }
        let words = |set: u32| {
            format!(
                "fdset {set}: QEMU {} closes none while the guest does not run; it is used by the next try, and closed then",
                self.version
            )
        };
        let left = error.left().iter().cloned().chain(kept.into_iter().map(words)).collect();
        error.with_undo(left)
    }

    /// A set that has this very file already, left by an earlier try to add the device.
    pub(super) async fn retained_set(
        &mut self,
        id: &DeviceId,
        fd: &Descriptor,
        taken: &[u32],
    ) -> Option<u32> {
        let free = self.fdsets.retained_for(id).filter(|set| !taken.contains(set));
        let candidates: Vec<(u32, i32)> =
            free.filter_map(|set| Some((set, self.fdsets.numbers(set).first().copied()?))).collect();
        if candidates.is_empty() {
            return None;
        }
        let numbers = candidates.iter().map(|(_, number)| *number).collect();
        let same = self.find_same_file(fd, self.qemu_pid().ok()?, numbers).await.ok()??;
        let (set, _) = candidates.into_iter().find(|(_, number)| *number == same)?;
        // Also one that an earlier agent left.
        self.fdsets.retain(set);
        Some(set)
    }

    /// Gives back what was kept, now that the guest runs.
    pub(super) async fn close_retained_fds(&mut self, deadline: &Deadline) -> Result<()> {
        let kept = self.fdsets.retained();
        if kept.is_empty() || !self.running {
            return Ok(());
        }
        let sets: Vec<UndoStep> = kept.iter().map(|set| UndoStep::RemoveFd(*set)).collect();
        self.tear_down(Undurable::RetainedFd.may(), &sets, deadline).await?;
        kept.into_iter().for_each(|set| self.fdsets.remove(set));
        Ok(())
    }
}
