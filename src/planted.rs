//! Faults that tests plant in the engine, to see that exploration finds them. Without the feature
//! `planted-faults` there are none, and nothing is left of the questions.

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
    /// A chardev stays when the add of its netdev is taken back.
    ChardevIsForgotten,
    /// An object that several devices need goes with the first of them.
    ObjectGoesEarly,
    /// An object stays when the device that it was made for has gone.
    ObjectIsForgotten,
    /// The tap of a NIC is deleted with the request to let go of the NIC.
    TapGoesEarly,
    /// With the tap of a NIC go those of all other NICs.
    TapsOfOthers,
    /// The number of an attachment is used again.
    GenerationIsUsedAgain,
    /// A descriptor counts for received, although the client that passed it was cut off.
    UncertainFdIsClosed,
    /// A file is in place, and its directory is not synced.
    DirectoryNotSynced,
    /// The journal of a QEMU that has ended is carried out on the next one.
    JournalOfAnother,
    /// A call that was cancelled forgets what it has begun.
    ResidueIsForgotten,
    /// The node of the old medium stays when a CD drive has got another one.
    OldMediumStays,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 22] = [
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
        Self::ChardevIsForgotten,
        Self::ObjectGoesEarly,
        Self::ObjectIsForgotten,
        Self::TapGoesEarly,
        Self::TapsOfOthers,
        Self::GenerationIsUsedAgain,
        Self::UncertainFdIsClosed,
        Self::DirectoryNotSynced,
        Self::JournalOfAnother,
        Self::ResidueIsForgotten,
        Self::OldMediumStays,
    ];
}

#[cfg(feature = "planted-faults")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// What was done in the directory of a record: a power failure takes back what was not synced.
#[cfg(feature = "planted-faults")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirStep {
    /// The file of this name is another one, or gone.
    Changed(std::ffi::OsString),
    /// All of that is there to stay.
    Synced,
}

#[cfg(feature = "planted-faults")]
thread_local! {
    static DIR_STEPS: std::cell::RefCell<Option<Vec<DirStep>>> = const { std::cell::RefCell::new(None) };
}

/// What this thread has done in directories since it asked last; from the first question on it is kept.
#[cfg(feature = "planted-faults")]
pub fn take_dir_steps() -> Vec<DirStep> {
    DIR_STEPS.with_borrow_mut(|steps| steps.replace(Vec::new())).unwrap_or_default()
}

#[cfg(feature = "planted-faults")]
fn note(step: impl FnOnce() -> DirStep) {
    DIR_STEPS.with_borrow_mut(|steps| steps.as_mut().map(|steps| steps.push(step())));
}

/// Notes for a test that the file of this name has changed.
pub(crate) fn note_changed(_name: &std::ffi::OsStr) {
    #[cfg(feature = "planted-faults")]
    note(|| DirStep::Changed(_name.to_owned()));
}

/// Notes for a test that a directory was synced.
pub(crate) fn note_synced() {
    #[cfg(feature = "planted-faults")]
    note(|| DirStep::Synced);
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
