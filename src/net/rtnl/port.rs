//! The messages about ports of bridges, as `bridge` writes them: `tests/net_host/ports.rs` compares each.

use super::wire::{Message, NLA_F_NESTED, NLM_F_ACK, NLM_F_REQUEST, attributes};
use crate::net::port::{LAST, PortFlags, PortSettings, VlanRange};

// linux/if_link.h, linux/if_bridge.h, linux/rtnetlink.h
const RTM_DELLINK: u16 = 17;
const RTM_SETLINK: u16 = 19;
const AF_BRIDGE: u8 = 7;
const IFLA_PROTINFO: u16 = 12;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
const VLAN_PVID: u16 = 1 << 1;
const VLAN_UNTAGGED: u16 = 1 << 2;
const RANGE_BEGIN: u16 = 1 << 3;
const RANGE_END: u16 = 1 << 4;
const IFLA_BR_VLAN_FILTERING: u16 = 7;

/// Room for the longest request.
const MOST: usize = 64;

pub(super) type Request = Message<MOST>;

fn message(kind: u16, index: i32) -> Request {
    Message::about_interface(kind, NLM_F_REQUEST | NLM_F_ACK, AF_BRIDGE, index, (0, 0))
}

/// Sets what the bridge does with the frames of a port.
pub(super) fn set_flags(index: i32, flags: PortFlags) -> Request {
    let PortFlags { isolated, learning, hairpin } = flags;
    message(RTM_SETLINK, index).nest(NLA_F_NESTED | IFLA_PROTINFO, |port| {
        port.attribute(IFLA_BRPORT_MODE, &[hairpin.into()])
            .attribute(IFLA_BRPORT_LEARNING, &[learning.into()])
            .attribute(IFLA_BRPORT_ISOLATED, &[isolated.into()])
    })
}

/// What gives a port the VLANs that it is to have, and no others.
pub(super) fn set_vlans(index: i32, settings: &PortSettings) -> Vec<Request> {
    let all = vlans(message(RTM_DELLINK, index), VlanRange { first: 1, last: LAST }, 0);
    let untagged = settings.vlan.map(|vlan| {
        let range = VlanRange { first: vlan, last: vlan };
        vlans(message(RTM_SETLINK, index), range, VLAN_PVID | VLAN_UNTAGGED)
    });
    let tagged = settings.trunk.iter().map(|range| vlans(message(RTM_SETLINK, index), *range, 0));
    [all].into_iter().chain(untagged).chain(tagged).collect()
}

fn vlans(request: Request, range: VlanRange, flags: u16) -> Request {
    let info = |request: Request, flags: u16, vlan: u16| {
        let [a, b] = flags.to_ne_bytes();
        let [c, d] = vlan.to_ne_bytes();
        request.attribute(IFLA_BRIDGE_VLAN_INFO, &[a, b, c, d])
    };
    request.nest(IFLA_AF_SPEC, |spec| match range.first == range.last {
        true => info(spec, flags, range.first),
        false => info(info(spec, flags | RANGE_BEGIN, range.first), flags | RANGE_END, range.last),
    })
}

/// What an interface that is a port tells of itself.
pub(super) fn flags_of(data: &[u8]) -> PortFlags {
    let mut flags = PortFlags { learning: true, ..PortFlags::default() };
    for (kind, value) in attributes(data) {
        let on = value.first().is_some_and(|byte| *byte != 0);
        match kind {
            IFLA_BRPORT_MODE => flags.hairpin = on,
            IFLA_BRPORT_LEARNING => flags.learning = on,
            IFLA_BRPORT_ISOLATED => flags.isolated = on,
            _ => {}
        }
    }
    flags
}

/// Whether a bridge tells VLANs apart.
pub(super) fn filters_vlans(data: &[u8]) -> bool {
    attributes(data)
        .any(|(kind, value)| kind == IFLA_BR_VLAN_FILTERING && value.first().is_some_and(|on| *on != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/net_host/ports.rs` compares the same bytes with what `bridge` sends.
    #[test]
    fn the_messages_are_those_of_bridge() {
        let text = r#"{"isolated":true,"learning":false,"hairpin":true,"vlan":10,"trunk":[20,"30-40"]}"#;
        let settings = PortSettings::parse(text).unwrap().unwrap();
        let flags = set_flags(1, PortFlags::wanted(Some(&settings)));
        let mut own: Vec<Vec<u8>> = Vec::new();
        for request in [flags].iter().chain(&set_vlans(1, &settings)) {
            let mut bytes = request.bytes().unwrap().to_vec();
            bytes[8..12].fill(0);
            own.push(bytes);
        }
        let rows = include_str!("../../../tests/data/port-messages").lines();
        let row = |row: &str| {
            let (_, bytes) = row.split_once('\t')?;
            bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Option<Vec<u8>>>()
        };
        let of_bridge: Vec<Vec<u8>> = rows.filter_map(row).collect();
        assert_eq!(own, of_bridge);
    }

    #[test]
    fn what_a_port_tells() {
        let usual = PortFlags { learning: true, ..PortFlags::default() };
        assert_eq!(flags_of(&[]), usual);
        let data = [5, 0, 33, 0, 1, 0, 0, 0, 5, 0, 8, 0, 0, 0, 0, 0, 5, 0, 4, 0, 1, 0, 0, 0];
        assert_eq!(flags_of(&data), PortFlags { isolated: true, learning: false, hairpin: true });
        assert!(filters_vlans(&[5, 0, 7, 0, 1, 0, 0, 0]) && !filters_vlans(&[5, 0, 7, 0, 0, 0, 0, 0]));
    }
}
