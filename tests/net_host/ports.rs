//! What a bridge does with the frames of a tap: what the kernel has of it, and the messages by which it gets
//! it, against those of `bridge`.

use std::process::Command;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::net::bridge_move;
use kvm_hotplug::net::link::{bridge_of, check_bridge, port_of};
use kvm_hotplug::net::port::{PortFlags, PortSettings};
use kvm_hotplug::net::tap::TapRequest;

use crate::limits::sent;
use crate::{Made, host, not_run, request};

/// Messages about links that change something, of the family of bridges.
const KINDS: [u16; 2] = [17, 19];
const AF_BRIDGE: u8 = 7;

fn settings(text: &str) -> Option<Box<PortSettings>> {
    PortSettings::parse(text).unwrap()
}

fn run(words: &str) -> bool {
    let mut words = words.split_whitespace();
    let output =
        Command::new(words.next().unwrap()).args(words).output().expect("run ip and bridge (iproute2)");
    output.status.success()
}

fn is_up(tap: &str) -> bool {
    let flags = std::fs::read_to_string(format!("/sys/class/net/{tap}/flags")).unwrap();
    u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap() & 1 == 1
}

#[test]
fn a_port_is_as_it_is_asked_for() {
    host();
    let bridge = Made::bridge();
    let usual = PortFlags { isolated: false, learning: true, hairpin: false };
    for (text, expected) in [
        ("{}", usual),
        (r#"{"isolated": true}"#, PortFlags { isolated: true, ..usual }),
        (r#"{"learning": false, "hairpin": true}"#, PortFlags { learning: false, hairpin: true, ..usual }),
    ] {
        let wanted = TapRequest { bridge: Some(bridge.0.clone()), port: settings(text), ..request() };
        let tap = host().open(&wanted).unwrap();
        assert_eq!(port_of(&tap.name).unwrap(), Some(expected), "{text}");
        assert!(is_up(tap.name.as_str()));
    }
    let alone = host().open(&request()).unwrap();
    assert_eq!(port_of(&alone.name).unwrap(), None);
}

#[test]
fn a_move_keeps_the_settings_of_the_port() {
    host();
    let (from, to) = (Made::bridge(), Made::bridge());
    let port = settings(r#"{"isolated": true, "learning": false}"#);
    let wanted = TapRequest { bridge: Some(from.0.clone()), port: port.clone(), ..request() };
    let tap = host().open(&wanted).unwrap();
    let expected = PortFlags::wanted(port.as_deref());
    let (there, back) =
        bridge_move::plan(&tap.name, None, Some(from.0.clone()), Some(to.0.clone()), port.clone()).unwrap();
    there.run(&back).unwrap();
    assert_eq!(
        (bridge_of(&tap.name).unwrap(), port_of(&tap.name).unwrap()),
        (Some(to.0.clone()), Some(expected))
    );
    assert!(is_up(tap.name.as_str()));
    // Again is the same, also where somebody has changed it.
    assert!(run(&format!("bridge link set dev {} isolated off", tap.name)));
    there.join().unwrap();
    assert_eq!(port_of(&tap.name).unwrap(), Some(expected));
    back.run(&there).unwrap();
    assert_eq!(
        (bridge_of(&tap.name).unwrap(), port_of(&tap.name).unwrap()),
        (Some(from.0.clone()), Some(expected))
    );
    // A bridge that cannot have it leaves the tap where it was, as it was.
    let vlan = settings(r#"{"isolated": true, "learning": false, "vlan": 7}"#);
    let (there, _) = bridge_move::plan(&tap.name, None, None, Some(to.0.clone()), vlan).unwrap();
    let error = there.run(&back).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.left().is_empty() && error.message().contains("does not tell VLANs apart"), "{error}");
    assert_eq!(
        (bridge_of(&tap.name).unwrap(), port_of(&tap.name).unwrap()),
        (Some(from.0.clone()), Some(expected))
    );
    assert!(is_up(tap.name.as_str()));
}

#[test]
fn a_bridge_that_tells_no_vlans_apart_is_refused() {
    host();
    let bridge = Made::bridge();
    let port = settings(r#"{"trunk": [5]}"#);
    let error = check_bridge(&bridge.0, port.as_deref()).unwrap_err();
    assert!(error.message().contains("vlan_filtering 1"), "{error}");
    check_bridge(&bridge.0, settings(r#"{"hairpin": true}"#).as_deref()).unwrap();
    let wanted = TapRequest { bridge: Some(bridge.0.clone()), port, ..request() };
    assert_eq!(host().open(&wanted).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn vlans_of_a_port() {
    host();
    let bridge = Made::bridge();
    if !run(&format!("ip link set {} type bridge vlan_filtering 1", bridge.0)) {
        not_run::not_run("net_host, VLANs of a port", "this kernel's bridges tell no VLANs apart");
        return;
    }
    let wanted =
        |text: &str| TapRequest { bridge: Some(bridge.0.clone()), port: settings(text), ..request() };
    for (text, expected) in [
        (r#"{"vlan": 10}"#, &["10 PVID Egress Untagged"][..]),
        (r#"{"trunk": [20, "30-32"]}"#, &["20", "30", "31", "32"]),
        (
            r#"{"vlan": 10, "trunk": ["4093-4094"], "isolated": true}"#,
            &["10 PVID Egress Untagged", "4093", "4094"],
        ),
    ] {
        let tap = host().open(&wanted(text)).unwrap();
        let output =
            Command::new("bridge").args(["vlan", "show", "dev", tap.name.as_str()]).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let lines = shown.lines().skip(1).map(|line| line.trim_start_matches(tap.name.as_str()).trim());
        assert_eq!(lines.filter(|line| !line.is_empty()).collect::<Vec<_>>(), expected, "{shown}");
        assert!(is_up(tap.name.as_str()));
    }
}

/// The unit tests compare the library's messages with the same bytes.
#[test]
fn the_messages_are_those_of_bridge() {
    let is_ours = |message: &[u8]| {
        let kind = message.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
        kind.is_some_and(|kind| KINDS.contains(&kind)) && message.get(16) == Some(&AF_BRIDGE)
    };
    let rows = include_str!("../data/port-messages").lines().filter(|line| !line.starts_with('#'));
    for (command, bytes) in rows.filter_map(|row| row.split_once('\t')) {
        let Some(sent) = sent(&command.split(' ').collect::<Vec<_>>(), is_ours) else {
            not_run::not_run(
                "net_host, messages about ports against those of bridge",
                "strace cannot trace here",
            );
            return;
        };
        let hex = |byte: &u8| format!("{byte:02x}");
        let sent: Vec<String> =
            sent.iter().map(|message| message.iter().map(hex).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(sent, [bytes], "{command}");
    }
}
