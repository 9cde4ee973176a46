//! A journal that was struck and is there again: its removal is not synced, so a power failure may bring the
//! last version back. And the number that tells one attachment from the next of the same id.
#![allow(unreachable_pub)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::support::api::*;
use crate::support::fake::{Act, Dev};
use crate::support::fixture::Fixture;

/// Commands that change a guest.
const CHANGING: [&str; 4] = ["netdev_del", "blockdev-del", "device_del", "remove-fd"];

fn ask(fixture: &Fixture, id: &str) -> DiskArgs {
    fixture.disk_as(id, &format!("{id}.img"))
}

/// The journal as it is when QEMU gets the first command of this name while the work is done.
fn journal_during(fixture: &Fixture, command: &str, work: impl FnOnce()) -> Vec<u8> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (path, into): (PathBuf, _) = (fixture.journal(), seen.clone());
    fixture.qemu.hook(command, 0, move || *into.lock().unwrap() = std::fs::read(path).unwrap());
    work();
    assert!(!fixture.journal().exists(), "struck");
    let bytes = std::mem::take(&mut *seen.lock().unwrap());
    assert!(!bytes.is_empty(), "{command} was never sent");
    bytes
}

/// Opens the guest with this journal beside its record; nothing in the guest or the record changes.
fn nothing_changes(agent: &dyn Agent, fixture: &Fixture, journal: &[u8]) -> Vec<Notification> {
    fixture.qemu.settle();
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    std::fs::write(fixture.journal(), journal).unwrap();
    let api = fixture.open(agent);
    let news = std::iter::from_fn(|| api.next_event()).collect();
    drop(api);
    fixture.qemu.settle();
    assert_eq!(fixture.snapshot(), before);
    news
}

pub fn an_add_that_was_completed(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let journal = journal_during(&fixture, "device_add", || drop(done(api.add_disk(&ask(&fixture, "data")))));
    drop(api);
    nothing_changes(agent, &fixture, &journal);
}

pub fn a_removal_that_was_finished(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&ask(&fixture, "data")));
    let journal = journal_during(&fixture, "device_del", || drop(done(api.unplug(&UnplugArgs::of("data")))));
    drop(api);
    let news = nothing_changes(agent, &fixture, &journal);
    assert!(news.iter().all(|news| news.what == EventKind::Removed && news.generation == 1), "{news:?}");
    // Somebody else's device of that id is nobody's business.
    fixture.qemu.model(|model| model.devices.push(Dev::new(Some("data"), "virtio-blk-pci", "pci.0", 9, 0)));
    assert_eq!(nothing_changes(agent, &fixture, &journal), []);
    assert!(!fixture.qemu.take_names().iter().any(|name| CHANGING.contains(&name.as_str())));
}

/// The same id again since then: the generation decides.
pub fn what_was_done_to_an_earlier_attachment(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let added = journal_during(&fixture, "device_add", || drop(done(api.add_disk(&ask(&fixture, "data")))));
    let removed = journal_during(&fixture, "device_del", || drop(done(api.unplug(&UnplugArgs::of("data")))));
    let again = done(api.add_disk(&ask(&fixture, "data")));
    drop(api);
    let undone = String::from_utf8(added.clone()).unwrap().replace("\"add\"", "\"undo-add\"").into_bytes();
    for journal in [added, undone, removed] {
        assert_eq!(nothing_changes(agent, &fixture, &journal), []);
        assert!(!fixture.qemu.take_names().iter().any(|name| CHANGING.contains(&name.as_str())));
    }
    let api = fixture.open(agent);
    assert_eq!(api.list(), [again]);
}

/// An add that was taken back had a number, and somebody has been told of it.
pub fn no_two_attachments_have_a_number_in_common(agent: &dyn Agent) {
    for anew in [false, true] {
        let fixture = Fixture::pc();
        let mut api = fixture.open(agent);
        let mut last = 0;
        for round in 0..3 {
            // The guest is asked what became of it: the device is not there.
            fixture.qemu.fault("device_add", 0, Act::CloseBefore);
            let failure = api.add_disk(&ask(&fixture, "data")).unwrap_err();
            assert_eq!(failure.left, Vec::<String>::new(), "{failure:?}");
            let undone = std::iter::from_fn(|| api.next_event()).find(|news| news.what == EventKind::Undone);
            let undone = undone.expect("the caller is told").generation;
            assert!(undone > last, "round {round}: {undone} after {last}");
            if anew {
                drop(api);
                api = fixture.open(agent);
            }
            last = done(api.add_disk(&ask(&fixture, "data"))).generation;
            assert!(last > undone, "round {round}: {last} after {undone}");
            done(api.unplug(&UnplugArgs::of("data")));
        }
    }
}
