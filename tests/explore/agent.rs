//! An agent in a world: it does what the engine says, and at each effect something else may happen.

use std::sync::Arc;
use std::time::Duration;

use fake_qemu::{Event, Outcome};
use kvm_hotplug::engine::{
    Access, Answer, Connected, Deadline, Demand, Effect, Engine, Given, Link, Listener, OpId, Request,
    StoreStep,
};
use kvm_hotplug::error::{Error, ErrorKind, Result};
use kvm_hotplug::log::{Level, Log, Sink};
use kvm_hotplug::qmp::{self, Batch, Command, Queued};
use kvm_hotplug::store::{Committed, RecordFile};

use crate::choices::Choices;
use crate::faults::{AtBatch, AtWrite, ByItself, WhenAsked, faults_at, host};
use crate::host::QEMU;
use crate::world::{World, refusal};

/// The agent has died.
pub struct Died;

/// More steps than any call takes.
const MOST_STEPS: usize = 3000;

/// Calls wait this long for a guest.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Agent {
    engine: Engine,
    record: RecordFile,
}

struct Print;

impl Sink for Print {
    fn line(&self, level: Level, text: &str) {
        #[allow(clippy::print_stdout)]
        {
            println!("    [{level:?}] {text}");
        }
    }
}

impl Agent {
    /// Loads the record. It has said nothing to QEMU yet.
    pub fn start(world: &World, tells: bool) -> Result<Self> {
        let record = RecordFile::load(&world.path())?;
        let log = if tells { Log::new(Level::Debug, Arc::new(Print)) } else { Log::default() };
        let engine = Engine::new(
            record.contents().clone(),
            "/run/web1.monitor".into(),
            (Listener::default(), Access::Change),
            log,
            world.instant(),
        );
        Ok(Self { engine, record })
    }

    /// It ends. What it has staged stays.
    pub fn end(self, world: &mut World) {
        let files = world.files();
        drop(self);
        world.write_files(&files);
        world.disconnect();
        world.model.take_events();
        world.host.close_unused(&world.model);
        world.silent = false;
    }

    /// A call that the guest has so long for.
    pub fn call(
        &mut self,
        world: &mut World,
        choices: &mut Choices,
        request: Request,
    ) -> std::result::Result<Result<Answer>, Died> {
        let deadline = Deadline::after(world.instant(), PATIENCE);
        let op = self.engine.handle(request, deadline);
        for _ in 0..MOST_STEPS {
            let demand = self.engine.poll(world.instant(), Some(op));
            match demand {
                Some(Demand::Perform(op, effect)) => self.perform(world, choices, op, effect)?,
                Some(Demand::GiveUp(op, error)) => self.engine.give(op, Given::Failed(error)),
                None => match self.engine.answer(op) {
                    Some(answer) => {
                        self.go_on_unwaited(world, choices)?;
                        return Ok(answer);
                    }
                    None => self.wait(world, choices),
                },
            }
        }
        world.violations.push("the call has no end".into());
        Ok(Err(Error::new(ErrorKind::State, "no end")))
    }

    fn go_on_unwaited(&mut self, world: &mut World, choices: &mut Choices) -> std::result::Result<(), Died> {
        while let Some(Demand::Perform(op, effect)) = self.engine.poll(world.instant(), None) {
            self.perform(world, choices, op, effect)?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        world: &mut World,
        choices: &mut Choices,
        step: StoreStep,
    ) -> std::result::Result<Result<Given>, Died> {
        let (name, faults): (_, &[AtWrite]) = match &step {
            StoreStep::Meet(_) => ("", &[]),
            StoreStep::Stage(_) => ("stage", &[AtWrite::Fail]),
            StoreStep::Replace(_) => ("replace the record", AtWrite::ALL),
            StoreStep::Commit(_) => ("commit the record", AtWrite::ALL),
            StoreStep::Journal(journal) if journal.intents.is_empty() => ("remove the journal", AtWrite::ALL),
            StoreStep::Journal(_) => ("write the journal", AtWrite::ALL),
        };
        let fault = choices.fault(name, faults);
        match fault {
            Some(AtWrite::Fail) => {
                world.write_failed = true;
                return Ok(Err(Error::new(ErrorKind::Host, "the disk refuses")));
            }
            Some(AtWrite::DieBefore) => {
                if let StoreStep::Commit(staged) = step {
                    // What was staged stays where it is.
                    let files = world.files();
                    drop(staged);
                    world.write_files(&files);
                }
                return Err(Died);
            }
            _ => {}
        }
        let record = &mut self.record;
        let given = match step {
            StoreStep::Meet(peer) => {
                record.meet(peer);
                Ok(Given::Done)
            }
            StoreStep::Replace(next) => record.replace(*next).map(|()| Given::Done),
            StoreStep::Stage(next) => record.stage(*next).map(|staged| Given::Staged(staged.into())),
            StoreStep::Commit(staged) => record.commit_staged(staged).map(|committed| match committed {
                Committed::InPlace => Given::Done,
                Committed::Outdated => Given::Outdated,
            }),
            StoreStep::Journal(journal) => record.put_journal(journal).map(|()| Given::Done),
        };
        self.engine.contents(record.contents().clone());
        match fault {
            Some(AtWrite::DieAfter) => Err(Died),
            _ => Ok(given),
        }
    }

    fn perform(
        &mut self,
        world: &mut World,
        choices: &mut Choices,
        op: OpId,
        effect: Effect,
    ) -> std::result::Result<(), Died> {
        let given = match effect {
            Effect::Connect(_) => {
                let link = Link(world.connect());
                let version = qmp::Version { major: 7, minor: 2, micro: 22 };
                Given::Connected(Connected { link, version, pid: Some(QEMU) })
            }
            Effect::Watch(_) | Effect::ReadAll => Given::Done,
            Effect::Identify(_) => Given::Failed(lost()),
            Effect::Close(link) => {
                if world.link == Some(link.0) {
                    world.disconnect();
                }
                Given::Done
            }
            Effect::Read(link) if world.link == Some(link.0) => Given::Done,
            Effect::Read(_) => Given::Failed(lost()),
            Effect::Run(link, commands) if world.link != Some(link.0) => {
                Given::Batch(Batch::failed(commands.len(), lost()))
            }
            Effect::Run(link, commands) => Given::Batch(self.run(world, choices, link, &commands)?),
            Effect::Store(step) => match self.write(world, choices, step)? {
                Ok(given) => given,
                Err(error) => Given::Failed(error),
            },
            Effect::Host(step) => match host(world, choices, step)? {
                Ok(result) => Given::Host(result),
                Err(error) => Given::Failed(error),
            },
        };
        self.engine.give(op, given);
        Ok(())
    }

    fn run(
        &mut self,
        world: &mut World,
        choices: &mut Choices,
        link: Link,
        commands: &[Command],
    ) -> std::result::Result<Batch, Died> {
        if let Some(held) = world.held {
            world.held = held.checked_sub(1);
            if world.held.is_none() {
                let events = world.finish_leaving();
                self.hear(world, events);
            }
        }
        let names: Vec<&str> = commands.iter().map(|command| command.name.as_ref()).collect();
        let fault = choices.fault(&format!("at {names:?}"), &faults_at(world, commands));
        match &fault {
            Some(AtBatch::Guest(ByItself::Eject(id))) => {
                (world.ejected, world.has_ejected) = (true, true);
                world.model.grant(id);
                let events = world.finish_leaving();
                self.hear(world, events);
            }
            Some(AtBatch::Guest(ByItself::TakeId(id))) => world.add_their_device(id),
            Some(AtBatch::Guest(ByItself::Pause)) => world.model.set_run_state("paused"),
            Some(AtBatch::Guest(ByItself::Reset)) => world.model.reset(true),
            _ => {}
        }
        let events = world.model.take_events();
        self.hear(world, events);
        let (done, arrives) = match fault {
            Some(AtBatch::Die(done) | AtBatch::Cut(done)) => (done, true),
            Some(AtBatch::CutWithoutFd(done)) => (done, false),
            _ => (commands.len(), true),
        };
        let mut batch = Batch { replies: Vec::new(), failure: None };
        for (at, command) in commands.iter().take(done).enumerate() {
            let is_refused = matches!(fault, Some(AtBatch::Refuse(refused)) if refused == at);
            if is_refused && world.would_do(command) {
                world.residue |= command.name.ends_with("del");
                world.change_refused |= command.name == "set_link" && choices.happened() > 1;
                let error = refusal();
                batch.replies.push(Some(Err(Error::qmp(error.class, error.desc))));
                continue;
            }
            let Outcome { before, reply, after, .. } = world.execute(command, arrives || at + 1 < done);
            self.hear(world, before);
            batch.replies.push(Some(reply.map_err(|error| Error::qmp(error.class, error.desc))));
            self.hear(world, after);
        }
        let last_had_fd =
            done.checked_sub(1).and_then(|last| commands.get(last)).is_some_and(|last| last.fd.is_some());
        match fault {
            Some(AtBatch::Die(_)) => {
                world.uncertain |= last_had_fd;
                Err(Died)
            }
            Some(AtBatch::Cut(_) | AtBatch::CutWithoutFd(_)) => {
                world.uncertain |= last_had_fd;
                world.disconnect();
                self.engine.disconnected(link);
                Ok(Batch::failed(commands.len(), lost()))
            }
            _ => Ok(batch),
        }
    }

    /// Only a client that is there hears them.
    fn hear(&mut self, world: &World, events: Vec<Event>) {
        for Event { name, data } in events.into_iter().filter(|_| world.model.hears(0)) {
            let event = qmp::Event { name, data, timestamp: serde_json::Value::Null, size: 100 };
            self.engine.event(Queued::Event(event));
        }
    }

    /// All operations wait: the guest does something, or the time goes on.
    fn wait(&mut self, world: &mut World, choices: &mut Choices) {
        let asked = world.model.asked().into_iter().next();
        let asked = asked.filter(|_| world.model.is_running() && !world.silent);
        if let Some(id) = asked {
            let late = [0, 2, 4, 5, 6, 7, 8].map(WhenAsked::LeaveLate);
            let others: Vec<WhenAsked> =
                [WhenAsked::Refuse, WhenAsked::KeepSilent].into_iter().chain(late).collect();
            match choices.fault(&format!("the guest is asked for {id}"), &others) {
                None => _ = world.model.grant(&id),
                Some(WhenAsked::Refuse) => _ = world.model.guest_refuses(&id),
                Some(WhenAsked::KeepSilent) => world.silent = true,
                Some(WhenAsked::LeaveLate(batches)) => {
                    world.model.grant(&id);
                    world.held = Some(batches);
                }
            }
        } else if !world.model.leaving.is_empty() && world.held.is_none() {
            let events = world.finish_leaving();
            return self.hear(world, events);
        } else {
            match self.engine.next_timeout() {
                Some(at) => world.advance_to(at),
                None => world.violations.push("nothing goes on".into()),
            }
        }
        let events = world.model.take_events();
        self.hear(world, events);
    }
}

fn lost() -> Error {
    Error::monitor_lost()
}
