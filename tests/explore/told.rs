//! What callers are told: nothing twice, and nothing that is not so.

use std::collections::BTreeSet;

use kvm_hotplug::engine::{Answer, Event, EventKind, Outcome};
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

    fn answer(&mut self, call: Call, outcome: &Outcome, violations: &mut Vec<String>) {
        let adds =
            matches!(call, Call::AddNic(..) | Call::AddDisk(..) | Call::AddScsi(..) | Call::AddBoth(..));
        let removes = matches!(
            call,
            Call::Remove(_) | Call::RemoveUnwaited(_) | Call::RemoveBoth(..) | Call::RemoveControllers
        );
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
    let adds = matches!(call, Call::AddNic(..) | Call::AddDisk(..) | Call::AddScsi(..) | Call::AddBoth(..));
    let mut violations = Vec::new();
    let mut outcome = |outcome: &Outcome| {
        told.answer(call, outcome, &mut violations);
        let Outcome::Done(device) = outcome else { return };
        let now = traces(world, device.id.as_str());
        let there = now.iter().any(|line| line.starts_with("record "))
            && now.iter().any(|line| line.starts_with("device "));
        if adds && !there && !world.ejected {
            violations.push(format!("{call:?} is answered as done, and there is {now:?}"));
        }
        let is_removal = matches!(call, Call::Remove(_) | Call::RemoveUnwaited(_) | Call::RemoveBoth(..));
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
    match answer {
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
