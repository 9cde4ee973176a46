//! Names and addresses, parsed once at the border and carried as types from there on.

mod address;
mod hash;
mod iothread;
mod name;

pub use address::{Address, Channel, Lun, PciAddress, SLOTS, ScsiAddress, Slot};
pub(crate) use hash::fnv1a;
pub use iothread::{IoThread, MAPPING};
pub use name::{BackendName, BusName, DeviceId, IfName, MAX_BUS_NAME, MAX_ID, MacAddr, is_model_name};
