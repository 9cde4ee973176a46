//! A peer that is no QEMU at all: it says what it was told to, whatever is said to it.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::wire;

/// What the peer does once somebody has connected. It says nothing after the last answer, and hangs up.
#[derive(Clone, Debug, Default)]
pub struct Reaction {
    /// Said at once, each piece by a write of its own.
    pub opening: Vec<Vec<u8>>,
    /// Lets the client leave negotiation mode; that command is no other's.
    pub negotiates: bool,
    /// Given one by one, each when another command has arrived.
    pub answers: Vec<Said>,
}

/// An answer to a command.
#[derive(Clone, Debug)]
pub enum Said {
    /// Bytes as they are, each piece by a write of its own.
    Bytes(Vec<Vec<u8>>),
    /// A reply, to which the command's own id is added.
    Reply(Value),
}

impl Reaction {
    /// How many bytes it says, ids aside.
    pub fn size(&self) -> usize {
        let answers = self.answers.iter().map(|said| match said {
            Said::Bytes(pieces) => pieces.iter().map(Vec::len).sum(),
            Said::Reply(reply) => reply.to_string().len(),
        });
        self.opening.iter().map(Vec::len).sum::<usize>() + answers.sum::<usize>()
    }
}

/// A reaction to the client of the moment, as far as it has come.
pub(crate) struct Reacting {
    negotiates: bool,
    answers: VecDeque<Said>,
}

impl Reacting {
    /// With what is said at once.
    pub(crate) fn new(reaction: Reaction) -> (Self, Vec<Vec<u8>>) {
        let reacting = Self { negotiates: reaction.negotiates, answers: reaction.answers.into() };
        (reacting, reaction.opening)
    }

    /// There is nothing more to be said.
    pub(crate) fn is_over(&self) -> bool {
        !self.negotiates && self.answers.is_empty()
    }

    /// What is said to a command.
    pub(crate) fn answer(&mut self, command: &Value) -> Vec<Vec<u8>> {
        let id = command.get("id");
        if self.negotiates && command["execute"] == "qmp_capabilities" {
            self.negotiates = false;
            return vec![wire::with_id(json!({ "return": {} }), id)];
        }
        match self.answers.pop_front() {
            Some(Said::Bytes(pieces)) => pieces,
            Some(Said::Reply(reply)) if reply.is_object() => vec![wire::with_id(reply, id)],
            Some(Said::Reply(reply)) => vec![wire::line(&reply)],
            None => Vec::new(),
        }
    }
}
