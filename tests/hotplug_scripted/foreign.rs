//! Devices that QEMU has under the id of an add, and that the record does not have.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;

use crate::support::api::*;
use crate::support::fixture::Fixture;

const MAC: &str = "52:54:00:00:00:09";
const OTHER_MAC: &str = "52:54:00:00:00:0a";

fn adopting(nic: &NicArgs) -> NicArgs {
    NicArgs { place: Place { adopt: true, ..nic.place.clone() }, ..nic.clone() }
}

/// A NIC whose agent was killed before it had recorded it.
fn with_unrecorded_nic(agent: &dyn Agent) -> (Fixture, Box<dyn Api>, NicArgs) {
    let fixture = Fixture::pc();
    let before = fixture.record_text();
    let mut nic = fixture.nic_as("lan", MAC);
    nic.place.properties = Some(r#"{"queue-size": 128}"#.into());
    let api = fixture.open(agent);
    done(api.add_nic(&nic));
    drop(api);
    assert!(!fixture.journal().exists());
    std::fs::write(fixture.journal().with_extension(""), before).unwrap();
    let api = fixture.open(agent);
    assert_eq!(fixture.recorded(), Vec::<String>::new());
    fixture.qemu.take_seen();
    (fixture, api, nic)
}

/// Commands that are no questions.
fn changes(fixture: &Fixture) -> Vec<String> {
    let names = fixture.qemu.take_names().into_iter();
    let asks = ["query-", "qom-", "x-debug-query-", "human-monitor-command", "device-list-properties"];
    names.filter(|name| !asks.iter().any(|ask| name.starts_with(ask))).collect()
}

pub fn an_unrecorded_nic_is_recorded_when_that_is_asked_for(agent: &dyn Agent) {
    let (fixture, api, nic) = with_unrecorded_nic(agent);
    let qemu = fixture.qemu.snapshot();
    done(api.add_nic(&adopting(&nic)));
    assert_eq!(fixture.recorded(), ["lan"]);
    assert!(fixture.record_text().contains("queue-size"));
    // From now on it is a NIC as any other: the same add again changes nothing, and it can be removed.
    done(api.add_nic(&adopting(&nic)));
    done(api.add_nic(&nic));
    assert_eq!((changes(&fixture), fixture.qemu.snapshot()), (vec![], qemu));
    assert!(!fixture.journal().exists());
    assert_eq!(api.next_event(), None);
    done(api.unplug(&UnplugArgs::of("lan")));
    assert_eq!(changes(&fixture), ["device_del", "netdev_del"]);
    assert_eq!(fixture.recorded(), Vec::<String>::new());
}

pub fn an_unrecorded_nic_that_is_another_one_is_left_alone(agent: &dyn Agent) {
    let (fixture, api, nic) = with_unrecorded_nic(agent);
    let before = fixture.snapshot();
    let says = |nic: NicArgs, kind: ErrorKind, part: &str| {
        let failure = fails(api.add_nic(&nic), kind);
        assert!(failure.text.contains(part), "{failure:?}");
    };
    let adopted = adopting(&nic);
    says(nic, ErrorKind::Conflict, "KVM_HOTPLUG_ADOPT");
    says(NicArgs { mac: None, ..adopted.clone() }, ErrorKind::Invalid, "mac is needed");
    says(NicArgs { mac: Some(OTHER_MAC.into()), ..adopted.clone() }, ErrorKind::Conflict, "another mac");
    says(NicArgs { queues: 2, ..adopted.clone() }, ErrorKind::Conflict, "another queues");
    let resized = Place { properties: Some(r#"{"queue-size": 256}"#.into()), ..adopted.place.clone() };
    says(NicArgs { place: resized, ..adopted.clone() }, ErrorKind::Conflict, "the property queue-size");
    says(NicArgs { mtu: Some(1400), ..adopted.clone() }, ErrorKind::Conflict, "another mtu");
    let elsewhere = Place { address: Some(("pci.0".into(), 20)), ..adopted.place.clone() };
    says(NicArgs { place: elsewhere, ..adopted.clone() }, ErrorKind::Conflict, "another address");
    let nameless = Place { id: None, ..adopted.place.clone() };
    says(NicArgs { place: nameless, ..adopted }, ErrorKind::Invalid, "by its id only");
    assert_eq!((changes(&fixture), fixture.snapshot()), (vec![], before));
}

/// All of a list, or nothing.
pub fn a_list_with_an_unrecorded_nic_is_all_or_nothing(agent: &dyn Agent) {
    let (fixture, api, nic) = with_unrecorded_nic(agent);
    let before = fixture.snapshot();
    let taken = NicArgs { mac: Some(MAC.into()), ..fixture.nic_as("wan", MAC) };
    fails(api.add_all(&[adopting(&nic), taken], &[], AMPLE), ErrorKind::Conflict);
    assert_eq!((changes(&fixture), fixture.snapshot()), (vec![], before));
    let wan = fixture.nic_as("wan", OTHER_MAC);
    api.add_all(&[adopting(&nic), wan], &[], AMPLE).unwrap();
    assert_eq!(fixture.recorded(), ["lan", "wan"]);
    assert_eq!(changes(&fixture), ["getfd", "netdev_add", "device_add"]);
}
