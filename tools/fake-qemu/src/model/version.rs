//! What differs by QEMU's version, as far as 5.2, 7.2, 10.0 and 11.1 have shown it (`tests/against_qemu.rs`).
//! Where a change came between two of them, the older versions in between are taken for the newer ones unless
//! more is known.

/// Major, minor, micro.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32, pub u32, pub u32);

impl From<(u32, u32, u32)> for Version {
    fn from((major, minor, micro): (u32, u32, u32)) -> Self {
        Self(major, minor, micro)
    }
}

impl Version {
    fn since(self, major: u32, minor: u32) -> bool {
        (self.0, self.1) >= (major, minor)
    }

    /// The id of a device is taken until `DEVICE_DELETED` has been said.
    pub(super) fn keeps_ids(self) -> bool {
        !self.since(6, 0)
    }

    /// Refusals in the words of before.
    pub(super) fn has_old_texts(self) -> bool {
        !self.since(6, 0)
    }

    /// A second netdev of the same id is taken, and has no name that tells them apart.
    pub(super) fn takes_duplicate_netdevs(self) -> bool {
        !self.since(6, 0)
    }

    /// Netdevs over sockets of any kind.
    pub(super) fn has_sockets(self) -> bool {
        self.since(7, 2)
    }

    /// The guest may be asked again to let go of a device that is plugged by ACPI.
    pub(super) fn takes_second_requests(self) -> bool {
        !self.since(6, 0)
    }

    /// `RESET` and `POWERDOWN` are said when the command has been answered.
    pub(super) fn says_requests_late(self) -> bool {
        !self.since(6, 0)
    }

    /// Root ports plug as PCI Express does, and not by ACPI: a reset does not complete removals.
    pub(super) fn has_native_ports(self) -> bool {
        !self.since(6, 1)
    }

    /// `query-status` says whether single steps are made.
    pub(super) fn tells_singlestep(self) -> bool {
        !self.since(9, 0)
    }

    /// Descriptors that nothing has a duplicate of go with the last client.
    pub(super) fn sweeps_fdsets(self) -> bool {
        !self.since(9, 1)
    }

    /// Descriptors that `remove-fd` has named stay until a guest runs.
    pub(super) fn keeps_fds_of_stopped_guests(self) -> bool {
        !self.since(9, 1)
    }

    /// QEMU says what is missing of a set, and not what the system call would have said.
    pub(super) fn explains_fdsets(self) -> bool {
        self.since(9, 1)
    }

    /// Models have a property that divides their queues among iothreads.
    pub(super) fn maps_queues(self) -> bool {
        self.since(9, 0)
    }

    /// `device_add` takes lists. Before, it passes over them.
    pub(super) fn takes_lists(self) -> bool {
        self.since(9, 2)
    }

    /// A throttle group that is in use is refused in words of its own.
    pub(super) fn counts_references(self) -> bool {
        self.since(11, 0)
    }

    /// A netdev that fails at a later queue is left half made.
    pub(super) fn leaves_half_netdevs(self) -> bool {
        !self.since(11, 0)
    }

    /// QOM shows a hot-plug handler of the root bus of a q35, which takes nothing for all that.
    pub(super) fn shows_root_handler(self) -> bool {
        self.since(8, 0)
    }
}
