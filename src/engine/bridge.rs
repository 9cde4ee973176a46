//! Moving a NIC to another bridge: its tap changes places on the host, the guest notices nothing.

use super::limit::Deadline;
use super::outcome::Outcome;
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::IfName;
use crate::model::{Device, DeviceKind, Operation, Presence, Spec};
use crate::net::link::{self, Interfaces};
use crate::net::spec::NicSpec;
use crate::net::tap;

impl Session {
    /// Moves the tap of a NIC to `bridge`, or out of any bridge, and records that.
    pub(super) async fn move_nic(
        &mut self,
        id: &str,
        bridge: Option<&IfName>,
        deadline: &Deadline,
    ) -> Result<Outcome> {
        self.ready(deadline).await?;
        self.await_add(id, deadline).await?;
        let device = self.changeable(id, DeviceKind::Nic)?;
        let bridge = bridge.map(link::real_name);
        let bridge = bridge.as_ref();
        let after = on_bridge(&device, bridge);
        let next = self.record_with(&after);
        if device.presence == Presence::AddAfterReboot {
            let why = self.recorded_defer_reason(&after);
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
        self.check(deadline)?;
        let before = on_bridge(&device, from.as_ref());
        let (there, back) = moves(&device, &tap, from.as_ref(), bridge)?;
        let staged = self.prepare_change(next, Operation::Move, &before)?;
        if let Err(error) = there.run(&back) {
            if error.left().is_empty() {
                self.clear_change(&device);
            } else {
                self.needs_resync = true;
            }
            return Err(describe(&device, error));
        }
        if let Err(error) = self.commit_change(&after, staged) {
            let left = match back.run(&there) {
                Ok(()) => Vec::new(),
                Err(cause) => vec![format!("tap {tap} of {id} ({cause})")],
            };
            if left.is_empty() {
                self.clear_change(&device);
            } else {
                self.needs_resync = true;
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

/// Where a tap is taken, with the MTU that it gets first: a bridge whose MTU nobody set takes that of its smallest port.
struct Move<'a> {
    tap: &'a IfName,
    to: Option<&'a IfName>,
    mtu: u32,
}

/// The move of a device's tap, and the one that takes it back.
fn moves<'a>(
    device: &Device,
    tap: &'a IfName,
    from: Option<&'a IfName>,
    to: Option<&'a IfName>,
) -> Result<(Move<'a>, Move<'a>)> {
    let host = Interfaces::open()?;
    let now = host.mtu_of(tap)?;
    let asked = device.nic().and_then(|spec| spec.mtu).map(u32::from);
    // On no bridge it is in nobody's way.
    let mtu = if to.is_some() { tap::mtu_on(&host, asked, to)? } else { now };
    Ok((Move { tap, to, mtu }, Move { tap, to: from, mtu: now }))
}

impl Move<'_> {
    /// A failure leaves the tap where it was, by way of `back`, or says that it does not.
    fn run(&self, back: &Self) -> Result<()> {
        link::detach_bridge(self.tap)?;
        let Err(error) = self.join() else { return Ok(()) };
        let left = back.join().err();
        let left = left.map(|cause| format!("tap {}, which is on no bridge now ({cause})", self.tap));
        Err(error.with_undo(left.into_iter().collect()))
    }

    fn join(&self) -> Result<()> {
        let host = Interfaces::open()?;
        if host.mtu_of(self.tap)? != self.mtu {
            host.set_mtu(self.tap, self.mtu)?;
        }
        self.to.map_or(Ok(()), |bridge| host.attach_bridge(self.tap, bridge))
    }
}

/// Settles an interrupted move: `before` is the NIC as it was, `recorded` what the record says now. A tap that is where
/// the record has it has arrived, or never left.
pub(super) fn put_back(before: &Device, recorded: &NicSpec) -> Result<()> {
    let tap = tap_of(before)?;
    let now = link::bridge_of(&tap)?;
    let Some(NicSpec { bridge: origin, mtu, given_tap, .. }) = before.nic() else { return Ok(()) };
    let mut moves = moves(before, &tap, now.as_ref(), origin.as_ref())?;
    if origin.is_none() && given_tap.is_none() {
        // It may have been about to join another one.
        moves.0.mtu = tap::mtu_on(&Interfaces::open()?, mtu.map(u32::from), None)?;
    }
    match &now {
        now if *now == *origin && now.is_none() => moves.0.join(),
        now if is_on(now.as_ref(), recorded.bridge.as_ref()) || is_on(now.as_ref(), origin.as_ref()) => {
            Ok(())
        }
        _ => moves.0.run(&moves.1),
    }
}

fn is_on(now: Option<&IfName>, recorded: Option<&IfName>) -> bool {
    match (now, recorded) {
        (Some(now), Some(recorded)) => link::is_same(now, recorded),
        (now, recorded) => now == recorded,
    }
}
