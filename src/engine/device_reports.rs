//! What QEMU has said about single devices. It names them by their ids, which are used again, and it may say
//! so late: the word is a hint, and nothing follows from it before QOM has been asked.

use std::collections::BTreeSet;

use super::guest_state::GuestState;
use super::identity::{DetachedDevice, Shown};
use super::inventory::PeripheralIds;
use super::limit::Deadline;
use super::phase_change::Cause;
use super::report::Report;
use crate::error::Result;
use crate::ids::DeviceId;
use crate::log::Level;
use crate::model::Device;
use crate::planted::{self, Fault};

/// What is so, once QOM has been asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Confirmed<'a> {
    /// The device is not in the guest.
    Detached(DetachedDevice<'a>),
    /// It is, and the guest refuses to let go of it.
    Refused,
    /// It is.
    Present,
}

impl GuestState {
    /// Once for each: a peer may repeat it for ever.
    pub(super) fn add_report(&mut self, id: &str, report: Report) {
        let note = (id.to_owned(), report);
        if !self.reports.contains(&note) {
            self.reports.push(note);
        }
    }

    /// Whether anything has been said of a device that QOM has not been asked about.
    pub(super) fn has_report(&self, id: &DeviceId) -> bool {
        self.reports.iter().any(|(said, _)| said == id.as_str())
    }

    /// Whether QEMU has said that a device of this id is gone.
    pub(super) fn is_reported_deleted(&self, id: &DeviceId) -> bool {
        self.reports.iter().any(|(said, report)| said == id.as_str() && *report == Report::Deleted)
    }

    /// These devices are about to be asked for anew: what was said of an earlier request does not answer that
    /// one.
    pub(super) fn drop_refusals(&mut self, devices: &[&Device]) {
        self.drain_events();
        let is_of = |id: &str| devices.iter().any(|device| device.id.as_str() == id);
        self.reports.retain(|(id, report)| *report != Report::Refused || !is_of(id));
    }

    /// Nothing is left to be done about what was said of this device.
    pub(super) fn drop_reports(&mut self, id: &str) {
        self.reports.retain(|(said, _)| said != id);
    }

    /// Asks QOM about devices of which something was said, or whose removal is not where it should be: one
    /// question for all of them. What turns out to be about an earlier device of the same id is forgotten.
    pub(super) async fn confirm_in_qom<'a>(
        &mut self,
        devices: &[&'a Device],
        deadline: &Deadline,
    ) -> Result<Vec<Confirmed<'a>>> {
        let peripheral_ids = PeripheralIds::ask(self, deadline).await?;
        let mut shown = self.identify(devices, &peripheral_ids, deadline).await?;
        if planted::has(Fault::EventIsBelieved) {
            let told =
                devices.iter().zip(&mut shown).filter(|(device, _)| self.is_reported_deleted(&device.id));
            told.for_each(|(_, shown)| *shown = Shown::Nothing);
        }
        Ok(devices.iter().zip(shown).map(|(device, shown)| self.confirm_one(device, shown)).collect())
    }

    fn confirm_one<'a>(&mut self, device: &'a Device, shown: Shown) -> Confirmed<'a> {
        if let Some(gone) = shown.gone(device) {
            return Confirmed::Detached(gone);
        }
        let refused = self.reports.contains(&(device.id.to_string(), Report::Refused));
        self.log.write(Level::Debug, || format!("{} is there, whatever was said of it", device.id));
        self.drop_reports(device.id.as_str());
        match refused && self.phases.is_unplugging(&device.id) {
            true => Confirmed::Refused,
            false => Confirmed::Present,
        }
    }

    /// The guest has refused: the removal is off.
    pub(super) async fn handle_guest_refusal(&mut self, device: &Device) -> Result<()> {
        self.cancel_unplug(device, Cause::Refused).await?;
        if !self.phases.is_unplugging(&device.id) {
            self.phases.count_refusal(&device.id);
        }
        Ok(())
    }

    /// Deals with all that was said of devices: clears up behind those that are gone.
    pub(super) async fn process_reports(&mut self, deadline: &Deadline) -> Result<()> {
        while !self.reports.is_empty() {
            let ids: BTreeSet<String> = self.reports.iter().map(|(id, _)| id.clone()).collect();
            let devices: Vec<Device> = ids.iter().filter_map(|id| self.known_device(id)).collect();
            if devices.is_empty() {
                ids.iter().for_each(|id| self.drop_reports(id));
                continue;
            }
            let confirmed = self.confirm_in_qom(&devices.iter().collect::<Vec<_>>(), deadline).await?;
            let mut gone = Vec::new();
            for (device, confirmed) in devices.iter().zip(confirmed) {
                match confirmed {
                    Confirmed::Detached(found) => gone.push(found),
                    Confirmed::Refused => self.handle_guest_refusal(device).await?,
                    Confirmed::Present => {}
                }
            }
            self.finish_removals(&gone, deadline).await?;
            ids.iter().for_each(|id| self.drop_reports(id));
        }
        Ok(())
    }
}
