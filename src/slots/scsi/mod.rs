//! SCSI: the settings of a controller, the arguments QEMU gets for it, and where its disks sit.

mod map;
mod name;

pub mod args;
pub mod qom;
pub mod spec;

pub use map::{ScsiMap, UnitState, Want};
pub use name::device_id_for;
pub use spec::ControllerSpec;
