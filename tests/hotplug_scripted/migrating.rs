//! A guest on its way from one host to another.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use serde_json::json;

use super::removing::{pending, with_disk};
use crate::support::api::*;
use crate::support::fake::{Act, UnplugBehaviour};

/// QEMU takes devices on both sides without a word, and the migration, or the guest, comes to harm by it.
pub fn a_guest_between_two_hosts_is_left_alone(agent: &dyn Agent) {
    for state in ["inmigrate", "finish-migrate", "postmigrate", "colo"] {
        let (fixture, api) = with_disk(agent);
        fixture.qemu.model(|model| model.run_state = state.into());
        fixture.qemu.emit("STOP", json!({}));
        fixture.qemu.settle();
        let (nic, disk) = (fixture.nic(1), fixture.disk("other.img"));
        let before = fixture.snapshot();
        fixture.qemu.take_seen();
        for failure in [
            fails(api.add_nic(&nic), ErrorKind::Migrating),
            fails(api.add_disk(&disk), ErrorKind::Migrating),
            fails(api.unplug(&UnplugArgs::of("data")), ErrorKind::Migrating),
            fails(api.resize("data", SizeArgs::bytes(2 << 20), AMPLE).map(drop), ErrorKind::Migrating),
        ] {
            assert!(failure.text.contains("being migrated"), "{state}: {failure:?}");
        }
        assert_eq!(fixture.qemu.take_names(), ["query-status"; 4], "{state}");
        assert_eq!(fixture.snapshot(), before, "{state}");
        // Failed, it runs on.
        fixture.qemu.model(|model| model.run_state = "running".into());
        fixture.qemu.emit("RESUME", json!({}));
        fixture.qemu.settle();
        done(api.add_nic(&nic));
        done(api.unplug(&UnplugArgs::of("data")));
    }
}

pub fn qemu_refuses_while_it_migrates(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    let (nic, disk) = (fixture.nic(2), fixture.disk("other.img"));
    let before = fixture.snapshot();
    fixture.qemu.fault("device_add", 0, Act::refuse("device_add not allowed while migrating"));
    fails(api.add_nic(&nic), ErrorKind::Migrating);
    fixture.qemu.fault("device_add", 0, Act::refuse("device_add not allowed while migrating"));
    fails(api.add_disk(&disk), ErrorKind::Migrating);
    fixture.qemu.fault("device_del", 0, Act::refuse("device_del not allowed while migrating"));
    fails(api.unplug(&UnplugArgs::of("data")), ErrorKind::Migrating);
    assert_eq!(fixture.snapshot(), before);
    done(api.unplug(&UnplugArgs::of("data")));
}

pub fn what_is_pending_stays_so_across_a_migration(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    assert_eq!(pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("data") })), Why::NotAwaited);
    fixture.qemu.model(|model| model.run_state = "finish-migrate".into());
    fixture.qemu.emit("STOP", json!({}));
    fixture.qemu.settle();
    assert_eq!(pending(api.unplug(&UnplugArgs::of("data"))), Why::Migrating);
    assert!(fixture.journal().exists());
}

/// The journal came along with the record.
pub fn a_target_is_not_asked_for_what_was_pending_at_its_source(agent: &dyn Agent) {
    let (fixture, api) = with_disk(agent);
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    pending(api.unplug(&UnplugArgs { wait: false, ..UnplugArgs::of("data") }));
    drop(api);
    fixture.qemu.model(|model| model.run_state = "inmigrate".into());
    fixture.qemu.take_seen();
    let api = fixture.open(agent);
    assert!(!fixture.qemu.take_names().iter().any(|name| name == "device_del"));
    assert_eq!(api.list()[0].presence, Presence::Pending(Why::Migrating));
    assert_eq!(pending(api.unplug(&UnplugArgs::of("data"))), Why::Migrating);
    assert!(!fixture.qemu.take_names().iter().any(|name| name == "device_del"));
    assert!(fixture.journal().exists());
}
