//! Answers that are small on the wire and large in memory, to every question the library asks.

use std::time::Duration;

use kvm_hotplug::Error;
use serde_json::{Value, json};

use super::agent::{MAX_MEMORY, Scene};
use super::gauge::measure;
use super::support::fake::{Act, Machine, Setup};
use super::support::host;

const TIMEOUT: Duration = Duration::from_secs(20);

/// What a peer can make of nearly 4 MiB.
fn swellers() -> Vec<(&'static str, Value)> {
    let many = |unit: &Value, bytes: usize| {
        let count = bytes / (unit.to_string().len() + 1);
        Value::from(vec![unit.clone(); count])
    };
    let mut all = Vec::new();
    for room in [40_000, 400_000, 1_000_000, 4_100_000] {
        all.push(("objects", many(&json!({ "": 0 }), room)));
        all.push(("empty objects", many(&json!({}), room)));
        all.push(("lists", many(&json!([]), room)));
        all.push(("numbers", many(&json!(0), room)));
        all.push(("texts", many(&json!(""), room)));
        all.push(("one text", "y".repeat(room).into()));
        all.push(("control characters", "\u{1}".repeat(room / 6).into()));
        all.push(("children", many(&json!({ "name": "nobody", "type": "child<x>" }), room)));
        all.push(("long children", many(&json!({ "name": "y".repeat(room / 3), "type": "child<x>" }), room)));
        let set = json!({ "fdset-id": 1, "fds": [{ "fd": 1, "opaque": "kvm-hotplug:d0" }] });
        all.push(("fdsets", numbered(&set, room)));
        all.push(("nodes", many(&json!({ "node-name": "d0", "ro": true }), room)));
        let device = json!({ "slot": 4, "function": 0, "id": { "vendor": 1, "device": 2 }, "qdev_id": "d0" });
        all.push(("devices", json!([{ "bus": 0, "devices": many(&device, room) }])));
    }
    all
}

/// The same set under many numbers.
fn numbered(set: &Value, room: usize) -> Value {
    let count = room / (set.to_string().len() + 6);
    let mut sets = vec![set.clone(); count];
    for (number, set) in sets.iter_mut().enumerate() {
        set["fdset-id"] = number.into();
    }
    sets.into()
}

fn scene(numbered: bool) -> Scene {
    let scene = Scene::with(Setup { machine: Machine::Q35(3), numbered, ..Setup::default() });
    scene.add_disk("d0");
    scene
}

fn within_bounds<T>(what: &str, work: impl FnOnce() -> Result<T, Error>) {
    let (result, cost) = measure(work);
    let error = result.as_ref().err().map(Error::to_string);
    println!("{what}: {cost:?}, {error:?}");
    assert!(cost.peak < MAX_MEMORY, "{what}: {cost:?}");
    assert!(error.is_none_or(|text| text.len() < 1 << 20), "{what}");
}

/// Every answer to a survey swells, one at a time and all at once.
#[test]
fn answers_that_swell() {
    host::in_own_process("swelling::answers_that_swell", || {
        let questions = ["query-pci", "qom-list", "query-fdsets", "query-named-block-nodes", "qom-get"];
        for unnumbered in [false, true] {
            let scene = scene(!unnumbered);
            for (name, value) in swellers() {
                for question in questions {
                    scene.qemu().clear_faults();
                    scene.qemu().fault(question, 0, Act::Return(value.clone()));
                    within_bounds(&format!("{question}: {name}"), || scene.guest().mend(TIMEOUT));
                    scene.restore();
                }
            }
        }
    });
}

#[test]
fn a_whole_batch_that_swells() {
    host::in_own_process("swelling::a_whole_batch_that_swells", || {
        let scene = scene(true);
        for (name, value) in swellers() {
            scene.qemu().clear_faults();
            for skip in 0..8 {
                scene.qemu().fault("qom-get", skip, Act::Return(value.clone()));
                scene.qemu().fault("qom-list", skip, Act::Return(value.clone()));
            }
            within_bounds(name, || scene.guest().verify(TIMEOUT));
            scene.restore();
        }
    });
}

#[test]
fn errors_and_events_that_swell() {
    host::in_own_process("swelling::errors_and_events_that_swell", || {
        let scene = scene(true);
        for room in [100_000, 4_000_000] {
            let text = "\u{1b}[31mx\n".repeat(room / 16);
            for command in ["device_del", "query-status", "query-pci", "blockdev-del", "remove-fd"] {
                scene.qemu().fault(command, 0, Act::Refuse(text.clone()));
                within_bounds(command, || scene.unplug("d0", Duration::from_millis(100)));
                within_bounds(command, || scene.guest().mend(TIMEOUT));
                scene.restore();
            }
            let data = format!("[{}0]", "{\"\":0},".repeat(room / 60));
            let event = format!("{{\"event\":\"X\",\"data\":{data}}}\r\n");
            scene.qemu().fault("query-status", 0, Act::Endless(event.into_bytes()));
            scene.qemu().model(|model| model.manner = super::support::fake::Manner::Never);
            within_bounds("events", || scene.unplug("d0", Duration::from_millis(500)));
            scene.restore();
        }
    });
}
