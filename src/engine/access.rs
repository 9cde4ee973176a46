//! What a handle may do: change the guest, or only look at it.

/// What a handle may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    #[default]
    Change,
    /// Ask QEMU, and show what is unfinished as that: nothing is settled, nothing is written.
    Look,
}
