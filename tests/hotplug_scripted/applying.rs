//! Wanted lists: what is done in which order, what is undone, and that the second call does nothing.
#![allow(unreachable_pub)]

use std::time::Duration;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::model::{Operation, Spec};
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use crate::changing::Bridge;
use crate::support::api::*;
use crate::support::clock;
use crate::support::fake::{Act, Dev, Later, Setup, UnplugBehaviour};
use crate::support::fixture::Fixture;
use crate::support::host;

fn nic(fixture: &Fixture, id: &str, last: u8) -> Value {
    let mac = format!("52:54:00:00:00:{last:02x}");
    json!({ "type": "nic", "id": id, "mac": mac, "vhost": "off", "ifname": fixture.nic(1).ifname })
}

fn disk(fixture: &Fixture, id: &str, image: &str) -> Value {
    json!({ "type": "disk", "id": id, "path": fixture.disk(image).path })
}

fn with(mut device: Value, member: &str, value: Value) -> Value {
    device[member] = value;
    device
}

fn list(devices: &[Value]) -> String {
    json!({ "devices": devices }).to_string()
}

/// Of each device id, action and answer.
fn said(applied: &Applied) -> Vec<(String, String, String)> {
    let devices = applied.json.as_ref().unwrap()["devices"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    devices.iter().map(|one| (text(&one["id"]), text(&one["action"]), text(&one["answer"]))).collect()
}

#[track_caller]
fn is(applied: &Applied, word: &str, expected: &[(&str, &str, &str)]) {
    let found = said(applied);
    let found: Vec<_> = found.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
    assert_eq!(found, expected, "{applied:?}");
    assert_eq!(applied.result.as_ref().ok(), Some(&word), "{applied:?}");
}

fn reason(applied: &Applied, id: &str) -> String {
    let devices = applied.json.as_ref().unwrap()["devices"].as_array().unwrap();
    let one = devices.iter().find(|one| one["id"] == id).unwrap();
    format!("{}; {}", one["why"].as_str().unwrap(), one["reason"].as_str().unwrap())
}

fn journal(fixture: &Fixture) -> Vec<(Operation, String)> {
    let contents = RecordFile::peek(&fixture.runtime).unwrap();
    contents.journal().intents.iter().map(|one| (one.operation, one.device.id.to_string())).collect()
}

/// Long enough for the next call to wait for the guest by then.
const LATER: Duration = Duration::from_millis(50);

const REPLACE: ApplyArgs = ApplyArgs {
    plan: false,
    keep_others: false,
    replace: true,
    live_only: false,
    no_wait: false,
    timeout_ms: AMPLE,
};

pub fn a_list_is_made_so_and_the_second_time_nothing_is_done(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let scsi = with(disk(&fixture, "big", "big.img"), "model", json!("scsi-hd"));
    let wanted = list(&[nic(&fixture, "lan", 1), disk(&fixture, "data", "a.img"), scsi]);
    let made = api.apply(&wanted, ApplyArgs::default());
    is(&made, "done", &[("lan", "add", "done"), ("data", "add", "done"), ("big", "add", "done")]);
    assert_eq!(made.json.as_ref().unwrap()["changes"], 3);
    let before = (fixture.snapshot(), std::fs::metadata(&fixture.runtime).unwrap().modified().unwrap());
    fixture.qemu.take_seen();
    let again = api.apply(&wanted, ApplyArgs::default());
    is(&again, "done", &[("lan", "none", "done"), ("data", "none", "done"), ("big", "none", "done")]);
    assert_eq!(again.json.as_ref().unwrap()["changes"], 0);
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new(), "nothing is sent");
    let after = (fixture.snapshot(), std::fs::metadata(&fixture.runtime).unwrap().modified().unwrap());
    assert_eq!(after, before, "nothing is written");
    // The controller that came with the disk stays.
    let bare = api.apply("[]", ApplyArgs::default());
    is(&bare, "done", &[("lan", "del", "done"), ("data", "del", "done"), ("big", "del", "done")]);
    assert_eq!(fixture.recorded().len(), 1);
    assert_eq!(api.next_event(), None, "what a call answers is no event");
}

pub fn adds_go_first_and_one_entry_has_all_of_it(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let old = [nic(&fixture, "lan", 1), disk(&fixture, "data", "a.img")];
    api.apply(&list(&old), ApplyArgs::default()).result.unwrap();
    fixture.qemu.take_seen();
    let (entries, seen) = std::sync::mpsc::channel();
    for command in ["getfd", "device_del"] {
        let (runtime, entries) = (fixture.runtime.clone(), entries.clone());
        fixture.qemu.hook(command, 0, move || {
            let contents = RecordFile::peek(&runtime).unwrap();
            let intents = contents.journal().intents.iter();
            entries.send(intents.map(|one| (one.operation, one.device.id.to_string())).collect()).unwrap();
        });
    }
    let new = [nic(&fixture, "wan", 2), disk(&fixture, "more", "b.img")];
    let made = api.apply(&list(&new), ApplyArgs::default());
    let expected =
        [("wan", "add", "done"), ("more", "add", "done"), ("lan", "del", "done"), ("data", "del", "done")];
    is(&made, "done", &expected);
    let both: Vec<(Operation, String)> = seen.recv().unwrap();
    let names = |all: &[(Operation, &str)]| -> Vec<(Operation, String)> {
        all.iter().map(|(operation, id)| (*operation, (*id).to_owned())).collect()
    };
    use Operation::{Add, Remove, RemoveNext};
    let whole = [(Add, "wan"), (Add, "more"), (RemoveNext, "lan"), (RemoveNext, "data")];
    assert_eq!(both, names(&whole), "before the first command");
    assert_eq!(seen.recv().unwrap(), names(&[(Remove, "lan"), (Remove, "data")]), "before the removals");
    let sent = fixture.qemu.take_names();
    let at = |name: &str| sent.iter().position(|sent| sent == name).unwrap();
    let last_add = sent.iter().rposition(|sent| sent == "device_add").unwrap();
    assert!(last_add < at("device_del"), "{sent:?}");
    assert_eq!(sent.iter().filter(|name| *name == "device_del").count(), 2, "{sent:?}");
    assert_eq!(fixture.recorded(), ["wan", "more"]);
    assert!(!fixture.journal().exists());
    assert_eq!(api.next_event(), None, "what a call answers is no event");
}

/// The same MAC address, the same image, the same place: what has them goes first.
pub fn what_needs_room_comes_last(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let placed = with(with(disk(&fixture, "there", "b.img"), "bus", json!("pci.0")), "slot", json!(9));
    let old = [nic(&fixture, "lan", 1), disk(&fixture, "data", "a.img"), placed];
    api.apply(&list(&old), ApplyArgs::default()).result.unwrap();
    fixture.qemu.take_seen();
    let placed = with(with(disk(&fixture, "here", "c.img"), "bus", json!("pci.0")), "slot", json!(9));
    let new = [nic(&fixture, "wan", 1), disk(&fixture, "more", "a.img"), placed, nic(&fixture, "own", 7)];
    let made = api.apply(&list(&new), ApplyArgs::default());
    let expected = [
        ("wan", "add", "done"),
        ("more", "add", "done"),
        ("here", "add", "done"),
        ("own", "add", "done"),
        ("lan", "del", "done"),
        ("data", "del", "done"),
        ("there", "del", "done"),
    ];
    is(&made, "done", &expected);
    let sent = fixture.qemu.take_names();
    let added: Vec<usize> =
        sent.iter().enumerate().filter(|(_, name)| *name == "device_add").map(|(at, _)| at).collect();
    let asked = sent.iter().position(|name| name == "device_del").unwrap();
    assert!(added.len() == 4 && added[0] < asked && asked < added[1], "{sent:?}");
    assert_eq!(fixture.recorded(), ["own", "wan", "more", "here"]);
    assert!(!fixture.journal().exists());
}

pub fn without_a_free_slot_removals_come_first(agent: &dyn Agent) {
    let fixture = Fixture::q35(2);
    let api = fixture.open(agent);
    let old = [nic(&fixture, "lan", 1), disk(&fixture, "data", "a.img")];
    api.apply(&list(&old), ApplyArgs::default()).result.unwrap();
    let new = [nic(&fixture, "wan", 2), disk(&fixture, "more", "b.img")];
    let made = api.apply(&list(&new), ApplyArgs::default());
    let expected =
        [("wan", "add", "done"), ("more", "add", "done"), ("lan", "del", "done"), ("data", "del", "done")];
    is(&made, "done", &expected);
    // No removal makes room for three.
    let before = fixture.snapshot();
    let three = [&new[..], &[nic(&fixture, "third", 3)]].concat();
    let failure = fails(api.apply(&list(&three), ApplyArgs::default()).result, ErrorKind::NoSlot);
    assert_eq!((failure.undo, fixture.snapshot()), (0, before));
}

/// Whichever command of the adds fails, no removal has been asked for, and links are as they were.
pub fn an_add_that_fails_leaves_everything_as_it_was(agent: &dyn Agent) {
    for command in ["getfd", "netdev_add", "add-fd", "blockdev-add", "device_add"] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let lan = nic(&fixture, "lan", 1);
        let old = [lan.clone(), disk(&fixture, "data", "a.img")];
        api.apply(&list(&old), ApplyArgs::default()).result.unwrap();
        let more = disk(&fixture, "more", "b.img");
        let before = fixture.snapshot();
        fixture.qemu.take_seen();
        fixture.qemu.fault(command, 0, Act::refuse("not today"));
        let down = with(lan, "link", json!("down"));
        let new = [down, nic(&fixture, "wan", 2), more];
        let made = api.apply(&list(&new), ApplyArgs::default());
        let failure = made.result.clone().unwrap_err();
        assert_eq!((failure.undo, failure.left.len()), (1, 0), "{command}: {failure:?}");
        let expected = [("lan", "change"), ("wan", "add"), ("more", "add"), ("data", "del")];
        let expected: Vec<_> =
            expected.map(|(id, action)| (id.to_owned(), action.to_owned(), "left".to_owned())).into();
        assert_eq!(said(&made), expected, "{command}");
        assert_eq!(fixture.snapshot(), before, "{command}");
        let dels = fixture.qemu.take_seen();
        let of_old = |seen: &&crate::support::fake::Seen| {
            seen.name == "device_del" && (seen.arguments["id"] == "data" || seen.arguments["id"] == "lan")
        };
        assert_eq!(dels.iter().filter(of_old).count(), 0, "{command}");
        assert!(!fixture.journal().exists());
        api.apply(&list(&new), ApplyArgs::default()).result.unwrap();
        assert_eq!(fixture.recorded(), ["lan", "wan", "more"]);
    }
}

/// A removal that was asked for before goes on, also if the next list fails.
pub fn an_add_that_fails_leaves_a_pending_removal_pending(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    api.apply(&list(&[disk(&fixture, "data", "a.img")]), ApplyArgs::default()).result.unwrap();
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    let how = ApplyArgs { no_wait: true, ..ApplyArgs::default() };
    is(&api.apply("[]", how), "pending", &[("data", "del", "pending")]);
    fixture.qemu.fault("device_add", 0, Act::refuse("not today"));
    let more = list(&[disk(&fixture, "more", "b.img")]);
    fails(api.apply(&more, ApplyArgs::default()).result, ErrorKind::Qmp);
    assert_eq!(journal(&fixture), [(Operation::Remove, "data".to_owned())]);
    fixture.qemu.later(LATER, Later::Grant("data".into()));
    let done = api.apply(&more, ApplyArgs::default());
    is(&done, "done", &[("more", "add", "done"), ("data", "del", "done")]);
}

pub fn a_change_that_fails_leaves_everything_as_it_was(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let old = [nic(&fixture, "lan", 1), nic(&fixture, "wan", 2), disk(&fixture, "data", "a.img")];
    api.apply(&list(&old), ApplyArgs::default()).result.unwrap();
    fixture.disk("b.img");
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    fixture.qemu.fault("set_link", 1, Act::refuse("the second"));
    let down = |device: &Value| with(device.clone(), "link", json!("down"));
    let (up, pulled) = (json!(true), json!(false));
    let new = [down(&old[0]), down(&old[1]), disk(&fixture, "more", "b.img")];
    let made = api.apply(&list(&new), ApplyArgs::default());
    let failure = fails(made.result.clone(), ErrorKind::Qmp);
    assert!(failure.text.contains("wan") && failure.left.is_empty(), "{failure:?}");
    assert_eq!(fixture.snapshot(), before);
    let seen = fixture.qemu.take_seen();
    // The disk that is to go is looked at before.
    let seen = seen.iter().filter(|one| one.name != "x-debug-query-block-graph");
    let links: Vec<_> = seen.map(|one| (one.name.as_str(), one.arguments["up"].clone())).collect();
    assert_eq!(links, [("set_link", pulled.clone()), ("set_link", pulled), ("set_link", up)]);
}

pub fn a_pending_removal_is_joined_and_not_asked_for_twice(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let old = [nic(&fixture, "lan", 1), disk(&fixture, "data", "a.img")];
    api.apply(&list(&old), ApplyArgs::default()).result.unwrap();
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    let wanted = list(&old[..1]);
    fixture.qemu.take_seen();
    let short = ApplyArgs { timeout_ms: 1000, ..ApplyArgs::default() };
    let first = api.apply(&wanted, short);
    is(&first, "pending", &[("lan", "none", "done"), ("data", "del", "pending")]);
    assert!(reason(&first, "data").contains("has not answered yet"), "{first:?}");
    let unwaited = api.apply(&wanted, ApplyArgs { no_wait: true, ..short });
    is(&unwaited, "pending", &[("lan", "none", "done"), ("data", "del", "pending")]);
    is(&api.apply(&wanted, short), "pending", &[("lan", "none", "done"), ("data", "del", "pending")]);
    let asked = fixture.qemu.take_names();
    assert_eq!(asked.iter().filter(|name| *name == "device_del").count(), 1, "{asked:?}");
    assert_eq!(journal(&fixture), [(Operation::Remove, "data".to_owned())]);
    fixture.qemu.later(LATER, Later::Grant("data".into()));
    is(
        &api.apply(&wanted, ApplyArgs::default()),
        "done",
        &[("lan", "none", "done"), ("data", "del", "done")],
    );
    is(&api.apply(&wanted, ApplyArgs::default()), "done", &[("lan", "none", "done")]);
    assert_eq!(api.next_event(), None, "the calls have told it");
}

pub fn an_add_waits_for_a_pending_removal(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let old = [disk(&fixture, "data", "a.img")];
    api.apply(&list(&old), ApplyArgs::default()).result.unwrap();
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    let new = list(&[disk(&fixture, "data", "b.img"), nic(&fixture, "lan", 1)]);
    let short = ApplyArgs { timeout_ms: 1000, ..REPLACE };
    let first = api.apply(&new, short);
    is(&first, "pending", &[("data", "replace", "pending"), ("lan", "add", "done")]);
    assert!(reason(&first, "data").contains("another path"), "{first:?}");
    // Once it is on its way, that needs no leave.
    fixture.qemu.take_seen();
    let second = api.apply(&new, ApplyArgs { replace: false, ..short });
    is(&second, "pending", &[("data", "replace", "pending"), ("lan", "none", "done")]);
    assert!(reason(&second, "data").contains("its removal is under way"), "{second:?}");
    assert!(!fixture.qemu.take_names().contains(&"device_del".to_owned()));
    fixture.qemu.later(LATER, Later::Grant("data".into()));
    let third = api.apply(&new, ApplyArgs::default());
    is(&third, "done", &[("data", "replace", "done"), ("lan", "none", "done")]);
    assert_eq!(fixture.recorded(), ["lan", "data"]);
    is(&api.apply(&new, ApplyArgs::default()), "done", &[("data", "none", "done"), ("lan", "none", "done")]);
}

pub fn what_cannot_be_changed_is_refused_by_name_or_replaced(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let old = [nic(&fixture, "lan", 1), disk(&fixture, "data", "a.img")];
    api.apply(&list(&old), ApplyArgs::default()).result.unwrap();
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    let new = [with(old[0].clone(), "mtu", json!(1400)), with(old[1].clone(), "serial", json!("A1"))];
    let refused = api.apply(&list(&new), ApplyArgs::default());
    let failure = fails(refused.result.clone(), ErrorKind::Conflict);
    assert!(failure.text.contains("lan is there with another mtu"), "{failure:?}");
    assert_eq!(failure.errno, libc::EEXIST);
    let expected = [("lan", "replace", "refused"), ("data", "replace", "refused")];
    let expected: Vec<_> = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())).into();
    assert_eq!(said(&refused), expected);
    assert_eq!((fixture.snapshot(), fixture.qemu.take_names()), (before, Vec::new()));
    let made = api.apply(&list(&new), REPLACE);
    is(&made, "done", &[("lan", "replace", "done"), ("data", "replace", "done")]);
    is(&api.apply(&list(&new), REPLACE), "done", &[("lan", "none", "done"), ("data", "none", "done")]);
    // An image that is not there is found before anything is removed.
    let before = fixture.snapshot();
    let gone = with(new[1].clone(), "path", json!("/nonexistent/image"));
    fails(api.apply(&list(&[new[0].clone(), gone]), REPLACE).result, ErrorKind::NotFound);
    assert_eq!(fixture.snapshot(), before);
    assert!(!fixture.journal().exists());
}

pub fn a_plan_says_it_all_and_does_nothing(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let old = [nic(&fixture, "lan", 1), disk(&fixture, "data", "a.img"), disk(&fixture, "odd", "o.img")];
    api.apply(&list(&old), ApplyArgs::default()).result.unwrap();
    fixture.disk("b.img");
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    let slow = with(nic(&fixture, "slow", 9), "model", json!("ne2k_pci"));
    let new = [
        with(old[0].clone(), "link", json!("down")),
        with(old[1].clone(), "read_only", json!(true)),
        disk(&fixture, "more", "b.img"),
        slow,
    ];
    let plan = api.apply(&list(&new), ApplyArgs { plan: true, ..REPLACE });
    let expected = [
        ("lan", "change", "done"),
        ("data", "replace", "done"),
        ("more", "add", "done"),
        ("slow", "add", "after-reboot"),
        ("odd", "del", "done"),
    ];
    is(&plan, "after-reboot", &expected);
    assert_eq!(plan.json.as_ref().unwrap()["changes"], 5);
    assert!(reason(&plan, "lan").starts_with("its link is up, and is to be down"), "{plan:?}");
    assert!(reason(&plan, "odd").starts_with("it is not in the list"), "{plan:?}");
    let names = fixture.qemu.take_names();
    let is_question = |name: &String| name.contains("query") || name == "device-list-properties";
    assert!(names.iter().all(is_question), "{names:?}");
    assert_eq!(fixture.snapshot(), before);
    // It fails as the call would.
    let bad = with(disk(&fixture, "more", "b.img"), "path", json!("/nonexistent/image"));
    let failed = api.apply(&list(&[bad]), ApplyArgs { plan: true, ..REPLACE });
    fails(failed.result, ErrorKind::NotFound);
    assert_eq!(fixture.snapshot(), before);
    let only_looks = ApplyArgs { plan: true, ..REPLACE };
    drop(api);
    let api = agent.look(&fixture.runtime, fixture.qemu.path(), AMPLE).unwrap();
    is(&api.apply(&list(&new), only_looks), "after-reboot", &expected);
    let failure = api.apply(&list(&new), REPLACE).result.unwrap_err();
    assert_eq!(failure.errno, libc::EROFS);
}

pub fn others_stay_if_they_are_to(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    api.apply(&list(&[disk(&fixture, "data", "a.img")]), ApplyArgs::default()).result.unwrap();
    fixture.qemu.take_seen();
    let how = ApplyArgs { keep_others: true, ..ApplyArgs::default() };
    let made = api.apply(&list(&[disk(&fixture, "more", "b.img")]), how);
    is(&made, "done", &[("more", "add", "done")]);
    assert_eq!(fixture.recorded(), ["data", "more"]);
    is(&api.apply("[]", how), "done", &[]);
    assert!(!fixture.qemu.take_names().contains(&"device_del".to_owned()));
}

pub fn links_and_bridges_are_changed_in_place(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let (one, other) = (Bridge::new(), Bridge::new());
    let lan = with(nic(&fixture, "lan", 1), "bridge", json!(one.0));
    api.apply(&list(std::slice::from_ref(&lan)), ApplyArgs::default()).result.unwrap();
    let tap = lan["ifname"].as_str().unwrap().to_owned();
    assert_eq!(one.ports(), std::slice::from_ref(&tap));
    fixture.qemu.take_seen();
    let moved = with(with(lan, "bridge", json!(other.0)), "link", json!("down"));
    let made = api.apply(&list(std::slice::from_ref(&moved)), ApplyArgs::default());
    is(&made, "done", &[("lan", "change", "done")]);
    assert!(reason(&made, "lan").contains(&format!("on {}, and is to be on {}", one.0, other.0)), "{made:?}");
    assert_eq!((one.ports(), other.ports()), (vec![], vec![tap]));
    assert_eq!(fixture.qemu.take_names(), ["set_link"]);
    is(
        &api.apply(&list(std::slice::from_ref(&moved)), ApplyArgs::default()),
        "done",
        &[("lan", "none", "done")],
    );
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    // A bridge that is not there is found before the link is set.
    let nowhere = with(with(moved, "bridge", json!("nosuchbr")), "link", json!("up"));
    fails(api.apply(&list(&[nowhere]), ApplyArgs::default()).result, ErrorKind::NotFound);
    let record = fixture.record();
    assert!(matches!(&record.find("lan").unwrap().spec, Spec::Nic(spec) if spec.link_down));
}

pub fn what_waits_for_a_boot_says_so(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let old = with(nic(&fixture, "slow", 1), "model", json!("ne2k_pci"));
    let how = ApplyArgs { live_only: true, ..ApplyArgs::default() };
    fails(api.apply(&list(std::slice::from_ref(&old)), how).result, ErrorKind::NotHotpluggable);
    for action in ["add", "none"] {
        let made = api.apply(&list(std::slice::from_ref(&old)), ApplyArgs::default());
        is(&made, "after-reboot", &[("slow", action, "after-reboot")]);
        assert!(reason(&made, "slow").contains("plugs no ne2k_pci"), "{made:?}");
    }
    is(&api.apply("[]", ApplyArgs::default()), "done", &[("slow", "del", "done")]);
    assert!(fixture.recorded().is_empty());
    // An old QEMU: everything waits, and what goes with the next boot cannot be had back.
    let fixture = Fixture::new(Setup { version: (4, 2, 1), ..Setup::default() });
    let api = fixture.open(agent);
    let data = list(&[disk(&fixture, "data", "a.img")]);
    is(&api.apply(&data, ApplyArgs::default()), "after-reboot", &[("data", "add", "after-reboot")]);
    is(&api.apply("[]", ApplyArgs::default()), "done", &[("data", "del", "done")]);
}

pub fn what_is_foreign_is_left_alone(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    fixture.qemu.model(|model| model.devices.push(Dev::new(Some("theirs"), "virtio-blk-pci", "pci.0", 9, 0)));
    let api = fixture.open(agent);
    is(&api.apply("[]", ApplyArgs::default()), "done", &[]);
    let theirs = list(&[disk(&fixture, "theirs", "a.img")]);
    let failure = fails(api.apply(&theirs, ApplyArgs::default()).result, ErrorKind::Foreign);
    assert!(failure.text.contains("theirs"), "{failure:?}");
    assert!(!fixture.qemu.take_names().contains(&"device_del".to_owned()));
}

pub fn a_refusal_of_the_guest_leaves_the_rest_done(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let old = [disk(&fixture, "stays", "a.img"), disk(&fixture, "goes", "b.img")];
    api.apply(&list(&old), ApplyArgs::default()).result.unwrap();
    fixture.qemu.model(|model| {
        model.unplug_behaviours.insert("stays".into(), UnplugBehaviour::Refuses);
    });
    let new = [disk(&fixture, "more", "c.img"), disk(&fixture, "stays", "d.img")];
    let made = api.apply(&list(&new), REPLACE);
    fails(made.result.clone(), ErrorKind::GuestRefused);
    let expected = [("more", "add", "done"), ("stays", "replace", "left"), ("goes", "del", "done")];
    let expected: Vec<_> = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())).into();
    assert_eq!(said(&made), expected, "{made:?}");
    assert!(reason(&made, "stays").contains("still there"), "{made:?}");
    assert_eq!(fixture.recorded(), ["stays", "more"]);
    assert!(!fixture.journal().exists());
}

pub fn a_call_that_is_cancelled_says_what_is_done(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    api.apply(&list(&[disk(&fixture, "data", "a.img")]), ApplyArgs::default()).result.unwrap();
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    let new = list(&[disk(&fixture, "more", "b.img")]);
    fixture.qemu.take_seen();
    let made = clock::scope(|scope| {
        let call = scope.spawn(|| api.apply(&new, ApplyArgs::default()));
        assert!(host::eventually(|| fixture.qemu.take_names().contains(&"device_del".to_owned())));
        assert!(api.cancel());
        call.join().unwrap()
    });
    let failure = fails(made.result.clone(), ErrorKind::Canceled);
    assert!(failure.left.iter().any(|left| left.contains("data")), "{failure:?}");
    assert_eq!(said(&made)[0], ("more".to_owned(), "add".to_owned(), "done".to_owned()));
    fixture.qemu.later(LATER, Later::Grant("data".into()));
    is(&api.apply(&new, ApplyArgs::default()), "done", &[("more", "none", "done"), ("data", "del", "done")]);
}

/// The journal has the removals that follow the adds: the next agent does all of it, or nothing.
pub fn an_agent_that_dies_between_adds_and_removals(agent: &dyn Agent) {
    for completes in [true, false] {
        let fixture = Fixture::pc();
        let api = fixture.open(agent);
        let [old, new] = [("data", "a.img"), ("more", "b.img")].map(|(id, image)| disk(&fixture, id, image));
        api.apply(&list(&[old.clone(), new.clone()]), ApplyArgs::default()).result.unwrap();
        drop(api);
        let mut file = RecordFile::load(&fixture.runtime).unwrap();
        let contents = file.contents().clone();
        let [data, more] = ["data", "more"].map(|id| contents.record().find(id).unwrap().clone());
        let mut record = contents.record().clone();
        record.remove(&more.id);
        file.replace(record).unwrap();
        file.write_journal(|journal| {
            journal.log_add(std::slice::from_ref(&more));
            journal.log_removals_after(std::slice::from_ref(&more), std::slice::from_ref(&data));
        })
        .unwrap();
        drop(file);
        if !completes {
            fixture.qemu.model(|model| model.devices.retain(|one| one.id.as_deref() != Some("more")));
        }
        fixture.qemu.take_seen();
        let api = fixture.open(agent);
        let asked = fixture.qemu.take_names().contains(&"device_del".to_owned());
        assert_eq!(asked, completes);
        assert!(host::eventually(|| {
            api.process(AMPLE).unwrap();
            fixture.recorded() == if completes { ["more"] } else { ["data"] }
        }));
        assert!(!fixture.journal().exists());
        assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    }
}

pub fn wrong_lists_do_nothing(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    api.apply(&list(&[disk(&fixture, "data", "a.img")]), ApplyArgs::default()).result.unwrap();
    ["b.img", "c.img"].iter().for_each(|image| drop(fixture.disk(image)));
    let before = fixture.snapshot();
    let nameless = json!({ "type": "nic" });
    let bad_mtu = with(nic(&fixture, "lan", 1), "mtu", json!(3));
    for (text, says) in [
        (list(&[nameless]), "has no id"),
        (list(&[disk(&fixture, "x", "b.img"), disk(&fixture, "x", "c.img")]), "in the list twice"),
        (list(&[with(nic(&fixture, "lan", 1), "mtuu", json!(3))]), "unknown field `mtuu`"),
        (disk(&fixture, "data", "a.img").to_string(), "is not a list"),
        (list(&[bad_mtu]), "MTU 3"),
        ("no json".to_owned(), "JSON"),
    ] {
        let applied = api.apply(&text, ApplyArgs::default());
        let failure = fails(applied.result.clone(), ErrorKind::Invalid);
        assert!(failure.text.contains(says), "{failure:?}");
        assert_eq!((applied.json, fixture.snapshot()), (None, before.clone()), "{text}");
    }
}

pub fn devices_as_json(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let one = api.add_json(&nic(&fixture, "lan", 1).to_string(), AMPLE).unwrap();
    let device = &one["devices"][0];
    assert_eq!(
        (&device["id"], &device["answer"], &device["slot"]),
        (&json!("lan"), &json!("done"), &json!(4))
    );
    let mut nameless = disk(&fixture, "", "a.img");
    nameless.as_object_mut().unwrap().remove("id");
    let two = api.add_json(&json!([nameless, disk(&fixture, "b", "b.img")]).to_string(), AMPLE).unwrap();
    assert_eq!((&two["devices"][0]["id"], &two["devices"][1]["id"]), (&json!("disk-pci-5"), &json!("b")));
    ["c.img", "d.img"].iter().for_each(|image| drop(fixture.disk(image)));
    let before = fixture.snapshot();
    // All or nothing, and the same errors as of the structs.
    let again = json!([disk(&fixture, "c", "c.img"), disk(&fixture, "d", "a.img")]).to_string();
    let failure = fails(api.add_json(&again, AMPLE), ErrorKind::Conflict);
    let of_structs =
        api.add_all(&[], &[fixture.disk_as("c", "c.img"), fixture.disk_as("d", "a.img")], AMPLE).unwrap_err();
    assert_eq!((failure.errno, &failure.text), (of_structs.errno, &of_structs.text));
    assert_eq!(fixture.snapshot(), before);
    let failure = fails(api.add_json(r#"{"type": "nic", "mtuu": 1}"#, AMPLE), ErrorKind::Invalid);
    assert!(failure.text.contains("unknown field `mtuu`"), "{failure:?}");
}
