//! Moving a tap from one bridge to another.

use super::link::{self, Interfaces, Setting};
use super::port::PortSettings;
use super::tap;
use crate::error::Result;
use crate::ids::IfName;

/// Where a tap is taken, with the MTU that it gets first: a bridge whose MTU nobody set takes that of its
/// smallest port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeMove {
    tap: IfName,
    to: Option<IfName>,
    mtu: u32,
    /// What the bridge does with its frames.
    port: Option<Box<PortSettings>>,
}

/// The move of a tap, which was asked for with this MTU or none, and the move that takes it back.
pub fn plan(
    tap: &IfName,
    asked: Option<u32>,
    from: Option<IfName>,
    to: Option<IfName>,
    port: Option<Box<PortSettings>>,
) -> Result<(BridgeMove, BridgeMove)> {
    let host = Interfaces::open()?;
    let now = host.mtu_of(tap)?;
    // On no bridge it is in nobody's way.
    let mtu = match (&to, asked) {
        (None, _) => now,
        (Some(_), Some(asked)) => asked,
        (Some(to), None) => tap::mtu_on(None, Some(&host.bridge(to)?)),
    };
    let of = |to, mtu| BridgeMove { tap: tap.clone(), to, mtu, port: port.clone() };
    Ok((of(to, mtu), of(from, now)))
}

impl BridgeMove {
    /// To this bridge, or out of any, with this MTU.
    pub fn new(tap: IfName, to: Option<IfName>, mtu: u32) -> Self {
        Self { tap, to, mtu, port: None }
    }

    /// The same, with what the bridge is to do with its frames.
    #[must_use]
    pub fn with_port(self, port: Option<Box<PortSettings>>) -> Self {
        Self { port, ..self }
    }

    /// The tap.
    pub fn tap(&self) -> &IfName {
        &self.tap
    }

    /// The bridge, unless it is out of any.
    pub fn to(&self) -> Option<&IfName> {
        self.to.as_ref()
    }

    /// Out of any bridge, with the MTU of a tap that was made for none.
    pub fn out(tap: IfName, asked: Option<u32>) -> Self {
        Self { tap, to: None, mtu: asked.unwrap_or(tap::NEW_MTU), port: None }
    }

    /// A failure leaves the tap where it was, by way of `back`, or says that it does not.
    pub fn run(&self, back: &Self) -> Result<()> {
        link::detach_bridge(&self.tap)?;
        let Err(error) = self.join() else { return Ok(()) };
        let left = back.join().err();
        let left = left.map(|cause| format!("tap {}, which is on no bridge now ({cause})", self.tap));
        Err(error.with_undo(left.into_iter().collect()))
    }

    /// Joins the bridge from none.
    pub fn join(&self) -> Result<()> {
        let setting =
            Setting { mtu: Some(self.mtu), bridge: self.to.as_ref(), up: false, port: self.port.as_deref() };
        Interfaces::open()?.set(&self.tap, &setting)
    }
}
