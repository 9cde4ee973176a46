//! What differs by QEMU's version.

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

    /// Descriptors that nothing has a duplicate of go with the last client.
    pub(super) fn sweeps_fdsets(self) -> bool {
        !self.since(9, 1)
    }

    /// `query-status` says whether single steps are made.
    pub(super) fn tells_singlestep(self) -> bool {
        !self.since(9, 0)
    }

    /// The id of a device is taken until `DEVICE_DELETED` has been said.
    pub(super) fn keeps_ids(self) -> bool {
        !self.since(6, 0)
    }
}
