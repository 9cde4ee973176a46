//! The slots of a guest and who has them: live view, own record and pending removals as one map.

use std::collections::BTreeMap;

use crate::ids::{BusName, DeviceId, PciAddress, SLOTS, Slot};
use crate::slots::occupancy::{Occupancy, SlotUser};
use crate::sorted;

use super::bus::{Bus, BusKind, Occupant};
use super::rules::{NewDevice, Rules, SlotRange, SlotRules};
use super::topology::Topology;
use super::virtual_functions;

/// Who has which slot. Built per operation from the live guest; a slot is free when nobody claims it.
#[derive(Clone, Debug)]
pub struct SlotMap {
    /// In the order in which free slots are handed out.
    pub(super) buses: Vec<BusSlots>,
    /// Buses that only the own record names.
    unseen: BTreeMap<BusName, BusSlots>,
    pub(super) nameless: usize,
    pub(super) rules: Rules,
}

#[derive(Clone, Debug)]
pub(super) struct BusSlots {
    pub(super) name: BusName,
    pub(super) kind: BusKind,
    pub(super) access: Access,
    reserved: u8,
    ranges: Vec<SlotRange>,
    pub(super) occupancy: Occupancy<Slot>,
}

/// Whether a bus takes devices now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Open,
    NotHotpluggable,
    /// Not numbered by the guest and QOM was not asked: it may look empty and not be.
    Unknown,
}

/// What a slot is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState<'a> {
    /// Can be handed out.
    Free,
    /// Free, and only given to those who pin it.
    Reserved,
    /// Somebody is there.
    Taken {
        /// The id, or a description of a device without one.
        by: &'a str,
    },
    /// The removal of this device is pending: it keeps the slot until QEMU says it is gone.
    Quarantined {
        /// Its id.
        id: &'a str,
    },
    /// Empty, on a bus that takes no devices while the guest runs.
    NotHotpluggable,
    /// Perhaps empty: the guest has not numbered the bus, and QOM was not asked.
    Unknown,
}

/// How full a bus is, reserved slots left aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Slots that could be handed out unasked if all were free.
    pub total: usize,
    /// Those that somebody has, pending removals included.
    pub taken: usize,
    /// Those whose removal is pending.
    pub quarantined: usize,
    /// Slots held back by [`Rules`], whether empty or not.
    pub reserved: usize,
}

/// One bus of a slot map, for showing it to people.
#[derive(Clone, Copy, Debug)]
pub struct BusView<'a>(pub(super) &'a BusSlots);

impl SlotMap {
    /// Starts from what the live guest shows. Buses without a name are only counted.
    pub fn new(topology: &Topology, rules: Rules) -> Self {
        let mut buses = Vec::new();
        let mut nameless = 0;
        for bus in topology.buses() {
            match bus.name() {
                Some(name) => buses.push(BusSlots::new(name.clone(), bus, &rules)),
                None => nameless += 1,
            }
        }
        // Within one rank the order of the topology stays.
        let buses = sorted::by_key(buses, |bus: &BusSlots| bus.kind.rank());
        Self { buses, unseen: BTreeMap::new(), nameless, rules }
    }

    /// What it was built with.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The record remembers other freed slots now.
    pub fn remember_freed(&mut self, rules: &SlotRules) {
        if self.rules.own.freed != rules.freed {
            self.rules.own.freed.clone_from(&rules.freed);
        }
    }

    /// The own record has `id` at `address`, whether or not the guest shows it. Naming the bus of a guest
    /// that does not show it (yet) is fine. A slot may be claimed by several; it is free when the last is
    /// released.
    pub fn occupy(&mut self, address: &PciAddress, id: &DeviceId) {
        self.add_user(address, SlotUser::of(id));
    }

    /// The removal of `id` at `address` has been asked for and not granted: the slot stays taken, and says
    /// so. Lasts until [`release`](Self::release), also when the device is occupied again.
    pub fn quarantine(&mut self, address: &PciAddress, id: &DeviceId) {
        self.add_user(address, SlotUser::pending(id));
    }

    /// `id` is gone from `address`. Takes back only what `id` claims there, live view included; false if it
    /// claims nothing, and then nothing changes.
    pub fn release(&mut self, address: &PciAddress, id: &DeviceId) -> bool {
        let seen = self.buses.iter_mut().find(|bus| bus.name == address.bus);
        let Some(bus) = seen.or_else(|| self.unseen.get_mut(&address.bus)) else { return false };
        bus.occupancy.release(&address.slot, id)
    }

    /// Every named bus in the order in which free slots are handed out, then those that only the record
    /// names.
    pub fn buses(&self) -> impl Iterator<Item = BusView<'_>> {
        self.buses.iter().chain(self.unseen.values()).map(BusView)
    }

    /// Buses that are taken to take devices while the guest runs, in the order in which free slots are handed
    /// out.
    pub fn open_buses(&self) -> impl Iterator<Item = (&BusName, BusKind)> {
        self.buses.iter().filter(|bus| bus.access == Access::Open).map(|bus| (&bus.name, bus.kind))
    }

    /// Those of them that have a free slot.
    pub fn open_buses_with_room(&self) -> impl Iterator<Item = (&BusName, BusKind)> {
        let any = NewDevice { kind: None, model: "" };
        let with_room = self.buses.iter().filter(move |bus| bus.free_for(&any).next().is_some());
        with_room.map(|bus| (&bus.name, bus.kind))
    }

    /// The bus takes no devices while the guest runs.
    pub fn close(&mut self, name: &BusName) {
        let named = self.buses.iter_mut().filter(|bus| bus.name == *name);
        named.for_each(|bus| bus.access = Access::NotHotpluggable);
    }

    fn add_user(&mut self, address: &PciAddress, new: SlotUser) {
        let bus = match self.buses.iter_mut().find(|bus| bus.name == address.bus) {
            Some(bus) => bus,
            None => {
                let unseen = || BusSlots::unseen(address.bus.clone());
                self.unseen.entry(address.bus.clone()).or_insert_with(unseen)
            }
        };
        bus.occupancy.add(address.slot, new);
    }
}

fn live(occupant: &Occupant) -> SlotUser {
    SlotUser { id: occupant.id.clone(), description: occupant.description.clone(), pending: false }
}

impl BusSlots {
    fn new(name: BusName, bus: &Bus, rules: &Rules) -> Self {
        let mut occupancy = Occupancy::default();
        for (slot, _, occupant) in bus.functions() {
            occupancy.add(slot, live(occupant));
        }
        let access = match (bus.is_hotpluggable(), bus.is_known()) {
            (false, _) => Access::NotHotpluggable,
            (true, false) => Access::Unknown,
            (true, true) => Access::Open,
        };
        let reserved = if bus.kind() == BusKind::ConventionalRoot { rules.reserved() } else { 0 };
        let ranges = rules.ranges_of(&name);
        let mut slots = Self { name, kind: bus.kind(), access, reserved, ranges, occupancy };
        for (slot, _, occupant) in bus.functions() {
            let model = virtual_functions::model_with_more(occupant.pci_id, &occupant.description);
            for slot in slots.beside(slot, model).unwrap_or_default() {
                slots.occupancy.add(slot, live(occupant));
            }
        }
        slots
    }

    fn unseen(name: BusName) -> Self {
        let (access, occupancy) = (Access::NotHotpluggable, Occupancy::default());
        Self { name, kind: BusKind::Unseen, access, reserved: 0, ranges: Vec::new(), occupancy }
    }

    pub(super) fn state(&self, slot: Slot) -> SlotState<'_> {
        match self.occupancy.holder(&slot) {
            Some(user) if user.pending => return SlotState::Quarantined { id: user.label() },
            Some(user) => return SlotState::Taken { by: user.label() },
            None => {}
        }
        match self.access {
            Access::NotHotpluggable => SlotState::NotHotpluggable,
            Access::Unknown => SlotState::Unknown,
            Access::Open if self.is_reserved(slot) => SlotState::Reserved,
            Access::Open => SlotState::Free,
        }
    }

    fn is_reserved(&self, slot: Slot) -> bool {
        slot.get() < self.reserved || self.ranges.iter().any(|range| range.contains(slot))
    }

    /// Whether the slot is handed out unasked, to devices of some kind at least.
    fn is_handed_out(&self, slot: Slot) -> bool {
        let closed = self.ranges.iter().any(|range| range.kinds.is_empty() && range.contains(slot));
        slot.get() >= self.reserved && !closed
    }

    /// The same, to this device.
    fn is_for(&self, slot: Slot, device: &NewDevice<'_>) -> bool {
        let excludes = |range: &SlotRange| !device.kind.is_some_and(|kind| range.kinds.contains(&kind));
        let mut ranges = self.ranges.iter().filter(|range| range.contains(slot));
        slot.get() >= self.reserved && !ranges.any(excludes)
    }

    /// Whether it takes devices, in more slots than one.
    pub(super) fn has_any(&self) -> bool {
        self.access == Access::Open && !self.kind.is_port()
    }

    /// The slots that this device can get unasked, upward.
    pub(super) fn free_for<'a>(&'a self, device: &'a NewDevice<'a>) -> impl Iterator<Item = PciAddress> {
        let is_free = |slot: &Slot| matches!(self.state(*slot), SlotState::Free | SlotState::Reserved);
        let of_bus = self.kind.slots().filter_map(Slot::new).filter(|slot| self.is_for(*slot, device));
        of_bus
            .filter(move |slot| is_free(slot) && self.in_the_way(*slot, device.model).is_none())
            .map(|slot| PciAddress { bus: self.name.clone(), slot })
    }

    pub(super) fn count(&self) -> Count {
        let mut count = Count::default();
        for slot in self.kind.slots().filter_map(Slot::new) {
            if !self.is_handed_out(slot) {
                count.reserved += 1;
                continue;
            }
            let state = self.state(slot);
            let quarantined = matches!(state, SlotState::Quarantined { .. });
            count.total += 1;
            count.quarantined += usize::from(quarantined);
            count.taken += usize::from(quarantined || matches!(state, SlotState::Taken { .. }));
        }
        count
    }
}

impl<'a> BusView<'a> {
    /// Its name.
    pub fn name(&self) -> &'a BusName {
        &self.0.name
    }

    /// What it hangs off; [`BusKind::Unseen`] if only the own record names it.
    pub fn kind(&self) -> BusKind {
        self.0.kind
    }

    /// How full it is.
    pub fn count(&self) -> Count {
        self.0.count()
    }

    /// Every slot a device can have there, and every other one that somebody has, upward.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, SlotState<'a>)> {
        let bus = self.0;
        let regular =
            move |slot: &Slot| bus.kind != BusKind::Unseen && bus.kind.slots().contains(&slot.get());
        (0..SLOTS)
            .filter_map(Slot::new)
            .filter(move |slot| regular(slot) || bus.occupancy.contains(slot))
            .map(move |slot| (slot, bus.state(slot)))
    }
}
