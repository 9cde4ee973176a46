//! What the caller decides about the slots of a record's guest.

use super::record_file::RecordFile;
use crate::error::Result;
use crate::ids::BusName;
use crate::slots::pci::{SlotPolicy, SlotRange, WhenFull};

impl RecordFile {
    /// Says which of the free slots a new device gets. Another policy remembers nothing of the one before.
    pub fn set_slot_policy(&mut self, policy: SlotPolicy) -> Result<()> {
        let mut next = self.record().clone();
        if next.slot_rules.policy == policy {
            return Ok(());
        }
        next.slot_rules.set_policy(policy);
        self.change(next)
    }

    /// Says what an add does that finds no free slot.
    pub fn set_when_full(&mut self, when_full: WhenFull) -> Result<()> {
        let mut next = self.record().clone();
        if next.slot_rules.when_full == when_full {
            return Ok(());
        }
        next.slot_rules.when_full = when_full;
        self.change(next)
    }

    /// Reserves slots, in place of what was said of a range of the same slots before.
    pub fn reserve_slots(&mut self, range: SlotRange) -> Result<()> {
        let mut next = self.record().clone();
        next.slot_rules.reserve(range)?;
        self.change(next)
    }

    /// Takes back all that was reserved, on one bus or on all.
    pub fn release_slots(&mut self, bus: Option<&BusName>) -> Result<()> {
        let mut next = self.record().clone();
        next.slot_rules.reserved.retain(|range| bus.is_some_and(|bus| *bus != range.bus));
        self.change(next)
    }
}
