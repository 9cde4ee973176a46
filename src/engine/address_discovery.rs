//! Devices that the record has no place for, such as the NICs that Ganeti started without one until 2.9: as
//! soon as the guest shows them under their ids, the record says where they are.

use super::guest_state::GuestState;
use super::identity::Shown;
use super::inventory::{PeripheralIds, Unit};
use super::limit::Deadline;
use crate::error::Result;
use crate::ids::Address;
use crate::log::Level;
use crate::model::{Device, Presence};

impl GuestState {
    /// Records the places that are seen, of devices that are what the record says: another one may have such
    /// an id. If that cannot be written, the next look tries again.
    pub(super) async fn record_found_addresses(
        &mut self,
        peripheral_ids: &PeripheralIds,
        units: &[Unit],
        deadline: &Deadline,
    ) -> Result<()> {
        let is_unplaced =
            |device: &&Device| device.presence != Presence::AddAfterReboot && device.address.is_none();
        let unplaced: Vec<Device> =
            self.contents().record().devices.iter().filter(is_unplaced).cloned().collect();
        let shown = self.identify(&unplaced.iter().collect::<Vec<_>>(), peripheral_ids, deadline).await?;
        let mut next = self.contents().record().clone();
        for (device, _) in unplaced.iter().zip(shown).filter(|(_, shown): &(_, Shown)| shown.is_itself()) {
            let unit = units.iter().find(|unit| unit.id.as_deref() == Some(device.id.as_str()));
            let found = match unit {
                Some(unit) => Some(Address::Scsi(unit.address.clone())),
                None => self.real_address(device, deadline).await?,
            };
            let entry = next.devices.iter_mut().find(|entry| entry.id == device.id);
            if let (Some(entry), Some(found)) = (entry, found) {
                self.log.write(Level::Info, || format!("{} sits at {found}, as QEMU placed it", device.id));
                entry.address = Some(found);
            }
        }
        let written = if next == *self.contents().record() { Ok(()) } else { self.replace(next).await };
        if let Err(error) = written {
            self.log.write(Level::Warning, || format!("the places found are not recorded: {error}"));
        }
        Ok(())
    }
}
