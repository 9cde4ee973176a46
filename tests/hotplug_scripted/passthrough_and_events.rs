//! Commands and events of the caller's own, and what the guest does besides hot-plug.
#![allow(unreachable_pub)]

use std::sync::Arc;

use kvm_hotplug::ErrorKind;
use serde_json::{Value, json};

use crate::support::api::*;
use crate::support::clock;
use crate::support::fake::{Act, Later};
use crate::support::fixture::Fixture;
use crate::support::host;

fn news(api: &dyn Api) -> Vec<EventKind> {
    api.process(AMPLE).unwrap();
    std::iter::from_fn(|| api.next_event()).map(|news| news.what).collect()
}

pub fn a_command_of_the_callers_own(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    let status = api.qmp(&QmpArgs::new("query-status", json!({}))).unwrap();
    assert_eq!(status["status"], "running");
    assert_eq!(fixture.qemu.take_names(), ["query-status"]);
    let failure = fails(api.qmp(&QmpArgs::new("frobnicate", json!({ "a": 1 }))), ErrorKind::Qmp);
    assert_eq!(failure.qmp_class.as_deref(), Some("CommandNotFound"));
    assert_eq!(fixture.qemu.take_seen()[0].arguments, json!({ "a": 1 }));
    for bad in ["", "a b", "a\"", "a\n"] {
        fails(api.qmp(&QmpArgs::new(bad, json!({}))), ErrorKind::Invalid);
    }
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
}

pub fn a_descriptor_goes_with_it(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let fd = Arc::new(std::fs::File::open("/dev/null").unwrap().into());
    let ask = QmpArgs { fd: Some(fd), ..QmpArgs::new("getfd", json!({ "fdname": "mine" })) };
    api.qmp(&ask).unwrap();
    assert!(fixture.qemu.snapshot().contains(&"fd mine".to_owned()));
    api.qmp(&QmpArgs::new("closefd", json!({ "fdname": "mine" }))).unwrap();
}

pub fn what_would_fool_the_record_is_refused(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let nic = done(api.add_nic(&fixture.nic(1)));
    let disk = done(api.add_disk(&fixture.disk("a.img")));
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    for (name, arguments) in [
        ("device_add", json!({ "driver": "usb-tablet", "id": "t" })),
        ("device_del", json!({ "id": nic.id })),
        ("netdev_add", json!({ "type": "user", "id": "n" })),
        ("netdev_del", json!({ "id": nic.id })),
        ("blockdev-del", json!({ "node-name": disk.id })),
        ("blockdev-add", json!({ "driver": "raw", "node-name": "over", "file": disk.id })),
        ("block_resize", json!({ "node-name": disk.id, "size": 512 })),
        ("set_link", json!({ "name": nic.id, "up": false })),
        ("remove-fd", json!({ "fdset-id": 1 })),
        ("add-fd", json!({ "fdset-id": 1 })),
        ("getfd", json!({ "fdname": "k1" })),
        ("closefd", json!({ "fdname": "v7.1" })),
        (
            "qom-set",
            json!({ "path": format!("/machine/peripheral/{}", nic.id), "property": "x", "value": 1 }),
        ),
        ("transaction", json!({ "actions": [{ "type": "x", "data": { "node-name": disk.id } }] })),
        ("human-monitor-command", json!({ "command-line": "drive_del x" })),
        ("qmp_capabilities", json!({})),
    ] {
        let failure = fails(api.qmp(&QmpArgs::new(name, arguments)), ErrorKind::State);
        assert_eq!(failure.errno, libc::EPERM);
        assert!(failure.text.contains("would fool the record"), "{failure:?}");
    }
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    assert_eq!(fixture.snapshot(), before);
}

/// After a forced one the guest is looked at anew.
pub fn what_is_forced_makes_the_picture_stale(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let arguments = json!({ "driver": "virtio-rng-pci", "id": "rng", "bus": "pci.0", "addr": "4" });
    fixture.qemu.take_seen();
    api.qmp(&QmpArgs::new("device_add", arguments).forced()).unwrap();
    assert_eq!(fixture.qemu.take_names(), ["device_add"]);
    let disk = done(api.add_disk(&fixture.disk("a.img")));
    assert_eq!(disk.address, Some(("pci.0".into(), 5)));
    let names = fixture.qemu.take_names();
    assert!(names.contains(&"query-pci".to_owned()), "{names:?}");
    // A set of the caller's own takes a number that the library would have chosen.
    let fd = Arc::new(std::fs::File::open("/dev/null").unwrap().into());
    let set = api.qmp(&QmpArgs { fd: Some(fd), ..QmpArgs::new("add-fd", json!({ "fdset-id": 2 })) }).unwrap();
    assert_eq!(set["fdset-id"], 2);
    done(api.add_disk(&fixture.disk("b.img")));
    let nodes = api.describe(None).unwrap().unwrap();
    assert_eq!(nodes[1]["fdsets"], json!([3]), "{nodes}");
}

pub fn a_lost_answer_is_said_to_be_unknown(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    for act in [Act::LoseAnswer, Act::HangBefore, Act::HangAfter] {
        fixture.qemu.fault("stop", 0, act);
        let ask = QmpArgs { timeout_ms: 100, ..QmpArgs::new("stop", json!({})) };
        let failure = fails(api.qmp(&ask), ErrorKind::Timeout);
        assert_eq!(failure.left, ["stop: unknown whether it is done"]);
        fixture.qemu.resume();
    }
    // An answer that comes late is nobody's.
    fixture.qemu.fault("stop", 0, Act::AnswerLate(std::time::Duration::from_millis(200)));
    fails(api.qmp(&QmpArgs { timeout_ms: 100, ..QmpArgs::new("stop", json!({})) }), ErrorKind::Timeout);
    for _ in 0..30 {
        let status = api.qmp(&QmpArgs::new("query-status", json!({}))).unwrap();
        assert_eq!(status["status"], "paused");
        clock::sleep(std::time::Duration::from_millis(10));
    }
    fixture.qemu.fault("cont", 0, Act::CloseBefore);
    fails(api.qmp(&QmpArgs::new("cont", json!({}))), ErrorKind::MonitorLost);
    api.qmp(&QmpArgs::new("cont", json!({}))).unwrap();
}

pub fn raw_events_come_when_they_are_wanted(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.emit("RTC_CHANGE", json!({ "offset": 1 }));
    fixture.qemu.settle();
    assert_eq!(news(api.as_ref()), []);
    api.forward_qmp_events(true);
    assert!(!host::is_readable(api.fd()));
    fixture.qemu.emit("RTC_CHANGE", json!({ "offset": 2 }));
    assert!(host::eventually(|| host::is_readable(api.fd())));
    assert_eq!(api.process(AMPLE).unwrap(), 1);
    assert!(host::is_readable(api.fd()), "until it is fetched");
    let event = api.next_event_json().unwrap();
    assert_eq!((&event["event"], &event["qmp"]["event"]), (&json!("qmp"), &json!("RTC_CHANGE")));
    assert_eq!(event["qmp"]["data"], json!({ "offset": 2 }));
    assert_eq!(event["qmp"]["timestamp"]["seconds"], 1_700_000_000);
    assert!(!host::is_readable(api.fd()));
    // Both the raw one and the news made from it, in that order.
    fixture.qemu.emit("RESET", json!({ "guest": true, "reason": "guest-reset" }));
    fixture.qemu.settle();
    assert_eq!(news(api.as_ref()), [EventKind::Qmp, EventKind::Reset { by_guest: true }]);
    api.forward_qmp_events(false);
    fixture.qemu.emit("RTC_CHANGE", json!({ "offset": 3 }));
    fixture.qemu.settle();
    assert_eq!(news(api.as_ref()), []);
}

/// Events that come while a command of the caller's own runs are not lost, and show at the descriptor.
pub fn events_beside_a_command_are_kept(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    api.forward_qmp_events(true);
    api.qmp(&QmpArgs::new("stop", json!({}))).unwrap();
    assert!(host::eventually(|| host::is_readable(api.fd())));
    assert_eq!(news(api.as_ref()), [EventKind::Qmp]);
}

pub fn disks_that_fail_are_told(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = done(api.add_disk(&fixture.disk("a.img")));
    let data = |node: &str, operation: &str, action: &str, nospace: bool| {
        json!({ "device": "", "node-name": node, "operation": operation, "action": action, "nospace": nospace,
                "reason": "No space left on device" })
    };
    fixture.qemu.emit("BLOCK_IO_ERROR", data(&disk.id, "write", "stop", true));
    fixture.qemu.emit("BLOCK_IO_ERROR", data(&disk.id, "write", "stop", true));
    fixture.qemu.emit("BLOCK_IO_ERROR", data(&disk.id, "read", "report", false));
    fixture.qemu.emit("BLOCK_IO_ERROR", data("theirs", "read", "ignore", false));
    fixture.qemu.settle();
    assert_eq!(api.process(AMPLE).unwrap(), 3);
    let first = api.next_event().unwrap();
    assert_eq!(first.what, EventKind::IoError { write: true, no_space: true, action: "stop" });
    assert_eq!((first.id.as_deref(), first.times), (Some(disk.id.as_str()), 2));
    assert!(first.text.contains("No space left"), "{}", first.text);
    let second = api.next_event_json().unwrap();
    assert_eq!(
        (&second["event"], &second["id"], &second["operation"], &second["action"], &second["no_space"]),
        (&json!("io-error"), &json!(disk.id), &json!("read"), &json!("report"), &json!(false))
    );
    let third = api.next_event().unwrap();
    assert_eq!(
        (third.what, third.id),
        (EventKind::IoError { write: false, no_space: false, action: "ignore" }, None)
    );
    assert!(third.text.contains("theirs"), "{}", third.text);
}

pub fn the_guests_life_is_told(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.emit("RESET", json!({ "guest": false, "reason": "host-qmp-system-reset" }));
    fixture.qemu.emit("GUEST_PANICKED", json!({ "action": "pause" }));
    fixture.qemu.emit("SHUTDOWN", json!({ "guest": true, "reason": "guest-shutdown" }));
    // Malformed ones are no reason to fail.
    fixture.qemu.emit("SHUTDOWN", Value::Null);
    fixture.qemu.emit("BLOCK_IO_ERROR", json!([1]));
    fixture.qemu.settle();
    assert_eq!(
        news(api.as_ref()),
        [
            EventKind::Reset { by_guest: false },
            EventKind::Panicked,
            EventKind::Shutdown { by_guest: true },
            EventKind::Shutdown { by_guest: false },
            EventKind::IoError { write: false, no_space: false, action: "report" },
        ]
    );
}

pub fn a_monitor_that_comes_back_is_told(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.hang_up();
    assert!(host::eventually(|| host::is_readable(api.fd())));
    assert_eq!(news(api.as_ref()), [EventKind::MonitorLost, EventKind::MonitorRestored]);
    fixture.qemu.accept(false);
    fixture.qemu.hang_up();
    fails(api.process(200), ErrorKind::MonitorBusy);
    fails(api.process(200), ErrorKind::MonitorBusy);
    fixture.qemu.accept(true);
    assert_eq!(news(api.as_ref()), [EventKind::MonitorLost, EventKind::MonitorRestored]);
}

/// A guest that floods the agent with what it can cause at will hides nothing that only the library knows.
pub fn a_guests_own_doings_hide_nothing(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    api.forward_qmp_events(true);
    let disk = done(api.add_disk(&fixture.disk("a.img")));
    fixture.qemu.model(|model| model.unplug_behaviour = crate::support::fake::UnplugBehaviour::Never);
    api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of(&disk.id) }).unwrap();
    fixture.qemu.grant(&disk.id);
    fixture.qemu.settle();
    api.process(AMPLE).unwrap();
    for _ in 0..20 {
        for n in 0..100 {
            fixture.qemu.later(
                std::time::Duration::ZERO,
                Later::Say(
                    format!("{{\"event\":\"RESET\",\"data\":{{\"guest\":true,\"n\":{n}}}}}\n").into_bytes(),
                ),
            );
        }
        fixture.qemu.settle();
        api.process(AMPLE).unwrap();
    }
    let events: Vec<Notification> = std::iter::from_fn(|| api.next_event()).collect();
    let of = |what: EventKind| events.iter().filter(|news| news.what == what).collect::<Vec<_>>();
    assert_eq!(of(EventKind::Removed).len(), 1);
    let resets = of(EventKind::Reset { by_guest: true });
    assert_eq!((resets.len(), resets[0].times), (1, 2000));
    assert_eq!(of(EventKind::Qmp).len(), 512);
    assert!(events.len() < 530, "{}", events.len());
}
