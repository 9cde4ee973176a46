//! Moving a NIC to another bridge: its tap changes places on the host, the guest notices nothing.

use super::outcome::Outcome;
use super::session::Session;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::IfName;
use crate::net::link::{self, Interfaces};
use crate::net::spec::NicSpec;
use crate::runtime::{Device, DeviceKind, Presence, Spec, Verb};

impl Session {
    /// Moves the tap of a NIC to `bridge`, or out of any bridge, and records that.
    pub(super) fn move_nic(
        &mut self,
        id: &str,
        bridge: Option<&IfName>,
        deadline: &Deadline,
    ) -> Result<Outcome> {
        self.ready(deadline)?;
        let device = self.changeable(id, DeviceKind::Nic)?;
        let after = on_bridge(&device, bridge);
        let next = self.record_with(&after);
        if device.presence == Presence::AddAfterReboot {
            let why = self.why_waiting(&after);
            self.runtime().replace(next)?;
            return Ok(Outcome::AfterReboot(after, why));
        }
        let tap = tap_of(&device)?;
        let from = link::bridge_of(&tap)?;
        bridge.map_or(Ok(()), link::check_bridge).map_err(|error| describe(&device, error))?;
        if from.as_ref() == bridge {
            if after != device {
                self.runtime().replace(next)?;
            }
            return Ok(Outcome::Done(after));
        }
        deadline.check()?;
        let before = on_bridge(&device, from.as_ref());
        let staged = self.prepare_change(next, Verb::Move, &before)?;
        if let Err(error) = change(&tap, from.as_ref(), bridge) {
            if error.left().is_empty() {
                self.strike_change(&device);
            } else {
                self.stale = true;
            }
            return Err(describe(&device, error));
        }
        if let Err(error) = self.commit_change(&after, staged) {
            let left = match change(&tap, bridge, from.as_ref()) {
                Ok(()) => Vec::new(),
                Err(cause) => vec![format!("tap {tap} of {id} ({cause})")],
            };
            if left.is_empty() {
                self.strike_change(&device);
            } else {
                self.stale = true;
            }
            return Err(error.with_undo(left));
        }
        Ok(Outcome::Done(after))
    }
}

/// The tap, which has to be in this network namespace.
fn tap_of(device: &Device) -> Result<IfName> {
    let Some(spec @ NicSpec { ifname: Some(tap), .. }) = device.nic() else {
        let text = format!("the record does not say which tap {} has; move it yourself", device.id);
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    link::check_tap_of(spec).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::new(
            ErrorKind::NotFound,
            format!(
                "tap {tap} of {} is not in this network namespace: whoever opened it has to move it",
                device.id
            ),
        ),
        _ => describe(device, error),
    })
}

fn on_bridge(device: &Device, bridge: Option<&IfName>) -> Device {
    let mut device = device.clone();
    if let Spec::Nic(spec) = &mut device.spec {
        spec.bridge = bridge.cloned();
    }
    device
}

fn describe(device: &Device, error: Error) -> Error {
    error.context(format!("move {} to another bridge", device.id))
}

/// Takes a tap from one bridge to another. A failure leaves it where it was, or says that it does not.
fn change(tap: &IfName, from: Option<&IfName>, to: Option<&IfName>) -> Result<()> {
    let host = Interfaces::open()?;
    link::detach_bridge(tap)?;
    let Some(Err(error)) = to.map(|bridge| host.attach_bridge(tap, bridge)) else { return Ok(()) };
    let back = from.map_or(Ok(()), |bridge| host.attach_bridge(tap, bridge));
    let left = back.err().map(|cause| format!("tap {tap}, which is on no bridge now ({cause})"));
    Err(error.with_undo(left.into_iter().collect()))
}

/// Settles an interrupted move: `before` is the NIC as it was, `recorded` what the record says now. A tap that is where
/// the record has it has arrived, or never left.
pub(super) fn put_back(before: &Device, recorded: &NicSpec) -> Result<()> {
    let tap = tap_of(before)?;
    let now = link::bridge_of(&tap)?;
    let Spec::Nic(NicSpec { bridge: origin, .. }) = &before.spec else { return Ok(()) };
    if now == recorded.bridge || now == *origin {
        return Ok(());
    }
    change(&tap, now.as_ref(), origin.as_ref())
}
