//! What the targets share: the other end of a monitor socket, played by one thread for the whole run.

mod peer;

pub use peer::{Answer, Peer, Reaction};
