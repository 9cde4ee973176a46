//! Commands on their way to QEMU: questions at any time, and what changes the guest once the
//! [order](super::super::store_step) of things lets it.

use serde_json::Value;

use super::GuestState;
use crate::engine::io::Link;
use crate::engine::limit::Deadline;
use crate::engine::store_step::May;
use crate::error::{Error, ErrorKind, Result};
use crate::qmp::{Batch, Command};

impl GuestState {
    /// Asks all these questions at once and waits for all their answers.
    pub(in crate::engine) async fn ask(&self, questions: Vec<Command>, deadline: &Deadline) -> Batch {
        match check_asks(&questions) {
            Ok(()) => self.run(questions, deadline).await,
            Err(error) => Batch::failed(questions.len(), error),
        }
    }

    /// Asks all these questions at once and waits for all their answers. As long as QEMU has answered nothing
    /// on this connection, operations that only look have the state of the guest meanwhile.
    pub(in crate::engine) async fn ask_or_first(
        &mut self,
        questions: Vec<Command>,
        deadline: &Deadline,
    ) -> Batch {
        match check_asks(&questions) {
            Ok(()) => self.run_or_first(questions, deadline).await,
            Err(error) => Batch::failed(questions.len(), error),
        }
    }

    /// Asks the first questions over a new connection and waits for all their answers. Operations that only
    /// look have the state of the guest meanwhile.
    pub(in crate::engine) async fn ask_first(
        &mut self,
        link: Link,
        questions: Vec<Command>,
        deadline: &Deadline,
    ) -> Batch {
        match check_asks(&questions) {
            Ok(()) => self.run_first(link, questions, deadline).await,
            Err(error) => Batch::failed(questions.len(), error),
        }
    }

    /// Asks one question.
    pub(in crate::engine) async fn ask_one(&self, question: Command, deadline: &Deadline) -> Result<Value> {
        let name = question.name.clone();
        self.monitor()?;
        self.ask(vec![question], deadline).await.only_reply(&name)
    }

    /// Sends all these commands at once and waits for all their answers.
    pub(in crate::engine) async fn send(
        &self,
        _: May<'_>,
        commands: Vec<Command>,
        deadline: &Deadline,
    ) -> Batch {
        self.run(commands, deadline).await
    }

    /// Sends all these commands at once over this connection and waits for all their answers.
    pub(in crate::engine) async fn send_on(
        &self,
        _: May<'_>,
        link: Link,
        commands: Vec<Command>,
        deadline: &Deadline,
    ) -> Batch {
        self.run_on(link, commands, deadline).await
    }

    /// Sends all these commands at once and waits for all their answers. Other operations have the state of
    /// the guest meanwhile.
    pub(in crate::engine) async fn send_yielding(
        &mut self,
        _: May<'_>,
        commands: Vec<Command>,
        deadline: &Deadline,
    ) -> Batch {
        self.run_yielding(commands, deadline).await
    }

    /// Sends one command.
    pub(in crate::engine) async fn send_one(
        &self,
        _: May<'_>,
        command: Command,
        deadline: &Deadline,
    ) -> Result<Value> {
        let name = command.name.clone();
        self.monitor()?;
        self.run(vec![command], deadline).await.only_reply(&name)
    }
}

/// Refuses commands that are no questions: those need a journal entry, or a reason to have none.
fn check_asks(commands: &[Command]) -> Result<()> {
    match commands.iter().find(|command| !command.is_question()) {
        None => Ok(()),
        Some(other) => {
            let text = format!("internal error: {} is no question, and is sent as one", other.name);
            Err(Error::new(ErrorKind::State, text))
        }
    }
}
