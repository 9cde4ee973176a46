//! Devices with ids that are not ours: in the guest, but neither in the recorded command nor in the record.

use super::difference::{Difference, Mismatch};
use super::guest_state::GuestState;
use super::inventory::{self, PeripheralIds};
use super::limit::Deadline;
use crate::error::Result;
use crate::sanitize::readable;
use crate::slots::pci::{BusKind, CONTAINERS, QomAddress, QomChild};

impl GuestState {
    /// PCI devices with ids that are not ours, bridges and ports aside: those are the machine's.
    ///
    /// QOM says where they are. `query-pci` follows bus numbers that are the guest's to write: while its
    /// firmware is at it, a device may be nowhere, or behind several bridges.
    pub(super) async fn find_foreign(
        &mut self,
        named: &[QomChild],
        differences: &mut Vec<Difference>,
        deadline: &Deadline,
    ) -> Result<()> {
        let is_bridge = |child: &QomChild| {
            BusKind::of_driver(&child.driver).is_some() || self.topology.bus(&child.name).is_some()
        };
        let strangers = named.iter().filter(|child| !is_bridge(child) && self.is_foreign(&child.name));
        let strangers: Vec<(&str, &QomChild)> = strangers.map(|child| (CONTAINERS[0], child)).collect();
        let names = ["parent_bus", "addr"];
        for some in strangers.chunks(inventory::QUESTIONS / names.len()) {
            let answers = inventory::properties(self, some, names, deadline).await?;
            for ((_, child), [bus, addr]) in some.iter().zip(answers) {
                if let Some(address) = QomAddress::from_qom(Some(&child.name), &child.driver, &bus, &addr) {
                    let place = format!("{} ({})", place_of(&address), readable(&child.driver));
                    differences.push(Difference::new(Mismatch::Foreign, &child.name, "", place));
                }
            }
        }
        Ok(())
    }

    /// SCSI devices with ids that are not ours, unless they belong to the machine.
    pub(super) fn find_foreign_on_scsi(
        &self,
        peripheral_ids: &PeripheralIds,
        differences: &mut Vec<Difference>,
    ) {
        for (place, user) in self.slots.scsi.occupancy() {
            let Some(id) = user.id.as_deref() else { continue };
            if peripheral_ids.has(id) && self.is_foreign(id) {
                let place = format!("{place} ({})", user.description);
                differences.push(Difference::new(Mismatch::Foreign, id, "", place));
            }
        }
    }

    /// Neither recorded as a device nor named in the recorded command, as a controller of the machine is.
    pub(super) fn is_foreign(&self, id: &str) -> bool {
        !self.is_known(id) && !self.contents().record().command_names(id)
    }
}

/// Bus, slot and function, for people.
pub(super) fn place_of(address: &QomAddress) -> String {
    let function = address.devfn & 7;
    match address.address() {
        Some(address) => format!("{} slot {}.{function}", address.bus, address.slot.get()),
        None => format!("a bus without a name, slot {}.{function}", address.devfn >> 3),
    }
}
