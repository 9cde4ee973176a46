//! A QMP client: one connection, commands matched to replies by id, events kept, fds passed along.
//!
//! QEMU is not trusted: message size, nesting, memory, kept events and waiting time are all bounded here, so
//! that the layers above only ever see well-formed JSON within limits.

pub mod address;
pub mod capabilities;
mod client;
mod dial;
pub mod drivers;
mod events;
mod frame;
mod in_flight;
mod monitor;
pub mod monitor_name;
pub mod netdevs;
mod pace;
pub mod peer;
pub mod properties;
pub mod qemu_errors;
pub mod reached;
mod transport;
mod wire;

pub use client::Client;
pub use events::{Event, EventQueue, Queued};
pub use frame::{Frame, Framer, MAX_DEPTH, MAX_MESSAGE, MAX_PARSED_MEMORY};
pub use in_flight::{Batch, BatchId};
pub use monitor::{Counters, Monitor};
pub use monitor_name::MonitorName;
pub use reached::Reached;
pub use transport::{RETRY, queue_full};
pub use wire::{Command, Message, OLDEST_QEMU, Reply, Version};
