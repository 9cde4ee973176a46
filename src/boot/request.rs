//! What the caller says of a start, and what it gets.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::incoming::Incoming;
use crate::model::Machine;
use crate::qmp::Version;

/// The first number a descriptor can have in QEMU: behind standard input, output and error.
pub const FIRST_FD: u32 = 3;

/// What the caller decides about a start.
#[derive(Debug, Default)]
pub struct BootRequest {
    /// A migration that is to come in; none for a boot.
    pub incoming: Option<Incoming>,
    /// The QEMU it is for. One of unknown version gets options as every version reads them.
    pub qemu: Option<Version>,
    /// The number in QEMU of the first descriptor, [`FIRST_FD`] or more; the others follow without a gap.
    pub fd_base: u32,
    /// How many devices more the running guest shall have room for, on a machine where every one needs a
    /// port.
    pub spare_ports: usize,
    /// The processors wait for `cont`.
    pub paused: bool,
    /// The monitor's socket, where the guest would answer if it ran, besides those that the command names.
    pub monitor: Option<PathBuf>,
    /// Where the monitor listens after this start, instead of where the recorded command says, if anywhere.
    pub listen_at: Option<PathBuf>,
}

/// A command with what it inherits.
#[derive(Debug)]
pub struct BootCommand {
    /// The whole command line, the program first.
    pub argv: Vec<String>,
    /// The descriptors, which have the numbers `fd_base`, `fd_base + 1` and so on in it.
    pub fds: Vec<OwnedFd>,
    /// See [`BootRequest::fd_base`].
    pub fd_base: u32,
}

/// How full the next start will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootPlan {
    /// What kind of machine it is.
    pub machine: Machine,
    /// Devices that it starts with.
    pub devices: usize,
    /// Ports that the command makes.
    pub ports: usize,
    /// How many of those are new.
    pub new_ports: usize,
    /// PCI bridges that the command makes.
    pub bridges: usize,
    /// How many of those are new.
    pub new_bridges: usize,
    /// How many devices the running guest then has room for.
    pub free: usize,
}
