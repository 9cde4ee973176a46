//! Setting the limits of a disk that the guest has.

use serde_json::Value;

use super::drives;
use super::guest_state::GuestState;
use super::helpers::kind_in;
use super::limit::Deadline;
use super::outcome::Outcome;
use super::plan::{Step, UndoStep};
use super::throttle::Throttle;
use super::transaction::{self, StageResult, StepError};
use crate::disk::{DiskSpec, Limits, node};
use crate::error::{Error, Result};
use crate::model::helper::{LIMITS, THROTTLE_GROUP};
use crate::model::{Device, DeviceKind, Operation, Presence, Record, Spec};
use crate::qmp::Command;

impl GuestState {
    /// Sets the limits of a disk, and with it those of all disks of its group, in QEMU and in the record.
    pub(super) async fn set_disk_limits(
        &mut self,
        id: &str,
        wanted: Limits,
        deadline: &Deadline,
    ) -> Result<Outcome> {
        self.ready(deadline).await?;
        self.await_add(id, deadline).await?;
        let before = self.changeable(id, DeviceKind::Disk)?;
        let describe = |error: Error| error.context(format!("set the limits of {}", before.id));
        let spec = disk_of(&before)?;
        let old = spec.limits.clone().unwrap_or_default();
        let limits = settled(&old, wanted).map_err(describe)?;
        node::image_node(&before.id)?;
        DiskSpec { limits: Some(limits.clone()), ..spec.clone() }.validate().map_err(describe)?;
        let throttle = match before.presence {
            Presence::AddAfterReboot => None,
            Presence::Live | Presence::RemoveAfterReboot => {
                self.refuse_while_migrating(deadline).await?;
                Some(self.throttle_of(&before, spec, deadline).await?)
            }
        };
        // Only a group outlives its limits.
        let is_kept = !limits.is_default() || matches!(throttle, Some(Throttle::Group(_)));
        let (next, changed) = self.record_with_limits(&before, is_kept.then_some(&limits));
        let after = next.find(id).cloned().unwrap_or_else(|| before.clone());
        let Some(throttle) = throttle else {
            let why = self.recorded_defer_reason(&after);
            self.replace(next).await?;
            return Ok(Outcome::AfterReboot(after, why));
        };
        let back = UndoStep::SetLimits(throttle.clone(), old);
        let arguments = throttle.arguments(&limits).into();
        let step = Step { command: throttle.command(), arguments, fd: None, undo_step: back.clone() };
        self.monitor()?;
        let journaled = self.prepare_change(next, Operation::SetLimits, &before).await?;
        match transaction::run(self, journaled.may(), &[vec![step]], &[], deadline).await {
            StageResult::Done => match self.commit_change(&before, &changed, journaled).await {
                Ok(()) => Ok(Outcome::Done(after)),
                Err(failure) => Err(self.undo_change(&before, back, failure, deadline).await),
            },
            StageResult::Refused(StepError { error, .. }) => {
                self.clear_change(journaled.give_up().nothing_to_record(), &before).await;
                Err(describe(error).with_undo(Vec::new()))
            }
            StageResult::Unknown(error) => {
                drop(journaled);
                let left = format!("limits of {}", before.id);
                Err(describe(self.look_up_change(left, error, deadline).await))
            }
        }
    }

    /// By what QEMU limits this disk: a disk has a group from the start, or none until it is plugged in anew.
    pub(super) async fn throttle_of(
        &mut self,
        device: &Device,
        spec: &DiskSpec,
        deadline: &Deadline,
    ) -> Result<Throttle> {
        let group = spec.limits.clone().unwrap_or_default().group_id(&device.id);
        let kind = kind_in(&self.objects(deadline).await?, group.as_str());
        Ok(match kind.as_deref() {
            Some(THROTTLE_GROUP) => Throttle::Group(group),
            _ => Throttle::of_device(&device.id, spec),
        })
    }

    /// The record with these limits of a disk and of all others of its group, and those that have changed.
    fn record_with_limits(&self, device: &Device, limits: Option<&Limits>) -> (Record, Vec<Device>) {
        let mut next = self.contents().record().clone();
        let mut changed = Vec::new();
        for other in &mut next.devices {
            let is_it = other.id == device.id;
            let Spec::Disk(spec) = &mut other.spec else { continue };
            let group = |limits: &Option<Limits>| limits.as_ref().and_then(Limits::group).cloned();
            let shares =
                limits.and_then(Limits::group).is_some_and(|own| group(&spec.limits).as_ref() == Some(own));
            if is_it || shares {
                spec.limits = limits.cloned();
                changed.push(other.clone());
            }
        }
        (next, changed)
    }

    /// The command that gives a disk the limits that are recorded: a change of them was interrupted.
    pub(super) async fn recorded_limits(&mut self, device: &Device, deadline: &Deadline) -> Result<Command> {
        let spec = disk_of(device)?;
        let throttle = self.throttle_of(device, spec, deadline).await?;
        Ok(UndoStep::SetLimits(throttle, spec.limits.clone().unwrap_or_default()).command())
    }

    /// The limits that QEMU shows of a disk, if they are not those that are recorded.
    pub(super) async fn other_limits(
        &mut self,
        device: &Device,
        spec: &DiskSpec,
        deadline: &Deadline,
    ) -> Result<Option<Value>> {
        let Some(limits) = &spec.limits else { return Ok(None) };
        let throttle = self.throttle_of(device, spec, deadline).await?;
        let shown = match &throttle {
            Throttle::Group(group) => {
                let path = format!("/objects/{group}");
                let question = Command::with("qom-get", &[("path", &path), ("property", LIMITS)]);
                let [shown] = self.questions([question], deadline).await?;
                shown
            }
            Throttle::Device(path) => {
                let [drives] = self.questions([drives::question()], deadline).await?;
                drives::image_of(&drives, path).cloned().unwrap_or_default()
            }
        };
        Ok((!throttle.agrees(limits, &shown)).then(|| named(&throttle, &shown)))
    }
}

fn disk_of(device: &Device) -> Result<&DiskSpec> {
    match &device.spec {
        Spec::Disk(spec) => Ok(spec),
        Spec::Nic(_) | Spec::Controller(_) => Err(Error::invalid(format!("{} is not a disk", device.id))),
    }
}

/// The limits for a disk that has `old` ones: it stays in its group, and comes into none.
fn settled(old: &Limits, wanted: Limits) -> Result<Limits> {
    match (wanted.group(), old.group()) {
        (Some(wanted), old) if Some(wanted) != old => {
            let has = old.map_or_else(|| "none".to_owned(), ToString::to_string);
            let text = format!(
                "group {wanted}: a disk keeps the group that it was added with, {has}; remove it and add it again"
            );
            Err(Error::invalid(text))
        }
        (_, old) => Ok(wanted.of_group(old)),
    }
}

/// What QEMU shows, of limits only.
fn named(throttle: &Throttle, shown: &Value) -> Value {
    let known = throttle.arguments(&Limits::default());
    let known = match throttle {
        Throttle::Group(_) => known.get("value").and_then(Value::as_object).cloned().unwrap_or_default(),
        Throttle::Device(_) => known,
    };
    let is_set = |(name, value): &(&String, &Value)| {
        known.contains_key(*name) && value.as_u64() != Some(u64::from(name.ends_with("-length")))
    };
    let members = shown.as_object().into_iter().flatten().filter(is_set);
    Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_disk_stays_in_its_group() {
        let of = |text: &str| Limits::parse(text).unwrap();
        let own = of(r#"{"bps-total": 1}"#);
        let shared = of(r#"{"bps-total": 1, "group": "g"}"#);
        assert_eq!(settled(&own, of("{}")).unwrap(), of("{}"));
        assert_eq!(
            settled(&shared, of(r#"{"bps-read": 2}"#)).unwrap(),
            of(r#"{"bps-read": 2, "group": "g"}"#)
        );
        assert_eq!(settled(&shared, shared.clone()).unwrap(), shared);
        for (old, wanted) in [(&own, r#"{"group": "g"}"#), (&shared, r#"{"group": "h"}"#)] {
            let error = settled(old, of(wanted)).unwrap_err();
            assert!(error.message().contains("keeps the group that it was added with"), "{error}");
        }
    }

    #[test]
    fn limits_are_shown_by_name() {
        let group = Throttle::Group(crate::ids::BackendName::parse("g").unwrap());
        let shown = json!({"bps-total": 5, "bps-read": 0, "bps-total-max-length": 1, "iops-read-max-length": 3, "new": 7});
        assert_eq!(named(&group, &shown), json!({"bps-total": 5, "iops-read-max-length": 3}));
        let device = Throttle::Device("/machine/peripheral/x".into());
        assert_eq!(named(&device, &json!({"bps": 5, "iops": 0, "drv": "raw"})), json!({"bps": 5}));
    }
}
