//! Who has which place in a guest, on whatever kind of bus. Pure.

mod all;
pub mod occupancy;
pub mod pci;
pub mod scsi;

pub use all::{Placed, Slots};
