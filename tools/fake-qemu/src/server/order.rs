//! A command on its way: the rule of the script that is for it, the model, the answer.

use std::fs::File;
use std::os::fd::OwnedFd;

use serde_json::Value;

use super::client::Client;
use crate::command::{Answer, Command, Event, QmpError};
use crate::host;
use crate::script::{Act, Planned};
use crate::state::{Happened, Later, Seen, State, Timer};
use crate::wire::{self, Complete};

/// A command that has come in.
pub(super) struct Order {
    seen: Seen,
    id: Option<Value>,
    fd: Option<OwnedFd>,
}

impl Order {
    pub(super) fn new(state: &mut State, command: Command, mut complete: Complete) -> Self {
        let fds = complete.fds.len();
        if fds != usize::from(matches!(command.name.as_str(), "getfd" | "add-fd")) {
            state.violations.push(format!("{} came with {fds} descriptors", command.name));
        }
        let seen = Seen { name: command.name, arguments: command.arguments, fds, bytes: complete.bytes };
        state.seen.push(seen.clone());
        let fd = (!complete.fds.is_empty()).then(|| complete.fds.swap_remove(0));
        Self { seen, id: complete.value.get("id").cloned(), fd }
    }

    fn carry_out(mut self, state: &mut State, monitor: usize) -> Carried {
        let mut command = Command::new(&self.seen.name, std::mem::take(&mut self.seen.arguments));
        if let Some(fd) = self.fd.take() {
            command.fds.push(host::describe(&fd));
            state.held.keep(fd);
        }
        let now = state.now();
        let outcome = state.model.execute(now, monitor, &command);
        for effect in &outcome.effects {
            state.violations.extend(state.held.apply(effect).err());
        }
        state.follow();
        self.seen.arguments = command.arguments;
        state.tell(if outcome.reply.is_ok() {
            Happened::Done(&self.seen)
        } else {
            Happened::Refused(&self.seen)
        });
        Carried { id: self.id, before: outcome.before, reply: outcome.reply, after: outcome.after }
    }
}

/// A command that was carried out, and what is to be said of it.
struct Carried {
    id: Option<Value>,
    before: Vec<Event>,
    reply: Answer,
    after: Vec<Event>,
}

impl Client {
    /// Does with a command what the script and the model say.
    pub(super) fn obey(&mut self, state: &mut State, order: Order, others: &mut Vec<Event>) {
        let mut act = None;
        for planned in state.script.due(&order.seen.name) {
            match planned {
                Planned::Hook(hook) => hook(),
                Planned::Act(planned) => act = Some(planned),
            }
        }
        match act {
            Some(Act::Refuse(text)) => {
                self.say(wire::reply(order.id.as_ref(), &Err(QmpError::in_words(text))));
                state.tell(Happened::Refused(&order.seen));
            }
            Some(Act::CloseBefore) => self.closing = true,
            Some(Act::HangBefore) => state.hung = true,
            Some(Act::Silence) => {
                state.hung = true;
                state.tell(Happened::Silent(&order.seen));
                self.waiting = Some(order);
            }
            act => {
                let carried = order.carry_out(state, self.monitor);
                self.answer(state, carried, act, others);
            }
        }
    }

    /// Goes on with the command with which it fell silent.
    pub(super) fn go_on(&mut self, state: &mut State, others: &mut Vec<Event>) {
        if let Some(order) = self.waiting.take() {
            let carried = order.carry_out(state, self.monitor);
            self.answer(state, carried, None, others);
        }
    }

    fn answer(&mut self, state: &mut State, carried: Carried, act: Option<Act>, others: &mut Vec<Event>) {
        self.say_events(state, &carried.before);
        self.give(state, carried.id.as_ref(), act, &carried.reply);
        self.say_events(state, &carried.after);
        others.extend(carried.before.into_iter().chain(carried.after));
    }

    fn say_events(&mut self, state: &State, events: &[Event]) {
        if state.model.hears(self.monitor) {
            events.iter().for_each(|event| self.say(wire::event(event, state.event_time)));
        }
    }

    fn give(&mut self, state: &mut State, id: Option<&Value>, act: Option<Act>, answer: &Answer) {
        let reply = wire::reply(id, answer);
        let later = |after| Timer {
            at: state.clock.now() + after,
            connection: self.number,
            what: Later::Say(reply.clone()),
        };
        match act {
            None | Some(Act::Refuse(_) | Act::CloseBefore | Act::HangBefore | Act::Silence) => {
                self.say(reply)
            }
            Some(Act::CloseAfter) => self.closing = true,
            Some(Act::HangAfter) => state.hung = true,
            Some(Act::Stall(time)) => {
                state.hung = true;
                let resume = Timer { what: Later::Resume, ..later(time) };
                state.timers.extend([later(time), resume]);
            }
            Some(Act::AnswerLate(time)) => state.timers.push(later(time)),
            Some(Act::LoseAnswer) => {}
            Some(Act::RefuseAfter(text)) => self.say(wire::reply(id, &Err(QmpError::generic(text)))),
            Some(Act::Reply(object)) => self.say(wire::with_id(object, id)),
            Some(Act::Return(value)) => self.say(wire::reply(id, &Ok(value))),
            Some(Act::CutAt(length)) => {
                self.say(reply.get(..length).unwrap_or(&reply).to_vec());
                self.closing = true;
            }
            Some(Act::AnswerTwice) => self.say(reply.repeat(2)),
            Some(Act::AnswerWithId(id)) => self.say(wire::reply(Some(&id), answer)),
            Some(Act::Around(before, after)) => self.say([before, reply, after].concat()),
            Some(Act::Instead(bytes)) => self.say(bytes),
            Some(Act::Endless(bytes)) => self.endless = Some(bytes),
            Some(Act::WithFds(count)) => {
                let null = || File::open("/dev/null").expect("/dev/null").into();
                self.say_with_fds(reply, (0..count).map(|_| null()).collect());
            }
        }
    }
}
