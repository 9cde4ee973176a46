//! Asking the guest for devices, waiting for `DEVICE_DELETED` of each, and only then the rest. One device is many of one.

use std::time::Duration;

use super::asking::Asked;
use super::outcome::{Outcome, Waiting};
use super::session::Session;
use super::survey;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::pci::Topology;
use crate::qmp::Command;
use crate::runtime::Device;

/// Pause before asking a guest again that is busy with an earlier plug or unplug.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// Pause before a lost connection is made again in the middle of a wait.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// Most time kept back from waiting, for the question why nothing came. A busy host takes 100 ms for it now and then.
const LAST_WORD: Duration = Duration::from_millis(250);

/// A device on its way out.
struct Leaver<'a> {
    device: &'a Device,
    /// The guest had been asked for it by an earlier call.
    was_pending: bool,
    stage: Stage,
}

/// How far it has come.
enum Stage {
    /// The guest is to be asked, for the first time or again because it was busy.
    ToAsk,
    /// The guest has been asked.
    Asked,
    /// It has left; what stood behind it is still to be taken down.
    Left,
    /// This is the answer.
    Answered(Box<Result<Outcome>>),
}

impl Leaver<'_> {
    fn is_asked(&self) -> bool {
        matches!(self.stage, Stage::Asked)
    }

    fn answer(&mut self, answer: Result<Outcome>) {
        self.stage = Stage::Answered(Box::new(answer));
    }

    fn fail(&mut self, error: &Error, left: String) {
        self.answer(Err(error.clone().with_undo(vec![left])));
    }
}

impl Session {
    /// Asks unless the guest is being asked already, then waits for its answer.
    pub(super) fn ask_and_wait(
        &mut self,
        device: &Device,
        wait: bool,
        deadline: &Deadline,
    ) -> Result<Outcome> {
        let answers = self.ask_and_wait_for_all(std::slice::from_ref(device), wait, deadline);
        answers.into_iter().next().unwrap_or(Ok(Outcome::Absent))
    }

    /// The same for many devices: one write asks for all of them, and they are waited for together.
    pub(super) fn ask_and_wait_for_all(
        &mut self,
        devices: &[Device],
        wait: bool,
        deadline: &Deadline,
    ) -> Vec<Result<Outcome>> {
        let is_pending = |device: &Device| self.pending.contains_key(&device.id);
        let mut leavers: Vec<Leaver<'_>> = devices
            .iter()
            .map(|device| Leaver { device, was_pending: is_pending(device), stage: Stage::ToAsk })
            .collect();
        self.ask_until_heard(&mut leavers, wait, deadline);
        self.await_departures(&mut leavers, deadline);
        self.clear_up_behind(&mut leavers, deadline);
        let answer = |leaver: Leaver<'_>| match leaver.stage {
            Stage::Answered(answer) => *answer,
            Stage::ToAsk | Stage::Asked | Stage::Left => {
                Err(Error::new(ErrorKind::State, format!("the removal of {} has no end", leaver.device.id)))
            }
        };
        leavers.into_iter().map(answer).collect()
    }

    /// Asks until the guest is no longer busy with something else.
    fn ask_until_heard(&mut self, leavers: &mut [Leaver<'_>], wait: bool, deadline: &Deadline) {
        loop {
            let to_ask: Vec<usize> = positions(leavers, |leaver| matches!(leaver.stage, Stage::ToAsk));
            let devices: Vec<&Device> =
                to_ask.iter().filter_map(|at| leavers.get(*at)).map(|l| l.device).collect();
            if devices.is_empty() {
                return;
            }
            let heard = self.ask(&devices, deadline);
            let mut busy = None;
            for (at, asked) in to_ask.into_iter().zip(heard) {
                let Some(leaver) = leavers.get_mut(at) else { continue };
                match asked {
                    Ok(Asked::Busy(error)) => busy = Some(error),
                    Ok(asked) => self.take_in(leaver, asked, wait),
                    Err(error) => leaver.answer(Err(error)),
                }
            }
            let Some(error) = busy else { return };
            let waited = deadline.pause(BUSY_PAUSE.min(deadline.left()));
            let Err(ended) = waited.and_then(|()| deadline.check()) else { continue };
            let last = if ended.kind() == ErrorKind::Timeout { error } else { ended };
            for leaver in leavers.iter_mut().filter(|leaver| matches!(leaver.stage, Stage::ToAsk)) {
                self.forget_request(leaver.device);
                leaver.answer(Err(last.clone()));
            }
        }
    }

    /// What the guest said about one of them.
    fn take_in(&mut self, leaver: &mut Leaver<'_>, asked: Asked, wait: bool) {
        let device = leaver.device;
        let why = match asked {
            Asked::Absent => return leaver.stage = Stage::Left,
            // What the guest has been asked for before goes on being pending.
            Asked::No(error) if leaver.was_pending && error.kind() == ErrorKind::Migrating => {
                self.note_request(device, Waiting::Migrating);
                Some(Waiting::Migrating)
            }
            Asked::No(error) => {
                self.forget_request(device);
                return leaver.answer(Err(error));
            }
            Asked::Busy(error) => return leaver.answer(Err(error)),
            Asked::Waiting(why) => why.or((!wait).then_some(Waiting::NotAwaited)),
        };
        self.absorb();
        match why.filter(|_| !self.has_departed(&device.id)) {
            Some(why) => leaver.answer(Ok(self.still_pending(device, why))),
            None => leaver.stage = Stage::Asked,
        }
    }

    fn still_pending(&mut self, device: &Device, why: Waiting) -> Outcome {
        if let Some(request) = self.pending.get_mut(&device.id) {
            request.why = why;
        }
        Outcome::Pending(device.clone(), why)
    }

    /// Waits until none of them is still waited for.
    fn await_departures(&mut self, leavers: &mut [Leaver<'_>], deadline: &Deadline) {
        let last_word = LAST_WORD.min(deadline.left() / 8);
        let patience = deadline.earlier_by(last_word);
        // What was heard between the question whether it runs and the request counts as well.
        let mut was_running = true;
        loop {
            if let Err(error) = self.see_who_left(leavers, deadline) {
                return fail_waiting(leavers, &error);
            }
            let waiting = positions(leavers, |leaver| leaver.is_asked());
            if was_running && !self.running && !waiting.is_empty() {
                was_running = false;
                self.see_whether_it_stands_still(leavers, &patience);
                // The word that somebody has left may have come with the answer.
                continue;
            }
            was_running = self.running;
            let due_in = |at: &usize| {
                let device = leavers.get(*at).map(|leaver| &leaver.device.id);
                device.and_then(|id| self.pending.get(id)).map(|request| request.until_due(self.deaf))
            };
            let Some(step) = waiting.iter().filter_map(due_in).min() else { return };
            let step = patience.at_most(step);
            let waited = self.monitor().and_then(|monitor| monitor.wait_event(&step));
            let Err(error) = waited else { continue };
            match error.kind() {
                ErrorKind::Timeout if patience.left().is_zero() => return self.give_up(leavers, deadline),
                ErrorKind::Timeout => self.ask_for_the_due(leavers, deadline),
                ErrorKind::Canceled => {
                    for leaver in leavers.iter_mut().filter(|leaver| leaver.is_asked()) {
                        self.still_pending(leaver.device, Waiting::NotAwaited);
                    }
                    return fail_waiting(leavers, &error);
                }
                _ => {
                    if self.reconnect_waiting(deadline).is_err() {
                        for leaver in leavers.iter_mut().filter(|leaver| leaver.is_asked()) {
                            let id = &leaver.device.id;
                            let left =
                                format!("device {id}: its removal is pending, the guest cannot be asked");
                            leaver.fail(&error, left);
                        }
                        return;
                    }
                }
            }
        }
    }

    /// Takes in what has been said, and moves those on that it is about.
    fn see_who_left(&mut self, leavers: &mut [Leaver<'_>], deadline: &Deadline) -> Result<()> {
        self.absorb();
        if self.unheard_of {
            // What is not there any more has left while nobody heard.
            self.ready(deadline)?;
        }
        for leaver in leavers.iter_mut().filter(|leaver| leaver.is_asked()) {
            let device = leaver.device;
            if self.has_departed(&device.id) && self.is_really_gone(&device.id, deadline)? {
                // Now, while the others still take their time.
                self.hold_tap(device);
                leaver.stage = Stage::Left;
            } else if self.known_device(device.id.as_str()).is_none() {
                leaver.answer(Ok(Outcome::Done(device.clone())));
            } else if !self.pending.contains_key(&device.id) {
                leaver.answer(Err(refused(device)));
            }
        }
        Ok(())
    }

    /// A guest that stopped or fell asleep after it was asked does not answer before it goes on, so nobody waits for that.
    fn see_whether_it_stands_still(&mut self, leavers: &mut [Leaver<'_>], deadline: &Deadline) {
        // A connection that breaks over the question is noticed by who waits on it.
        let Ok(Some(why)) = self.run_state(deadline) else { return };
        let by_consent = |leaver: &&mut Leaver<'_>| leaver.is_asked() && leaver.device.leaves_by_consent();
        for leaver in leavers.iter_mut().filter(by_consent) {
            // It may have left before the guest stopped.
            if !self.has_departed(&leaver.device.id) {
                leaver.answer(Ok(self.still_pending(leaver.device, why)));
            }
        }
    }

    fn ask_for_the_due(&mut self, leavers: &mut [Leaver<'_>], deadline: &Deadline) {
        for leaver in leavers.iter_mut().filter(|leaver| leaver.is_asked()) {
            let request = self.pending.get(&leaver.device.id);
            if request.is_none_or(|request| request.is_due(self.deaf)) {
                leaver.stage = Stage::ToAsk;
            }
        }
        self.ask_until_heard(leavers, true, deadline);
    }

    fn reconnect_waiting(&mut self, deadline: &Deadline) -> Result<()> {
        // A monitor that drops its clients at once is not tried as fast as the machine can.
        deadline.pause(RECONNECT_PAUSE).and_then(|()| self.ready(deadline))
    }

    /// Nothing came: what the guest shows says why.
    fn give_up(&mut self, leavers: &mut [Leaver<'_>], deadline: &Deadline) {
        let questions = [Command::with("query-status", &[]), Command::with("query-pci", &[])];
        let deadline = deadline.uncancelable();
        let answers = self.monitor().and_then(|monitor| survey::ask(monitor, questions, &deadline));
        let (state, topology) = match answers {
            Ok([state, pci]) => (Waiting::of_status(&state), Topology::from_query_pci(&pci).ok()),
            Err(_) => (None, None),
        };
        for leaver in leavers.iter_mut().filter(|leaver| leaver.is_asked()) {
            let located = topology.as_ref().and_then(|topology| topology.find(leaver.device.id.as_str()));
            let why = match (state, located.map(|located| located.occupant.configured)) {
                (Some(why), _) => why,
                (None, Some(false)) => Waiting::NotBooted,
                (None, _) => Waiting::Deadline,
            };
            leaver.answer(Ok(self.still_pending(leaver.device, why)));
        }
    }

    /// Takes down what stood behind those that have left, and out of the record, in one go.
    fn clear_up_behind(&mut self, leavers: &mut [Leaver<'_>], deadline: &Deadline) {
        let left = positions(leavers, |leaver| matches!(leaver.stage, Stage::Left));
        let gone: Vec<&Device> = left.iter().filter_map(|at| leavers.get(*at)).map(|l| l.device).collect();
        if gone.is_empty() {
            return;
        }
        let answers: Vec<Result<Outcome>> = match self.finish_removals(&gone, deadline) {
            Ok(finished) => gone.iter().zip(finished).map(|(device, f)| cleared(device, f.left)).collect(),
            Err(error) => self.gone_but_for(&gone, &error, deadline),
        };
        for (at, answer) in left.into_iter().zip(answers) {
            if let Some(leaver) = leavers.get_mut(at) {
                self.set_departed_aside(leaver.device.id.as_str());
                leaver.answer(answer);
            }
        }
    }

    /// Clearing up broke off. Nobody knows how far it came; after a lost connection a new one tells.
    fn gone_but_for(&mut self, gone: &[&Device], error: &Error, deadline: &Deadline) -> Vec<Result<Outcome>> {
        let unheard = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled);
        let looked = !unheard && self.ready(deadline).is_ok();
        let answer = |device: &&Device| {
            if looked && self.known_device(device.id.as_str()).is_none() {
                return Ok(Outcome::Done((*device).clone()));
            }
            let left = format!("what stood behind device {}: unknown, settled by the next call", device.id);
            let text = format!("{} is gone from the guest", device.id);
            Err(error.clone().context(text).with_undo(vec![left]))
        };
        gone.iter().map(answer).collect()
    }
}

fn positions(leavers: &[Leaver<'_>], so: impl Fn(&Leaver<'_>) -> bool) -> Vec<usize> {
    leavers.iter().enumerate().filter(|(_, leaver)| so(leaver)).map(|(at, _)| at).collect()
}

fn fail_waiting(leavers: &mut [Leaver<'_>], error: &Error) {
    for leaver in leavers.iter_mut().filter(|leaver| leaver.is_asked()) {
        leaver.fail(error, format!("device {}: its removal is pending", leaver.device.id));
    }
}

fn cleared(device: &Device, left: Vec<String>) -> Result<Outcome> {
    if left.is_empty() {
        return Ok(Outcome::Done(device.clone()));
    }
    let text = format!("{} is gone from the guest, but what stood behind it is not", device.id);
    Err(Error::new(ErrorKind::Qmp, text).with_undo(left))
}

fn refused(device: &Device) -> Error {
    Error::new(
        ErrorKind::GuestRefused,
        format!("the guest refused to let go of {}: it may be in use there; the device stays", device.id),
    )
}
