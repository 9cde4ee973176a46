//! What a new NIC gets of what its request leaves open.

use crate::net::vhost::VhostMode;

/// What a NIC is to be in this guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicSettings {
    /// Queue pairs.
    pub queues: u16,
    /// Off or required, or left to the host.
    pub vhost: VhostMode,
    /// Whether its tap has `IFF_VNET_HDR`: a guest that negotiated offloads cannot migrate to a tap without.
    pub vnet_hdr: bool,
    /// Whether it has QEMU's boot ROM.
    pub rom: bool,
}
