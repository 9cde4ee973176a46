//! The messages about links: requests written, answers read.

use super::port;
use super::wire::{
    IFINFO, Message, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, attributes, i32_at, open, status, text, u16_at,
    u32_at,
};
use crate::net::port::PortFlags;

// linux/rtnetlink.h, linux/if_link.h
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
/// In `IFLA_EXT_MASK`: counters of packets, which take the kernel the longest, are left out.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
/// Up, in the flags of `struct ifinfomsg`, and in the mask of those that change.
const IFF_UP: u32 = 1;
const AF_UNSPEC: u8 = 0;

/// Room for the longest request about a link, which names it.
const MOST: usize = 64;

/// A request about a link.
pub(super) type Request = Message<MOST>;

/// What drives a link, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::net) enum LinkKind {
    /// A Linux bridge.
    Bridge,
    /// `tun`, which taps are.
    Tun,
    /// Any other driver, such as `macvtap`, or hardware.
    #[default]
    Other,
}

/// What the kernel says of one link.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::net) struct LinkInfo {
    /// Its index, by which the kernel knows it.
    pub index: i32,
    /// Its name.
    pub name: String,
    /// Hardware type; 1 is Ethernet.
    pub hardware: u16,
    /// What kind of link it is.
    pub kind: LinkKind,
    /// Its hardware address, if that is one of Ethernet.
    pub address: Option<[u8; 6]>,
    /// In bytes.
    pub mtu: u32,
    /// Index of the bridge, bond or other device it is part of.
    pub master: Option<i32>,
    /// Of a port of a bridge.
    pub port: Option<PortFlags>,
    /// Of a bridge: whether it tells VLANs apart.
    pub filters_vlans: bool,
}

/// The administrative state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum LinkState {
    Up,
    Down,
}

/// What is to change of a link. The kernel does it in the order of these fields (`do_setlink` of
/// net/core/rtnetlink.c), and what it has done stays when it refuses the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::net) struct Change {
    /// The MTU, in bytes.
    pub mtu: Option<u32>,
    /// The index of the bridge that it becomes a port of; 0 is none.
    pub master: Option<i32>,
    /// Whether it is set administratively up or down.
    pub state: Option<LinkState>,
}

/// An answer of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Link(LinkInfo),
    /// Zero is success, else a positive errno.
    Status(i32),
}

/// Asks for the link with this index.
pub(super) fn get(index: i32) -> Request {
    about_link(RTM_GETLINK, NLM_F_REQUEST, index).attribute(IFLA_EXT_MASK, &skip_statistics())
}

/// Asks for the link with this name, or this alternative name.
pub(super) fn get_named(name: &str) -> Request {
    about_link(RTM_GETLINK, NLM_F_REQUEST, 0)
        .attribute(IFLA_EXT_MASK, &skip_statistics())
        .attribute_with_zero(IFLA_IFNAME, name.as_bytes())
}

/// Changes the link with this index.
pub(super) fn set(index: i32, change: &Change) -> Request {
    let state = match change.state {
        Some(LinkState::Up) => (IFF_UP, IFF_UP),
        Some(LinkState::Down) => (IFF_UP, 0),
        None => (0, 0),
    };
    let flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut message = Message::about_interface(RTM_NEWLINK, flags, AF_UNSPEC, index, state);
    if let Some(mtu) = change.mtu {
        message = message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
    }
    if let Some(master) = change.master {
        message = message.attribute(IFLA_MASTER, &master.to_ne_bytes());
    }
    message
}

/// Deletes the link with this index.
pub(super) fn delete(index: i32) -> Request {
    about_link(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, index)
}

fn skip_statistics() -> [u8; 4] {
    RTEXT_FILTER_SKIP_STATS.to_ne_bytes()
}

fn about_link(kind: u16, flags: u16, index: i32) -> Request {
    Message::about_interface(kind, flags, AF_UNSPEC, index, (0, 0))
}

/// Reads an answer; `None` if it is none to a request of this socket, or malformed.
pub(super) fn decode(reply: &[u8]) -> Option<Reply> {
    match open(reply)? {
        (NLMSG_ERROR, body) => status(body).map(Reply::Status),
        (RTM_NEWLINK, body) => decode_link(body).map(Reply::Link),
        _ => None,
    }
}

fn decode_link(body: &[u8]) -> Option<LinkInfo> {
    let mut link = LinkInfo { hardware: u16_at(body, 2)?, index: i32_at(body, 4)?, ..LinkInfo::default() };
    for (kind, value) in attributes(body.get(IFINFO..)?) {
        match kind {
            IFLA_ADDRESS => link.address = value.try_into().ok(),
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_MASTER => link.master = i32_at(value, 0),
            IFLA_LINKINFO => read_info(&mut link, value),
            _ => {}
        }
    }
    Some(link)
}

/// What its driver says of a link, and the bridge that it is a port of.
fn read_info(link: &mut LinkInfo, info: &[u8]) {
    for (kind, value) in attributes(info) {
        match kind {
            IFLA_INFO_KIND => link.kind = kind_of(value),
            IFLA_INFO_DATA => link.filters_vlans = port::filters_vlans(value),
            IFLA_INFO_SLAVE_KIND if kind_of(value) == LinkKind::Bridge => {
                link.port.get_or_insert_default();
            }
            IFLA_INFO_SLAVE_DATA if link.port.is_some() => link.port = Some(port::flags_of(value)),
            _ => {}
        }
    }
    link.filters_vlans &= link.kind == LinkKind::Bridge;
}

fn kind_of(name: &[u8]) -> LinkKind {
    match name.strip_suffix(&[0]).unwrap_or(name) {
        b"bridge" => LinkKind::Bridge,
        b"tun" => LinkKind::Tun,
        _ => LinkKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{HEADER, SEQUENCE};
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend(SEQUENCE.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    fn new_link() -> Vec<u8> {
        let mut body = vec![0; IFINFO];
        body[2..4].copy_from_slice(&1u16.to_ne_bytes());
        body[4..8].copy_from_slice(&5i32.to_ne_bytes());
        body.extend(attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]));
        body.extend(attribute(IFLA_IFNAME, b"tap0\0"));
        body.extend(attribute(IFLA_MTU, &1400u32.to_ne_bytes()));
        body.extend(attribute(99, &[1]));
        body.extend(attribute(IFLA_MASTER, &7i32.to_ne_bytes()));
        let nested = [attribute(2, b"data"), attribute(IFLA_INFO_KIND, b"tun\0")].concat();
        body.extend(attribute(IFLA_LINKINFO | 0x8000, &nested));
        message(RTM_NEWLINK, &body)
    }

    #[test]
    fn links_are_read() {
        let expected = LinkInfo {
            index: 5,
            name: "tap0".into(),
            hardware: 1,
            kind: LinkKind::Tun,
            address: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1400,
            master: Some(7),
            port: None,
            filters_vlans: false,
        };
        assert_eq!(decode(&new_link()), Some(Reply::Link(expected)));
    }

    #[test]
    fn errors_and_acknowledgements_are_read() {
        assert_eq!(decode(&message(NLMSG_ERROR, &(-19i32).to_ne_bytes())), Some(Reply::Status(19)));
        assert_eq!(decode(&message(NLMSG_ERROR, &0i32.to_ne_bytes())), Some(Reply::Status(0)));
        assert_eq!(decode(&message(NLMSG_ERROR, &i32::MIN.to_ne_bytes())), None);
    }

    #[test]
    fn foreign_sequence_numbers_and_other_messages_are_refused() {
        let mut other = new_link();
        other[8] ^= 0xff;
        assert_eq!(decode(&other), None);
        assert_eq!(decode(&message(3, &[0; 4])), None);
    }

    #[test]
    fn no_cut_or_broken_length_gets_out_of_bounds() {
        let whole = new_link();
        for end in 0..whole.len() {
            assert_eq!(decode(&whole[..end]), None, "cut at {end}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                let _ = decode(&broken);
            }
        }
    }

    /// As `strace -e trace=sendto -x ip link set dev tap0 mtu 1400 master br0 up` shows it, but for the
    /// order of the attributes and the sequence number.
    #[test]
    fn a_change_is_one_message() {
        let change = Change { mtu: Some(1400), master: Some(7), state: Some(LinkState::Up) };
        let mut body = vec![0; IFINFO];
        body[4..8].copy_from_slice(&5i32.to_ne_bytes());
        body[8..12].copy_from_slice(&1u32.to_ne_bytes());
        body[12..16].copy_from_slice(&1u32.to_ne_bytes());
        body.extend(attribute(IFLA_MTU, &1400u32.to_ne_bytes()));
        body.extend(attribute(IFLA_MASTER, &7i32.to_ne_bytes()));
        let mut expected = message(RTM_NEWLINK, &body);
        expected[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        assert_eq!(set(5, &change).bytes(), Some(&expected[..]));
        let nothing = set(5, &Change::default());
        assert_eq!(
            nothing.bytes().map(<[u8]>::len),
            Some(HEADER + IFINFO),
            "nothing changes that is not named"
        );
    }

    #[test]
    fn names_end_with_a_zero() {
        let message = get_named("lo");
        let message = message.bytes().unwrap();
        assert_eq!(&message[HEADER + IFINFO + 8..], &attribute(IFLA_IFNAME, b"lo\0")[..]);
        assert_eq!(u32_at(message, 0), u32::try_from(message.len()).ok());
        assert!(get_named("x23456789012345").bytes().is_some(), "the longest that the kernel has room for");
        assert!(get_named(&"x".repeat(MOST)).bytes().is_none());
    }
}
