//! Interfaces of the host and the bridges they are ports of, in the calling thread's network namespace.

use nix::errno::Errno;

use super::identity::TapIdentity;
use super::port::{PortFlags, PortSettings};
use super::rtnl::{Change, LinkInfo, LinkKind, LinkState, Socket};
use super::spec::NicSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{IfName, MacAddr};

/// ARPHRD_ETHER: taps have it, tun devices of bare IP packets do not.
const ETHERNET: u16 = 1;

/// The interfaces of the host, through one socket for all that is asked and changed.
#[derive(Debug)]
pub struct Interfaces(pub(super) Socket);

/// How an interface is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting<'a> {
    /// The MTU in bytes. A tap takes 68 to 65521.
    pub mtu: Option<u32>,
    /// The bridge that it becomes a port of. It takes the MTU first: a bridge whose MTU nobody set takes that
    /// of its smallest port.
    pub bridge: Option<&'a IfName>,
    /// That it is set administratively up.
    pub up: bool,
    /// What the bridge does with its frames, if that is set. It is down until that is done, so that no frame
    /// passes otherwise, and up afterwards.
    pub port: Option<&'a PortSettings>,
}

impl Interfaces {
    /// Opens the socket.
    pub fn open() -> Result<Self> {
        Socket::open().map(Self)
    }

    /// What the kernel says of the interface.
    pub(super) fn link(&self, name: &IfName) -> Result<LinkInfo> {
        self.0.named(name.as_str()).map_err(|error| match error.kind() {
            ErrorKind::NotFound => missing(name),
            _ => error,
        })
    }

    /// Whether there is an interface of this name.
    pub fn exists(&self, name: &IfName) -> Result<bool> {
        match self.link(name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The MTU in bytes.
    pub fn mtu_of(&self, name: &IfName) -> Result<u32> {
        self.link(name).map(|link| link.mtu)
    }

    /// Changes an interface. A port of this bridge stays one, and a port of another is a conflict. After a
    /// failure a part may be done.
    pub fn set(&self, name: &IfName, setting: &Setting<'_>) -> Result<()> {
        let link = self.link(name)?;
        let bridge = setting.bridge.map(|bridge| self.bridge(bridge)).transpose()?;
        self.set_link(&link, bridge.as_ref(), name, setting)
    }

    /// The same for an interface and a bridge that have just been looked up.
    pub(super) fn set_link(
        &self,
        link: &LinkInfo,
        bridge: Option<&LinkInfo>,
        name: &IfName,
        setting: &Setting<'_>,
    ) -> Result<()> {
        let master = match bridge {
            Some(bridge) => self.master_to_set(link, name, bridge)?,
            None => None,
        };
        let mtu = setting.mtu.filter(|mtu| *mtu != link.mtu);
        if let (Some(bridge), Some(port)) = (bridge, setting.port) {
            check_vlans(bridge, port)?;
            let change = Change { mtu, master, state: Some(LinkState::Down) };
            self.0.set(link.index, &change).map_err(|error| self.why(&error, name, setting, change))?;
            return self.set_port(link, name, port);
        }
        let change = Change { mtu, master, state: setting.up.then_some(LinkState::Up) };
        if change == Change::default() {
            return Ok(());
        }
        self.0.set(link.index, &change).map_err(|error| self.why(&error, name, setting, change))
    }

    /// Of an interface that is a port of its bridge, and down. One that cannot be set is no port afterwards.
    fn set_port(&self, link: &LinkInfo, name: &IfName, port: &PortSettings) -> Result<()> {
        let up = Some(LinkState::Up);
        let set = self.0.set_port(link.index, port);
        let after = Change { master: set.is_err().then_some(0), state: up, ..Change::default() };
        let raised = self.0.set(link.index, &after);
        set.and(raised)
            .map_err(|error| failed(Errno::from_raw(error.errno()), name, "set the bridge's port of"))
    }

    /// The index of the bridge, unless the interface is a port of it already. The kernel would take it out of
    /// whatever else it is a port of.
    fn master_to_set(&self, link: &LinkInfo, name: &IfName, bridge: &LinkInfo) -> Result<Option<i32>> {
        match link.master {
            Some(master) if master == bridge.index => Ok(None),
            Some(master) => Err(is_port_of_another(name, &self.0.link(master)?, &bridge.name)),
            None => Ok(Some(bridge.index)),
        }
    }

    /// The kernel does one part after the other and says one errno for all: the first part that is not done
    /// is the one that it refused.
    fn why(&self, error: &Error, name: &IfName, setting: &Setting<'_>, change: Change) -> Error {
        let errno = Errno::from_raw(error.errno());
        let link = match self.link(name) {
            Ok(link) => link,
            Err(error) => return error,
        };
        match (change.mtu, setting.bridge) {
            (Some(mtu), _) if mtu != link.mtu => match errno {
                Errno::EINVAL => {
                    Error::invalid(format!("MTU {mtu} is outside of what interface {name} takes"))
                }
                _ => failed(errno, name, "set the MTU of"),
            },
            (_, Some(bridge)) if change.master.is_some() && change.master != link.master => {
                failed(errno, name, &format!("join bridge {bridge} with"))
            }
            _ => failed(errno, name, "set up"),
        }
    }

    /// A Linux bridge, and nothing else.
    pub(super) fn bridge(&self, name: &IfName) -> Result<LinkInfo> {
        let link = self.link(name).map_err(|error| error.context("bridge"))?;
        if is_bridge(&link) { Ok(link) } else { Err(not_a_bridge(name)) }
    }

    /// What an interface is a port of, if that is a bridge.
    fn bridge_of_link(&self, link: &LinkInfo) -> Result<Option<IfName>> {
        let Some(master) = link.master else { return Ok(None) };
        let master = self.0.link(master)?;
        if is_bridge(&master) { IfName::parse(&master.name).map(Some) } else { Ok(None) }
    }

    /// What tells this tap from others that had its name, or will have it.
    pub fn identity_of(&self, tap: &IfName) -> Result<TapIdentity> {
        let link = self.link(tap)?;
        let none = || Error::invalid(format!("interface {tap} has no Ethernet address"));
        let address = link.address.ok_or_else(none)?;
        Ok(TapIdentity { index: link.index, address: MacAddr::from_bytes(address)? })
    }
}

/// Refuses VLANs on a bridge that does not tell them apart: each port would get the frames of all.
fn check_vlans(bridge: &LinkInfo, port: &PortSettings) -> Result<()> {
    if !port.has_vlans() || bridge.filters_vlans {
        return Ok(());
    }
    let name = &bridge.name;
    let text = format!(
        "bridge {name} does not tell VLANs apart; set that (ip link set {name} type bridge vlan_filtering 1), or leave vlan and \
         trunk out"
    );
    Err(Error::new(ErrorKind::Unavailable, text).with_errno(libc::ENOTSUP))
}

/// How a bridge treats the frames of its port; none for what is no port of one.
pub fn port_of(port: &IfName) -> Result<Option<PortFlags>> {
    Interfaces::open()?.link(port).map(|link| link.port)
}

/// Refuses what is no Linux bridge.
pub fn check_bridge(bridge: &IfName, port: Option<&PortSettings>) -> Result<()> {
    let link = Interfaces::open()?.bridge(bridge)?;
    port.map_or(Ok(()), |port| check_vlans(&link, port))
}

/// Refuses an interface that is not a tap, or not the one that was made if that is known.
pub fn check_tap(tap: &IfName, identity: Option<&TapIdentity>) -> Result<()> {
    let link = tap_named(tap)?;
    let same = |identity: &TapIdentity| identity.index == link.index && is_of(identity, &link);
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
    let link = tap_named(tap)?;
    if link.index == recorded { Ok(tap.clone()) } else { Err(not_the_tap(&link, tap)) }
}

/// Whether the tap of a NIC is in this network namespace under another name.
pub fn is_renamed(spec: &NicSpec) -> bool {
    let made = spec.tap_identity.as_ref();
    let index = made.map(|made| made.index).or(spec.given_tap.as_ref().and_then(|given| given.index));
    let found = index.and_then(|index| Socket::open().ok()?.link(index).ok()).filter(is_tap);
    found.is_some_and(|link| {
        let named = spec.ifname.as_ref().is_some_and(|name| name.as_str() == link.name);
        !named && made.is_none_or(|made| is_of(made, &link))
    })
}

/// The name that the kernel calls an interface by: it may have been given by an alternative one. One that is
/// not there keeps the name that it was given.
pub fn real_name(name: &IfName) -> IfName {
    let link = Interfaces::open().and_then(|host| host.link(name));
    link.and_then(|link| IfName::parse(&link.name)).unwrap_or_else(|_| name.clone())
}

/// Whether both names are of one interface.
pub fn is_same(one: &IfName, other: &IfName) -> bool {
    one == other || real_name(one) == real_name(other)
}

fn tap_named(tap: &IfName) -> Result<LinkInfo> {
    let link = Interfaces::open()?.link(tap)?;
    if is_tap(&link) { Ok(link) } else { Err(not_the_tap(&link, tap)) }
}

fn not_a_bridge(name: &IfName) -> Error {
    Error::invalid(format!(
        "interface {name} is not a Linux bridge; name one, or pass the fds of a tap attached by you"
    ))
}

/// Takes an interface out of its bridge; success when it is in none.
pub fn detach_bridge(port: &IfName) -> Result<()> {
    let host = Interfaces::open()?;
    let link = host.link(port)?;
    let Some(bridge) = host.bridge_of_link(&link)? else { return Ok(()) };
    let out = Change { master: Some(0), ..Change::default() };
    host.0
        .set(link.index, &out)
        .map_err(|error| failed(Errno::from_raw(error.errno()), port, &format!("leave bridge {bridge} with")))
}

/// The bridge that an interface is a port of. Ports of anything else (a bond, Open vSwitch) count as none.
pub fn bridge_of(port: &IfName) -> Result<Option<IfName>> {
    let host = Interfaces::open()?;
    host.bridge_of_link(&host.link(port)?)
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
    let socket = Socket::open()?;
    let link = socket.link(identity.index)?;
    if !is_tap(&link) || link.name != tap.as_str() || !is_of(identity, &link) {
        return Err(not_the_tap(&link, tap));
    }
    socket.delete(identity.index)
}

fn is_of(identity: &TapIdentity, link: &LinkInfo) -> bool {
    link.address == Some(identity.address.bytes())
}

fn is_tap(link: &LinkInfo) -> bool {
    link.kind == LinkKind::Tun && link.hardware == ETHERNET
}

fn is_bridge(link: &LinkInfo) -> bool {
    link.kind == LinkKind::Bridge
}

fn not_the_tap(link: &LinkInfo, tap: &IfName) -> Error {
    let text = format!("interface {} is not the tap {tap} that was made, and is left alone", link.name);
    Error::new(ErrorKind::Foreign, text)
}

fn is_port_of_another(port: &IfName, current: &LinkInfo, bridge: &str) -> Error {
    let what = if is_bridge(current) { "bridge" } else { "interface" };
    let text = format!(
        "interface {port} is a port of {what} {}; take it out before it joins {bridge}",
        current.name
    );
    Error::new(ErrorKind::Conflict, text)
}

fn missing(name: &IfName) -> Error {
    Error::new(ErrorKind::NotFound, format!("interface {name} does not exist"))
}

fn failed(errno: Errno, name: &IfName, doing: &str) -> Error {
    match errno {
        Errno::ENODEV => missing(name),
        Errno::EPERM => {
            Error::host(errno, format!("{doing} interface {name}")).context("needs CAP_NET_ADMIN")
        }
        _ => Error::host(errno, format!("{doing} interface {name}")),
    }
}
