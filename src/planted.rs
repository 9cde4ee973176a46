//! Faults that tests plant in the engine, to see that exploration finds them. Without the feature `planted-faults` there are none,
//! and nothing is left of the questions.

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `DEVICE_DELETED` is believed without a question to QOM.
    EventIsBelieved,
    /// The journal is cleared before the record is in place.
    JournalClearedFirst,
    /// The backend of a device goes with the request to let go of the device.
    BackendGoesEarly,
    /// Whatever has the id of a device is taken for that device.
    IdIsIdentity,
    /// What has become of a device is told twice.
    ToldTwice,
    /// What a call answers is told as well.
    AnswerIsTold,
    /// With the fdsets of a disk go all others.
    FdsetsOfOthers,
    /// An add is not in the journal.
    AddNotLogged,
    /// A removal is not in the journal.
    RemovalNotLogged,
    /// A change of a link is not in the journal.
    ChangeNotLogged,
    /// A netdev stays when its add is taken back.
    NetdevIsForgotten,
    /// The tap of a NIC is deleted with the request to let go of the NIC.
    TapGoesEarly,
    /// With the tap of a NIC go those of all other NICs.
    TapsOfOthers,
    /// The number of an attachment is used again.
    GenerationIsUsedAgain,
    /// A descriptor counts for received, although the client that passed it was cut off.
    UncertainFdIsClosed,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::EventIsBelieved,
        Self::JournalClearedFirst,
        Self::BackendGoesEarly,
        Self::IdIsIdentity,
        Self::ToldTwice,
        Self::AnswerIsTold,
        Self::FdsetsOfOthers,
        Self::AddNotLogged,
        Self::RemovalNotLogged,
        Self::ChangeNotLogged,
        Self::NetdevIsForgotten,
        Self::TapGoesEarly,
        Self::TapsOfOthers,
        Self::GenerationIsUsedAgain,
        Self::UncertainFdIsClosed,
    ];
}

#[cfg(feature = "planted-faults")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// From now on this thread has the fault, or none.
#[cfg(feature = "planted-faults")]
pub fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}

/// Whether this thread has the fault.
pub(crate) fn has(fault: Fault) -> bool {
    #[cfg(feature = "planted-faults")]
    let planted = PLANTED.get();
    #[cfg(not(feature = "planted-faults"))]
    let planted = None;
    planted == Some(fault)
}
