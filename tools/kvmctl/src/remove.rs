//! del: asks the guest to let devices go, all at once, and shows that they are waited for together.

use std::time::Duration;

use kvm_hotplug::capi::removal::KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS;
use kvm_hotplug::guest::{Event, EventKind, Outcome, PendingReason, RemovalOfMany, coldplug};
use kvm_hotplug::model::Presence;
use kvm_hotplug::{Error, Result as Answered};
use serde::Serialize;

use crate::cli::RemovalArguments;
use crate::device::{Answer, Shown, answer_word};
use crate::events;
use crate::failure::{Failure, Result, Status};
use crate::interrupt::Held;
use crate::request;
use crate::session::Session;

const TICK: Duration = Duration::from_millis(100);

/// For the library to look into what keeps the guest.
const TO_FIND_A_REASON: Duration = Duration::from_millis(200);

/// What has become of one device.
#[derive(Debug)]
enum Fate {
    Answered(Outcome),
    /// The guest said no while it was waited for.
    Refused,
    /// The guest has let go, and somebody else in QEMU has not: the text says who.
    Kept(Outcome, String),
    Failed(Error),
}

/// One device on its way out.
#[derive(Debug)]
struct Leaving {
    id: String,
    fate: Fate,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Json<'a> {
    Answer(Answer<'a>),
    Refused { answer: &'static str, id: &'a str },
    Failed { answer: &'static str, id: &'a str, errno: i32, message: String },
}

impl Leaving {
    /// A guest that is paused, say, lets go of nothing: no use in waiting.
    fn is_awaited(&self) -> bool {
        matches!(self.fate, Fate::Answered(Outcome::Pending(_, PendingReason::NotAwaited)))
    }

    fn status(&self) -> Status {
        match &self.fate {
            Fate::Failed(_) | Fate::Refused => Status::Failed,
            Fate::Answered(Outcome::Pending(..) | Outcome::PendingByPath(_)) | Fate::Kept(..) => {
                Status::Pending
            }
            Fate::Answered(Outcome::AfterReboot(..)) => Status::AfterReboot,
            Fate::Answered(Outcome::Done(_) | Outcome::DoneByPath | Outcome::Absent) => Status::Done,
        }
    }

    /// The device, of one that is still there.
    fn shown(&self) -> Option<Shown> {
        match &self.fate {
            Fate::Kept(outcome, why) => {
                Shown::answered(outcome).map(|shown| Shown { reason: why.clone(), ..shown })
            }
            Fate::Answered(outcome @ (Outcome::Pending(..) | Outcome::AfterReboot(..))) => {
                Shown::answered(outcome)
            }
            _ => None,
        }
    }

    /// The generation tells this attachment from an earlier or later one of the same id.
    fn is_about(&self, event: &Event) -> bool {
        let Fate::Answered(Outcome::Pending(device, _)) = &self.fate else { return false };
        let about = event.device.as_ref();
        about.is_some_and(|about| about.id == self.id && about.generation == device.generation)
    }

    fn take(&mut self, event: &Event) {
        let Fate::Answered(outcome @ Outcome::Pending(device, _)) = &self.fate else { return };
        self.fate = match event.kind {
            EventKind::Removed | EventKind::RemovedByGuest => Fate::Answered(Outcome::Done(device.clone())),
            EventKind::Refused => Fate::Refused,
            EventKind::Pending => Fate::Kept(outcome.clone(), event.text.clone()),
            _ => return,
        };
    }
}

fn fate(answer: Answered<Outcome>) -> Fate {
    answer.map_or_else(Fate::Failed, Fate::Answered)
}

/// Asks for all of them, and waits for none.
pub(crate) fn ask(session: &mut Session<'_>, ids: Vec<String>, how: &RemovalArguments) -> Result<Status> {
    let leaving = asked(session, ids, how, Wait::No)?;
    report(session, leaving)
}

pub(crate) fn wait(session: &mut Session<'_>, ids: Vec<String>, how: &RemovalArguments) -> Result<Status> {
    let mut leaving = asked(session, ids, how, Wait::Yes)?;
    await_all(session, &mut leaving)?;
    // Those that are late are asked for once more.
    let mut late: Vec<&mut Leaving> = leaving.iter_mut().filter(|one| one.is_awaited()).collect();
    if !late.is_empty() {
        let ids: Vec<String> = late.iter().map(|one| one.id.clone()).collect();
        let how = RemovalOfMany { wait: true, ..RemovalOfMany::default() };
        let answers = session.guest()?.unplug_all(&ids, how, TO_FIND_A_REASON)?;
        late.iter_mut().zip(answers).for_each(|(one, answer)| one.fate = fate(answer));
    }
    report(session, leaving)
}

/// A device without an id has a path in QOM, and no id begins like one.
fn is_path(id: &str) -> bool {
    id.starts_with('/')
}

fn patience(session: &Session<'_>) -> Duration {
    let default = Duration::from_millis(KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS.into());
    session.common.timeout().unwrap_or(default)
}

/// Whether devices without an id are waited for at once, since no event tells of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

fn asked(
    session: &mut Session<'_>,
    ids: Vec<String>,
    how: &RemovalArguments,
    wait: Wait,
) -> Result<Vec<Leaving>> {
    let RemovalArguments { live_only, leave_overlay } = *how;
    let how = RemovalOfMany { live_only, wait: false, leave_overlay };
    let (paths, named): (Vec<String>, Vec<String>) = ids.iter().cloned().partition(|id| is_path(id));
    let mut named = session.guest()?.unplug_all(&named, how, patience(session))?.into_iter();
    let how = RemovalOfMany { wait: wait == Wait::Yes, ..how };
    let mut paths = session.guest()?.unplug_all(&paths, how, patience(session))?.into_iter();
    let leaving = |id: String| {
        let answer = if is_path(&id) { paths.next() } else { named.next() };
        answer.map(|answer| Leaving { fate: fate(answer), id })
    };
    Ok(ids.into_iter().filter_map(leaving).collect())
}

fn await_all(session: &mut Session<'_>, leaving: &mut [Leaving]) -> Result<()> {
    let patience = patience(session);
    // Before the line is drawn, which a signal in between would leave on the terminal.
    let held = Held::new()?;
    let terminal = session.output.terminal.clone();
    let line = terminal.wait("waiting for the guest to let go");
    while !held.came() && leaving.iter().any(Leaving::is_awaited) {
        let left = patience.saturating_sub(line.passed());
        line.tick();
        events::wait(session, left.min(TICK))?;
        while let Some(event) = session.guest()?.next_event()? {
            match leaving.iter_mut().find(|one| one.is_awaited() && one.is_about(&event)) {
                Some(one) => one.take(&event),
                // News about other devices is told, not swallowed.
                None => session.output.note(&events::text(&event)),
            }
        }
        if left.is_zero() {
            break;
        }
    }
    Ok(())
}

/// One that cannot be removed keeps none of the others.
pub(crate) fn from_record(
    session: &mut Session<'_>,
    ids: Vec<String>,
    how: &RemovalArguments,
) -> Result<Status> {
    let mut leaving = Vec::with_capacity(ids.len());
    for id in ids {
        let answer = coldplug::remove(&mut *session.record()?, &request::removal(&id, how));
        leaving.push(Leaving { fate: fate(answer), id });
    }
    let one = |one: &Leaving| match &one.fate {
        Fate::Answered(Outcome::Done(device)) if device.presence == Presence::RemoveAfterReboot => {
            format!("{} goes with the next boot", one.id)
        }
        Fate::Answered(Outcome::Done(_)) => format!("{} is out of the record", one.id),
        _ => text(one),
    };
    let json = |one: &'_ Leaving| match &one.fate {
        Fate::Answered(outcome @ Outcome::Done(_)) => Shown::answered(outcome),
        _ => one.shown(),
    };
    finish(session, leaving, one, json)
}

fn report(session: &mut Session<'_>, leaving: Vec<Leaving>) -> Result<Status> {
    finish(session, leaving, text, Leaving::shown)
}

/// Says what has become of all of them: each in words, or with the device where that is still there. The
/// worst of them is the exit status.
fn finish(
    session: &mut Session<'_>,
    leaving: Vec<Leaving>,
    words: impl Fn(&Leaving) -> String,
    device: impl Fn(&Leaving) -> Option<Shown>,
) -> Result<Status> {
    let leaving = match <[Leaving; 1]>::try_from(leaving) {
        Ok([Leaving { fate: Fate::Failed(error), .. }]) => return Err(Failure::from(error)),
        Ok(one) => Vec::from(one),
        Err(many) => many,
    };
    let output = &mut session.output;
    if output.json {
        let shown: Vec<Option<Shown>> = leaving.iter().map(device).collect();
        let all: Vec<Json<'_>> =
            leaving.iter().zip(&shown).map(|(one, shown)| json(one, shown.as_ref())).collect();
        match all.as_slice() {
            [one] => output.document(one),
            all => output.document(&all),
        }
    } else {
        for one in &leaving {
            match one.fate {
                Fate::Failed(_) | Fate::Refused => output.complain(&words(one)),
                _ => output.line(&words(one)),
            }
        }
    }
    Ok(worst(leaving.iter().map(Leaving::status)))
}

/// What has failed is worse than what is only late.
fn worst(all: impl Iterator<Item = Status>) -> Status {
    all.max_by_key(|status| (*status == Status::Failed, *status)).unwrap_or(Status::Done)
}

fn json<'a>(one: &'a Leaving, shown: Option<&'a Shown>) -> Json<'a> {
    let id = &*one.id;
    match (&one.fate, shown) {
        (Fate::Failed(error), _) => {
            Json::Failed { answer: "failed", id, errno: error.errno(), message: error.to_string() }
        }
        (Fate::Refused, _) => Json::Refused { answer: "refused", id },
        (Fate::Answered(outcome) | Fate::Kept(outcome, _), Some(shown)) => {
            Json::Answer(Answer::with(answer_word(outcome), shown))
        }
        (Fate::Answered(outcome) | Fate::Kept(outcome, _), None) => {
            Json::Answer(Answer::new(answer_word(outcome), id))
        }
    }
}

fn text(one: &Leaving) -> String {
    let id = &one.id;
    let late = |why: &dyn std::fmt::Display| {
        format!("{id} is not gone yet: {why}. Its backend stays; a later command finishes the removal.")
    };
    match &one.fate {
        Fate::Failed(error) => error.to_string(),
        Fate::Refused => format!("the guest refused to let {id} go; it stays"),
        Fate::Kept(_, why) => late(why),
        Fate::Answered(Outcome::Pending(_, why)) => late(why),
        Fate::Answered(Outcome::PendingByPath(why)) => format!("{id} is not gone yet: {why}"),
        Fate::Answered(Outcome::AfterReboot(_, why)) => format!("{id} goes with the next boot: {why}"),
        Fate::Answered(Outcome::Absent) => format!("{id} is not there"),
        Fate::Answered(Outcome::Done(_) | Outcome::DoneByPath) => format!("{id} is gone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_the_status() {
        use Status::{AfterReboot, Done, Failed, Pending};
        assert_eq!(worst([].into_iter()), Done);
        assert_eq!(worst([Done, AfterReboot, Done].into_iter()), AfterReboot);
        assert_eq!(worst([Done, Pending, AfterReboot].into_iter()), Pending);
        assert_eq!(worst([Pending, Failed, Done].into_iter()), Failed);
    }
}
