//! The files that a record has.

/// The names a record has in its directory, besides its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The runtime file itself.
    Record,
    /// What was about to be done, and removals the guest has not granted.
    Journal,
    /// What the format of the runtime file has no room for.
    Sidecar,
}
