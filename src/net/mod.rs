//! NICs: the settings that go into the record, QEMU's arguments made from them, and the host side
//! (taps, bridges, vhost).

pub mod args;
pub mod bandwidth;
pub mod bridge_move;
pub mod given;
pub mod identity;
pub mod limits;
pub mod link;
pub mod mac;
pub mod models;
pub mod namespace;
pub mod netdev;
pub mod port;
mod rtnl;
pub mod share;
pub mod spec;
pub mod tap;
pub mod vhost;

/// Queue pairs a NIC may have: as many as a tap has in the kernel (`MAX_TAP_QUEUES` of drivers/net/tun.c).
/// QEMU would take 511.
pub const MAX_QUEUES: u16 = 256;
