//! What goes into the engine and what comes out of it.

use super::host_step::{HostResult, HostStep};
use crate::error::{Error, ErrorKind};
use crate::model::{self, Journal, Record};
use crate::qmp::peer::Peer;
use crate::qmp::{Batch, Command, MonitorName, Reached, Version};
use crate::store::Staged;

/// An operation, for as long as it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub(super) u64);

/// A connection to a monitor. No number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link(pub u64);

/// What the shell is to do for an operation.
#[derive(Debug)]
pub enum Effect {
    /// Connect to the monitor of this name and wait for its greeting.
    Connect(MonitorName),
    /// This is the connection to the guest: what its monitor says unasked is handed on, and the handle's
    /// descriptor shows it.
    Watch(Link),
    /// Say who listens at the other end.
    Identify(Link),
    /// Close a connection.
    Close(Link),
    /// Read what a monitor has said, without waiting for more.
    Read(Link),
    /// The same for all monitors.
    ReadAll,
    /// Write the record or the journal.
    Store(StoreStep),
    /// Send these commands in one write and wait for their answers.
    Run(Link, Vec<Command>),
    /// Do or look at something on the host.
    Host(HostStep),
}

/// Who is at the other end of a new connection.
#[derive(Clone, Debug)]
pub struct Connected {
    /// The connection.
    pub link: Link,
    /// QEMU's version, by the greeting.
    pub version: Version,
    /// The process that listens, if it can be seen.
    pub pid: Option<i32>,
    /// What the connection is like.
    pub reached: Reached,
}

/// What the shell gives an operation.
#[derive(Debug)]
pub enum Given {
    /// It is done, or the time has come.
    Done,
    /// There is a connection.
    Connected(Connected),
    /// Who listens.
    Peer(Peer),
    /// A record has been written beside the file.
    Staged(Staged),
    /// The staged record would take another one back, so it is not put in place.
    Outdated,
    /// What has become of the commands.
    Batch(Batch),
    /// What has come of a step on the host.
    Host(HostResult),
    /// It cannot be done, or not in time.
    Failed(Error),
}

/// Something to be written, or to be known with what is written.
#[derive(Debug)]
pub enum StoreStep {
    /// This QEMU is being talked to: what is begun from now on is meant for it.
    Meet(model::Peer),
    /// Replace the record.
    Replace(Box<Record>),
    /// Write a record beside the file, so that it can be put in place without fail.
    Stage(Box<Record>),
    /// Put a staged record in place.
    Commit(Staged),
    /// Replace the journal.
    Journal(Journal),
}

/// The shell does not keep to what was agreed.
pub(super) fn unexpected() -> Error {
    Error::new(ErrorKind::State, "the shell has given something else than was asked for")
}
