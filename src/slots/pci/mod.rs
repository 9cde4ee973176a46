//! Where a device may sit: what the live guest shows, and which slot to hand out next.
//!
//! Pure: the caller fetches the replies of `query-pci` and of the QOM walk, this module reads them.
//!
//! 1. [`Topology::from_query_pci`] gives the buses and what sits on them.
//! 2. While [`Topology::has_unnumbered`], `query-pci` hides the devices behind some bridges; walk
//!    `/machine/peripheral` and `/machine/peripheral-anon` and [`Topology::place`] each child.
//! 3. [`SlotMap::new`] turns that into slots; add the own record ([`SlotMap::occupy`]) and the pending
//!    removals ([`SlotMap::quarantine`]), then [`SlotMap::choose`] and name the device with
//!    [`device_id_for`].

mod beside;
mod bus;
mod choose;
mod cold;
mod full;
mod guest_path;
mod name;
mod qom;
mod read;
mod rules;
mod slots;
mod topology;
mod virtual_functions;

#[cfg(test)]
mod tests;

pub use bus::{Bus, BusKind, Occupant};
pub use choose::Want;
pub use full::Room;
pub use guest_path::GuestPath;
pub use name::device_id_for;
pub use qom::{CONTAINERS, QomAddress, QomChild};
pub use rules::{MAX_RANGES, NewDevice, Rules, SlotKind, SlotPolicy, SlotRange, SlotRules, WhenFull};
pub use slots::{BusView, Count, SlotMap, SlotState};
pub use topology::{Located, Topology};
