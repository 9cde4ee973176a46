//! The limits of a NIC: its tap on the host has them, QEMU and the guest are told nothing.

use super::guest_state::GuestState;
use super::host_step::HostStep;
use super::limit::Deadline;
use super::netdev_check::check_has_tap;
use super::outcome::Outcome;
use super::tap_change::TapChange;
use crate::error::Result;
use crate::log::Level;
use crate::model::{Device, DeviceKind, Operation, Presence, Spec};
use crate::net::bandwidth::Limits;
use crate::net::limits::LimitChange;
use crate::net::spec::NicSpec;

impl GuestState {
    /// Sets how much the guest may receive and send over a NIC, and records that.
    pub(super) async fn set_nic_limits(
        &mut self,
        id: &str,
        limits: Limits,
        deadline: &Deadline,
    ) -> Result<Outcome> {
        limits.check()?;
        self.ready(deadline).await?;
        self.await_add(id, deadline).await?;
        let before = self.changeable(id, DeviceKind::Nic)?;
        check_has_tap(&before, "limits")?;
        let after = with_limits(&before, limits);
        let next = self.record_with(&after);
        if before.presence == Presence::AddAfterReboot {
            let why = self.recorded_defer_reason(&after);
            self.replace(next).await?;
            return Ok(Outcome::AfterReboot(after, why));
        }
        // Also finds out that it is here.
        self.tap_of(&before).await?;
        let Some(there) = before.nic().map(|spec| change(spec, spec.limits(), limits)) else {
            return Ok(Outcome::Done(after));
        };
        let back = LimitChange { there: there.back, back: there.there, ..there.clone() };
        if after == before {
            // Once more, since somebody else may have set others.
            self.set_tap_limits(there).await.map_err(|error| error.context(doing(&before)))?;
            return Ok(Outcome::Done(after));
        }
        self.check(deadline)?;
        let change = TapChange {
            operation: Operation::SetLimits,
            there: HostStep::SetLimits(there),
            back: HostStep::SetLimits(back),
            doing: doing(&before),
            left: format!("limits of {id}"),
        };
        self.change_tap(&before, &after, next, change).await?;
        Ok(Outcome::Done(after))
    }

    /// Settles an interrupted change: `before` is the NIC as it was, `recorded` what the record says now.
    pub(super) async fn restore_limits(&self, before: &Device, recorded: &NicSpec) -> Result<()> {
        self.tap_of(before).await?;
        let Some(spec) = before.nic() else { return Ok(()) };
        self.set_tap_limits(change(spec, spec.limits(), recorded.limits())).await
    }

    /// Taps that were made here have had their limits from the start. Those of the caller get them once the
    /// journal has the NIC, so that no death of this process leaves them behind.
    pub(super) async fn limit_given_taps(&self, devices: &[Device]) -> Result<()> {
        for spec in devices.iter().filter_map(limited_given_tap) {
            self.set_tap_limits(change(spec, Limits::default(), spec.limits())).await?;
        }
        Ok(())
    }

    /// The NIC is gone, and the caller's tap stays.
    pub(super) async fn free_given_tap(&self, device: &Device) {
        let Some(spec) = limited_given_tap(device) else { return };
        if let Err(error) = self.set_tap_limits(change(spec, spec.limits(), Limits::default())).await {
            let tap = spec.ifname.as_ref().map(ToString::to_string).unwrap_or_default();
            self.log.write(Level::Info, || format!("tap {tap} of {} keeps its limits: {error}", device.id));
        }
    }
}

fn limited_given_tap(device: &Device) -> Option<&NicSpec> {
    device.nic().filter(|spec| spec.given_tap.is_some() && !spec.limits().is_none())
}

fn change(spec: &NicSpec, back: Limits, there: Limits) -> LimitChange {
    LimitChange { nic: Box::new(spec.clone()), there, back }
}

fn with_limits(device: &Device, limits: Limits) -> Device {
    let mut device = device.clone();
    if let Spec::Nic(spec) = &mut device.spec {
        (spec.inbound, spec.outbound) = (limits.inbound, limits.outbound);
    }
    device
}

fn doing(device: &Device) -> String {
    format!("set the limits of {}", device.id)
}
