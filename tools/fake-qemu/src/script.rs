//! What goes wrong, and when.

use std::time::Duration;

use serde_json::{Value, json};

/// The name of every command, for a rule.
pub const ANY: &str = "*";

/// How a command goes, other than well.
#[derive(Clone, Debug)]
pub enum Act {
    /// Not done; answered with an error of this text.
    Refuse(String),
    /// Done, and answered with an error of this text all the same.
    RefuseAfter(String),
    /// Not done; the connection is closed instead.
    CloseBefore,
    /// Done; the connection is closed instead of an answer.
    CloseAfter,
    /// Not done, never answered, and nothing more is read until `resume`.
    HangBefore,
    /// Done, never answered, and nothing more is read until `resume`.
    HangAfter,
    /// Nothing is done, said or read until `resume`; then it goes on with this command.
    Silence,
    /// Done and answered after this time; nothing is read meanwhile.
    Stall(Duration),
    /// Done at once, answered after this time; commands behind it are answered before.
    AnswerLate(Duration),
    /// Done, never answered; commands behind it are.
    LoseAnswer,
    /// Done and answered twice.
    AnswerTwice,
    /// Done and answered, but with this id.
    AnswerWithId(Value),
    /// Done and answered, with these bytes before and after the answer.
    Around(Vec<u8>, Vec<u8>),
    /// Done, and these bytes are the answer.
    Instead(Vec<u8>),
    /// Done, and these bytes follow without end.
    Endless(Vec<u8>),
    /// Done, and this many descriptors come with the answer.
    WithFds(usize),
    /// Done; this object is the answer, to which the command's own id is added.
    Reply(Value),
    /// Done; whatever the truth, this is what is returned.
    Return(Value),
    /// Done; the connection is closed after this many bytes of the answer.
    CutAt(usize),
}

impl Act {
    /// QEMU's generic refusal.
    pub fn refuse(text: &str) -> Self {
        Self::Refuse(text.to_owned())
    }
}

/// One planned fault.
pub(crate) struct Rule {
    command: String,
    skip: usize,
    what: Planned,
}

/// What a rule does.
pub(crate) enum Planned {
    Act(Act),
    Hook(Box<dyn FnOnce() + Send>),
}

/// All planned faults.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) rules: Vec<Rule>,
}

impl Script {
    pub(crate) fn add(&mut self, command: &str, skip: usize, what: Planned) {
        self.rules.push(Rule { command: command.into(), skip, what });
    }

    /// How many acts wait for commands of this name.
    pub(crate) fn waiting(&self, command: &str) -> usize {
        let is_act = |rule: &&Rule| rule.command == command && matches!(rule.what, Planned::Act(_));
        self.rules.iter().filter(is_act).count()
    }

    /// The rules whose time has come with this command; each comes to pass once.
    pub(crate) fn due(&mut self, command: &str) -> Vec<Planned> {
        let mut due = Vec::new();
        let mut rest = Vec::new();
        for mut rule in std::mem::take(&mut self.rules) {
            if rule.command != command && rule.command != ANY {
                rest.push(rule);
            } else if rule.skip > 0 {
                rule.skip -= 1;
                rest.push(rule);
            } else {
                due.push(rule.what);
            }
        }
        self.rules = rest;
        due
    }
}

/// What a new client is told, piece by piece; each piece comes this long after the one before.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    /// Empty: the usual greeting at once.
    pub pieces: Vec<(Duration, Vec<u8>)>,
}

impl Greeting {
    /// Never anything.
    pub fn silence() -> Self {
        Self::pieces([(Duration::from_secs(3600), Vec::new())])
    }

    /// These bytes at once.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::pieces([(Duration::ZERO, bytes.into())])
    }

    /// Each of these bytes after its time.
    pub fn pieces(pieces: impl IntoIterator<Item = (Duration, Vec<u8>)>) -> Self {
        Self { pieces: pieces.into_iter().collect() }
    }

    /// The greeting of a QEMU of this version.
    pub fn text((major, minor, micro): (u32, u32, u32)) -> Vec<u8> {
        let version = json!({ "qemu": { "micro": micro, "minor": minor, "major": major }, "package": "" });
        crate::wire::line(&json!({ "QMP": { "version": version, "capabilities": ["oob"] } }))
    }
}
