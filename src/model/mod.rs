//! What is said about one guest: its devices, its root ports, and what is unfinished.

pub mod journal;
pub mod peer;
pub mod record;
pub mod root_port;
pub mod unfinished;

pub use journal::{Intent, Journal, Operation};
pub use peer::{Peer, PeerMatch};
pub use record::{DEFAULT_RESERVED, Device, DeviceKind, Presence, Record, Spec};
pub use root_port::RootPort;
pub use unfinished::{Resolution, resolution_of};
