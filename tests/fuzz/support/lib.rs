//! What the targets share: the other end of a monitor socket, played by one thread for the whole run.

mod peer;

pub use fake_qemu::{Reaction, Said as Answer};
pub use peer::Peer;
