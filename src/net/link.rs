//! Interfaces of the host and the bridges they are ports of, in the calling thread's network namespace.

use nix::errno::Errno;

use super::rtnl;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::IfName;
use crate::sys::netif::Control;

/// ARPHRD_ETHER: taps have it, tun devices of bare IP packets do not.
const ETHERNET: u16 = 1;

/// Whether there is an interface of this name.
pub fn exists(name: &IfName) -> Result<bool> {
    match control()?.index(name.as_str()) {
        Ok(_) => Ok(true),
        Err(Errno::ENODEV) => Ok(false),
        Err(errno) => Err(failed(errno, name, "look up")),
    }
}

/// The MTU in bytes.
pub fn mtu_of(name: &IfName) -> Result<u32> {
    control()?.mtu(name.as_str()).map_err(|errno| failed(errno, name, "get the MTU of"))
}

/// Sets the MTU in bytes. A tap takes 68 to 65521; a bridge whose MTU nobody set follows its smallest port.
pub fn set_mtu(name: &IfName, mtu: u32) -> Result<()> {
    control()?.set_mtu(name.as_str(), mtu).map_err(|errno| match errno {
        Errno::EINVAL => Error::invalid(format!("MTU {mtu} is outside of what interface {name} takes")),
        _ => failed(errno, name, "set the MTU of"),
    })
}

/// Sets the interface administratively up.
pub fn set_link_up(name: &IfName) -> Result<()> {
    control()?.set_up(name.as_str()).map_err(|errno| failed(errno, name, "set up"))
}

/// Makes `port` a port of `bridge`. Being one already is success, being one of another bridge a conflict.
///
/// Set the port's MTU first: a bridge whose MTU nobody set takes that of its smallest port.
pub fn attach_bridge(port: &IfName, bridge: &IfName) -> Result<()> {
    let control = control()?;
    let bridge_index = index(&control, bridge).map_err(|error| error.context("bridge"))?;
    let port_index = index(&control, port)?;
    match control.add_port(bridge.as_str(), port_index) {
        Ok(()) => Ok(()),
        Err(Errno::EBUSY) => match bridge_of(port)? {
            Some(current) if current == *bridge => Ok(()),
            Some(current) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "interface {port} is a port of bridge {current}; take it out before it joins {bridge}"
                ),
            )),
            None => Err(failed(Errno::EBUSY, port, "join the bridge with")),
        },
        // The errno for a name that is no bridge has changed over time, so the name itself is asked about.
        Err(errno) => match rtnl::link(bridge_index) {
            Ok(link) if link.kind != "bridge" => Err(not_a_bridge(bridge)),
            _ => Err(failed(errno, port, &format!("join bridge {bridge} with"))),
        },
    }
}

/// Refuses what is no Linux bridge.
pub fn check_bridge(bridge: &IfName) -> Result<()> {
    let found = rtnl::link(index(&control()?, bridge).map_err(|error| error.context("bridge"))?)?;
    if found.kind == "bridge" { Ok(()) } else { Err(not_a_bridge(bridge)) }
}

/// Refuses what is no tap.
pub fn check_tap(tap: &IfName) -> Result<()> {
    tap_index(tap).map(drop)
}

fn not_a_bridge(name: &IfName) -> Error {
    Error::invalid(format!(
        "interface {name} is not a Linux bridge; name one, or pass the fds of a tap attached by you"
    ))
}

/// Takes an interface out of its bridge; success when it is in none.
pub fn detach_bridge(port: &IfName) -> Result<()> {
    let Some(bridge) = bridge_of(port)? else { return Ok(()) };
    let control = control()?;
    let port_index = index(&control, port)?;
    control
        .del_port(bridge.as_str(), port_index)
        .map_err(|errno| failed(errno, port, &format!("leave bridge {bridge} with")))
}

/// The bridge that an interface is a port of. Ports of anything else (a bond, Open vSwitch) count as none.
pub fn bridge_of(port: &IfName) -> Result<Option<IfName>> {
    let link = rtnl::link(index(&control()?, port)?)?;
    let Some(master) = link.master else { return Ok(None) };
    let master = rtnl::link(master)?;
    if master.kind == "bridge" { IfName::parse(&master.name).map(Some) } else { Ok(None) }
}

/// Deletes a tap, whoever holds it open; success when it is gone already.
///
/// Takes about 15 ms. Closing the last fd does the same, but when that fd is QEMU's, `netdev_del` holds its
/// main loop for that time; a tap that is deleted first costs it nothing. Anything but a tap is left alone.
pub fn destroy(tap: &IfName) -> Result<()> {
    match delete_tap(tap) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn delete_tap(tap: &IfName) -> Result<()> {
    rtnl::delete(tap_index(tap)?)
}

fn tap_index(tap: &IfName) -> Result<i32> {
    let index = index(&control()?, tap)?;
    let link = rtnl::link(index)?;
    if link.kind != "tun" || link.hardware != ETHERNET {
        return Err(Error::new(
            ErrorKind::Foreign,
            format!("interface {tap} is not a tap and is left alone"),
        ));
    }
    Ok(index)
}

fn control() -> Result<Control> {
    Control::new().map_err(|errno| Error::host(errno, "open a socket to configure interfaces"))
}

fn index(control: &Control, name: &IfName) -> Result<i32> {
    control.index(name.as_str()).map_err(|errno| failed(errno, name, "look up"))
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
