//! How operations talk to QEMU and wait: everything that takes time goes through here.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::board::{Asked, Need, Port};
use super::guest_state::GuestState;
use super::io::{Connected, Effect, Given, Link};
use super::limit::Deadline;
use super::operations::Cell;
use super::request::Answer;
use crate::error::{Error, ErrorKind, Result, errno};
use crate::qmp::{Batch, Command, Queued};

/// An operation's own: how it asks, and where the state goes while it waits for the guest.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) port: Port,
    pub(super) cell: Cell<GuestState>,
}

impl Port {
    async fn run(&self, link: Link, commands: Vec<Command>, deadline: &Deadline) -> Batch {
        let count = commands.len();
        let need = Need::Effect(Effect::Run(link, commands));
        let asked = Asked { need, until: Some(deadline.at()), cancelable: deadline.is_cancelable() };
        match self.ask(asked).await {
            Given::Batch(mut batch) => {
                batch.replies.resize_with(count, || None);
                batch
            }
            Given::Failed(error) => Batch::failed(count, error),
            _ => Batch::failed(count, unexpected()),
        }
    }
}

impl GuestState {
    pub(super) fn port(&self) -> Result<&Port> {
        let own = self.own.as_ref().map(|own| &own.port);
        own.ok_or_else(|| Error::new(ErrorKind::State, "no operation has the state of the guest"))
    }

    /// The time, as the shell has told it.
    pub(super) fn now(&self) -> Instant {
        self.own.as_ref().map_or(self.opened_at, |own| own.port.now())
    }

    /// Fails when the deadline has passed or the operation was cancelled.
    pub(super) fn check(&self, deadline: &Deadline) -> Result<()> {
        if deadline.is_cancelable() && self.port()?.is_cancelled() {
            return Err(Error::new(ErrorKind::Canceled, "cancelled by another thread"));
        }
        if deadline.left(self.now()).is_zero() {
            return Err(Error::new(ErrorKind::Timeout, "the deadline passed"));
        }
        Ok(())
    }

    /// Sleeps for `pause`, or less if the deadline or a cancel comes first.
    pub(super) async fn pause(&self, pause: Duration, deadline: &Deadline) -> Result<()> {
        if !pause.is_zero() {
            let until = deadline.at_most(self.now(), pause).at();
            self.port()?.wait(Need::Time, until, deadline.is_cancelable()).await?;
        }
        self.check(deadline)
    }

    /// The connection; an error once it is lost, until the next operation makes a new one.
    pub(super) fn monitor(&self) -> Result<&Connected> {
        let whole = |monitor: &&Connected| !self.port().is_ok_and(|port| port.is_broken(monitor.link));
        let lost = || Error::new(ErrorKind::MonitorLost, "the connection to the monitor is gone");
        self.monitor.as_ref().filter(whole).ok_or_else(lost)
    }

    /// The oldest event that has not been taken in.
    pub(super) fn next_event(&self) -> Option<Queued> {
        self.own.as_ref()?.port.next_event()
    }

    /// The process that listens at the monitor; an error if it cannot be seen from here.
    pub(super) fn qemu_pid(&self) -> Result<i32> {
        let unseen = || {
            Error::new(ErrorKind::Host, "see who the monitor is: no such process").with_errno(errno::ESRCH)
        };
        self.monitor()?.pid.ok_or_else(unseen)
    }

    /// Connects to a monitor and waits for its greeting.
    pub(super) async fn connect_to(&self, path: PathBuf, deadline: &Deadline) -> Result<Connected> {
        self.check(deadline)?;
        let need = Need::Effect(Effect::Connect(path));
        let asked = Asked { need, until: Some(deadline.at()), cancelable: deadline.is_cancelable() };
        match self.port()?.ask(asked).await {
            Given::Connected(connected) => Ok(connected),
            Given::Failed(error) => Err(error),
            _ => Err(unexpected()),
        }
    }

    /// Has the shell do something that takes as long as it takes.
    pub(super) async fn perform(&self, effect: Effect) -> Result<()> {
        match self.port()?.perform(effect).await {
            Given::Done => Ok(()),
            Given::Failed(error) => Err(error),
            _ => Err(unexpected()),
        }
    }

    /// Sends all `commands` at once and waits for all their answers.
    pub(super) async fn run(&self, commands: Vec<Command>, deadline: &Deadline) -> Batch {
        match self.monitor() {
            Ok(monitor) => self.run_on(monitor.link, commands, deadline).await,
            Err(error) => Batch::failed(commands.len(), error),
        }
    }

    /// The same over another connection.
    pub(super) async fn run_on(&self, link: Link, commands: Vec<Command>, deadline: &Deadline) -> Batch {
        let may = self.check(deadline).and_then(|()| self.check_only_asks(&commands));
        match may.and_then(|()| self.port()) {
            Ok(port) => port.run(link, commands, deadline).await,
            Err(error) => Batch::failed(commands.len(), error),
        }
    }

    /// The same, and other operations have the state of the guest meanwhile.
    pub(super) async fn run_yielding(&mut self, commands: Vec<Command>, deadline: &Deadline) -> Batch {
        let count = commands.len();
        let Some(own) = self.own.clone() else { return Batch::failed(count, unexpected()) };
        let link = match self.check(deadline).and_then(|()| self.monitor()) {
            Ok(monitor) => monitor.link,
            Err(error) => return Batch::failed(count, error),
        };
        self.put_back(&own);
        let batch = own.port.run(link, commands, deadline).await;
        self.get_back(own).await;
        batch
    }

    /// Tells the caller how it goes; the operation goes on.
    pub(super) fn answer(&self, answer: Answer) {
        if let Ok(port) = self.port() {
            port.answer(Ok(answer));
        }
    }

    /// Runs one command.
    pub(super) async fn execute(&self, command: Command, deadline: &Deadline) -> Result<Value> {
        self.execute_on(self.monitor()?.link, command, deadline).await
    }

    /// The same over another connection.
    pub(super) async fn execute_on(
        &self,
        link: Link,
        command: Command,
        deadline: &Deadline,
    ) -> Result<Value> {
        let name = command.name.clone();
        let batch = self.run_on(link, vec![command], deadline).await;
        let reply = batch.replies.into_iter().next().flatten();
        let answer = match (reply, batch.failure) {
            (Some(reply), _) => reply,
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::new(ErrorKind::Protocol, "no reply")),
        };
        answer.map_err(|error| error.with_step(name.as_ref()))
    }

    /// Waits until QEMU has said something that has not been taken in, or another operation has done something; other operations
    /// have the state of the guest meanwhile.
    pub(super) async fn wait_event(&mut self, deadline: &Deadline) -> Result<()> {
        self.check(deadline)?;
        if self.port()?.has_events() {
            return Ok(());
        }
        self.monitor()?;
        self.wait_news(deadline).await
    }

    /// Waits until another operation has done something, or QEMU has said something.
    pub(super) async fn wait_news(&mut self, deadline: &Deadline) -> Result<()> {
        let Some(own) = self.own.clone() else { return Ok(()) };
        self.put_back(&own);
        let waited = own.port.wait(Need::News, deadline.at(), deadline.is_cancelable()).await;
        self.get_back(own).await;
        waited
    }

    /// The same, and other operations have the state of the guest meanwhile.
    pub(super) async fn pause_yielding(&mut self, pause: Duration, deadline: &Deadline) -> Result<()> {
        let Some(own) = self.own.clone() else { return Ok(()) };
        let until = deadline.at_most(self.now(), pause).at();
        self.put_back(&own);
        let waited = own.port.wait(Need::Time, until, deadline.is_cancelable()).await;
        self.get_back(own).await;
        waited.and_then(|()| self.check(deadline))
    }

    /// Lets other operations have the state until [`GuestState::get_back`].
    pub(super) fn put_back(&mut self, own: &Own) {
        let placeholder = self.placeholder();
        let mut state = std::mem::replace(self, placeholder);
        state.own = None;
        *lock(&own.cell) = Some(Box::new(state));
    }

    /// Waits for the state.
    pub(super) async fn get_back(&mut self, own: Own) {
        loop {
            if let Some(state) = own.port.take_state(&own.cell) {
                *self = *state;
                self.own = Some(own);
                return;
            }
            own.port.ask(Asked { need: Need::Turn, until: None, cancelable: false }).await;
        }
    }
}

fn lock(cell: &Cell<GuestState>) -> std::sync::MutexGuard<'_, Option<Box<GuestState>>> {
    cell.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(super) fn unexpected() -> Error {
    Error::new(ErrorKind::State, "the shell has given something else than was asked for")
}
