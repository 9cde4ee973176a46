//! Interfaces of the host and the bridges they are ports of, in the calling thread's network namespace.

use nix::errno::Errno;

use super::identity::TapIdentity;
use super::rtnl::{self, LinkInfo};
use super::spec::NicSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{IfName, MacAddr};
use crate::sys::netif::Control;

/// ARPHRD_ETHER: taps have it, tun devices of bare IP packets do not.
const ETHERNET: u16 = 1;

/// The interfaces of the host, through one socket for all that is asked and changed.
#[derive(Debug)]
pub struct Interfaces(Control);

impl Interfaces {
    /// Opens the socket.
    pub fn open() -> Result<Self> {
        Control::new().map(Self).map_err(|errno| Error::host(errno, "open a socket to configure interfaces"))
    }

    /// The index, by which the kernel knows it.
    pub(super) fn index(&self, name: &IfName) -> Result<i32> {
        self.0.index(name.as_str()).map_err(|errno| failed(errno, name, "look up"))
    }

    /// Whether there is an interface of this name.
    pub fn exists(&self, name: &IfName) -> Result<bool> {
        match self.0.index(name.as_str()) {
            Ok(_) => Ok(true),
            Err(Errno::ENODEV) => Ok(false),
            Err(errno) => Err(failed(errno, name, "look up")),
        }
    }

    /// The MTU in bytes.
    pub fn mtu_of(&self, name: &IfName) -> Result<u32> {
        self.0.mtu(name.as_str()).map_err(|errno| failed(errno, name, "get the MTU of"))
    }

    /// Sets the MTU in bytes. A tap takes 68 to 65521; a bridge whose MTU nobody set follows its smallest
    /// port.
    pub fn set_mtu(&self, name: &IfName, mtu: u32) -> Result<()> {
        self.0.set_mtu(name.as_str(), mtu).map_err(|errno| match errno {
            Errno::EINVAL => Error::invalid(format!("MTU {mtu} is outside of what interface {name} takes")),
            _ => failed(errno, name, "set the MTU of"),
        })
    }

    /// Sets the interface administratively up.
    pub fn set_up(&self, name: &IfName) -> Result<()> {
        self.0.set_up(name.as_str()).map_err(|errno| failed(errno, name, "set up"))
    }

    /// Makes `port` a port of `bridge`. Being one already is success, being one of another bridge a conflict.
    ///
    /// Set the port's MTU first: a bridge whose MTU nobody set takes that of its smallest port.
    pub fn attach_bridge(&self, port: &IfName, bridge: &IfName) -> Result<()> {
        let port_index = self.index(port)?;
        let Err(errno) = self.0.add_port(bridge.as_str(), port_index) else { return Ok(()) };
        // The errno for a name that is no bridge has changed over time, so the name itself is asked about.
        let bridge_index = self.index(bridge).map_err(|error| error.context("bridge"))?;
        match errno {
            Errno::EBUSY => match bridge_of(port)? {
                Some(current) if current == *bridge => Ok(()),
                Some(current) => Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "interface {port} is a port of bridge {current}; take it out before it joins {bridge}"
                    ),
                )),
                None => Err(failed(Errno::EBUSY, port, "join the bridge with")),
            },
            errno => match rtnl::link(bridge_index) {
                Ok(link) if link.kind != "bridge" => Err(not_a_bridge(bridge)),
                _ => Err(failed(errno, port, &format!("join bridge {bridge} with"))),
            },
        }
    }

    /// What tells this tap from others that had its name, or will have it.
    pub fn identity_of(&self, tap: &IfName) -> Result<TapIdentity> {
        let index = self.index(tap)?;
        let address = self.0.address(tap.as_str()).map_err(|errno| failed(errno, tap, "look up"))?;
        Ok(TapIdentity { index, address: MacAddr::from_bytes(address)? })
    }
}

/// Refuses what is no Linux bridge.
pub fn check_bridge(bridge: &IfName) -> Result<()> {
    let found = rtnl::link(Interfaces::open()?.index(bridge).map_err(|error| error.context("bridge"))?)?;
    if found.kind == "bridge" { Ok(()) } else { Err(not_a_bridge(bridge)) }
}

/// Refuses an interface that is not a tap, or not the one that was made if that is known.
pub fn check_tap(tap: &IfName, identity: Option<&TapIdentity>) -> Result<()> {
    let (index, link) = tap_named(tap)?;
    let same = |identity: &TapIdentity| identity.index == index && is_of(identity, &link);
    if identity.is_none_or(same) { Ok(()) } else { Err(not_the_tap(&link, tap)) }
}

/// The tap of a NIC, which has to be in this network namespace, and the very one: made for the NIC, or given
/// by the caller, who may have changed its address since.
pub fn check_tap_of(spec: &NicSpec) -> Result<IfName> {
    let none = || Error::new(ErrorKind::NotFound, "the record does not say which tap it has");
    let tap = spec.ifname.as_ref().ok_or_else(none)?;
    let Some(given) = &spec.given_tap else {
        return check_tap(tap, spec.tap_identity.as_ref()).map(|()| tap.clone());
    };
    let Some(recorded) = given.index else {
        return Err(Error::new(ErrorKind::NotFound, format!("tap {tap} is in another network namespace")));
    };
    let (index, link) = tap_named(tap)?;
    if index == recorded { Ok(tap.clone()) } else { Err(not_the_tap(&link, tap)) }
}

/// Whether the tap of a NIC is in this network namespace under another name.
pub fn is_renamed(spec: &NicSpec) -> bool {
    let made = spec.tap_identity.as_ref();
    let index = made.map(|made| made.index).or(spec.given_tap.as_ref().and_then(|given| given.index));
    let found = index.and_then(|index| rtnl::link(index).ok()).filter(is_tap);
    found.is_some_and(|link| {
        let named = spec.ifname.as_ref().is_some_and(|name| name.as_str() == link.name);
        !named && made.is_none_or(|made| is_of(made, &link))
    })
}

/// The name that the kernel calls an interface by: it may have been given by an alternative one. One that is
/// not there keeps the name that it was given.
pub fn real_name(name: &IfName) -> IfName {
    let link = Interfaces::open().and_then(|host| host.index(name)).and_then(rtnl::link);
    link.and_then(|link| IfName::parse(&link.name)).unwrap_or_else(|_| name.clone())
}

/// Whether both names are of one interface.
pub fn is_same(one: &IfName, other: &IfName) -> bool {
    one == other || real_name(one) == real_name(other)
}

fn tap_named(tap: &IfName) -> Result<(i32, LinkInfo)> {
    let index = Interfaces::open()?.index(tap)?;
    let link = rtnl::link(index)?;
    if is_tap(&link) { Ok((index, link)) } else { Err(not_the_tap(&link, tap)) }
}

fn not_a_bridge(name: &IfName) -> Error {
    Error::invalid(format!(
        "interface {name} is not a Linux bridge; name one, or pass the fds of a tap attached by you"
    ))
}

/// Takes an interface out of its bridge; success when it is in none.
pub fn detach_bridge(port: &IfName) -> Result<()> {
    let Some(bridge) = bridge_of(port)? else { return Ok(()) };
    let host = Interfaces::open()?;
    let port_index = host.index(port)?;
    host.0
        .del_port(bridge.as_str(), port_index)
        .map_err(|errno| failed(errno, port, &format!("leave bridge {bridge} with")))
}

/// The bridge that an interface is a port of. Ports of anything else (a bond, Open vSwitch) count as none.
pub fn bridge_of(port: &IfName) -> Result<Option<IfName>> {
    let link = rtnl::link(Interfaces::open()?.index(port)?)?;
    let Some(master) = link.master else { return Ok(None) };
    let master = rtnl::link(master)?;
    if master.kind == "bridge" { IfName::parse(&master.name).map(Some) } else { Ok(None) }
}

/// Deletes a tap, whoever holds it open; false when it is gone already. An interface that has only its name
/// is left alone, and so is anything but a tap.
///
/// Takes about 15 ms. Closing the last fd does the same, but when that fd is QEMU's, `netdev_del` holds its
/// main loop for that time; a tap that is deleted first costs it nothing.
pub fn destroy(tap: &IfName, identity: &TapIdentity) -> Result<bool> {
    match delete_tap(tap, identity) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// By its index, so that a change of names between question and order cannot hit another one.
fn delete_tap(tap: &IfName, identity: &TapIdentity) -> Result<()> {
    let link = rtnl::link(identity.index)?;
    if !is_tap(&link) || link.name != tap.as_str() || !is_of(identity, &link) {
        return Err(not_the_tap(&link, tap));
    }
    rtnl::delete(identity.index)
}

fn is_of(identity: &TapIdentity, link: &LinkInfo) -> bool {
    link.address == identity.address.bytes()
}

fn is_tap(link: &LinkInfo) -> bool {
    link.kind == "tun" && link.hardware == ETHERNET
}

fn not_the_tap(link: &LinkInfo, tap: &IfName) -> Error {
    let text = format!("interface {} is not the tap {tap} that was made, and is left alone", link.name);
    Error::new(ErrorKind::Foreign, text)
}

fn failed(errno: Errno, name: &IfName, doing: &str) -> Error {
    match errno {
        Errno::ENODEV => Error::new(ErrorKind::NotFound, format!("interface {name} does not exist")),
        Errno::EPERM => {
            Error::host(errno, format!("{doing} interface {name}")).context("needs CAP_NET_ADMIN")
        }
        _ => Error::host(errno, format!("{doing} interface {name}")),
    }
}
