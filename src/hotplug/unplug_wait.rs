//! Asking the guest for devices, waiting for `DEVICE_DELETED` of each, and only then the rest. One device is many of one.

use std::time::{Duration, Instant};

use super::device_reports::{Truth, Word};
use super::events::What;
use super::identity::Gone;
use super::inventory;
use super::outcome::{Outcome, Waiting};
use super::session::Session;
use super::unplug_request::Asked;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::pci::Topology;
use crate::qmp::Command;
use crate::runtime::Device;

/// Pause before asking a guest again that is busy with an earlier plug or unplug.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// Pause before a lost connection is made again in the middle of a wait.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// Least time between two questions whether the guest runs, while it is said over and over that it resumes.
const QUESTION_PAUSE: Duration = Duration::from_millis(25);

/// Most time kept back from waiting, for the question why nothing came. A busy host takes 100 ms for it now and then.
const LAST_WORD: Duration = Duration::from_millis(250);

/// A device on its way out.
struct Leaver<'a> {
    device: &'a Device,
    /// The guest had been asked for it by an earlier call.
    was_pending: bool,
    /// Why it is not waited for, once the guest has been asked.
    unawaited: Option<Waiting>,
    stage: Stage<'a>,
}

/// How far it has come.
enum Stage<'a> {
    /// The guest is to be asked, for the first time or again because it was busy.
    ToAsk,
    /// The guest has been asked.
    Asked,
    /// It has left; what stood behind it is still to be taken down.
    Left(Gone<'a>),
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
        let mut leavers: Vec<Leaver<'_>> = devices.iter().map(|device| self.leaver(device)).collect();
        self.ask_until_heard(&mut leavers, wait, deadline);
        self.await_departures(&mut leavers, deadline);
        self.clear_up_behind(&mut leavers, deadline);
        let answer = |leaver: Leaver<'_>| match leaver.stage {
            Stage::Answered(answer) => *answer,
            Stage::ToAsk | Stage::Asked | Stage::Left(_) => {
                Err(Error::new(ErrorKind::State, format!("the removal of {} has no end", leaver.device.id)))
            }
        };
        leavers.into_iter().map(answer).collect()
    }

    fn leaver<'a>(&mut self, device: &'a Device) -> Leaver<'a> {
        let was_pending = self.unplugging.contains_key(&device.id);
        match self.why_kept(device) {
            // The guest has no part in it any more; QOM has the last word.
            Some(why) => {
                self.note_word(device.id.as_str(), Word::NotFound);
                Leaver { device, was_pending, unawaited: Some(why), stage: Stage::Asked }
            }
            None => Leaver { device, was_pending, unawaited: None, stage: Stage::ToAsk },
        }
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
            Asked::Settled => {
                let done = self.done(device);
                return leaver.answer(Ok(done));
            }
            Asked::Absent => {
                // QOM has the last word.
                self.note_word(device.id.as_str(), Word::NotFound);
                self.note_request(device, Waiting::Deadline);
                None
            }
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
        leaver.unawaited = why;
        leaver.stage = Stage::Asked;
        if let Some(why) = why.filter(|_| !self.has_word_of(&device.id)) {
            leaver.answer(Ok(self.still_pending(device, why)));
        }
    }

    fn still_pending(&mut self, device: &Device, why: Waiting) -> Outcome {
        if let Some(request) = self.unplugging.get_mut(&device.id) {
            request.why = why;
        }
        self.events.withdraw(device, &[What::Pending]);
        Outcome::Pending(device.clone(), why)
    }

    /// The answer for a device that is gone. What a call answers is no event.
    fn done(&mut self, device: &Device) -> Outcome {
        let told = [What::Removed, What::RemovedByGuest, What::Undone, What::Pending];
        self.events.withdraw(device, &told);
        Outcome::Done(device.clone())
    }

    /// Waits until none of them is still waited for.
    fn await_departures(&mut self, leavers: &mut [Leaver<'_>], deadline: &Deadline) {
        let last_word = LAST_WORD.min(deadline.left() / 8);
        let patience = deadline.earlier_by(last_word);
        // What was heard between the question whether it runs and the request counts as well.
        let mut was_running = true;
        let mut asked_at: Option<Instant> = None;
        loop {
            if let Err(error) = self.see_who_left(leavers, deadline) {
                return fail_waiting(leavers, &error);
            }
            let waiting = positions(leavers, |leaver| leaver.is_asked());
            let unsure = was_running && !self.running && !waiting.is_empty();
            let rest = asked_at.map_or(Duration::ZERO, |at| QUESTION_PAUSE.saturating_sub(at.elapsed()));
            if unsure && rest.is_zero() {
                was_running = false;
                asked_at = Some(Instant::now());
                self.see_whether_it_stands_still(leavers, &patience);
                // The word that somebody has left may have come with the answer.
                continue;
            }
            was_running = self.running || unsure;
            let due_in = |at: &usize| {
                let device = leavers.get(*at).map(|leaver| &leaver.device.id);
                device
                    .and_then(|id| self.unplugging.get(id))
                    .map(|request| request.until_due(self.unplug_blocked))
            };
            let Some(step) = waiting.iter().filter_map(due_in).min() else { return };
            let step = patience.at_most(if unsure { step.min(rest) } else { step });
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
        if self.events_lost {
            // What is not there any more has left while nobody heard.
            self.ready(deadline)?;
        }
        for leaver in leavers.iter_mut().filter(|leaver| leaver.is_asked()) {
            let device = leaver.device;
            let is_known = self.known_device(device.id.as_str());
            if is_known.is_none_or(|known| known.generation != device.generation) {
                let done = self.done(device);
                leaver.answer(Ok(done));
            } else if self.unplug_refused.contains(&device.id) {
                leaver.answer(Err(refused(device)));
            }
        }
        self.find_out_about_heard(leavers, deadline)?;
        for leaver in leavers.iter_mut().filter(|leaver| leaver.is_asked()) {
            if let Some(why) = leaver.unawaited {
                leaver.answer(Ok(self.still_pending(leaver.device, why)));
            }
        }
        Ok(())
    }

    /// Asks QOM about those of which something was said, or whose removal has been struck by somebody else's doing.
    fn find_out_about_heard(&mut self, leavers: &mut [Leaver<'_>], deadline: &Deadline) -> Result<()> {
        let is_in_question = |leaver: &Leaver<'_>| {
            let id = &leaver.device.id;
            leaver.is_asked() && (self.has_word_of(id) || !self.unplugging.contains_key(id))
        };
        let in_question = positions(leavers, is_in_question);
        if in_question.is_empty() {
            return Ok(());
        }
        let devices = in_question.iter().filter_map(|at| leavers.get(*at)).map(|leaver| leaver.device);
        let truths = self.find_out_about(&devices.collect::<Vec<_>>(), deadline)?;
        for (at, truth) in in_question.into_iter().zip(truths) {
            let Some(leaver) = leavers.get_mut(at) else { continue };
            match truth {
                Truth::Gone(gone) => {
                    // Now, while the others still take their time.
                    if !gone.backend_is_taken {
                        self.hold_tap(leaver.device);
                    }
                    leaver.stage = Stage::Left(gone);
                }
                Truth::Refused => {
                    self.take_refusal(leaver.device);
                    if self.unplug_refused.contains(&leaver.device.id) {
                        leaver.answer(Err(refused(leaver.device)));
                    }
                }
                Truth::There if !self.unplugging.contains_key(&leaver.device.id) => {
                    self.note_request(leaver.device, Waiting::Deadline);
                }
                Truth::There => {}
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
            if !self.has_word_of(&leaver.device.id) {
                leaver.answer(Ok(self.still_pending(leaver.device, why)));
            }
        }
    }

    fn ask_for_the_due(&mut self, leavers: &mut [Leaver<'_>], deadline: &Deadline) {
        for leaver in leavers.iter_mut().filter(|leaver| leaver.is_asked()) {
            let request = self.unplugging.get(&leaver.device.id);
            if request.is_none_or(|request| request.is_due(self.unplug_blocked)) {
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
        let answers = self.monitor().and_then(|monitor| inventory::ask(monitor, questions, &deadline));
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
        let left = positions(leavers, |leaver| matches!(leaver.stage, Stage::Left(_)));
        let gone = left.iter().filter_map(|at| match leavers.get(*at)?.stage {
            Stage::Left(gone) => Some(gone),
            _ => None,
        });
        let gone: Vec<Gone<'_>> = gone.collect();
        if gone.is_empty() {
            return;
        }
        let answers: Vec<Result<Outcome>> = match self.finish_removals(&gone, deadline) {
            Ok(finished) => {
                gone.iter().zip(finished).map(|(gone, f)| self.cleared(gone.device, f.left)).collect()
            }
            Err(error) => {
                let devices: Vec<&Device> = gone.iter().map(|gone| gone.device).collect();
                self.gone_but_for(&devices, &error, deadline)
            }
        };
        for (at, answer) in left.into_iter().zip(answers) {
            if let Some(leaver) = leavers.get_mut(at) {
                self.set_word_aside(leaver.device.id.as_str());
                leaver.answer(answer);
            }
        }
    }

    /// Clearing up broke off. Nobody knows how far it came; after a lost connection a new one tells.
    fn gone_but_for(&mut self, gone: &[&Device], error: &Error, deadline: &Deadline) -> Vec<Result<Outcome>> {
        let is_out_of_time = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled);
        let looked = !is_out_of_time && self.ready(deadline).is_ok();
        let answer = |device: &&Device| {
            if looked && self.known_device(device.id.as_str()).is_none() {
                return Ok(self.done(device));
            }
            let left = format!("what stood behind device {}: unknown, settled by the next call", device.id);
            let text = format!("{} is gone from the guest", device.id);
            Err(error.clone().context(text).with_undo(vec![left]))
        };
        gone.iter().map(answer).collect()
    }
}

impl Session {
    fn cleared(&mut self, device: &Device, left: Vec<String>) -> Result<Outcome> {
        if left.is_empty() {
            return Ok(self.done(device));
        }
        if let Some(why) = self.why_kept(device) {
            return Ok(self.still_pending(device, why));
        }
        let text = format!("{} is gone from the guest, but what stood behind it is not", device.id);
        Err(Error::new(ErrorKind::Qmp, text).with_undo(left))
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

fn refused(device: &Device) -> Error {
    Error::new(
        ErrorKind::GuestRefused,
        format!("the guest refused to let go of {}: it may be in use there; the device stays", device.id),
    )
}
