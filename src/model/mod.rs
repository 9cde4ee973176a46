//! What is said about one guest: its devices, its root ports, and what is unfinished.

pub mod backend;
pub mod command_line;
pub mod device;
pub mod ganeti_entry;
pub mod helper;
pub mod journal;
pub mod option;
pub mod pci_bridge;
pub mod peer;
pub mod properties;
pub mod record;
pub mod root_port;
pub mod settings;
pub mod state;
pub mod unfinished;

pub use backend::BackendNames;
pub use command_line::{CommandLine, Machine};
pub use device::{Device, DeviceKind, Presence, Spec, misplaced};
pub use ganeti_entry::GanetiEntry;
pub use helper::Helper;
pub use journal::{Intent, Journal, Operation};
pub use pci_bridge::PciBridge;
pub use peer::{Peer, PeerMatch};
pub use record::{DEFAULT_RESERVED, MAX_DEVICES, Record};
pub use root_port::RootPort;
pub use settings::NicSettings;
pub use state::State;
pub use unfinished::ends_with_qemu;
