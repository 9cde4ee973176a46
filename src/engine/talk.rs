//! How operations talk to QEMU and wait: everything that takes time goes through here.

mod send;

use std::time::{Duration, Instant};

use super::answer::Answer;
use super::board::{Asked, Need, Port, Purpose};
use super::guest_state::{GuestState, Own};
use super::io::{Connected, Effect, Given, Link, unexpected};
use super::limit::Deadline;
use crate::error::{Error, ErrorKind, Result, errno};
use crate::mutex::lock;
use crate::qmp::{Batch, Command, MonitorName, Queued};

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
            return Err(Error::canceled());
        }
        if deadline.left(self.now()).is_zero() {
            return Err(Error::deadline_passed());
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
        let usable = |monitor: &&Connected| !self.port().is_ok_and(|port| port.is_closed(monitor.link));
        self.monitor.as_ref().filter(usable).ok_or_else(Error::monitor_lost)
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

    /// Connects to a monitor and waits for its greeting. Operations that only look have the state of the
    /// guest meanwhile.
    pub(super) async fn connect_to(&mut self, name: MonitorName, deadline: &Deadline) -> Result<Connected> {
        self.check(deadline)?;
        let need = Need::Effect(Effect::Connect(name));
        let asked = Asked { need, until: Some(deadline.at()), cancelable: deadline.is_cancelable() };
        let Some(own) = self.own.clone() else { return Err(unexpected()) };
        own.port.begin_connecting();
        self.put_back(&own);
        let given = own.port.ask(asked).await;
        let back = self.get_back(&own, deadline).await;
        own.port.end_connecting();
        back?;
        match given {
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

    /// Closes a connection, which nobody asks for any more.
    pub(super) async fn close(&self, link: Link) -> Result<()> {
        let closed = self.perform(Effect::Close(link)).await;
        self.port()?.forget(link);
        closed
    }

    /// Sends all `commands` at once and waits for all their answers.
    async fn run(&self, commands: Vec<Command>, deadline: &Deadline) -> Batch {
        match self.monitor() {
            Ok(monitor) => self.run_on(monitor.link, commands, deadline).await,
            Err(error) => Batch::failed(commands.len(), error),
        }
    }

    /// Sends all `commands` at once over this connection and waits for all their answers.
    async fn run_on(&self, link: Link, commands: Vec<Command>, deadline: &Deadline) -> Batch {
        match self.may_run(&commands, deadline) {
            Ok(own) => own.port.run(link, commands, deadline).await,
            Err(error) => Batch::failed(commands.len(), error),
        }
    }

    /// Sends all `commands` at once and waits for all their answers. Other operations have the state of the
    /// guest meanwhile.
    async fn run_yielding(&mut self, commands: Vec<Command>, deadline: &Deadline) -> Batch {
        match self.monitor().map(|monitor| monitor.link) {
            Ok(link) => self.run_on_yielding(link, commands, deadline).await,
            Err(error) => Batch::failed(commands.len(), error),
        }
    }

    /// Sends all `commands` at once and waits for all their answers. As long as nothing has been answered on
    /// this connection, operations that only look have the state of the guest meanwhile.
    async fn run_or_first(&mut self, commands: Vec<Command>, deadline: &Deadline) -> Batch {
        let link = match self.monitor() {
            Ok(monitor) => monitor.link,
            Err(error) => return Batch::failed(commands.len(), error),
        };
        if self.has_answered {
            return self.run_on(link, commands, deadline).await;
        }
        let batch = self.run_first(link, commands, deadline).await;
        self.has_answered = batch.replies.iter().any(Option::is_some);
        batch
    }

    /// Sends the first commands over a new connection and waits for all their answers. Operations that only
    /// look have the state of the guest meanwhile, because this monitor may never answer.
    async fn run_first(&mut self, link: Link, commands: Vec<Command>, deadline: &Deadline) -> Batch {
        let Some(own) = self.own.clone() else { return Batch::failed(commands.len(), unexpected()) };
        own.port.begin_connecting();
        let batch = self.run_on_yielding(link, commands, deadline).await;
        own.port.end_connecting();
        batch
    }

    async fn run_on_yielding(&mut self, link: Link, commands: Vec<Command>, deadline: &Deadline) -> Batch {
        let own = match self.may_run(&commands, deadline) {
            Ok(own) => own.clone(),
            Err(error) => return Batch::failed(commands.len(), error),
        };
        self.put_back(&own);
        let batch = own.port.run(link, commands, deadline).await;
        // That there is no connection is found out with the next command.
        let _ = self.get_back(&own, &own.deadline).await;
        batch
    }

    fn may_run(&self, commands: &[Command], deadline: &Deadline) -> Result<&Own> {
        self.check(deadline)?;
        self.check_only_asks(commands)?;
        self.own.as_ref().ok_or_else(unexpected)
    }

    /// Tells the caller how it goes; the operation goes on.
    pub(super) fn answer(&self, answer: Answer) {
        if let Ok(port) = self.port() {
            port.answer(Ok(answer));
        }
    }

    /// Waits until QEMU has said something that has not been taken in, or another operation has done
    /// something; other operations have the state of the guest meanwhile.
    pub(super) async fn wait_event(&mut self, deadline: &Deadline) -> Result<()> {
        self.check(deadline)?;
        if self.port()?.has_events() {
            return Ok(());
        }
        self.monitor()?;
        self.wait_news(deadline).await
    }

    /// Waits until another operation has done something, or QEMU has said something. Other operations have
    /// the state of the guest meanwhile.
    pub(super) async fn wait_news(&mut self, deadline: &Deadline) -> Result<()> {
        let Some(own) = self.own.clone() else { return Ok(()) };
        self.put_back(&own);
        let waited = own.port.wait(Need::News, deadline.at(), deadline.is_cancelable()).await;
        self.get_back(&own, &own.deadline).await.and(waited)
    }

    /// Sleeps for `pause`, or less if the deadline or a cancel comes first. Other operations have the state
    /// of the guest meanwhile.
    pub(super) async fn pause_yielding(&mut self, pause: Duration, deadline: &Deadline) -> Result<()> {
        let Some(own) = self.own.clone() else { return Ok(()) };
        let until = deadline.at_most(self.now(), pause).at();
        self.put_back(&own);
        let waited = own.port.wait(Need::Time, until, deadline.is_cancelable()).await;
        self.get_back(&own, &own.deadline).await.and(waited)?;
        self.check(deadline)
    }

    /// Lets other operations have the state until [`GuestState::get_back`].
    pub(super) fn put_back(&mut self, own: &Own) {
        let placeholder = self.placeholder();
        let mut state = std::mem::replace(self, placeholder);
        state.own = None;
        *lock(&own.cell) = Some(Box::new(state));
    }

    /// Waits for the state; while another operation connects to the monitor, no longer than to the deadline.
    /// The state is there in any case, and an error says why it came without a connection.
    pub(super) async fn get_back(&mut self, own: &Own, deadline: &Deadline) -> Result<()> {
        let mut limit = (Purpose::Talk, Some(deadline.at()), deadline.is_cancelable());
        let mut ended = None;
        loop {
            let (purpose, until, cancelable) = limit;
            if let Some(state) = own.port.take_state(&own.cell, purpose) {
                *self = *state;
                self.own = Some(own.clone());
                break;
            }
            if let Given::Failed(error) =
                own.port.ask(Asked { need: Need::Turn(purpose), until, cancelable }).await
            {
                ended = Some(error);
                limit = (Purpose::Look, None, false);
            }
        }
        match ended {
            Some(error) if own.port.is_another_connecting() => Err(error.context(CONNECTING)),
            _ => Ok(()),
        }
    }

    /// Waits for the end of another operation's connecting, if one is at it.
    pub(super) async fn await_connection(&mut self, deadline: &Deadline) -> Result<()> {
        match self.own.clone().filter(|own| own.port.is_another_connecting()) {
            Some(own) => {
                self.put_back(&own);
                self.get_back(&own, deadline).await
            }
            None => Ok(()),
        }
    }
}

const CONNECTING: &str = "another call is connecting to the monitor";
