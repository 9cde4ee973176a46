//! Limits of what a guest receives and sends over its tap, by queueing disciplines of the kernel. What it
//! receives leaves the tap: `tbf` is its root discipline. What it sends enters the tap: a `police` action
//! behind its ingress discipline drops what is too much.

use nix::errno::Errno;

use super::bandwidth::Limits;
use super::link::{self, Interfaces};
use super::rtnl::Found;
use super::spec::NicSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::IfName;

/// The limits of a NIC's tap, and those that it has again if they cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitChange {
    /// The NIC; its tap has to be in this network namespace, and the very one.
    pub nic: Box<NicSpec>,
    /// The limits that it is to have.
    pub there: Limits,
    /// The limits that it had.
    pub back: Limits,
}

impl LimitChange {
    /// A failure leaves the limits as they were, or says that it does not.
    pub fn run(&self) -> Result<()> {
        let tap = link::check_tap_of(&self.nic)?;
        let host = Interfaces::open()?;
        let index = host.link(&tap)?.index;
        let Err(error) = set(&host, index, &self.there) else { return Ok(()) };
        let left = set(&host, index, &self.back).err().map(|cause| format!("limits of tap {tap} ({cause})"));
        Err(error.context(format!("tap {tap}")).with_undo(left.into_iter().collect()))
    }
}

/// Sets the limits of the interface with this index. After a failure one direction may be done. Disciplines
/// of somebody else are left alone.
pub(super) fn set(host: &Interfaces, index: i32, limits: &Limits) -> Result<()> {
    let socket = &host.0;
    match (limits.inbound, socket.root_discipline(index)?) {
        (Some(_), Found::OfAnother(kind)) => return Err(is_taken("inbound", &kind)),
        (Some(limit), found) => {
            let done = socket.limit_egress(index, limit, matches!(found, Found::Own(_)));
            done.map_err(|error| why("inbound", &error, "sch_tbf"))?;
        }
        (None, Found::Own(_)) => socket.free_egress(index).map_err(|error| error.context("inbound"))?,
        (None, Found::Nothing | Found::OfAnother(_)) => {}
    }
    match (limits.outbound, socket.ingress_filter(index)?) {
        (Some(limit), own) => {
            let done = socket.limit_ingress(index, limit, own.map(|(handle, _)| handle));
            done.map_err(|error| {
                // What was made for it is taken away.
                if own.is_none() {
                    let _ = socket.free_ingress(index);
                }
                why("outbound", &error, "sch_ingress, cls_u32 and act_police")
            })
        }
        (None, Some(_)) => socket.free_ingress(index).map_err(|error| error.context("outbound")),
        (None, None) => Ok(()),
    }
}

/// The limits that a tap has by this library.
pub fn of_tap(tap: &IfName) -> Result<Limits> {
    let host = Interfaces::open()?;
    let index = host.link(tap)?.index;
    let inbound = match host.0.root_discipline(index)? {
        Found::Own(limit) => Some(limit),
        Found::Nothing | Found::OfAnother(_) => None,
    };
    Ok(Limits { inbound, outbound: host.0.ingress_filter(index)?.map(|(_, limit)| limit) })
}

fn is_taken(direction: &str, kind: &str) -> Error {
    let text = format!(
        "{direction}: the tap has the queueing discipline {kind} of somebody else; remove it (tc qdisc del), or leave the limit out"
    );
    Error::new(ErrorKind::Conflict, text)
}

/// A kernel that lacks one of them says that it does not exist.
fn why(direction: &str, error: &Error, modules: &str) -> Error {
    let errno = Errno::from_raw(error.errno());
    if matches!(errno, Errno::ENOENT | Errno::EOPNOTSUPP) {
        let text = format!("{direction}: this host's kernel cannot limit that; it lacks {modules}");
        return Error::new(ErrorKind::Unavailable, text);
    }
    error.clone().context(direction)
}
