//! Commands that an agent sends, and what may happen to them on the way.

use fake_qemu::{Event, Outcome};
use kvm_hotplug::engine::{Demand, Given, Link, OpId};
use kvm_hotplug::error::Error;
use kvm_hotplug::qmp::{self, Batch, Command, Queued};

use crate::agent::{Agent, Died, lost};
use crate::choices::Choices;
use crate::faults::{AtBatch, ByItself, faults_at};
use crate::world::{World, refusal};

impl Agent {
    /// QEMU carries out what was sent for operations that no call waits for, and answers.
    pub(crate) fn take_answers(&mut self, world: &mut World) {
        for (op, link, commands) in std::mem::take(&mut self.sent) {
            let mut batch = Batch::failed(commands.len(), lost());
            if world.links.contains_key(&link.0) {
                batch = Batch { replies: Vec::new(), failure: None };
                for command in &commands {
                    self.execute(world, link, command, true, &mut batch);
                }
            }
            self.engine.give(op, Given::Batch(batch));
        }
    }

    fn execute(
        &mut self,
        world: &mut World,
        link: Link,
        command: &Command,
        arrives: bool,
        batch: &mut Batch,
    ) {
        let Outcome { before, reply, after, .. } = world.execute(link.0, command, arrives);
        self.hear(world, before);
        batch.replies.push(Some(reply.map_err(|error| Error::qmp(error.class, error.desc))));
        self.hear(world, after);
    }

    /// Sends commands, and takes what comes of them.
    pub(crate) fn run(
        &mut self,
        world: &mut World,
        choices: &mut Choices,
        (op, link): (OpId, Link),
        commands: &[Command],
    ) -> std::result::Result<Batch, Died> {
        self.take_answers(world);
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
                world.promised.remove(id);
                world.model.grant(id);
                let events = world.finish_leaving();
                self.hear(world, events);
            }
            Some(AtBatch::Guest(ByItself::TakeId(id))) => world.add_their_device(id),
            Some(AtBatch::Guest(ByItself::Pause)) => world.model.set_run_state("paused"),
            Some(AtBatch::Guest(ByItself::Reset)) => world.model.reset(true),
            Some(AtBatch::Guest(ByItself::Sleep)) => world.model.suspend(),
            Some(AtBatch::Guest(ByItself::WakeUp)) => world.model.wake_up(),
            Some(AtBatch::End | AtBatch::EndAndStart) => {
                world.end_qemu();
                if matches!(fault, Some(AtBatch::EndAndStart)) {
                    world.start_qemu();
                }
                self.engine.disconnected(link);
                return Ok(Batch::failed(commands.len(), lost()));
            }
            _ => {}
        }
        let events = world.model.take_events();
        self.hear(world, events);
        let (done, arrives) = match fault {
            Some(AtBatch::Die(done) | AtBatch::Cut(done) | AtBatch::DieWithRest(done)) => (done, true),
            Some(AtBatch::CutWithoutFd(done)) => (done, false),
            _ => (commands.len(), true),
        };
        let mut batch = Batch { replies: Vec::new(), failure: None };
        for (at, command) in commands.iter().take(done).enumerate() {
            let is_refused = matches!(fault, Some(AtBatch::Refuse(refused)) if refused == at);
            if is_refused && world.would_do(command) {
                world.residue |= command.name.ends_with("del");
                let is_change = ["set_link", "qom-set", "block_set_io_throttle"]
                    .contains(&command.name.as_ref())
                    || command.name.ends_with("-tray")
                    || command.name.ends_with("-medium");
                world.change_refused |= is_change && choices.happened() > 1;
                let error = refusal();
                batch.replies.push(Some(Err(Error::qmp(error.class, error.desc))));
                continue;
            }
            self.execute(world, link, command, arrives || at + 1 < done, &mut batch);
        }
        let last_had_fd =
            done.checked_sub(1).and_then(|last| commands.get(last)).is_some_and(|last| last.fd.is_some());
        match fault {
            Some(AtBatch::Die(_)) => {
                world.uncertain |= last_had_fd;
                Err(Died)
            }
            Some(AtBatch::DieWithRest(done)) => {
                world.uncertain |= last_had_fd;
                world.leave_rest(link.0, commands.iter().skip(done));
                Err(Died)
            }
            Some(AtBatch::Cancel(answered)) => {
                if let Some(Demand::GiveUp(_, error)) = self.engine.cancel(op) {
                    batch.replies.iter_mut().skip(answered).for_each(|reply| *reply = None);
                    batch.failure = Some(error);
                    world.uncertain |= commands.iter().any(|command| command.fd.is_some());
                }
                Ok(batch)
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
    pub(crate) fn hear(&mut self, world: &World, events: Vec<Event>) {
        let monitor = self.main.and_then(|link| world.links.get(&link.0));
        let hears = monitor.is_some_and(|monitor| world.model.hears(*monitor));
        for Event { name, data } in events.into_iter().filter(|_| hears) {
            let event = qmp::Event { name, data, timestamp: serde_json::Value::Null, size: 100 };
            self.engine.event(Queued::Event(event));
        }
    }
}
