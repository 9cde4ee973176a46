//! One run: calls with what may happen to them, and afterwards a fresh agent to whom nothing happens.

use std::collections::BTreeMap;
use std::time::Duration;

use kvm_hotplug::engine::{Answer, Mismatch, Outcome, Request};
use kvm_hotplug::store::RecordFile;

use crate::agent::{Agent, Died};
use crate::call::{self, Call, IDS, traces};
use crate::choices::Choices;
use crate::faults::Also;
use crate::told::{Told, check_answer};
use crate::world::{self, MONITORS, World};

/// Worlds without an agent that have been met, and with how many faults to come.
#[derive(Default)]
pub struct Met {
    pub worlds: BTreeMap<u64, usize>,
    pub runs: usize,
    pub cut_short: usize,
}

/// Which of the agents it is that come when everything is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    First,
    Second,
}

pub struct Run<'a> {
    pub world: World,
    pub choices: &'a mut Choices,
    pub met: &'a mut Met,
    pub tells: bool,
}

impl Run<'_> {
    /// Does the calls, the first `calm` of them without faults; false if it has gone on in this way before.
    pub fn play(&mut self, calls: &[Call], calm: usize) -> bool {
        self.met.runs += 1;
        let mut agent: Option<(Agent, Told)> = None;
        let mut quiet = Choices::new(0);
        for (at, call) in calls.iter().enumerate() {
            if matches!(call, Call::Restart) {
                agent.take().into_iter().for_each(|(own, _)| own.end(&mut self.world));
                self.world.end_qemu();
            }
            for _ in 0..4 {
                if self.world.is_down {
                    agent.take().into_iter().for_each(|(own, _)| own.end(&mut self.world));
                    self.world.start_qemu();
                }
                if agent.is_none() {
                    agent = self.open(at < calm);
                }
                if agent.is_some() {
                    break;
                }
                if self.is_met(at) {
                    return false;
                }
            }
            let Some((mut own, mut told)) = agent.take() else {
                self.world.violations.push("four agents could not open the guest".into());
                return true;
            };
            if self.tells {
                self.choices.story.push(format!("{call:?}"));
            }
            let choices = if at < calm { &mut quiet } else { &mut *self.choices };
            match call_checked(&mut self.world, &mut own, &mut told, *call, choices, self.tells) {
                Ok(()) => agent = Some((own, told)),
                Err(Died) => {
                    self.bury(own);
                    if self.is_met(at + 1) {
                        return false;
                    }
                }
            }
            if !self.world.violations.is_empty() || !self.world.model.violations.is_empty() {
                break;
            }
        }
        if let Some((agent, _)) = agent {
            agent.end(&mut self.world);
        }
        if self.is_met(calls.len()) {
            return false;
        }
        true
    }

    fn open(&mut self, calm: bool) -> Option<(Agent, Told)> {
        let mut quiet = Choices::new(0);
        let others = [MONITORS[1]];
        let others = if calm || !self.world.also(Also::OtherMonitor) { &others[..0] } else { &others };
        let monitor = match self.world.has_rest() && !calm {
            // Either of them: that an agent has died is fault enough.
            true => MONITORS[self.choices.choose(MONITORS.len())],
            false => self.choices.fault("open", others).unwrap_or(MONITORS[0]),
        };
        let mut agent = match Agent::start(&self.world, monitor, self.tells) {
            Ok(agent) => agent,
            Err(error) => {
                self.world.violations.push(format!("the record cannot be loaded: {error}"));
                return None;
            }
        };
        let choices = if calm { &mut quiet } else { &mut *self.choices };
        let mut told = Told::default();
        match agent.call(&mut self.world, choices, Request::Open) {
            Ok(Ok(_)) => {
                drain(&mut self.world, &mut agent, &mut told);
                Some((agent, told))
            }
            Ok(Err(error)) => {
                if self.tells {
                    self.choices.story.push(format!("open: {error}"));
                }
                agent.end(&mut self.world);
                None
            }
            Err(Died) => {
                self.bury(agent);
                None
            }
        }
    }

    /// An agent has died, perhaps with its host.
    fn bury(&mut self, agent: Agent) {
        agent.end(&mut self.world);
        if self.world.has_no_power {
            self.world.fail_power(self.choices);
        }
    }

    /// Whether the same world has been met, with at least as many faults to come and the same calls.
    fn is_met(&mut self, at: usize) -> bool {
        let print = self.world.fingerprint(&at);
        let left = self.choices.left() + 1;
        let before = self.met.worlds.entry(print).or_default();
        let known = *before >= left;
        *before = left.max(*before);
        self.met.cut_short += usize::from(known);
        known
    }

    /// A fresh agent without faults comes to rest, and everything agrees; a second one changes nothing.
    pub fn close(&mut self) {
        self.choices.end_faults();
        let world = &mut self.world;
        if world.is_down {
            world.start_qemu();
        }
        (0..MONITORS.len()).for_each(|monitor| world.carry_out_rest(monitor));
        world.finish_leaving();
        match world.model.run_state.as_str() {
            "running" => {}
            "suspended" => world.model.wake_up(),
            _ => world.model.set_run_state("running"),
        }
        world.model.take_events();
        self.settle(Pass::First);
        if !self.world.violations.is_empty() {
            return;
        }
        self.check_rest();
        let (files, print) = (self.world.files(), self.world.fingerprint(&0));
        self.settle(Pass::Second);
        if self.world.files() != files || self.world.fingerprint(&0) != print {
            self.world.violations.push("a second agent has changed something".into());
        }
        self.world.check_theirs();
    }

    fn settle(&mut self, pass: Pass) {
        let Some((mut agent, mut told)) = self.open(true) else {
            self.world.violations.push("a fresh agent cannot open the guest".into());
            return;
        };
        let mut quiet = Choices::new(0);
        for _ in 0..6 {
            for request in [Request::Process, Request::Settle] {
                if let Ok(Err(error)) = agent.call(&mut self.world, &mut quiet, request) {
                    self.world.violations.push(format!("a fresh agent: {error}"));
                }
            }
            drain(&mut self.world, &mut agent, &mut told);
            if RecordFile::peek(&self.world.path()).is_ok_and(|record| record.journal().intents.is_empty()) {
                break;
            }
            self.grant_all();
            let later = self.world.instant() + Duration::from_secs(11);
            self.world.advance_to(later);
        }
        self.remove_replaced(&mut agent);
        let is_as_asked = !self.world.has_ejected && !self.world.taken;
        if let Ok(Ok(Answer::Differences(all))) = agent.call(&mut self.world, &mut quiet, Request::Verify) {
            let missing = all.iter().filter(|one| is_as_asked && one.what == Mismatch::Missing);
            let missing: Vec<String> =
                missing.map(|one| format!("{} has left, and nobody has cleared up", one.id)).collect();
            self.world.violations.extend(missing);
        }
        match agent.call(&mut self.world, &mut quiet, Request::Repair) {
            Ok(Ok(Answer::Differences(left))) => {
                // What QEMU did not close while the guest was paused goes with a connection.
                let is_known = self.world.uncertain || self.world.change_refused || pass == Pass::First;
                let is_ours = |id: &str| !self.world.model.device(id).is_some_and(world::is_theirs);
                let left = left.iter().filter(|left| !is_known && is_ours(&left.id));
                let left: Vec<String> = left.map(|left| format!("a fresh agent leaves {left:?}")).collect();
                self.world.violations.extend(left);
            }
            Ok(other) => self.world.violations.push(format!("a fresh agent: {other:?}")),
            Err(Died) => {}
        }
        drain(&mut self.world, &mut agent, &mut told);
        agent.end(&mut self.world);
    }

    /// The last list that was asked for is made so once nothing goes wrong any more, and then nothing is left
    /// to be done about it.
    pub fn converge(&mut self, call: Option<&Call>) {
        let Some(Call::Apply(list)) = call else { return };
        // Another one's device under an id of the list is the caller's to deal with.
        if self.world.taken || self.world.uncertain || !self.world.violations.is_empty() {
            return;
        }
        let Some((mut agent, _)) = self.open(true) else { return };
        let mut quiet = Choices::new(0);
        for pass in [Pass::First, Pass::Second] {
            let before = (self.world.files(), self.world.fingerprint(&0));
            let request = call::wanted(&self.world, list);
            let answer = agent.call(&mut self.world, &mut quiet, request);
            let Ok(Ok(Answer::Applied(applied))) = answer else {
                let fault = answer.map(|answer| format!("{answer:?}")).unwrap_or_default();
                self.world.violations.push(format!("{list:?} is not made so: {fault}"));
                break;
            };
            let is_done = applied.error.is_none() && !applied.is_pending();
            if !is_done {
                self.world.violations.push(format!("{list:?} is not made so: {applied:?}"));
            }
            self.world.host.close_unused(&self.world.model);
            let is_same = before == (self.world.files(), self.world.fingerprint(&0));
            if pass == Pass::Second && (applied.changes() > 0 || !is_same) {
                self.world.violations.push(format!("{list:?} once more does something: {applied:?}"));
            }
        }
        agent.end(&mut self.world);
    }

    /// Who finds another device under the id of a recorded one, which left unheard, removes it from the
    /// record.
    fn remove_replaced(&mut self, agent: &mut Agent) {
        let mut quiet = Choices::new(0);
        for id in IDS {
            let is_recorded = |file: RecordFile| file.record().find(id).is_some();
            let is_replaced = self.world.model.device(id).is_some_and(world::is_theirs)
                && RecordFile::peek(&self.world.path()).is_ok_and(is_recorded);
            if !is_replaced {
                continue;
            }
            let Some(request) = Call::Remove(id).request(&self.world) else { continue };
            match agent.call(&mut self.world, &mut quiet, request) {
                Ok(Ok(Answer::Outcome(outcome))) if matches!(*outcome, Outcome::Done(_)) => {}
                Ok(other) => self.world.violations.push(format!("{id} is another one's: {other:?}")),
                Err(Died) => {}
            }
        }
    }

    fn grant_all(&mut self) {
        for id in self.world.model.asked() {
            self.world.model.grant(&id);
        }
        self.world.finish_leaving();
    }
}

fn drain(world: &mut World, agent: &mut Agent, told: &mut Told) {
    let mut quiet = Choices::new(0);
    while let Ok(Ok(Answer::Event(Some(event)))) = agent.call(world, &mut quiet, Request::NextEvent) {
        told.take(&event, &mut world.violations);
    }
}

fn call_checked(
    world: &mut World,
    agent: &mut Agent,
    told: &mut Told,
    call: Call,
    choices: &mut Choices,
    tells: bool,
) -> std::result::Result<(), Died> {
    let Some(request) = call.request(world) else { return Ok(()) };
    world.silent = false;
    (world.ejected, world.write_failed) = (false, false);
    for id in call.ids() {
        world.promised.remove(id);
        world.inherited.remove(id);
    }
    let before: Vec<Vec<String>> = call.ids().iter().map(|id| traces(world, id)).collect();
    world.named = call.ids();
    let answer = agent.call(world, choices, request);
    world.named.clear();
    let answer = answer?;
    if tells {
        choices.story.push(format!("answer: {answer:?}"));
    }
    world.host.close_unused(&world.model);
    check_answer(world, call, &before, &answer, told);
    drain(world, agent, told);
    Ok(())
}
