//! What the targets do, one module each, and what they share: the other end of a monitor socket, played by
//! one thread for the whole run. `tests/fuzz_inputs.rs` does the same without a fuzzer.

pub mod boot;
pub mod guest;
pub mod journal;
pub mod monitor_reader;
mod peer;
pub mod qcow2;
pub mod query_pci;
pub mod runtime_loader;

pub use fake_qemu::{Reaction, Said as Answer};
pub use peer::Peer;
