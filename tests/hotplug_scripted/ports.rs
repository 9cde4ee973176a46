//! How the tap of a NIC is a port of its bridge: from the start, recorded, kept by a move, compared.
#![allow(unreachable_pub)]

use kvm_hotplug::ErrorKind;
use kvm_hotplug::ids::IfName;
use kvm_hotplug::model::Operation;
use kvm_hotplug::net::link::port_of;
use kvm_hotplug::net::port::PortFlags;
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use crate::changing::Bridge;
use crate::support::api::*;
use crate::support::fixture::Fixture;
use crate::support::programs;

const ISOLATED: PortFlags = PortFlags { isolated: true, learning: false, hairpin: false };

fn on(bridge: &Bridge, nic: NicArgs) -> NicArgs {
    let port = Some(r#"{"isolated": true, "learning": false}"#.to_owned());
    NicArgs { bridge: Some(bridge.0.clone()), port, ..nic }
}

fn flags(tap: &str) -> Option<PortFlags> {
    port_of(&IfName::parse(tap).unwrap()).unwrap()
}

fn described(api: &dyn Api) -> Value {
    api.describe(Some("lan")).unwrap().unwrap()
}

pub fn a_nic_has_its_port_from_the_start_and_after_a_move(agent: &dyn Agent) {
    let (fixture, a, b) = (Fixture::pc(), Bridge::new(), Bridge::new());
    let api = fixture.open(agent);
    let ask = on(&a, fixture.nic_as("lan", "52:54:00:00:00:01"));
    let tap = done(api.add_nic(&ask)).ifname.unwrap();
    assert_eq!(flags(&tap), Some(ISOLATED));
    let recorded = json!({"isolated": true, "learning": false});
    assert_eq!(described(&*api)["port"], recorded);
    assert_eq!(
        described(&*api)["tap"]["port"],
        json!({"isolated": true, "learning": false, "hairpin": false})
    );
    let file: Value = serde_json::from_str(&fixture.record_text()).unwrap();
    assert_eq!(file["nics"][0]["port"], recorded);
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    // The same again is the same; another one is a conflict.
    done(api.add_nic(&ask));
    let failure = fails(api.add_nic(&NicArgs { port: None, ..ask.clone() }), ErrorKind::Conflict);
    assert!(failure.text.contains("another port"), "{failure:?}");
    assert_eq!(api.set_bridge("lan", Some(&b.0), AMPLE), Ok(Changed::Done));
    assert_eq!((flags(&tap), b.ports()), (Some(ISOLATED), vec![tap.clone()]));
    // Out of all bridges, and in again.
    assert_eq!(api.set_bridge("lan", None, AMPLE), Ok(Changed::Done));
    assert_eq!(flags(&tap), None);
    assert_eq!(api.set_bridge("lan", Some(&a.0), AMPLE), Ok(Changed::Done));
    assert_eq!(flags(&tap), Some(ISOLATED));
    programs::run(&["bridge", "link", "set", "dev", &tap, "isolated", "off", "hairpin", "on"]);
    let differences = api.verify().unwrap();
    let expected =
        "isolated on, learning off, hairpin off, the guest has isolated off, learning off, hairpin on";
    assert!(differences.len() == 1 && differences[0].contains(expected), "{differences:?}");
    done(api.unplug(&UnplugArgs::of("lan")));
}

/// The agent died after the tap had joined the other bridge, or one of them, and before it was set.
pub fn an_interrupted_move_sets_the_port(agent: &dyn Agent) {
    for has_moved in [false, true] {
        let (fixture, a, b) = (Fixture::pc(), Bridge::new(), Bridge::new());
        let api = fixture.open(agent);
        let tap = done(api.add_nic(&on(&a, fixture.nic_as("lan", "52:54:00:00:00:01")))).ifname.unwrap();
        drop(api);
        {
            let mut runtime = RecordFile::load(&fixture.runtime).unwrap();
            let device = runtime.record().find("lan").unwrap().clone();
            runtime.write_journal(|journal| journal.log_intent(Operation::Move, &device)).unwrap();
        }
        if has_moved {
            programs::run(&["ip", "link", "set", &tap, "master", &b.0]);
        }
        programs::run(&["bridge", "link", "set", "dev", &tap, "isolated", "off", "learning", "on"]);
        programs::run(&["ip", "link", "set", &tap, "down"]);
        let api = fixture.open(agent);
        assert_eq!((flags(&tap), a.ports()), (Some(ISOLATED), vec![tap.clone()]), "{has_moved}");
        assert!(!fixture.journal().exists());
        let state = std::fs::read_to_string(format!("/sys/class/net/{tap}/flags")).unwrap();
        assert!(state.trim().ends_with('3'), "{state}");
        assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    }
}

pub fn a_port_that_cannot_be_is_refused(agent: &dyn Agent) {
    let (fixture, bridge) = (Fixture::pc(), Bridge::new());
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    let nic = || on(&bridge, fixture.nic_as("lan", "52:54:00:00:00:01"));
    let port = |text: &str| Some(text.to_owned());
    for (nic, kind, why) in [
        (NicArgs { bridge: None, ..nic() }, ErrorKind::Invalid, "port settings without a bridge"),
        (NicArgs { port: port("[]"), ..nic() }, ErrorKind::Invalid, "port is no JSON object"),
        (NicArgs { port: port(r#"{"vlan": 4095}"#), ..nic() }, ErrorKind::Invalid, "VLAN 4095"),
        (
            NicArgs { port: port(r#"{"trunk": [7]}"#), ..nic() },
            ErrorKind::Unavailable,
            "does not tell VLANs apart",
        ),
    ] {
        let failure = fails(api.add_nic(&nic), kind);
        assert!(failure.text.contains(why), "{failure:?} lacks {why:?}");
        assert_eq!((fixture.snapshot(), bridge.ports()), (before.clone(), vec![]));
    }
    let text = json!([{
        "type": "nic", "id": "lan", "bridge": bridge.0, "vhost": "off", "port": {"hairpin": true},
    }]);
    api.add_json(&text.to_string(), AMPLE).unwrap();
    assert_eq!(described(&*api)["port"], json!({"hairpin": true}));
}
