//! Every combination of facts, with what is decided: each of them is in one row of the table, and in the list
//! of impossible ones if it is. What cannot be is decided like what is next to it, so that nothing of it
//! depends on the list.

use super::*;

const QEMUS: &[Qemu] = &[Qemu::Same, Qemu::Another];
const OPERATIONS: &[Option<Operation>] = &[
    None,
    Some(Operation::Add),
    Some(Operation::RollbackAdd),
    Some(Operation::Remove),
    Some(Operation::RemoveNext),
    Some(Operation::SetLink),
    Some(Operation::SetLimits),
    Some(Operation::Move),
    Some(Operation::SetLimits),
    Some(Operation::ChangeMedium),
];
const RECORDED: &[Recorded] = &[
    Recorded::Nothing,
    Recorded::Another,
    Recorded::Live,
    Recorded::LiveSomewhere,
    Recorded::AddAfterReboot,
    Recorded::RemoveAfterReboot,
];
const SHOWN: &[Shown] = &[Shown::Nothing, Shown::Itself, OTHER, OTHER_WITH_BACKEND];
const BATCHES: &[Batch] = &[Batch::Whole, Batch::Partial, Batch::DiskFailed];
const GUESTS: &[Guest] = &[Guest::Listens, Guest::CannotAnswer, Guest::Migrates];
const BOTH: &[bool] = &[false, true];

const OTHER: Shown = Shown::Another { has_backend: false };
const OTHER_WITH_BACKEND: Shown = Shown::Another { has_backend: true };

const ADD: &[Option<Operation>] = &[Some(Operation::Add)];
const ROLLBACK: &[Option<Operation>] = &[Some(Operation::RollbackAdd)];
const REMOVE: &[Option<Operation>] = &[Some(Operation::Remove)];
const ALL_BUT_ADD: &[Option<Operation>] = &[
    Some(Operation::RollbackAdd),
    Some(Operation::Remove),
    Some(Operation::RemoveNext),
    Some(Operation::SetLink),
    Some(Operation::SetLimits),
    Some(Operation::Move),
    Some(Operation::SetLimits),
    Some(Operation::ChangeMedium),
];
const REMOVE_NEXT: &[Option<Operation>] = &[Some(Operation::RemoveNext)];
const CHANGE: &[Option<Operation>] = &[
    Some(Operation::SetLink),
    Some(Operation::Move),
    Some(Operation::SetLimits),
    Some(Operation::ChangeMedium),
];
const OF_NIC: &[Option<Operation>] =
    &[Some(Operation::SetLink), Some(Operation::Move), Some(Operation::SetLimits)];
const MEDIUM: &[Option<Operation>] = &[Some(Operation::ChangeMedium)];
const SOME: &[Option<Operation>] = &[
    Some(Operation::Add),
    Some(Operation::RollbackAdd),
    Some(Operation::Remove),
    Some(Operation::RemoveNext),
    Some(Operation::SetLink),
    Some(Operation::SetLimits),
    Some(Operation::Move),
    Some(Operation::SetLimits),
    Some(Operation::ChangeMedium),
];

const NOTHING: &[Recorded] = &[Recorded::Nothing];
const ANOTHER: &[Recorded] = &[Recorded::Another];
const NOT_IT: &[Recorded] = &[Recorded::Nothing, Recorded::Another];
const LATER: &[Recorded] = &[Recorded::AddAfterReboot];
const IT: &[Recorded] =
    &[Recorded::Live, Recorded::LiveSomewhere, Recorded::AddAfterReboot, Recorded::RemoveAfterReboot];
const IT_OR_NOTHING: &[Recorded] = &[
    Recorded::Nothing,
    Recorded::Live,
    Recorded::LiveSomewhere,
    Recorded::AddAfterReboot,
    Recorded::RemoveAfterReboot,
];

const ABSENT: &[Shown] = &[Shown::Nothing];
const ITSELF: &[Shown] = &[Shown::Itself];
/// The device is not there, and the backend is its own.
const GONE: &[Shown] = &[Shown::Nothing, OTHER];
const TAKEN: &[Shown] = &[OTHER_WITH_BACKEND];
const NOT_ITSELF: &[Shown] = &[Shown::Nothing, OTHER, OTHER_WITH_BACKEND];

const LISTENS: &[Guest] = &[Guest::Listens];
const CANNOT_ANSWER: &[Guest] = &[Guest::CannotAnswer];
const MIGRATES: &[Guest] = &[Guest::Migrates];

const YES: &[bool] = &[true];
const NO: &[bool] = &[false];

/// A row stands for all combinations of its columns.
struct Row {
    qemu: &'static [Qemu],
    operation: &'static [Option<Operation>],
    recorded: &'static [Recorded],
    shown: &'static [Shown],
    batch: &'static [Batch],
    in_progress: &'static [bool],
    unplugging: &'static [bool],
    guest: &'static [Guest],
    uncertain: &'static [bool],
}

const ANY: Row = Row {
    qemu: QEMUS,
    operation: OPERATIONS,
    recorded: RECORDED,
    shown: SHOWN,
    batch: BATCHES,
    in_progress: BOTH,
    unplugging: BOTH,
    guest: GUESTS,
    uncertain: BOTH,
};
/// Nothing has begun.
const REST: Row = Row { operation: &[None], ..ANY };
/// The journal is about the QEMU that is connected, and no operation is at work on the device.
const SAME: Row = Row { qemu: &[Qemu::Same], in_progress: NO, ..ANY };
/// The journal is about a QEMU that has ended.
const ENDED: Row = Row { qemu: &[Qemu::Another], ..ANY };
/// Adds of which nothing is known that speaks against them.
const WHOLE: Row = Row { operation: ADD, batch: &[Batch::Whole], ..SAME };
/// Adds of a controller whose disk fails.
const DISKLESS: Row = Row { operation: ADD, batch: &[Batch::DiskFailed], ..SAME };

/// What a device that leaves is told as, and what is taken down behind it.
const fn down(told: EventKind, backend: Backend) -> Decision {
    Decision::TearDown(Teardown { told, backend })
}
const UNDONE: Decision = down(EventKind::Undone, Backend::OfAdd);
const UNDONE_CUT_OFF: Decision = down(EventKind::Undone, Backend::OfCutOffAdd);
const UNDONE_TAKEN: Decision = down(EventKind::Undone, Backend::OfAnother);
const REMOVED: Decision = down(EventKind::Removed, Backend::Whole);
const REMOVED_TAKEN: Decision = down(EventKind::Removed, Backend::OfAnother);

#[rustfmt::skip]
const TABLE: &[(Row, Decision)] = &[
    (Row { recorded: &[Recorded::Live], shown: ABSENT, ..REST }, Decision::KeepAbsent),
    (Row { recorded: &[Recorded::Live], shown: &[Shown::Itself, OTHER, OTHER_WITH_BACKEND], ..REST }, Decision::Keep),
    (Row { recorded: &[Recorded::LiveSomewhere, Recorded::AddAfterReboot, Recorded::RemoveAfterReboot], ..REST }, Decision::Keep),
    (Row { recorded: NOT_IT, ..REST }, Decision::Keep),

    (Row { operation: SOME, in_progress: YES, ..SAME }, Decision::LeaveToOperation),
    (Row { operation: SOME, recorded: ANOTHER, ..SAME }, Decision::ClearIntent),

    (Row { operation: ADD, recorded: IT_OR_NOTHING, batch: &[Batch::Partial], ..SAME }, Decision::RollBack),
    (Row { recorded: NOTHING, ..DISKLESS }, Decision::RollBack),
    (Row { recorded: IT, shown: ITSELF, ..DISKLESS }, Decision::CompleteAdd),
    (Row { recorded: IT, shown: GONE, uncertain: NO, ..DISKLESS }, UNDONE),
    (Row { recorded: IT, shown: GONE, uncertain: YES, ..DISKLESS }, UNDONE_CUT_OFF),
    (Row { recorded: IT, shown: TAKEN, ..DISKLESS }, UNDONE_TAKEN),
    (Row { recorded: IT_OR_NOTHING, shown: ITSELF, ..WHOLE }, Decision::CompleteAdd),
    (Row { recorded: IT_OR_NOTHING, shown: GONE, uncertain: NO, ..WHOLE }, UNDONE),
    (Row { recorded: IT_OR_NOTHING, shown: GONE, uncertain: YES, ..WHOLE }, UNDONE_CUT_OFF),
    (Row { recorded: IT_OR_NOTHING, shown: TAKEN, ..WHOLE }, UNDONE_TAKEN),

    (Row { operation: ROLLBACK, recorded: IT_OR_NOTHING, shown: ITSELF, unplugging: YES, ..SAME }, Decision::AwaitUnplug),
    (Row { operation: ROLLBACK, recorded: IT_OR_NOTHING, shown: ITSELF, unplugging: NO, guest: LISTENS, ..SAME }, Decision::RequestUnplug),
    (Row { operation: ROLLBACK, recorded: IT_OR_NOTHING, shown: ITSELF, unplugging: NO, guest: CANNOT_ANSWER, ..SAME }, Decision::DeferUnplug),
    (Row { operation: ROLLBACK, recorded: IT_OR_NOTHING, shown: ITSELF, unplugging: NO, guest: MIGRATES, ..SAME }, Decision::AwaitMigration),
    (Row { operation: ROLLBACK, recorded: IT_OR_NOTHING, shown: GONE, uncertain: NO, ..SAME }, UNDONE),
    (Row { operation: ROLLBACK, recorded: IT_OR_NOTHING, shown: GONE, uncertain: YES, ..SAME }, UNDONE_CUT_OFF),
    (Row { operation: ROLLBACK, recorded: IT_OR_NOTHING, shown: TAKEN, ..SAME }, UNDONE_TAKEN),

    (Row { operation: REMOVE, recorded: IT_OR_NOTHING, shown: ITSELF, unplugging: YES, ..SAME }, Decision::AwaitUnplug),
    (Row { operation: REMOVE, recorded: IT_OR_NOTHING, shown: ITSELF, unplugging: NO, guest: LISTENS, ..SAME }, Decision::RequestUnplug),
    (Row { operation: REMOVE, recorded: IT_OR_NOTHING, shown: ITSELF, unplugging: NO, guest: CANNOT_ANSWER, ..SAME }, Decision::DeferUnplug),
    (Row { operation: REMOVE, recorded: IT_OR_NOTHING, shown: ITSELF, unplugging: NO, guest: MIGRATES, ..SAME }, Decision::AwaitMigration),
    (Row { operation: REMOVE, recorded: NOTHING, shown: ABSENT, ..SAME }, REMOVED),
    (Row { operation: REMOVE, recorded: NOTHING, shown: &[OTHER, OTHER_WITH_BACKEND], ..SAME }, Decision::ClearIntent),
    (Row { operation: REMOVE, recorded: IT, shown: GONE, ..SAME }, REMOVED),
    (Row { operation: REMOVE, recorded: IT, shown: TAKEN, ..SAME }, REMOVED_TAKEN),

    (Row { operation: REMOVE_NEXT, recorded: NOTHING, ..SAME }, Decision::ClearIntent),
    (Row { operation: REMOVE_NEXT, recorded: IT, ..SAME }, Decision::AwaitAdds),

    (Row { operation: CHANGE, recorded: NOTHING, ..SAME }, Decision::ClearIntent),
    (Row { operation: CHANGE, recorded: IT, shown: ITSELF, ..SAME }, Decision::SettleChange),
    (Row { operation: OF_NIC, recorded: IT, shown: NOT_ITSELF, ..SAME }, Decision::ClearIntent),
    (Row { operation: MEDIUM, recorded: IT, shown: ABSENT, ..SAME }, Decision::SettleChange),
    (Row { operation: MEDIUM, recorded: IT, shown: &[OTHER, OTHER_WITH_BACKEND], ..SAME }, Decision::ClearIntent),

    (Row { operation: ADD, recorded: NOTHING, ..ENDED }, Decision::GoneWithQemu(EventKind::Undone)),
    (Row { operation: ADD, recorded: ANOTHER, ..ENDED }, Decision::ClearIntent),
    (Row { operation: ADD, recorded: IT, ..ENDED }, Decision::ClearIntent),
    (Row { operation: ROLLBACK, recorded: NOTHING, ..ENDED }, Decision::GoneWithQemu(EventKind::Undone)),
    (Row { operation: ROLLBACK, recorded: ANOTHER, ..ENDED }, Decision::ClearIntent),
    (Row { operation: ROLLBACK, recorded: IT, shown: NOT_ITSELF, ..ENDED }, Decision::GoneWithQemu(EventKind::Undone)),
    (Row { operation: ROLLBACK, recorded: IT, shown: ITSELF, ..ENDED }, Decision::ClearIntent),
    (Row { operation: REMOVE, recorded: NOT_IT, ..ENDED }, Decision::ClearIntent),
    (Row { operation: REMOVE, recorded: IT, shown: NOT_ITSELF, ..ENDED }, Decision::GoneWithQemu(EventKind::Removed)),
    (Row { operation: REMOVE, recorded: IT, shown: ITSELF, ..ENDED }, Decision::StaysInNewQemu),
    (Row { operation: REMOVE_NEXT, ..ENDED }, Decision::ClearIntent),
    (Row { operation: CHANGE, ..ENDED }, Decision::ClearIntent),
];

#[rustfmt::skip]
const IMPOSSIBLE: &[(Row, &str)] = &[
    (Row { recorded: NOT_IT, ..REST }, "nobody knows of a device that neither record nor journal has"),
    (Row { recorded: IT, in_progress: YES, ..REST }, "the journal has an add as long as it goes on"),
    (Row { recorded: IT, in_progress: NO, unplugging: YES, ..REST }, "the journal has a removal before the guest is asked"),
    (Row { recorded: IT, in_progress: NO, unplugging: NO, batch: &[Batch::Partial, Batch::DiskFailed], ..REST },
        "only what the journal has was to come with others"),
    (Row { operation: ALL_BUT_ADD,
           in_progress: YES, ..ANY }, "only adds go on without a call"),
    (Row { operation: ALL_BUT_ADD,
           in_progress: NO, batch: &[Batch::Partial, Batch::DiskFailed], ..ANY }, "only of adds it is asked what comes with them"),
    (Row { operation: ADD, recorded: LATER, ..ANY }, "what comes with the next boot is recorded without a journal"),
    (Row { operation: ALL_BUT_ADD,
           recorded: LATER, in_progress: NO, batch: &[Batch::Whole], ..ANY }, "what comes with the next boot is changed without a journal"),
    (Row { operation: CHANGE, recorded: &[Recorded::Nothing, Recorded::Another, Recorded::Live, Recorded::LiveSomewhere, Recorded::RemoveAfterReboot],
           unplugging: YES, in_progress: NO, batch: &[Batch::Whole], ..ANY }, "a removal takes the place of a change in the journal"),
];

impl Row {
    fn has(&self, facts: &Facts) -> bool {
        self.qemu.contains(&facts.qemu)
            && self.operation.contains(&facts.operation)
            && self.recorded.contains(&facts.recorded)
            && self.shown.contains(&facts.shown)
            && self.batch.contains(&facts.batch)
            && self.in_progress.contains(&facts.is_in_progress)
            && self.unplugging.contains(&facts.is_unplugging)
            && self.guest.contains(&facts.guest)
            && self.uncertain.contains(&facts.fds_uncertain)
    }

    fn all(&self) -> Vec<Facts> {
        let mut all = Vec::new();
        for (&qemu, &operation) in self.qemu.iter().flat_map(|q| self.operation.iter().map(move |o| (q, o))) {
            for (&recorded, &shown) in
                self.recorded.iter().flat_map(|r| self.shown.iter().map(move |s| (r, s)))
            {
                for (&batch, &guest) in self.batch.iter().flat_map(|b| self.guest.iter().map(move |g| (b, g)))
                {
                    for &is_in_progress in self.in_progress {
                        for &is_unplugging in self.unplugging {
                            all.extend(self.uncertain.iter().map(|&fds_uncertain| Facts {
                                qemu,
                                operation,
                                recorded,
                                shown,
                                batch,
                                is_in_progress,
                                is_unplugging,
                                guest,
                                fds_uncertain,
                            }));
                        }
                    }
                }
            }
        }
        all
    }
}

#[test]
fn every_combination_has_one_row_with_its_decision() {
    for facts in ANY.all() {
        let rows: Vec<Decision> = TABLE.iter().filter(|(row, _)| row.has(&facts)).map(|(_, d)| *d).collect();
        assert_eq!(rows, [decide(&facts)], "rows of the table, and the decision, about {facts:?}");
    }
}

#[test]
fn no_combination_is_impossible_for_two_reasons_and_every_row_is_needed() {
    for facts in ANY.all() {
        let why: Vec<&str> =
            IMPOSSIBLE.iter().filter(|(row, _)| row.has(&facts)).map(|(_, why)| *why).collect();
        assert!(why.len() <= 1, "{facts:?}: {why:?}");
    }
    let is_impossible = |facts: &Facts| IMPOSSIBLE.iter().any(|(row, _)| row.has(facts));
    let idle = TABLE.iter().filter(|(row, _)| row.all().iter().all(is_impossible));
    let idle: Vec<Decision> = idle.map(|(_, decision)| *decision).collect();
    assert_eq!(idle, [Decision::Keep], "only what neither record nor journal has");
}

#[test]
fn what_is_rolled_back_is_decided_about_once_more_and_then_in_another_way() {
    for facts in ANY.all().into_iter().filter(|facts| decide(facts) == Decision::RollBack) {
        let next = Facts { operation: Some(Operation::RollbackAdd), batch: Batch::Whole, ..facts };
        assert!(
            !matches!(decide(&next), Decision::RollBack | Decision::CompleteAdd | Decision::Keep),
            "{facts:?}"
        );
    }
}

#[test]
fn nothing_is_taken_down_behind_a_device_that_is_shown() {
    for facts in ANY.all().into_iter().filter(|facts| facts.shown.is_itself()) {
        assert!(!matches!(decide(&facts), Decision::TearDown(_) | Decision::KeepAbsent), "{facts:?}");
    }
    for facts in ANY.all().into_iter().filter(|facts| facts.shown == OTHER_WITH_BACKEND) {
        let Decision::TearDown(teardown) = decide(&facts) else { continue };
        assert_eq!(teardown.backend, Backend::OfAnother, "{facts:?}");
    }
}
