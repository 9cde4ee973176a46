//! Plugs NICs and disks into running QEMU guests, takes them out again, and keeps the record from which an
//! identical guest is started.
//!
//! The supported interface is the C ABI in `include/kvm_hotplug.h`; the Rust items are public for this
//! project's own tests and may change in any release. Layers call inward only:
//!
//! ```text
//! capi  →  guest  →  adopt, engine  →  boot  →  store  →  model  →  qmp, slots, net, disk  →  sys
//! ```

#[macro_use]
mod c_enum;

pub mod adopt;
pub mod boot;
pub mod capi;
pub mod clock;
pub mod deadline;
pub mod disk;
pub mod engine;
pub mod error;
pub mod guest;
pub mod ids;
pub mod json;
pub mod log;
pub mod model;
pub mod mutex;
pub mod net;
pub mod planted;
pub mod qmp;
pub mod sanitize;
pub mod slots;
pub mod sorted;
pub mod store;
pub mod sys;

pub use error::{Error, ErrorKind, Result};

/// The version of the library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
