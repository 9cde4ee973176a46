//! Answers that are small on the wire and large in memory, to every question the library asks.

use std::time::Duration;

use kvm_hotplug::Error;
use kvm_hotplug::qmp::{Framer, MAX_MESSAGE, MAX_PARSED_MEMORY};
use serde_json::{Value, json};

use super::agent::{MAX_MEMORY, Scene};
use super::memory_cost::measure;
use super::support::fake::hostile::{MEMORY_BOMBS, MemoryBomb, many};
use super::support::fake::{Act, Machine, Setup};
use super::support::host;

const TIMEOUT: Duration = Duration::from_secs(20);

/// The largest answer of a kind that is still accepted, or this share of it.
fn largest((_, make): MemoryBomb, share: usize) -> Value {
    const SAMPLE: usize = 40_000;
    let mut framer = Framer::default();
    framer.push(format!("{{\"return\":{}}}", make(SAMPLE)).as_bytes());
    let memory = framer.next_message().unwrap().unwrap().memory;
    let by_weight = MAX_PARSED_MEMORY / 1000 * SAMPLE / memory * 960;
    make(by_weight.min(MAX_MESSAGE - 100_000) / share)
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

/// Every answer to a survey swells, one at a time.
#[test]
fn answers_that_swell() {
    host::in_own_process("memory_bombs::answers_that_swell", &mut || {
        let all = ["query-pci", "qom-list", "query-fdsets", "query-named-block-nodes", "qom-get"];
        for (numbered, questions) in [(true, &all[..]), (false, &["qom-list", "qom-get"])] {
            let scene = scene(numbered);
            for bomb in MEMORY_BOMBS {
                let value = largest(bomb, 1);
                for question in questions {
                    scene.qemu().fault(question, 0, Act::Return(value.clone()));
                    within_bounds(&format!("{question}: {}", bomb.0), || scene.guest().repair(TIMEOUT));
                    scene.restore();
                }
            }
        }
    });
}

/// As much as a message may have on the wire is far more than it may have in memory.
#[test]
fn answers_beyond_the_limit() {
    host::in_own_process("memory_bombs::answers_beyond_the_limit", &mut || {
        let scene = scene(true);
        for (name, make) in MEMORY_BOMBS {
            scene.qemu().fault("query-fdsets", 0, Act::Return(make(MAX_MESSAGE - 100_000)));
            within_bounds(name, || scene.guest().repair(TIMEOUT));
            scene.restore();
        }
    });
}

#[test]
fn a_whole_batch_that_swells() {
    host::in_own_process("memory_bombs::a_whole_batch_that_swells", &mut || {
        let scene = scene(true);
        for (bomb, share) in MEMORY_BOMBS.into_iter().flat_map(|bomb| [(bomb, 1), (bomb, 9)]) {
            let value = largest(bomb, share);
            for skip in 0..8 {
                scene.qemu().fault("qom-get", skip, Act::Return(value.clone()));
            }
            within_bounds(&format!("{}/{share}", bomb.0), || scene.guest().verify(TIMEOUT));
            scene.restore();
        }
    });
}

#[test]
fn errors_and_events_that_swell() {
    host::in_own_process("memory_bombs::errors_and_events_that_swell", &mut || {
        let scene = scene(true);
        for room in [100_000, 4_000_000] {
            let text = "\u{1b}[31mx\n".repeat(room / 16);
            for command in ["device_del", "query-status", "query-pci", "blockdev-del", "remove-fd"] {
                scene.qemu().fault(command, 0, Act::Refuse(text.clone()));
                within_bounds(command, || scene.unplug("d0", Duration::from_millis(100)));
                within_bounds(command, || scene.guest().repair(TIMEOUT));
                scene.restore();
            }
            let data = format!("[{}0]", "{\"\":0},".repeat(room / 60));
            let event = format!("{{\"event\":\"X\",\"data\":{data}}}\r\n");
            scene.qemu().fault("query-status", 0, Act::Endless(event.into_bytes()));
            scene.qemu().model(|model| model.unplug_behaviour = super::support::fake::UnplugBehaviour::Never);
            within_bounds("events", || scene.unplug("d0", Duration::from_millis(500)));
            scene.restore();
        }
    });
}

/// Every place in which QEMU names something, with a name of this length.
fn named(place: &str, name: &str) -> (&'static str, Value) {
    let pci = |id: &str, class: &str| {
        json!([{ "bus": 0, "devices": [{
            "bus": 0, "slot": 9, "function": 0, "id": { "vendor": 1, "device": 2 }, "qdev_id": id,
            "class_info": { "class": 512, "desc": class }, "regions": [],
        }] }])
    };
    let children = |name: &str, driver: &str| {
        let child = json!({ "name": name, "type": format!("child<{driver}>") });
        many(&child, (MAX_MESSAGE / 8).min(200 * name.len().max(driver.len())))
    };
    match place {
        "id of a PCI device" => ("query-pci", pci(name, "x")),
        "class of a PCI device" => ("query-pci", pci("x", name)),
        "id of a device" => ("qom-list", children(name, "virtio-net-pci")),
        "id of a SCSI disk" => ("qom-list", children(name, "scsi-hd")),
        "id of a controller" => ("qom-list", children(name, "virtio-scsi-pci")),
        "driver" => ("qom-list", children("x", name)),
        "SCSI driver" => ("qom-list", children("x", &format!("scsi-{name}"))),
        "tag" => {
            ("query-fdsets", json!([{ "fdset-id": 7, "fds": [{ "fd": 1, "opaque": format!("kh:{name}") }] }]))
        }
        "node" => ("query-named-block-nodes", json!([{ "node-name": name, "ro": false }])),
        "run state" => ("query-status", json!({ "status": name, "running": true })),
        _ => ("qom-get", json!(format!("/machine/peripheral/{name}/{name}"))),
    }
}

const PLACES: [&str; 11] = [
    "id of a PCI device",
    "class of a PCI device",
    "id of a device",
    "id of a SCSI disk",
    "id of a controller",
    "driver",
    "SCSI driver",
    "tag",
    "node",
    "run state",
    "bus",
];

/// Nothing that a terminal would obey comes back out, either.
#[test]
fn names_of_every_length_in_every_place() {
    host::in_own_process("memory_bombs::names_of_every_length_in_every_place", &mut || {
        // Before the guest has numbered its buses, more is asked.
        for numbered in [true, false] {
            let scene = scene(numbered);
            for length in [0, 32, 64, 256, 60_000] {
                for unit in ["y", "\u{1b}\u{202e}\u{9b}"] {
                    let name: String = unit.chars().cycle().take(length).collect();
                    for place in PLACES {
                        let (question, value) = named(place, &name);
                        scene.qemu().fault(question, 0, Act::Return(value));
                        let what = format!("{place}, {length} of {unit:?}");
                        within_bounds(&what, || {
                            let found = scene.guest().verify(TIMEOUT)?;
                            let lines = scene.guest().slot_map(TIMEOUT)?;
                            for text in found
                                .iter()
                                .map(ToString::to_string)
                                .chain(lines.into_iter().map(|line| line.occupant))
                            {
                                assert!(
                                    text.chars().all(kvm_hotplug::sanitize::is_plain),
                                    "{what}: {text:?}"
                                );
                            }
                            Ok(())
                        });
                        scene.restore();
                    }
                }
            }
        }
    });
}
