//! In which order a change is made: the journal says what is about to be done, then the commands that change
//! the guest are sent, then the record says what is so, and then the journal entry goes. Each step takes what
//! only the one before it gives, so that another order does not compile (tests/order.rs).

use std::marker::PhantomData;

/// The journal says what is about to be done. Only writing it makes one, or finding there what was written.
///
/// `S` is the record that has been staged for the end, if one was.
#[derive(Debug)]
#[must_use = "what the journal has is carried out, or struck"]
pub(in crate::engine) struct Journaled<S> {
    staged: S,
}

/// Commands that change the guest may be sent.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct May<'a>(PhantomData<&'a ()>);

/// The record says what is so: the journal entry may go.
#[derive(Debug)]
#[must_use = "the journal still has what is done"]
pub(in crate::engine) struct Committed(());

/// What changes the guest and has no journal entry, since nothing durable follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Undurable {
    /// A command of the caller's own: whatever it does is the caller's.
    Passthrough,
    /// The size of a disk: it is the image's own, and not recorded.
    Resize,
    /// A link is set to what the record says already.
    RecordedLink,
    /// A device without an id, which no record has.
    RemovalByPath,
    /// A monitor that goes with its client.
    LentMonitor,
    /// The guest is asked to open a tray that it has locked; whether it does is its own affair, and noted
    /// when it has.
    TrayRequest,
    /// A node or an fdset with our tag that belongs to no device.
    Orphan,
    /// An fdset that was kept for the next try of an add that is taken back.
    RetainedFd,
    /// A node under a name that none can have, by which QEMU says whether it has the driver.
    UnnamedNode,
    /// A netdev with a member that none has, by which QEMU says whether it has the type.
    UnmadeNetdev,
}

impl<S> Journaled<S> {
    /// For the write of the journal alone.
    pub(super) fn with(staged: S) -> Self {
        Self { staged }
    }

    /// Commands that change the guest may be sent, as long as the journal says for what.
    pub(in crate::engine) fn may(&self) -> May<'_> {
        May(PhantomData)
    }

    /// The staged record is to be put in place.
    pub(super) fn into_staged(self) -> (S, Journaled<()>) {
        (self.staged, Journaled { staged: () })
    }

    /// The staged record is given up, and taken away.
    pub(in crate::engine) fn give_up(self) -> Journaled<()> {
        self.into_staged().1
    }
}

impl Journaled<()> {
    /// For the write of the record alone.
    pub(super) fn recorded(self) -> Committed {
        Committed(())
    }

    /// The record says what is so already: what was begun is taken back, or nothing is left to be done about
    /// it.
    pub(in crate::engine) fn nothing_to_record(self) -> Committed {
        Committed(())
    }
}

impl Undurable {
    /// Commands that change the guest may be sent for this.
    pub(in crate::engine) fn may(self) -> May<'static> {
        May(PhantomData)
    }
}
