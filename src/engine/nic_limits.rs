//! The limits of a NIC: its tap on the host has them, QEMU and the guest are told nothing.

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::Outcome;
use super::store_step::NotRecorded;
use crate::error::{Error, Result};
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
            self.set_tap_limits(there).await.map_err(|error| describe(&before, error))?;
            return Ok(Outcome::Done(after));
        }
        self.check(deadline)?;
        let journaled = self.prepare_change(next, Operation::SetLimits, &before).await?;
        if let Err(error) = self.set_tap_limits(there).await {
            if error.left().is_empty() {
                self.clear_change(journaled.give_up().nothing_to_record(), &before).await;
            } else {
                self.needs_resync = true;
            }
            return Err(describe(&before, error));
        }
        if let Err(NotRecorded { error, journaled }) = self.commit_change(&after, journaled).await {
            let left = match self.set_tap_limits(back).await {
                Ok(()) => Vec::new(),
                Err(cause) => vec![format!("limits of {id} ({cause})")],
            };
            if left.is_empty() {
                self.clear_change(journaled.nothing_to_record(), &before).await;
            } else {
                self.needs_resync = true;
            }
            return Err(error.with_undo(left));
        }
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

fn describe(device: &Device, error: Error) -> Error {
    error.context(format!("set the limits of {}", device.id))
}
