//! What is known of the taps that QEMU has.

use std::sync::Arc;

use crate::ids::DeviceId;
use crate::net::share::Taps;
use crate::sys::descriptor::Descriptor;

/// A tap that QEMU is about to close.
#[derive(Debug)]
pub(super) struct TapFd {
    pub(super) nic: DeviceId,
    pub(super) _fd: Descriptor,
}

/// What was seen of QEMU's descriptors.
#[derive(Debug)]
pub(super) struct TapCache {
    pub(super) taps: Arc<Taps>,
    /// Of the record at that moment: a NIC that is added later has a higher number.
    pub(super) next_generation: u64,
}
