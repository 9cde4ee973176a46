//! Devices that wait for the next boot because no slot is left for them now.

use super::add_plan::Placement;
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::DeferReason;
use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::model::root_port::MOST_PORTS;
use crate::model::{Device, DeviceKind, Presence, Record, Spec};
use crate::slots::pci::{Room, WhenFull};
use crate::slots::scsi::{self, ControllerSpec};

/// Slots of a PCI bridge.
const BEHIND_A_BRIDGE: usize = 31;

impl GuestState {
    /// Which buses take devices, before it is decided whether one is to wait.
    pub(super) async fn learn_whether_full(
        &mut self,
        placement: &Placement,
        deadline: &Deadline,
    ) -> Result<()> {
        if self.contents().record().slot_rules.when_full == WhenFull::Refuse {
            return Ok(());
        }
        self.ready(deadline).await?;
        self.learn_buses_for(&[placement], deadline).await
    }

    /// Why such a device, which asks for no bus, has to wait for room that the next boot makes.
    pub(super) fn full_defer_reason(&self, kind: DeviceKind, model: &str) -> Option<DeferReason> {
        if kind == DeviceKind::Disk && disk::is_scsi(model) {
            let target = self.slots.scsi.choose(&scsi::Want::Auto, |controller| self.why_closed(controller));
            if target.is_err() || target.is_ok_and(|target| target.is_some()) {
                return None;
            }
            let controller = Spec::Controller(ControllerSpec::default());
            return self.slots.pci.room_to_make(&controller.new_device()).map(DeferReason::Full);
        }
        self.slots.pci.room_to_make(&kind.new_device(model)).map(DeferReason::Full)
    }

    /// Refuses one more device for the next boot where that could not make room for all that wait already.
    pub(super) fn check_room_at_boot(&self, next: &Record, room: Room) -> Result<()> {
        let waits =
            |device: &&Device| device.presence == Presence::AddAfterReboot && device.address.is_none();
        let waiting = next.devices.iter().filter(waits).count();
        let text = match room {
            Room::Bridge if waiting >= BEHIND_A_BRIDGE => {
                format!(
                    "no free slot, and {waiting} devices wait for the PCI bridge of the next boot, which has {BEHIND_A_BRIDGE}"
                )
            }
            Room::RootPort if self.slots.pci.ports().count() + waiting >= MOST_PORTS => {
                format!("no free slot, and the next boot can make no more than {MOST_PORTS} root ports")
            }
            Room::Bridge | Room::RootPort => return Ok(()),
        };
        Err(Error::new(ErrorKind::NoSlot, text))
    }
}
