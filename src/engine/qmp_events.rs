//! What QEMU says unasked, and what it means for the inventory of the guest.

use std::time::Duration;

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::PendingReason;
use super::report::Report;
use crate::error::Result;
use crate::log::Level;
use crate::model::Presence;
use crate::qmp::{Event, Queued};
use crate::sanitize::readable;

/// Until its clock has counted this, a guest that has been started is not asked. QEMU (6.2 to 11.1, ACPI
/// hotplug) notes on the guest's clock until when it refuses to ask again, and takes 0 for "for ever": a
/// guest that boots does not hear the first request, and the second never reaches it.
const FIRST_CLOCK_TICK: Duration = Duration::from_millis(2);

/// Events of QEMU 5.2 to 11.1 with which a guest that runs may stop running, or come back.
const RUN_STATE_EVENTS: &[&str] = &[
    "STOP",
    "RESUME",
    "SUSPEND",
    "SUSPEND_DISK",
    "WAKEUP",
    "RESET",
    "SHUTDOWN",
    "POWERDOWN",
    "GUEST_PANICKED",
    "GUEST_CRASHLOADED",
    "WATCHDOG",
    "BLOCK_IO_ERROR",
    "MIGRATION",
];

impl GuestState {
    /// Takes in what the monitor has said unasked.
    pub(super) fn drain_events(&mut self) {
        while let Some(kept) = self.next_event() {
            match kept {
                Queued::Event(event) => self.handle_event(&event),
                Queued::Lost(count) => {
                    self.log.write(Level::Warning, || format!("{count} events of the monitor were dropped"));
                    self.needs_resync = true;
                    self.events_lost = true;
                    self.heard_from_generation = self.contents().record().next_generation;
                    self.running = false;
                }
            }
        }
    }

    fn handle_event(&mut self, event: &Event) {
        if self.forward_qmp_events {
            self.events.push_qmp(event);
        }
        self.notify(event);
        let name = event.name.as_str();
        // Whatever else they mean, the run state is not the one it was. None of them says which one it is:
        // QEMU tells that it resumes, for instance, before it goes on sleeping (9.0 and later).
        self.running &= !RUN_STATE_EVENTS.contains(&name);
        self.note_trays(event);
        match name {
            "SUSPEND" => self.unplug_blocked = Some(PendingReason::Asleep),
            "WAKEUP" | "RESET" => {
                self.unplug_blocked = self.unplug_blocked.filter(|why| *why != PendingReason::Asleep)
            }
            "RESUME" if !self.fdsets.retained().is_empty() => {
                self.unplug_blocked = self.unplug_blocked.filter(|why| *why != PendingReason::NotStarted);
                self.needs_resync = true;
            }
            "BLOCK_JOB_COMPLETED" => (self.block_users_changed, self.needs_resync) = (true, true),
            "BLOCK_EXPORT_DELETED" | "BLOCK_JOB_CANCELLED" | "BLOCK_JOB_ERROR" | "JOB_STATUS_CHANGE" => {
                self.block_users_changed = true;
            }
            "RESUME" => {
                self.unplug_blocked = self.unplug_blocked.filter(|why| *why != PendingReason::NotStarted)
            }
            _ => self.handle_device_event(event),
        }
    }

    /// Takes in what the guest was said to be doing, in answer to a question.
    pub(super) fn update_run_state(&mut self, state: Option<PendingReason>) {
        self.running = state.is_none();
        self.unplug_blocked =
            state.filter(|why| matches!(why, PendingReason::Asleep | PendingReason::NotStarted));
        self.running_since = match state {
            Some(PendingReason::NotStarted) => None,
            _ => self.running_since.or_else(|| Some(self.now())),
        };
        self.migrating = state == Some(PendingReason::Migrating);
    }

    /// Waits until the clock of a guest that has only just been started shows some time.
    pub(super) async fn wait_for_guest_clock(&self, deadline: &Deadline) -> Result<()> {
        match self
            .running_since
            .map(|at| FIRST_CLOCK_TICK.saturating_sub(self.now().saturating_duration_since(at)))
        {
            Some(rest) if !rest.is_zero() => self.pause(rest, deadline).await,
            _ => Ok(()),
        }
    }

    fn handle_device_event(&mut self, event: &Event) {
        // The first of the two DEVICE_DELETED of a virtio device has a path only; it is not about the device.
        let Some(id) = event.text("device") else { return self.note_refused_path(event) };
        match event.name.as_str() {
            "DEVICE_DELETED" => {
                self.log.write(Level::Debug, || format!("QEMU says that {} is gone", readable(id)));
                match self.known_device(id) {
                    // One that waits for the next boot is not in the guest: another device has that id.
                    Some(device) if device.presence != Presence::AddAfterReboot => {
                        self.add_report(id, Report::Deleted)
                    }
                    _ => self.needs_resync = true,
                }
            }
            "DEVICE_UNPLUG_GUEST_ERROR"
                if self.phases.get(id).is_some_and(|phase| phase.request().is_some())
                    && self.known_device(id).is_some() =>
            {
                self.add_report(id, Report::Refused);
            }
            _ => {}
        }
    }
}
