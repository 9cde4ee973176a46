//! A QMP monitor without a QEMU behind it.
//!
//! [`model`] is what a QEMU has and does: commands in, replies and events out, a value without files, threads and clock.
//! It knows nothing of the library under test and can be taken into any other project's tests.

pub mod command;
pub mod model;

pub use command::{Answer, Command, Descriptor, Effect, Event, File, Outcome, QmpError, deleted};
pub use model::{Dev, FdSet, Leaving, Machine, Manner, Model, Monitor, Netdev, Node, SetFd, Version};
