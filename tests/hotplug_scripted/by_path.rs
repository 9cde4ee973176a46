//! Removals of devices without an id, by their path in QOM.
#![allow(unreachable_pub)]

use std::time::Duration;

use kvm_hotplug::ErrorKind;
use serde_json::json;

use super::removing::SHORT;
use crate::support::api::*;
use crate::support::fake::{Act, UnplugBehaviour, model::Dev};
use crate::support::fixture::Fixture;

const DISK: &str = "/machine/peripheral-anon/device[0]";
const QUESTIONS: [&str; 5] = ["qom-list", "qom-get", "qom-get", "qom-get", "qom-get"];

/// A guest that was started with a disk that has no id.
fn with_anonymous(agent: &dyn Agent, behaviour: UnplugBehaviour) -> (Fixture, Box<dyn Api>) {
    let fixture = Fixture::pc();
    fixture.qemu.model(|model| {
        model.devices.push(Dev::new(Some(DISK), "virtio-blk-pci", "pci.0", 9, 0));
        model.unplug_behaviour = behaviour;
    });
    let api = fixture.open(agent);
    fixture.qemu.take_seen();
    (fixture, api)
}

fn is_there(fixture: &Fixture) -> bool {
    fixture.qemu.model(|model| model.devices.iter().any(|device| device.id.as_deref() == Some(DISK)))
}

fn pending(result: Result<Answer, Failure>) -> Why {
    match result {
        Ok(Answer { state: State::Pending(why), device: None }) => why,
        other => panic!("expected a pending removal: {other:?}"),
    }
}

pub fn a_device_without_an_id_leaves_by_its_path(agent: &dyn Agent) {
    for behaviour in [UnplugBehaviour::AtOnce, UnplugBehaviour::After(Duration::from_millis(150))] {
        let (fixture, api) = with_anonymous(agent, behaviour);
        let answer = api.unplug(&UnplugArgs::of(DISK)).unwrap();
        assert_eq!(answer, Answer { state: State::Done, device: None });
        let sent = fixture.qemu.take_names();
        assert_eq!(sent[..5], QUESTIONS);
        assert_eq!(sent[5..7], ["device_del", "qom-get"]);
        assert!(!is_there(&fixture) && fixture.recorded().is_empty());
        assert_eq!(api.next_event(), None);
        let answer = api.unplug(&UnplugArgs::of(DISK)).unwrap();
        assert_eq!(answer, Answer { state: State::Absent, device: None });
        // Its place is free again.
        let place = Place { address: Some(("pci.0".into(), 9)), ..Place::default() };
        done(api.add_disk(&DiskArgs { place, ..fixture.disk("a.img") }));
    }
}

/// The guest is asked for all before one is waited for.
pub fn a_path_holds_up_no_other_removal(agent: &dyn Agent) {
    let (fixture, api) = with_anonymous(agent, UnplugBehaviour::Never);
    done(api.add_disk(&fixture.disk_as("data", "a.img")));
    fixture.qemu.model(|model| {
        model.unplug_behaviours.insert("data".into(), UnplugBehaviour::AtOnce);
    });
    let answers = api.unplug_all(&[DISK.into(), "data".into()], SHORT);
    let states: Vec<State> = answers.into_iter().map(|answer| answer.unwrap().state).collect();
    assert_eq!(states, [State::Pending(Why::Deadline), State::Done]);
}

pub fn a_guest_may_refuse_or_keep_a_device_without_an_id(agent: &dyn Agent) {
    let (fixture, api) = with_anonymous(agent, UnplugBehaviour::Refuses);
    let refusal = fails(api.unplug(&UnplugArgs::of(DISK)), ErrorKind::GuestRefused);
    assert!(refusal.text.contains(DISK), "{refusal:?}");
    // What was refused before counts for nothing.
    fixture.qemu.model(|model| model.unplug_behaviour = UnplugBehaviour::Never);
    assert_eq!(pending(api.unplug(&UnplugArgs::within(DISK, SHORT))), Why::Deadline);
    let unwaited = UnplugArgs { wait: false, ..UnplugArgs::of(DISK) };
    assert_eq!(pending(api.unplug(&unwaited)), Why::NotAwaited);
    assert!(is_there(&fixture));
}

pub fn a_guest_that_cannot_answer_keeps_a_device_without_an_id(agent: &dyn Agent) {
    for (state, why, asked) in
        [("suspended", Why::Asleep, 0), ("prelaunch", Why::NotStarted, 0), ("paused", Why::Paused, 1)]
    {
        let (fixture, api) = with_anonymous(agent, UnplugBehaviour::AtOnce);
        fixture.qemu.model(|model| model.run_state = state.into());
        fixture.qemu.emit("STOP", json!({}));
        fixture.qemu.settle();
        assert_eq!(pending(api.unplug(&UnplugArgs::of(DISK))), why, "{state}");
        let sent = fixture.qemu.take_names();
        assert_eq!(sent.iter().filter(|name| *name == "device_del").count(), asked, "{state}");
        assert!(is_there(&fixture));
    }
    let (fixture, api) = with_anonymous(agent, UnplugBehaviour::AtOnce);
    fixture.qemu.model(|model| model.run_state = "finish-migrate".into());
    fixture.qemu.emit("STOP", json!({}));
    fixture.qemu.settle();
    fails(api.unplug(&UnplugArgs::of(DISK)), ErrorKind::Migrating);
    assert!(is_there(&fixture));
}

/// Nobody knows whether the guest was asked. The next call looks.
pub fn a_lost_answer_about_a_path_is_told(agent: &dyn Agent) {
    for (act, there) in [(Act::CloseBefore, true), (Act::CloseAfter, false)] {
        let (fixture, api) = with_anonymous(agent, UnplugBehaviour::AtOnce);
        fixture.qemu.fault("device_del", 0, act);
        let failure = fails(api.unplug(&UnplugArgs::of(DISK)), ErrorKind::MonitorLost);
        assert!(failure.left.iter().any(|left| left.contains(DISK)), "{failure:?}");
        assert_eq!(is_there(&fixture), there);
        let state = api.unplug(&UnplugArgs::of(DISK)).unwrap().state;
        assert_eq!(state, if there { State::Done } else { State::Absent });
    }
}
