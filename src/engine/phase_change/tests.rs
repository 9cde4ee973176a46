//! Every change of a phase, for every cause and every call that may wait, with the event that it is.

use super::*;
use crate::error::ErrorKind;

const PHASES: [At; 8] = [
    At::Absent,
    At::Deferred,
    At::Plugging,
    At::Plugged,
    At::AbsentInGuest,
    At::Unplugging,
    At::Detached,
    At::InUse,
];

const FAILURE: AddFailure = AddFailure { kind: ErrorKind::Qmp, errno: 121 };

const CAUSES: [Cause; 16] = [
    Cause::Begun,
    Cause::Added,
    Cause::AddFailed(FAILURE),
    Cause::Asked,
    Cause::Resumed,
    Cause::Refused,
    Cause::CalledOff,
    Cause::Left,
    Cause::Kept,
    Cause::StillKept,
    Cause::Removed,
    Cause::Ejected,
    Cause::TakenBack,
    Cause::Dropped,
    Cause::StaysInNewQemu,
    Cause::ChangeStays,
];

const ALL: &[At] = &PHASES;
/// Whatever is not here is no event: an add that is begun, a removal that a call asks for or calls off, what
/// an inventory shows.
#[rustfmt::skip]
const TABLE: [(Cause, &[At], &[At], EventKind); 10] = [
    // why                      from                to                                event, where nobody
    // waits
    (Cause::Added,              ALL,                &[At::Plugged],                   EventKind::Added),
    (Cause::AddFailed(FAILURE), ALL,                ALL,                              EventKind::AddFailed(FAILURE)),
    (Cause::Resumed,            ALL,                &[At::Unplugging],                EventKind::Pending),
    (Cause::Kept,               ALL,             &[At::InUse],                     EventKind::Pending),
    (Cause::Refused,            &[At::Unplugging],  &[At::Plugged, At::Unplugging],   EventKind::Refused),
    (Cause::Removed,            ALL,                &[At::Absent],                    EventKind::Removed),
    (Cause::Ejected,            ALL,                &[At::Absent],                    EventKind::RemovedByGuest),
    (Cause::TakenBack,          ALL,                &[At::Absent],                    EventKind::Undone),
    (Cause::StaysInNewQemu,     ALL,                &[At::Plugged],                   EventKind::Undone),
    (Cause::ChangeStays,        &[At::Plugged],     &[At::Plugged],                   EventKind::Undone),
];

#[test]
fn every_change_is_the_event_of_the_table_or_none() {
    let mut events = 0;
    for cause in CAUSES {
        for from in PHASES {
            for to in PHASES {
                let row = TABLE.iter().find(|(why, before, after, _)| {
                    *why == cause && before.contains(&from) && after.contains(&to)
                });
                let expected = row.map(|(.., kind)| *kind);
                let case = format!("{from:?} to {to:?}, {cause:?}");
                assert_eq!(event_of(from, to, cause, Waits::Nobody), expected, "{case}");
                assert_eq!(event_of(from, to, cause, Waits::ForAll), None, "{case}");
                let but_added = expected.filter(|kind| *kind != EventKind::Added);
                assert_eq!(event_of(from, to, cause, Waits::ForAdd), but_added, "{case}");
                events += usize::from(expected.is_some());
            }
        }
    }
    assert_eq!(events, 8 + 64 + 8 + 8 + 2 + 8 + 8 + 8 + 8 + 1);
}

/// The table in ARCHITECTURE.md has what the code allows.
#[test]
fn the_architecture_has_the_changes_that_are_allowed() {
    let architecture = include_str!("../../../ARCHITECTURE.md");
    let table = architecture.lines().skip_while(|line| !line.starts_with("| phase |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        (names(cells[0]), names(cells[cells.len() - 1]))
    };
    let written: Vec<(Vec<String>, Vec<String>)> = rows.map(row).collect();
    let name = |at: &At| format!("{at:?}");
    let allowed = CHANGES.iter().map(|(from, to)| (vec![name(from)], to.iter().map(name).collect()));
    assert_eq!(written, allowed.collect::<Vec<_>>());
}

#[test]
fn what_the_table_does_not_have_is_no_change() {
    let allowed = |from: At| CHANGES.iter().find(|(before, _)| *before == from).unwrap().1;
    for from in PHASES {
        for to in PHASES {
            assert_eq!(is_allowed(from, to), from == to || allowed(from).contains(&to), "{from:?} to {to:?}");
        }
    }
}
