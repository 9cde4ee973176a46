//! What becomes of a device about which something is unfinished: one decision from what record and journal
//! say of it and what the guest shows, after a crash, a lost reply and a reconnect alike. Nothing is done
//! here, and nobody is asked.

use super::events::EventKind;
use super::identity::Shown;
use crate::model::{Device, Intent, Operation, Presence, Record, ends_with_qemu};

/// Which QEMU the journal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qemu {
    /// The one that is connected, or nobody can tell.
    Same,
    /// One that has ended.
    Another,
}

/// What the record has under the id of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// Nothing.
    Nothing,
    /// Another attachment: the generations differ.
    Another,
    /// The device, live and at an address.
    Live,
    /// The device, live, and nobody knows where.
    LiveSomewhere,
    /// The device, for the next boot.
    AddAfterReboot,
    /// The device, until the next boot.
    RemoveAfterReboot,
}

/// What has become of the devices that were to come with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// They are in the guest, or there are none.
    Whole,
    /// One of the same add is neither in the guest nor recorded.
    Partial,
    /// The device is a controller, and a disk that is added to it fails.
    DiskFailed,
}

/// Whether the guest can be asked for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guest {
    /// It can.
    Listens,
    /// It sleeps, or has not been started.
    CannotAnswer,
    /// It is being migrated.
    Migrates,
}

/// Everything that the decision depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) qemu: Qemu,
    /// What the journal has under the id.
    pub(super) operation: Option<Operation>,
    pub(super) recorded: Recorded,
    pub(super) shown: Shown,
    pub(super) batch: Batch,
    /// An operation of this process is at work on it.
    pub(super) is_in_progress: bool,
    /// This process has asked for it already, or will when the guest can answer.
    pub(super) is_unplugging: bool,
    pub(super) guest: Guest,
    /// Nobody knows which of the descriptors that were handed over for it QEMU has.
    pub(super) fds_uncertain: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing.
    Keep,
    /// Nothing, but the guest does not have what the record has.
    KeepAbsent,
    /// Nothing: the operation that is at work on it goes on.
    LeaveToOperation,
    /// Nothing: the guest has been asked for it.
    AwaitUnplug,
    /// Nothing: what becomes of the adds before it decides.
    AwaitAdds,
    /// The journal entry goes, nothing else.
    ClearIntent,
    /// The device is recorded, and its journal entry goes.
    CompleteAdd,
    /// The journal is to say that the add is taken back. What is to be done then is the next decision.
    RollBack,
    /// The guest is asked for the device.
    RequestUnplug,
    /// The guest is asked when it wakes up or is started.
    DeferUnplug,
    /// The guest is asked where it runs after the migration.
    AwaitMigration,
    /// Link, bridge or medium are made what the record has.
    SettleChange,
    /// The backend of the device is taken down, then the device leaves the record.
    TearDown(Teardown),
    /// The QEMU that had the device has ended: it leaves the record, if it is there, and this is told.
    GoneWithQemu(EventKind),
    /// The QEMU that was asked for the device has ended, and the next one was started with it: it stays.
    StaysInNewQemu,
}

/// How a device that has left is cleared up behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Teardown {
    /// What is told, unless a call waits for it.
    pub(super) told: EventKind,
    pub(super) backend: Backend,
}

/// What is taken down behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// Nothing: what has these names belongs to another device by now.
    OfAnother,
    /// What every device of its kind has.
    Whole,
    /// Whatever an add may have made by then, and the descriptors that it handed over.
    OfAdd,
    /// Whatever an add may have made by then, and those descriptors that QEMU is found to have.
    OfCutOffAdd,
}

/// Decides about one device.
pub(super) fn decide(facts: &Facts) -> Decision {
    match (facts.operation, facts.qemu) {
        (None, _) => at_rest(facts.recorded, facts.shown),
        (Some(operation), Qemu::Another) => after_another_qemu(operation, facts),
        (Some(_), Qemu::Same) if facts.is_in_progress => Decision::LeaveToOperation,
        (Some(operation), Qemu::Same) => unfinished(operation, facts),
    }
}

/// No operation has begun that is not at its end.
fn at_rest(recorded: Recorded, shown: Shown) -> Decision {
    match (recorded, shown) {
        (Recorded::Live, Shown::Nothing) => Decision::KeepAbsent,
        _ => Decision::Keep,
    }
}

/// Nothing that was begun in a QEMU that has ended is carried out on the next one.
fn after_another_qemu(operation: Operation, facts: &Facts) -> Decision {
    let is_there = facts.shown.is_itself();
    let ends = facts.recorded.is_it() && ends_with_qemu(operation, is_there);
    match (operation, facts.recorded) {
        (Operation::Remove, _) if ends => Decision::GoneWithQemu(EventKind::Removed),
        (Operation::RollbackAdd, _) if ends => Decision::GoneWithQemu(EventKind::Undone),
        (Operation::Add | Operation::RollbackAdd, Recorded::Nothing) => {
            Decision::GoneWithQemu(EventKind::Undone)
        }
        (Operation::Remove, recorded) if recorded.is_it() => Decision::StaysInNewQemu,
        _ => Decision::ClearIntent,
    }
}

fn unfinished(operation: Operation, facts: &Facts) -> Decision {
    // That the journal was removed is not synced, because nobody has to wait for that: after a power failure
    // its last version may be there again.
    if facts.recorded == Recorded::Another {
        return Decision::ClearIntent;
    }
    let is_recorded = facts.recorded.is_it();
    match (operation, facts.shown) {
        (
            Operation::SetLink | Operation::Move | Operation::SetLimits | Operation::ChangeMedium,
            Shown::Itself,
        ) if is_recorded => Decision::SettleChange,
        // The node that the record does not have goes without its drive as well.
        (Operation::ChangeMedium, Shown::Nothing) if is_recorded => Decision::SettleChange,
        (Operation::SetLink | Operation::Move | Operation::SetLimits | Operation::ChangeMedium, _) => {
            Decision::ClearIntent
        }
        (Operation::RemoveNext, _) if is_recorded => Decision::AwaitAdds,
        (Operation::RemoveNext, _) => Decision::ClearIntent,
        (Operation::Add, _) if facts.batch == Batch::Partial => Decision::RollBack,
        (Operation::Add, _) if facts.batch == Batch::DiskFailed && !is_recorded => Decision::RollBack,
        (Operation::Add, Shown::Itself) => Decision::CompleteAdd,
        (Operation::RollbackAdd | Operation::Remove, Shown::Itself) => leave(facts),
        // It was completed; the device of that id is another one, and not ours.
        (Operation::Remove, Shown::Another { .. }) if !is_recorded => Decision::ClearIntent,
        // Also one that was added: its record may have been written before things went wrong.
        (Operation::Add | Operation::RollbackAdd | Operation::Remove, shown) => {
            let is_taken = shown == Shown::Another { has_backend: true };
            Decision::TearDown(teardown(Some(operation), is_taken, facts.fds_uncertain))
        }
    }
}

/// An agent that died may have asked or not; asking twice does no harm, not asking would.
fn leave(facts: &Facts) -> Decision {
    match facts.guest {
        _ if facts.is_unplugging => Decision::AwaitUnplug,
        Guest::Listens => Decision::RequestUnplug,
        Guest::CannotAnswer => Decision::DeferUnplug,
        Guest::Migrates => Decision::AwaitMigration,
    }
}

/// How a device that has left is cleared up behind, by what the journal says of it. It may have left unasked.
pub(super) fn teardown(operation: Option<Operation>, is_taken: bool, fds_uncertain: bool) -> Teardown {
    let told = match operation {
        Some(Operation::Add | Operation::RollbackAdd) => EventKind::Undone,
        Some(Operation::Remove) => EventKind::Removed,
        None
        | Some(
            Operation::RemoveNext
            | Operation::SetLink
            | Operation::Move
            | Operation::SetLimits
            | Operation::ChangeMedium,
        ) => EventKind::RemovedByGuest,
    };
    let backend = match told {
        _ if is_taken => Backend::OfAnother,
        EventKind::Undone if fds_uncertain => Backend::OfCutOffAdd,
        EventKind::Undone => Backend::OfAdd,
        _ => Backend::Whole,
    };
    Teardown { told, backend }
}

impl Recorded {
    /// What the record has under the id of this device.
    pub(super) fn of(device: &Device, record: &Record) -> Self {
        match record.find(device.id.as_str()) {
            None => Self::Nothing,
            Some(recorded) if recorded.generation != device.generation => Self::Another,
            Some(recorded) => match (recorded.presence, &recorded.address) {
                (Presence::Live, Some(_)) => Self::Live,
                (Presence::Live, None) => Self::LiveSomewhere,
                (Presence::AddAfterReboot, _) => Self::AddAfterReboot,
                (Presence::RemoveAfterReboot, _) => Self::RemoveAfterReboot,
            },
        }
    }

    /// Whether it is the device.
    pub(super) fn is_it(self) -> bool {
        !matches!(self, Self::Nothing | Self::Another)
    }
}

/// One entry of the journal, with what record and guest have under its id.
#[derive(Clone, Debug)]
pub(super) struct Unfinished {
    pub(super) intent: Intent,
    pub(super) recorded: Recorded,
    pub(super) shown: Shown,
}

impl Unfinished {
    fn is_add(&self) -> bool {
        self.intent.operation == Operation::Add
    }

    /// What has become of those that were to come with it. Of an add of several devices, all are to be in the
    /// guest, or none; one that has been recorded was complete.
    pub(super) fn batch(&self, all: &[Self]) -> Batch {
        let lacks =
            |other: &&Self| other.is_add() && !other.shown.is_itself() && other.recorded == Recorded::Nothing;
        let is_with_it = |other: &Self| other.intent.batch == self.intent.batch;
        let fails = |other: &Self| {
            other.intent.operation == Operation::RollbackAdd || (other.is_add() && !other.shown.is_itself())
        };
        let is_on_it =
            |other: &Self| other.intent.device.controller() == Some(self.intent.device.id.as_str());
        if !self.is_add() {
            Batch::Whole
        } else if self.intent.batch.is_some() && all.iter().filter(lacks).any(is_with_it) {
            Batch::Partial
        } else if all.iter().any(|other| is_on_it(other) && fails(other)) {
            Batch::DiskFailed
        } else {
            Batch::Whole
        }
    }
}

#[cfg(test)]
mod tests;
