//! Devices and slots as callers see them.

use super::device_info::{DeviceInfo, DeviceState, SlotInfo, SlotStatus};
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::phase::Phase;
use crate::error::Result;
use crate::ids::{BusName, PciAddress, ScsiAddress, Slot};
use crate::model::{Device, Intent, Operation};
use crate::slots::pci::SlotState;
use crate::slots::scsi::UnitState;
use crate::store::Contents;

impl GuestState {
    /// Goes on with what is pending; how many events can be fetched.
    pub(super) async fn process(&mut self, deadline: &Deadline) -> Result<usize> {
        if !self.phases.any_plugging() {
            self.ready(deadline).await?;
            if !self.only_looks() {
                self.repeat_due_requests(deadline).await?;
            }
        }
        Ok(self.events.len())
    }

    /// Finishes or undoes what is unfinished; what is still pending.
    pub(super) async fn settle(&mut self, deadline: &Deadline) -> Result<Vec<DeviceInfo>> {
        self.ready(deadline).await?;
        self.resync(deadline).await?;
        self.process_reports(deadline).await?;
        let is_pending = |device_info: &DeviceInfo| matches!(device_info.state, DeviceState::Pending(_));
        Ok(list(self).into_iter().filter(is_pending).collect())
    }

    /// Every slot of every PCI bus, then of every SCSI bus the places that are taken and the first free one;
    /// brought up to date.
    pub(super) async fn slot_map(&mut self, deadline: &Deadline) -> Result<Vec<SlotInfo>> {
        self.ready(deadline).await?;
        self.resync(deadline).await?;
        self.learn_buses(deadline).await?;
        let mut lines = Vec::new();
        for bus in self.slots.pci.buses() {
            let line = |(slot, state): (Slot, SlotState<'_>)| slot_line(bus.name(), slot, state);
            lines.extend(bus.slots().map(line));
        }
        lines.extend(self.slots.scsi.lines().into_iter().map(unit_line));
        let is_missing =
            |line: &SlotInfo| line.state == SlotStatus::Taken && self.phases.is_absent(&line.occupant);
        lines.iter_mut().filter(|line| is_missing(line)).for_each(|line| line.state = SlotStatus::Missing);
        Ok(lines)
    }
}

pub(super) fn list(guest: &GuestState) -> Vec<DeviceInfo> {
    let state = |device: &Device| match guest.phases.of(device) {
        Phase::Unplugging(request) | Phase::Detached(Some(request)) => DeviceState::Pending(request.why),
        Phase::AbsentInGuest | Phase::Detached(None) => DeviceState::Missing,
        Phase::Plugging | Phase::Plugged { drop_at_boot: false } => DeviceState::Live,
        Phase::Deferred => DeviceState::AddAfterReboot(guest.recorded_defer_reason(device)),
        Phase::Plugged { drop_at_boot: true } => {
            DeviceState::RemoveAfterReboot(guest.recorded_defer_reason(device))
        }
    };
    // A statement of its own, so that the record is free again: to say why a device waits is to look at it as
    // well.
    let devices = recorded_or_leaving(&guest.contents());
    let info = |device| DeviceInfo { state: state(&device), view: guest.guest_view(&device), device };
    devices.into_iter().map(info).collect()
}

fn recorded_or_leaving(contents: &Contents) -> Vec<Device> {
    // A removal may have come as far as the record, and still not be at its end.
    let is_being_removed = |intent: &&Intent| match intent.operation {
        Operation::RollbackAdd => true,
        Operation::Remove => contents.record().find(intent.device.id.as_str()).is_none(),
        Operation::Add
        | Operation::RemoveNext
        | Operation::SetLink
        | Operation::Move
        | Operation::SetLimits
        | Operation::ChangeMedium => false,
    };
    let leaving = contents.journal().intents.iter().filter(is_being_removed).map(|intent| &intent.device);
    contents.record().devices.iter().chain(leaving).cloned().collect()
}

fn slot_line(bus: &BusName, slot: Slot, state: SlotState<'_>) -> SlotInfo {
    let (state, occupant) = match state {
        SlotState::Free => (SlotStatus::Free, ""),
        SlotState::Reserved => (SlotStatus::Reserved, ""),
        SlotState::Taken { by } => (SlotStatus::Taken, by),
        SlotState::Quarantined { id } => (SlotStatus::Quarantined, id),
        SlotState::NotHotpluggable => (SlotStatus::NotHotpluggable, ""),
        SlotState::Unknown => (SlotStatus::Unknown, ""),
    };
    let address = PciAddress { bus: bus.clone(), slot }.into();
    SlotInfo { address, state, occupant: occupant.to_owned() }
}

fn unit_line((address, state): (ScsiAddress, UnitState<'_>)) -> SlotInfo {
    let (state, occupant) = match state {
        UnitState::Free => (SlotStatus::Free, ""),
        UnitState::Taken(by) => (SlotStatus::Taken, by),
        UnitState::Quarantined(id) => (SlotStatus::Quarantined, id),
    };
    SlotInfo { address: address.into(), state, occupant: occupant.to_owned() }
}
