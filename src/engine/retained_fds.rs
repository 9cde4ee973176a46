//! Descriptors of an add that failed while the guest did not run. QEMU before 9.1 closes none then, whatever it answers to `remove-fd`:
//! they are kept as they are for the next try, and given back when the guest runs.

use std::os::fd::{AsFd, AsRawFd};

use super::limit::Deadline;
use super::plan::UndoStep;
use super::session::Session;
use crate::disk::Identity;
use crate::error::{Error, Result};
use crate::ids::DeviceId;
use crate::qmp::Version;
use crate::sys::descriptor::Descriptor;

/// Since this version QEMU closes a descriptor when it is told to.
const CLOSES_ALWAYS: Version = Version { major: 9, minor: 1, micro: 0 };

/// What is known of an open file: what it is, and how it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenFile {
    identity: Identity,
    flags: i32,
}

/// Of a descriptor that is a file in `/proc`, of whatever process.
fn open_file(process: &str, number: i32) -> Option<OpenFile> {
    let identity = Identity::of_path(format!("/proc/{process}/fd/{number}").as_ref()).ok()?;
    let info = std::fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).ok()?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
    let flags = i32::from_str_radix(flags, 8).ok()?;
    Some(OpenFile { identity, flags: flags & (libc::O_ACCMODE | libc::O_DIRECT) })
}

impl Session {
    /// Takes out of what is to be taken back the descriptors that QEMU would not close now. They stay in sets that can be used again.
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
    pub(super) fn retained_set(&mut self, id: &DeviceId, fd: &Descriptor, taken: &[u32]) -> Option<u32> {
        let candidates: Vec<(u32, Option<i32>)> = self
            .fdsets
            .retained_for(id)
            .map(|set| (set, self.fdsets.numbers(set).first().copied()))
            .collect();
        if candidates.is_empty() {
            return None;
        }
        let wanted = open_file("self", fd.as_fd().as_raw_fd())?;
        let qemu = self.qemu_pid().ok()?.to_string();
        let has_it = |(set, number): &(u32, Option<i32>)| {
            !taken.contains(set) && number.and_then(|number| open_file(&qemu, number)) == Some(wanted)
        };
        let (set, _) = candidates.into_iter().find(has_it)?;
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
        self.tear_down(&sets, deadline).await?;
        kept.into_iter().for_each(|set| self.fdsets.remove(set));
        Ok(())
    }
}
