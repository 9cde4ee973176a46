//! Two questions to the kernel's routing socket: what is this link, and delete it.
//!
//! Asked here and not in sysfs, since sysfs shows the network namespace of whoever mounted it.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::error::{Error, ErrorKind, Result};

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// The upper two bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;

const HEADER: usize = 16;
const IFINFO: usize = 16;
const SEQUENCE: u32 = 1;
/// Several times what a link with every attribute takes; statistics of virtual functions are not asked for.
const MAX_REPLY: usize = 32 * 1024;

/// Some links say 1.5 KiB.
const USUAL_REPLY: usize = 4 * 1024;

/// What the kernel says of one link.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// Its name.
    pub name: String,
    /// Hardware type; 1 is Ethernet.
    pub hardware: u16,
    /// The driver's kind, such as `bridge`, `tun` (which taps are) or `macvtap`; empty for physical ones.
    pub kind: String,
    /// Its hardware address; empty if it has none.
    pub address: Vec<u8>,
    /// Index of the bridge, bond or other device it is part of.
    pub master: Option<i32>,
}

/// The link with this index.
pub(super) fn link(index: i32) -> Result<LinkInfo> {
    let doing = || format!("query interface {index}");
    match exchange(RTM_GETLINK, NLM_F_REQUEST, index).map_err(|error| error.context(doing()))? {
        Reply::Link(link) => Ok(link),
        Reply::Status(0) => Err(malformed().context(doing())),
        Reply::Status(errno) => Err(refused(errno, doing())),
    }
}

/// Deletes the link with this index. Returns once it is gone, which for a tap takes about 15 ms.
pub(super) fn delete(index: i32) -> Result<()> {
    let doing = || format!("delete interface {index}");
    match exchange(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, index).map_err(|error| error.context(doing()))? {
        Reply::Status(0) => Ok(()),
        Reply::Status(errno) => Err(refused(errno, doing())),
        Reply::Link(_) => Err(malformed().context(doing())),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Link(LinkInfo),
    /// Zero is success, else a positive errno.
    Status(i32),
}

/// The link may have gone since its index was looked up.
fn refused(errno: i32, doing: String) -> Error {
    let error = Error::host(Errno::from_raw(errno), doing);
    if errno == libc::ENODEV { error.with_kind(ErrorKind::NotFound) } else { error }
}

fn malformed() -> Error {
    Error::new(ErrorKind::Protocol, "the kernel's answer on the routing socket is malformed")
}

/// With room for what the kernel says of any but an unusual link, and then with more: room is zeroed first.
fn exchange(kind: u16, flags: u16, index: i32) -> Result<Reply> {
    match exchange_within(USUAL_REPLY, kind, flags, index) {
        Err(error) if error.kind() == ErrorKind::Limit => exchange_within(MAX_REPLY, kind, flags, index),
        reply => reply,
    }
}

fn exchange_within(room: usize, kind: u16, flags: u16, index: i32) -> Result<Reply> {
    let fd = open().map_err(|errno| Error::host(errno, "open a routing socket"))?;
    let message = encode(kind, flags, index);
    send(fd.as_raw_fd(), &message, MsgFlags::empty())
        .map_err(|errno| Error::host(errno, "send on the routing socket"))?;
    let mut buffer = vec![0; room];
    // The kernel has queued its answer when send returns, so nothing is waited for.
    let length = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC)
        .map_err(|errno| Error::host(errno, "receive on the routing socket"))?;
    let reply = buffer.get(..length).ok_or_else(|| {
        Error::new(ErrorKind::Limit, format!("the kernel's answer has {length} bytes, over {room}"))
    })?;
    decode(reply).ok_or_else(malformed)
}

fn open() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
}

/// A `nlmsghdr` and an `ifinfomsg` that names the link by its index.
fn encode(kind: u16, flags: u16, index: i32) -> [u8; HEADER + IFINFO] {
    const LENGTH: u32 = 32;
    let mut message = [0; HEADER + IFINFO];
    let fields: [(usize, &[u8]); 5] = [
        (0, &LENGTH.to_ne_bytes()),
        (4, &kind.to_ne_bytes()),
        (6, &flags.to_ne_bytes()),
        (8, &SEQUENCE.to_ne_bytes()),
        (HEADER + 4, &index.to_ne_bytes()),
    ];
    for (at, bytes) in fields {
        message.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    }
    message
}

fn decode(reply: &[u8]) -> Option<Reply> {
    let length = usize::try_from(u32_at(reply, 0)?).ok()?;
    if u32_at(reply, 8)? != SEQUENCE {
        return None;
    }
    let body = reply.get(HEADER..length)?;
    match u16_at(reply, 4)? {
        NLMSG_ERROR => i32_at(body, 0)?.checked_neg().map(Reply::Status),
        RTM_NEWLINK => decode_link(body).map(Reply::Link),
        _ => None,
    }
}

fn decode_link(body: &[u8]) -> Option<LinkInfo> {
    let mut link = LinkInfo { hardware: u16_at(body, 2)?, ..LinkInfo::default() };
    for (kind, value) in attributes(body.get(IFINFO..)?) {
        match kind {
            IFLA_ADDRESS => link.address = value.to_vec(),
            IFLA_IFNAME => link.name = text(value),
            IFLA_MASTER => link.master = i32_at(value, 0),
            IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = kind.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    chunk(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    chunk(bytes, at).map(u32::from_ne_bytes)
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    chunk(bytes, at).map(i32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
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
        body.extend(attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]));
        body.extend(attribute(IFLA_IFNAME, b"tap0\0"));
        body.extend(attribute(99, &[1]));
        body.extend(attribute(IFLA_MASTER, &7i32.to_ne_bytes()));
        let nested = [attribute(2, b"data"), attribute(IFLA_INFO_KIND, b"tun\0")].concat();
        body.extend(attribute(IFLA_LINKINFO | 0x8000, &nested));
        message(RTM_NEWLINK, &body)
    }

    #[test]
    fn links_are_read() {
        let expected = LinkInfo {
            name: "tap0".into(),
            hardware: 1,
            kind: "tun".into(),
            address: vec![2, 0, 0, 0, 0, 1],
            master: Some(7),
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

    #[test]
    fn the_kernel_agrees_on_loopback() {
        let link = link(1).unwrap();
        assert_eq!((link.name.as_str(), link.master), ("lo", None));
        assert_eq!(super::link(i32::MAX).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(delete(i32::MAX).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
