//! vhost-net: moving packets in the host kernel instead of in QEMU.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::MAX_QUEUES;
use crate::error::{Error, ErrorKind, Result};

/// Where the kernel offers vhost-net.
pub const DEVICE: &str = "/dev/vhost-net";

c_enum! {
    /// Whether the host kernel moves the packets of a NIC.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum VhostMode = kvm_hotplug_vhost, KVM_HOTPLUG_VHOST {
        /// With vhost-net if the host has it.
        #[default]
        Auto = 0,
        /// Without.
        Off = 1,
        /// With, or the call fails with -ENODEV.
        Required = 2,
    }
}

impl VhostMode {
    /// Whether a NIC that has vhost or not, as `resolved` says, is what this mode asks for. A repeated
    /// request is compared by this, so that "auto" does not conflict with what it was resolved to.
    pub fn accepts(self, resolved: bool) -> bool {
        match self {
            Self::Off => !resolved,
            Self::Auto => true,
            Self::Required => resolved,
        }
    }
}

/// One fd of `device` (normally [`DEVICE`]) per queue, or none where `mode` allows that and the host cannot.
pub fn open(mode: VhostMode, queues: u16, device: &Path) -> Result<Vec<OwnedFd>> {
    if !(1..=MAX_QUEUES).contains(&queues) {
        return Err(Error::invalid(format!("vhost for {queues} queues: a NIC has 1 to {MAX_QUEUES}")));
    }
    if mode == VhostMode::Off {
        return Ok(Vec::new());
    }
    let fds: std::io::Result<Vec<OwnedFd>> = (0..queues).map(|_| open_one(device)).collect();
    match fds {
        Ok(fds) => Ok(fds),
        Err(source) if !host_lacks_vhost(&source) => {
            Err(Error::host(source, format!("open {}", device.display())))
        }
        Err(_) if mode == VhostMode::Auto => Ok(Vec::new()),
        Err(source) => Err(unavailable(&source, device)),
    }
}

fn open_one(device: &Path) -> std::io::Result<OwnedFd> {
    // The standard library sets O_CLOEXEC.
    OpenOptions::new().read(true).write(true).open(device).map(OwnedFd::from)
}

/// The ways in which a host says that vhost is not for us: no node, no driver behind the node, no permission.
fn host_lacks_vhost(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV | libc::EACCES | libc::EPERM)
    )
}

fn unavailable(source: &std::io::Error, device: &Path) -> Error {
    let why = nix::errno::Errno::from_raw(source.raw_os_error().unwrap_or(libc::ENODEV)).desc();
    let device = device.display();
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "vhost is required but {device} cannot be opened: {why}; load it (modprobe vhost_net), \
             give this process access, or let vhost be chosen automatically"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_fits_either_outcome() {
        let table = [(VhostMode::Off, [true, false]), (VhostMode::Auto, [true, true])];
        for (mode, [without, with]) in table.into_iter().chain([(VhostMode::Required, [false, true])]) {
            assert_eq!([mode.accepts(false), mode.accepts(true)], [without, with], "{mode:?}");
        }
    }

    #[test]
    fn queue_counts_are_checked_even_when_off() {
        for queues in [0, 257] {
            let error = open(VhostMode::Off, queues, Path::new(DEVICE)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }
}
