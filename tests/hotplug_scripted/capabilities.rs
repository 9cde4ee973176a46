//! What a QEMU knows: asked once, and given to other guests of the same build.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use serde_json::{Value, json};

use crate::support::api::*;
use crate::support::fixture::Fixture;

fn disk_with_property(fixture: &Fixture, id: &str) -> DiskArgs {
    let properties = Some(json!({"queue-size": "128"}).to_string());
    let place = Place { id: Some(id.into()), properties, ..Place::default() };
    DiskArgs { place, ..fixture.disk(&format!("{id}.img")) }
}

/// How often QEMU was asked about a model since the last time.
fn asked_about_models(fixture: &Fixture) -> usize {
    let names = fixture.qemu.take_names();
    names.iter().filter(|name| *name == "device-list-properties").count()
}

pub fn what_qemu_knows_is_asked_once(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&disk_with_property(&fixture, "first")));
    assert_eq!(asked_about_models(&fixture), 1);
    let known = api.capabilities().unwrap();
    let models = known["models"].as_object().unwrap();
    // But for the one that an add has asked about.
    assert_eq!(asked_about_models(&fixture), models.len() - 1);
    assert_eq!(models["virtio-blk-pci"]["queue-size"], "uint16");
    assert_eq!(api.capabilities().unwrap(), known);
    done(api.add_disk(&disk_with_property(&fixture, "second")));
    assert_eq!(asked_about_models(&fixture), 0);
}

pub fn what_another_guest_has_said_is_taken(agent: &dyn Agent) {
    let known = Fixture::pc().open(agent).capabilities().unwrap();
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    api.give_capabilities(&known.to_string()).unwrap();
    assert_eq!(fixture.qemu.take_names(), ["query-version"]);
    done(api.add_disk(&disk_with_property(&fixture, "data")));
    assert_eq!(asked_about_models(&fixture), 0);
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
}

pub fn what_another_build_has_said_is_refused(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let known = api.capabilities().unwrap();
    let others: [(&str, Value); 2] = [
        ("/package", json!("v9.9-rc1")),
        ("/qemu/micro", json!(known["qemu"]["micro"].as_u64().unwrap() + 1)),
    ];
    for (place, value) in others {
        let mut other = known.clone();
        *other.pointer_mut(place).unwrap() = value;
        // It must not be used.
        other["models"]["virtio-blk-pci"] = Value::Null;
        let failure = fails(api.give_capabilities(&other.to_string()), ErrorKind::Invalid);
        assert_eq!(failure.errno, libc::ESTALE);
        assert!(failure.text.contains("ask this guest for its own"), "{failure:?}");
    }
    done(api.add_disk(&disk_with_property(&fixture, "data")));
    let failure = fails(api.give_capabilities("{"), ErrorKind::Invalid);
    assert_eq!(failure.errno, libc::EINVAL);
}
