//! Every write of runtime file and journal is cut at every system call and at every byte, by death and by
//! failure, and the next to open them finds the old or the new, never something between; whole changes of a
//! guest leave a record and a guest that the next agent makes agree.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::result_large_err, clippy::print_stdout, unreachable_pub)]

#[path = "torn_files/child.rs"]
mod child;
#[path = "torn_files/guests.rs"]
mod guests;
#[path = "torn_files/lists.rs"]
mod lists;
mod support;

use kvm_hotplug::model::{Journal, Operation, Record};
use kvm_hotplug::store::RecordFile;

use child::{Change, ClearJournal, End, How, Replace, SaveNew, WriteJournal, run};
use support::fixture::Fixture;

/// A world whose record is about to be changed.
fn world_before(change: Change) -> Fixture {
    let fixture = Fixture::pc();
    if matches!(change, SaveNew) {
        std::fs::remove_file(&fixture.runtime).unwrap();
    }
    if matches!(change, ClearJournal) {
        let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
        runtime.write_journal(|journal| journal.log_intent(Operation::Remove, &child::device())).unwrap();
    }
    fixture
}

/// Record and journal as the next agent reads them; there may be none.
#[derive(Clone, Debug, PartialEq)]
struct OnDisk(Option<(Record, Journal)>);

impl OnDisk {
    fn of(fixture: &Fixture) -> Self {
        if !fixture.runtime.exists() {
            return Self(None);
        }
        let runtime = RecordFile::load(&fixture.runtime).expect("what is there can be loaded");
        Self(Some((runtime.record().clone(), runtime.journal().clone())))
    }
}

/// What is there once somebody has opened and closed it: no temporary file, no lock.
fn nothing_lies_about(fixture: &Fixture) {
    let mut names: Vec<String> = std::fs::read_dir(fixture.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name != "web1.runtime" && name != "web1.runtime.journal");
    assert!(names.is_empty() || !fixture.runtime.exists(), "{names:?}");
}

fn old_and_new(change: Change) -> (OnDisk, OnDisk, Vec<(String, String)>) {
    let fixture = world_before(change);
    let old = OnDisk::of(&fixture);
    let end = run(change, &fixture, "", 0, How::Not);
    assert!(end.error().is_some_and(serde_json::Value::is_null), "{end:?}");
    let new = OnDisk::of(&fixture);
    assert_ne!(old, new);
    (old, new, end.calls)
}

/// Cuts a change at one call and checks what the next one to come finds.
fn cut(change: Change, at: usize, how: How, (old, new): (&OnDisk, &OnDisk)) -> End {
    let fixture = world_before(change);
    let end = run(change, &fixture, "", at, how);
    let found = OnDisk::of(&fixture);
    println!("{change:?}, call {at}, {how:?}: {:?}, {:?}", end.calls.get(at - 1), end.error());
    assert!(found == *old || found == *new, "{change:?}, call {at}, {how:?}: {found:?}");
    if end.error().is_some_and(serde_json::Value::is_null) {
        assert_eq!(found, *new, "{change:?}, call {at}, {how:?} was a success");
    }
    nothing_lies_about(&fixture);
    // Nothing blocks the next change.
    if !(change == SaveNew && found == *new) {
        let again = run(change, &fixture, "", 0, How::Not);
        assert!(again.error().is_some_and(serde_json::Value::is_null), "{again:?}");
        assert_eq!(OnDisk::of(&fixture), *new);
    }
    end
}

fn at_every_call(change: Change) {
    let (old, new, calls) = old_and_new(change);
    assert!(calls.len() > 8, "{calls:?}");
    for at in 1..=calls.len() {
        for how in [How::Kill, How::After] {
            assert!(cut(change, at, how, (&old, &new)).was_killed());
        }
        for errno in [libc::ENOSPC, libc::EIO, libc::EINTR] {
            let end = cut(change, at, How::Fail(errno), (&old, &new));
            let Some(error) = end.error().filter(|error| !error.is_null()) else { continue };
            assert_eq!(error["errno"], errno, "{error}");
            let text = error["text"].as_str().unwrap();
            assert!(text.contains("web1.runtime"), "names the file: {text}");
            assert_ne!(errno, libc::EINTR, "an interrupted call is made again: {:?}", end.calls.last());
        }
        cut(change, at, How::From(libc::ENOSPC), (&old, &new));
        cut(change, at, How::From(libc::EIO), (&old, &new));
    }
}

fn at_every_byte(change: Change) {
    let (old, new, calls) = old_and_new(change);
    let write = calls.iter().rposition(|(name, file)| name == "write" && file.ends_with(".new")).unwrap() + 1;
    let fixture = world_before(change);
    run(change, &fixture, "", write + 1, How::Kill);
    let written = calls[write - 1].1.clone();
    let size = std::fs::metadata(fixture.dir.path().join(written)).unwrap().len();
    for count in 0..=usize::try_from(size).unwrap() {
        let fixture = world_before(change);
        assert!(run(change, &fixture, "", write, How::Bytes(count)).was_killed());
        assert_eq!(OnDisk::of(&fixture), old, "{count} of {size} bytes");
        nothing_lies_about(&fixture);
    }
    assert_ne!(old, new);
}

#[test]
fn a_new_record_at_every_call() {
    at_every_call(SaveNew);
}

#[test]
fn a_changed_record_at_every_call() {
    at_every_call(Replace);
}

#[test]
fn a_journal_at_every_call() {
    at_every_call(WriteJournal);
}

#[test]
fn a_cleared_journal_at_every_call() {
    at_every_call(ClearJournal);
}

#[test]
fn a_new_record_at_every_byte() {
    at_every_byte(SaveNew);
}

#[test]
fn a_changed_record_at_every_byte() {
    at_every_byte(Replace);
}

#[test]
fn a_journal_at_every_byte() {
    at_every_byte(WriteJournal);
}

/// After a power cut there is what was synced: the content before the name leads to it, the name before
/// success is reported.
#[test]
fn content_is_synced_before_its_name_and_the_name_before_success() {
    for (change, file) in
        [(SaveNew, "web1.runtime"), (Replace, "web1.runtime"), (WriteJournal, "web1.runtime.journal")]
    {
        let (_, _, calls) = old_and_new(change);
        let new = format!("{file}.new");
        let order = ["create", "write", "fsync", "rename"].map(|name| {
            let is_it = |(call, about): &(String, String)| call == name && *about == new;
            calls.iter().position(is_it).unwrap_or_else(|| panic!("no {name} of {new}: {calls:?}"))
        });
        assert!(order.is_sorted(), "{order:?}: {calls:?}");
        let synced = calls.iter().rposition(|(call, about)| call == "fsync" && about == ".");
        assert!(synced > Some(order[3]), "the directory after the rename: {calls:?}");
        let writes = calls.iter().filter(|(call, about)| call == "write" && !about.ends_with(".new"));
        assert!(writes.clone().all(|(_, about)| about.ends_with(".lock")), "nothing is written in place");
    }
}
