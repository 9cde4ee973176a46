//! What is said of a device.

/// What was said of the device of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// `DEVICE_DELETED`.
    Deleted,
    /// `device_del` did not find it.
    NotFound,
    /// `DEVICE_UNPLUG_GUEST_ERROR`.
    Refused,
}
