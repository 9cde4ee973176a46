//! A guest on its way from one host to another.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use serde_json::json;

use super::removing::{pending, with_disk};
use crate::support::api::*;
use crate::support::fake::{Act, Manner};

/// QEMU takes devices on both sides without a word, and the migration, or the guest, comes to harm by it.
pub fn a_guest_between_two_hosts_is_left_alone(agent: &dyn Agent) {
    for state in ["inmigrate", "finish-migrate", "postmigrate", "colo"] {
        let (world, api) = with_disk(agent);
        world.qemu.model(|model| model.run_state = state.into());
        world.qemu.emit("STOP", json!({}));
        world.qemu.settle();
        let (nic, disk) = (world.nic(1), world.disk("other.img"));
        let before = world.picture();
        world.qemu.take_seen();
        for failure in [
            fails(api.add_nic(&nic), ErrorKind::Migrating),
            fails(api.add_disk(&disk), ErrorKind::Migrating),
            fails(api.unplug(&UnplugAsk::of("data")), ErrorKind::Migrating),
            fails(api.resize("data", SizeAsk::bytes(2 << 20), AMPLE).map(drop), ErrorKind::Migrating),
        ] {
            assert!(failure.text.contains("being migrated"), "{state}: {failure:?}");
        }
        assert_eq!(world.qemu.take_names(), ["query-status"; 4], "{state}");
        assert_eq!(world.picture(), before, "{state}");
        // Failed, it runs on.
        world.qemu.model(|model| model.run_state = "running".into());
        world.qemu.emit("RESUME", json!({}));
        world.qemu.settle();
        done(api.add_nic(&nic));
        done(api.unplug(&UnplugAsk::of("data")));
    }
}

pub fn qemu_refuses_while_it_migrates(agent: &dyn Agent) {
    let (world, api) = with_disk(agent);
    let (nic, disk) = (world.nic(2), world.disk("other.img"));
    let before = world.picture();
    world.qemu.fault("device_add", 0, Act::refuse("device_add not allowed while migrating"));
    fails(api.add_nic(&nic), ErrorKind::Migrating);
    world.qemu.fault("device_add", 0, Act::refuse("device_add not allowed while migrating"));
    fails(api.add_disk(&disk), ErrorKind::Migrating);
    world.qemu.fault("device_del", 0, Act::refuse("device_del not allowed while migrating"));
    fails(api.unplug(&UnplugAsk::of("data")), ErrorKind::Migrating);
    assert_eq!(world.picture(), before);
    done(api.unplug(&UnplugAsk::of("data")));
}

pub fn what_is_pending_stays_so_across_a_migration(agent: &dyn Agent) {
    let (world, api) = with_disk(agent);
    world.qemu.model(|model| model.manner = Manner::Never);
    assert_eq!(pending(api.unplug(&UnplugAsk { wait: false, ..UnplugAsk::of("data") })), Why::NotAwaited);
    world.qemu.model(|model| model.run_state = "finish-migrate".into());
    world.qemu.emit("STOP", json!({}));
    world.qemu.settle();
    assert_eq!(pending(api.unplug(&UnplugAsk::of("data"))), Why::Migrating);
    assert!(world.journal().exists());
}

/// The journal came along with the record.
pub fn a_target_is_not_asked_for_what_was_pending_at_its_source(agent: &dyn Agent) {
    let (world, api) = with_disk(agent);
    world.qemu.model(|model| model.manner = Manner::Never);
    pending(api.unplug(&UnplugAsk { wait: false, ..UnplugAsk::of("data") }));
    drop(api);
    world.qemu.model(|model| model.run_state = "inmigrate".into());
    world.qemu.take_seen();
    let api = world.open(agent);
    assert!(!world.qemu.take_names().iter().any(|name| name == "device_del"));
    assert_eq!(api.list()[0].presence, Presence::Pending(Why::Migrating));
    assert_eq!(pending(api.unplug(&UnplugAsk::of("data"))), Why::Migrating);
    assert!(!world.qemu.take_names().iter().any(|name| name == "device_del"));
    assert!(world.journal().exists());
}
