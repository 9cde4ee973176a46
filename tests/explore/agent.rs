//! An agent in a world: it does what the engine says, and at each effect something else may happen.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kvm_hotplug::engine::{
    Access, Answer, Connected, Deadline, Demand, Effect, Engine, Given, Link, Listener, OpId, Request,
    StoreStep,
};
use kvm_hotplug::error::{Error, ErrorKind, Result};
use kvm_hotplug::log::{Level, Log, Sink};
use kvm_hotplug::qmp::{self, Batch, Command, Reached};
use kvm_hotplug::store::{Committed, RecordFile};

use crate::choices::Choices;
use crate::faults::{Also, AtWrite, WhenAsked, host};
use crate::world::World;

/// The agent has died.
pub struct Died;

/// More steps than any call takes.
const MOST_STEPS: usize = 3000;

/// Calls wait this long for a guest.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Agent {
    pub(crate) engine: Engine,
    record: RecordFile,
    /// Commands that were sent for operations that no call waits for: their answers come before those to any
    /// later ones.
    pub(crate) sent: Vec<(OpId, Link, Vec<Command>)>,
    /// The connection whose events it hears.
    pub(crate) main: Option<Link>,
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
    pub fn start(world: &World, monitor: &str, tells: bool) -> Result<Self> {
        let record = RecordFile::load(&world.path())?;
        let log = if tells { Log::new(Level::Debug, Arc::new(Print)) } else { Log::default() };
        let engine = Engine::new(
            record.contents().clone(),
            PathBuf::from(monitor).into(),
            (Listener::default(), Access::Change),
            log,
            world.instant(),
        );
        Ok(Self { engine, record, sent: Vec::new(), main: None })
    }

    /// It ends. What it has staged stays.
    pub fn end(mut self, world: &mut World) {
        self.take_answers(world);
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
                    None => self.wait(world, choices, op),
                },
            }
        }
        world.violations.push("the call has no end".into());
        Ok(Err(Error::new(ErrorKind::State, "no end")))
    }

    /// What no call waits for goes on until QEMU is asked: its answers come later.
    fn go_on_unwaited(&mut self, world: &mut World, choices: &mut Choices) -> std::result::Result<(), Died> {
        while let Some(demand) = self.engine.poll(world.instant(), None) {
            match demand {
                Demand::Perform(op, Effect::Run(link, commands)) if world.links.contains_key(&link.0) => {
                    self.sent.push((op, link, commands));
                }
                Demand::Perform(op, effect) => self.perform(world, choices, op, effect)?,
                Demand::GiveUp(op, error) => self.engine.give(op, Given::Failed(error)),
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        world: &mut World,
        choices: &mut Choices,
        step: StoreStep,
    ) -> std::result::Result<Result<Given>, Died> {
        let all = AtWrite::all(world);
        let (name, faults) = match &step {
            StoreStep::Meet(_) => ("", Vec::new()),
            StoreStep::Stage(_) => ("stage", vec![AtWrite::Fail]),
            StoreStep::Replace(_) => ("replace the record", all),
            StoreStep::Commit(_) => ("commit the record", all),
            StoreStep::Journal(journal) if journal.intents.is_empty() => ("remove the journal", all),
            StoreStep::Journal(_) => ("write the journal", all),
        };
        let fault = choices.fault(name, &faults);
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
        let before = world.also(Also::PowerFails).then(|| world.files());
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
        if let Some(before) = before {
            world.note_dir_steps(&before);
        }
        match fault {
            Some(AtWrite::DieAfter) => Err(Died),
            Some(AtWrite::PowerFails) => {
                world.has_no_power = true;
                Err(Died)
            }
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
            Effect::Connect(_) if world.is_down => Given::Failed(lost().with_errno(libc::ECONNREFUSED)),
            Effect::Connect(name) => {
                let link = Link(world.connect(Path::new(&name.to_string())));
                let reached =
                    Reached { name, socket: (0, 0), passes_descriptors: true, names_listener: true };
                let version = qmp::Version { major: 7, minor: 2, micro: 22 };
                Given::Connected(Connected { link, version, pid: Some(world.host.qemu), reached })
            }
            Effect::Watch(link) => {
                self.main = Some(link);
                Given::Done
            }
            Effect::ReadAll => {
                self.take_answers(world);
                Given::Done
            }
            Effect::Identify(_) => Given::Failed(lost()),
            Effect::Close(link) => {
                world.close(link.0);
                Given::Done
            }
            Effect::Read(link) if world.links.contains_key(&link.0) => Given::Done,
            Effect::Read(_) => Given::Failed(lost()),
            Effect::Run(link, commands) if !world.links.contains_key(&link.0) => {
                Given::Batch(Batch::failed(commands.len(), lost()))
            }
            Effect::Run(link, commands) => Given::Batch(self.run(world, choices, (op, link), &commands)?),
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

    /// All operations wait: the guest does something, or the time goes on.
    fn wait(&mut self, world: &mut World, choices: &mut Choices, op: OpId) {
        if !self.sent.is_empty() {
            return self.take_answers(world);
        }
        let asked = world.model.asked().into_iter().next();
        let asked = asked.filter(|_| world.model.is_running() && !world.silent);
        if let Some(id) = asked {
            match choices.fault(&format!("the guest is asked for {id}"), &WhenAsked::all(world)) {
                None => _ = world.model.grant(&id),
                Some(WhenAsked::Refuse) => _ = world.model.guest_refuses(&id),
                Some(WhenAsked::KeepSilent) => world.silent = true,
                Some(WhenAsked::Cancel) => {
                    world.silent = true;
                    if let Some(Demand::GiveUp(op, error)) = self.engine.cancel(op) {
                        self.engine.give(op, Given::Failed(error));
                    }
                }
                Some(WhenAsked::End) => {
                    world.end_qemu();
                    if let Some(link) = self.main {
                        self.engine.disconnected(link);
                    }
                }
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

/// The connection is gone.
pub fn lost() -> Error {
    Error::monitor_lost()
}
