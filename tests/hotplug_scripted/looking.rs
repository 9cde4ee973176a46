//! A guest that is opened for looking only: QEMU is asked and told nothing, and no file changes.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::store::RecordFile;
use serde_json::json;

use super::removing::pending;
use crate::support::api::*;
use crate::support::fake::{Dev, UnplugBehaviour};
use crate::support::fixture::Fixture;

const MAC: &str = "52:54:00:00:00:21";

fn look(fixture: &Fixture, agent: &dyn Agent) -> Box<dyn Api> {
    agent.look(&fixture.runtime, fixture.qemu.path(), AMPLE).unwrap()
}

fn is_question(name: &String) -> bool {
    let asks = ["query-", "qom-get", "qom-list", "x-query-", "x-debug-query-", "human-monitor-command"];
    name == "qmp_capabilities" || asks.iter().any(|begin| name.starts_with(begin))
}

/// Everything that must be as it was: the guest, and each byte of the files.
fn everything(fixture: &Fixture) -> (Vec<String>, String, Option<Vec<u8>>) {
    (fixture.qemu.snapshot(), fixture.record_text(), std::fs::read(fixture.journal()).ok())
}

/// A NIC that stays, one that an agent has asked for and then died, and a disk.
fn unfinished(agent: &dyn Agent) -> Fixture {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_nic(&fixture.nic_as("stays", MAC)));
    done(api.add_nic(&fixture.nic_as("leaves", "52:54:00:00:00:22")));
    done(api.add_disk(&fixture.disk_as("data", "data.img")));
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("leaves") }));
    fixture
}

pub fn a_look_changes_nothing(agent: &dyn Agent) {
    let fixture = unfinished(agent);
    let before = everything(&fixture);
    // Another program may own the record meanwhile.
    let _owner = RecordFile::load(&fixture.runtime).unwrap();
    fixture.qemu.take_names();
    let api = look(&fixture, agent);
    assert_eq!(api.list().len(), 3);
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    assert!(api.slots().unwrap().iter().any(|line| line.occupant == "stays"));
    assert!(api.describe(Some("data")).unwrap().is_some());
    assert_eq!(api.process(AMPLE).unwrap(), 0);
    let status = api.qmp(&QmpArgs::new("query-status", json!({}))).unwrap();
    assert_eq!(status["status"], "running");
    assert!(fixture.qemu.take_names().iter().all(is_question));
    let refused = [
        api.add_nic(&fixture.nic(1)).unwrap_err(),
        api.add_disk(&fixture.disk("a.img")).unwrap_err(),
        api.add_controller(&ControllerArgs::default()).unwrap_err(),
        api.add_all(&[fixture.nic(1)], &[], AMPLE).unwrap_err(),
        api.unplug(&UnplugArgs::of("stays")).unwrap_err(),
        api.set_link("stays", false, AMPLE).unwrap_err(),
        api.set_bridge("stays", None, AMPLE).unwrap_err(),
        api.resize("data", SizeArgs::default(), AMPLE).unwrap_err(),
        api.settle().unwrap_err(),
        api.repair().unwrap_err(),
        api.qmp(&QmpArgs::new("stop", json!({}))).unwrap_err(),
        api.qmp(&QmpArgs::new("device_del", json!({ "id": "stays" })).forced()).unwrap_err(),
    ];
    for failure in refused {
        assert_eq!((failure.kind, failure.errno), (ErrorKind::State as i32, libc::EROFS), "{failure:?}");
        assert!(failure.text.contains("opened for looking only"), "{failure:?}");
    }
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    drop(api);
    assert_eq!(everything(&fixture), before);
}

/// Whoever may settle comes later.
pub fn a_look_shows_what_is_unfinished(agent: &dyn Agent) {
    let fixture = unfinished(agent);
    fixture.qemu.model(|model| model.devices.retain(|device| device.id.as_deref() != Some("leaves")));
    let before = everything(&fixture);
    for _ in 0..2 {
        let api = look(&fixture, agent);
        let states: Vec<_> = api.list().into_iter().map(|item| (item.id, item.presence)).collect();
        let leaves = ("leaves".to_owned(), Presence::Pending(Why::NotAwaited));
        assert!(states.contains(&leaves), "{states:?}");
        assert_eq!(api.verify().unwrap(), Vec::<String>::new());
        fixture.qemu.emit("DEVICE_DELETED", crate::support::fake::deleted("leaves"));
        fixture.qemu.settle();
        api.process(AMPLE).unwrap();
        assert_eq!(everything(&fixture), before);
    }
    let api = fixture.open(agent);
    assert_eq!(api.list().len(), 2);
    assert!(!fixture.journal().exists());
}

pub fn a_look_records_no_place(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&fixture.disk_as("data", "data.img")));
    drop(api);
    fixture.qemu.model(|model| {
        model.devices.push(Dev::new(Some("theirs"), "virtio-rng-pci", "pci.0", 9, 0));
        let disk = model.devices.iter_mut().find(|device| device.id.as_deref() == Some("data"));
        disk.unwrap().slot = 12;
    });
    let before = everything(&fixture);
    let api = look(&fixture, agent);
    let found = api.verify().unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|text| text.contains("theirs")), "{found:?}");
    assert!(found.iter().any(|text| text.contains("slot 12")), "{found:?}");
    drop(api);
    assert_eq!(everything(&fixture), before);
    fixture.open(agent).repair().unwrap();
    assert_ne!(everything(&fixture).1, before.1);
}
