//! Moving a NIC to another bridge: its tap changes places on the host, the guest notices nothing.

use super::guest_state::GuestState;
use super::host::{Netns, netns_of};
use super::host_step::{FoundTap, HostStep, PlanMove};
use super::limit::Deadline;
use super::netdev_check::check_has_tap;
use super::outcome::Outcome;
use super::tap_change::TapChange;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::IfName;
use crate::model::{Device, DeviceKind, Operation, Presence, Spec};
use crate::net::bridge_move::BridgeMove;
use crate::net::spec::NicSpec;

impl GuestState {
    /// Moves the tap of a NIC to `bridge`, or out of any bridge, and records that.
    pub(super) async fn set_bridge(
        &mut self,
        id: &str,
        bridge: Option<&IfName>,
        deadline: &Deadline,
    ) -> Result<Outcome> {
        self.ready(deadline).await?;
        self.await_add(id, deadline).await?;
        let device = self.changeable(id, DeviceKind::Nic)?;
        check_has_tap(&device, "bridge")?;
        let netns = device.nic().and_then(netns_of);
        let bridge = match bridge {
            Some(bridge) => Some(self.real_name(netns, bridge.clone()).await?),
            None => None,
        };
        let bridge = bridge.as_ref();
        let after = on_bridge(&device, bridge);
        let next = self.record_with(&after);
        if device.presence == Presence::AddAfterReboot {
            let why = self.recorded_defer_reason(&after);
            self.replace(next).await?;
            return Ok(Outcome::AfterReboot(after, why));
        }
        let FoundTap { name: tap, bridge: from } = self.tap_of(&device).await?;
        let from = from?;
        if let Some(bridge) = bridge {
            let port = device.nic().and_then(|spec| spec.port.clone());
            self.check_bridge(netns, bridge, port).await.map_err(|error| describe(&device, error))?;
        }
        if from.as_ref() == bridge {
            if after != device {
                self.replace(next).await?;
            }
            return Ok(Outcome::Done(after));
        }
        self.check(deadline)?;
        let before = on_bridge(&device, from.as_ref());
        let (there, back) = self.plan_move(netns, wanted(&device, &tap, from.as_ref(), bridge)).await?;
        let change = TapChange {
            operation: Operation::Move,
            there: HostStep::MoveTap { there: there.clone(), back: back.clone() },
            back: HostStep::MoveTap { there: back, back: there },
            doing: doing(&device),
            left: format!("tap {tap} of {id}"),
        };
        self.change_tap(&before, &after, next, change).await?;
        Ok(Outcome::Done(after))
    }

    /// The tap, which has to be in this network namespace.
    pub(super) async fn tap_of(&self, device: &Device) -> Result<FoundTap> {
        let Some(spec @ NicSpec { ifname: Some(tap), .. }) = device.nic() else {
            let text = format!("the record does not say which tap {} has; move it yourself", device.id);
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        self.find_tap(spec).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!(
                    "tap {tap} of {} is not in {}: the caller who opened it has to move it",
                    device.id,
                    netns_of(spec).unwrap_or("this network namespace"),
                ),
            ),
            _ => describe(device, error),
        })
    }

    /// Settles an interrupted move: `before` is the NIC as it was, `recorded` what the record says now. A tap
    /// that is where the record has it has arrived, or never left.
    pub(super) async fn restore_bridge(&self, before: &Device, recorded: &NicSpec) -> Result<()> {
        let FoundTap { name: tap, bridge: now } = self.tap_of(before).await?;
        let now = now?;
        let Some(spec @ NicSpec { bridge: origin, mtu, given_tap, .. }) = before.nic() else { return Ok(()) };
        let netns = netns_of(spec);
        // It may have been about to join another one.
        let out = || BridgeMove::out(tap.clone(), mtu.map(u32::from));
        let is_made_for_none = origin.is_none() && given_tap.is_none();
        if now.is_none() && origin.is_none() {
            return if is_made_for_none { self.join_bridge(netns, out()).await } else { Ok(()) };
        }
        let has_come = self.is_on(netns, now.as_ref(), recorded.bridge.as_ref()).await?
            || self.is_on(netns, now.as_ref(), origin.as_ref()).await?;
        let origin = if has_come { &now } else { origin };
        let (there, back) =
            self.plan_move(netns, wanted(before, &tap, now.as_ref(), origin.as_ref())).await?;
        if has_come {
            // It may have joined, and not been set yet.
            return if recorded.port.is_some() { self.join_bridge(netns, there).await } else { Ok(()) };
        }
        self.move_tap(netns, &if is_made_for_none { out() } else { there }, &back).await
    }

    async fn is_on(&self, netns: Netns<'_>, now: Option<&IfName>, recorded: Option<&IfName>) -> Result<bool> {
        match (now, recorded) {
            (Some(now), Some(recorded)) => self.is_same_interface(netns, now, recorded).await,
            (now, recorded) => Ok(now == recorded),
        }
    }
}

fn wanted(device: &Device, tap: &IfName, from: Option<&IfName>, to: Option<&IfName>) -> PlanMove {
    let mtu = device.nic().and_then(|spec| spec.mtu).map(u32::from);
    let port = device.nic().and_then(|spec| spec.port.clone());
    PlanMove { tap: tap.clone(), mtu, from: from.cloned(), to: to.cloned(), port }
}

fn on_bridge(device: &Device, bridge: Option<&IfName>) -> Device {
    let mut device = device.clone();
    if let Spec::Nic(spec) = &mut device.spec {
        spec.bridge = bridge.cloned();
    }
    device
}

fn doing(device: &Device) -> String {
    format!("move {} to another bridge", device.id)
}

fn describe(device: &Device, error: Error) -> Error {
    error.context(doing(device))
}
