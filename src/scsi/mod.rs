//! SCSI: the settings of a controller, the arguments QEMU gets for it, and where its disks sit.

pub mod args;
pub mod qom;
pub mod spec;

pub use spec::ControllerSpec;
