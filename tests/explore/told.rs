//! What callers are told: nothing twice, and nothing that is not so.

use std::collections::BTreeSet;

use kvm_hotplug::engine::{Action, Answer, Applied, DeviceAnswer, DeviceStep, Event, EventKind, Outcome};
use kvm_hotplug::error::Result;

use crate::call::{Call, traces};
use crate::restart::FIRST_QEMU;
use crate::world::World;

/// What an agent has told of its devices.
#[derive(Default)]
pub struct Told {
    /// Attachments that a call has answered to be gone, or there.
    answered: BTreeSet<(String, u64, Transition)>,
    events: BTreeSet<(String, u64, Transition)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Transition {
    Came,
    Went,
}

impl Told {
    pub fn take(&mut self, event: &Event, violations: &mut Vec<String>) {
        let Some(device) = &event.device else { return };
        let transition = match event.kind {
            EventKind::Added => Transition::Came,
            EventKind::Removed | EventKind::RemovedByGuest => Transition::Went,
            // Of a change that was taken back, or a removal that an earlier QEMU was asked for, it says that
            // the device stays.
            EventKind::Undone if event.text.contains("interrupted add") => Transition::Went,
            _ => return,
        };
        let key = (device.id.clone(), device.generation, transition);
        if self.answered.contains(&key) {
            violations.push(format!("{event:?} says what a call has answered"));
        }
        if !self.events.insert(key) {
            violations.push(format!("{event:?} is said twice"));
        }
    }

    fn answer(&mut self, call: Call, does: Does, outcome: &Outcome, violations: &mut Vec<String>) {
        let (adds, removes) = (does == Does::Add, matches!(does, Does::Remove | Does::RemoveController));
        let Outcome::Done(device) = outcome else { return };
        let transition = if adds { Transition::Came } else { Transition::Went };
        let key = (device.id.to_string(), device.generation, transition);
        if removes && self.events.contains(&key) {
            violations.push(format!("{call:?} answers what an event has said: {}", device.id));
        }
        if adds || removes {
            self.answered.insert(key);
        }
    }
}

/// What a call does about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Add,
    Remove,
    RemoveController,
    Other,
}

impl Does {
    fn of(call: Call) -> Self {
        match call {
            Call::AddNic(..)
            | Call::AddDisk(..)
            | Call::AddScsi(..)
            | Call::AddBoth(..)
            | Call::AddThreaded(..)
            | Call::AddVhostUser(..)
            | Call::AddLimited(..) => Self::Add,
            Call::Remove(_) | Call::RemoveUnwaited(_) | Call::RemoveBoth(..) => Self::Remove,
            Call::RemoveControllers => Self::RemoveController,
            _ => Self::Other,
        }
    }
}

/// The answers to a wanted list, device by device. What is there already is neither added nor removed.
fn steps(applied: &Applied) -> impl Iterator<Item = (Does, Outcome)> {
    applied.steps.iter().filter_map(|step| {
        let DeviceAnswer::Done(Some(device)) = &step.answer else { return None };
        let does = match step.action {
            Action::Add | Action::Replace => Does::Add,
            Action::Del => Does::Remove,
            Action::None | Action::Change(_) => Does::Other,
        };
        Some((does, Outcome::Done(device.clone())))
    })
}

/// A list that failed, and says that nothing is left behind: what it has not begun is as it was.
fn check_left(world: &World, call: Call, before: &[Vec<String>], applied: &Applied) -> Vec<String> {
    let Some(error) = applied.error.as_ref().filter(|error| error.left().is_empty()) else { return vec![] };
    let mut violations = Vec::new();
    for (id, before) in call.ids().iter().zip(before) {
        let step = applied.steps.iter().find(|step| step.id.as_deref() == Some(id));
        // What was begun and taken back may still be in the journal, if that could not be written.
        let has_begun = |step: &DeviceStep| matches!(step.action, Action::Replace | Action::Change(_));
        let counts = |step: &DeviceStep| !(has_begun(step) && world.write_failed);
        let is_left = step.is_some_and(|step| matches!(step.answer, DeviceAnswer::Left(_)) && counts(step));
        let now = traces(world, id);
        if is_left && now.iter().any(|line| !before.contains(line)) {
            violations.push(format!(
                "{call:?} has failed ({error}) and left {id} as it was: before {before:?}, now {now:?}"
            ));
        }
    }
    violations
}

/// Whether an open removal is that of the attachment that the record had before: an add first ends what a
/// device of its id has left, and fails where that cannot be done. It has not begun anything then.
fn ends_what_was_there(line: &str, before: &[String]) -> bool {
    line.strip_prefix("journal Remove ")
        .is_some_and(|generation| before.contains(&format!("record {generation}")))
}

/// An answer means exactly before or after.
pub fn check_answer(
    world: &mut World,
    call: Call,
    before: &[Vec<String>],
    answer: &Result<Answer>,
    told: &mut Told,
) {
    let mut violations = Vec::new();
    let adds = Does::of(call) == Does::Add;
    let mut outcome_of = |does: Does, outcome: &Outcome| {
        let adds = does == Does::Add;
        told.answer(call, does, outcome, &mut violations);
        let Outcome::Done(device) = outcome else { return };
        let now = traces(world, device.id.as_str());
        let there = now.iter().any(|line| line.starts_with("record "))
            && now.iter().any(|line| line.starts_with("device "));
        if adds && !there && !world.ejected {
            violations.push(format!("{call:?} is answered as done, and there is {now:?}"));
        }
        let is_removal = does == Does::Remove;
        if adds && !world.ejected {
            world.promised.insert(device.id.to_string(), Some(device.generation));
        }
        if is_removal {
            world.promised.insert(device.id.to_string(), None);
        }
        // A guest may release a device that its QEMU was started with before an agent has connected: its
        // backend is an orphan, which a repair takes down.
        let may_be_orphaned = world.has_ejected && world.host.qemu != FIRST_QEMU;
        if is_removal && !now.is_empty() && !world.uncertain && !may_be_orphaned {
            violations.push(format!("{call:?} is answered as done, and there is {now:?}"));
        }
        let open = now.iter().any(|line| line.starts_with("journal "));
        if adds && open && !world.ejected && !world.write_failed {
            violations.push(format!("{call:?} is answered as done, and is unfinished: {now:?}"));
        }
    };
    let mut outcome = |one: &Outcome| outcome_of(Does::of(call), one);
    match answer {
        Ok(Answer::Applied(applied)) => {
            steps(applied).for_each(|(does, one)| outcome_of(does, &one));
            if !world.ejected && !world.uncertain {
                violations.extend(check_left(world, call, before, applied));
            }
        }
        Ok(Answer::Outcomes(all)) => all.iter().for_each(&mut outcome),
        Ok(Answer::Outcome(one)) => outcome(one),
        Ok(Answer::Each(all)) => all.iter().flatten().for_each(&mut outcome),
        Err(error) if adds && error.left().is_empty() && !world.ejected && !world.uncertain => {
            for (id, before) in call.ids().iter().zip(before) {
                let now = traces(world, id);
                if now.iter().any(|line| !before.contains(line) && !ends_what_was_there(line, before)) {
                    violations.push(format!(
                        "{call:?} has failed ({error}) and says that nothing is left: before {before:?}, now {now:?}"
                    ));
                }
            }
        }
        _ => {}
    }
    world.violations.append(&mut violations);
}
