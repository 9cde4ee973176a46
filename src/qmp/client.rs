//! A monitor for those who do nothing else meanwhile: each call waits for its answer.

use std::path::Path;
use std::time::Instant;

use nix::poll::PollFlags;
use serde_json::Value;

use super::events::Queued;
use super::in_flight::{Batch, BatchId};
use super::monitor::{Counters, Monitor};
use super::monitor_name::MonitorName;
use super::transport;
use super::wire::{Command, Version};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use std::os::fd::AsFd;

/// One connection, with calls that wait.
#[derive(Debug)]
pub struct Client(Monitor);

impl Client {
    /// Connects and waits for the greeting.
    pub fn connect(path: &Path, deadline: &Deadline) -> Result<Self> {
        deadline.check()?;
        let name = MonitorName::of(path);
        let mut monitor = loop {
            if let Some(monitor) = Monitor::connect(&name)? {
                break monitor;
            }
            deadline.pause(transport::RETRY).map_err(|error| match error.kind() {
                ErrorKind::Timeout => transport::queue_full(&name),
                _ => error,
            })?;
        };
        while !monitor.is_greeted() {
            let heard = wait(&mut monitor, deadline).and_then(|()| monitor.read());
            heard.map_err(|error| monitor.not_greeted(error))?;
        }
        Ok(Self(monitor))
    }

    /// Sends all `commands` at once and waits for all their answers.
    pub fn run(&mut self, commands: &[Command], deadline: &Deadline) -> Batch {
        if let Err(error) = deadline.check() {
            return Batch::failed(commands.len(), error);
        }
        let batch = self.0.submit(commands);
        let mut late = None;
        while late.is_none() && !self.0.has_ended(batch) {
            late = self.wait_for(batch, deadline).err();
        }
        self.0.take(batch, || late.unwrap_or_else(Error::no_reply))
    }

    fn wait_for(&mut self, batch: BatchId, deadline: &Deadline) -> Result<()> {
        wait(&mut self.0, deadline)?;
        if self.0.has_unsent() {
            self.0.write();
        }
        // How it failed is in the batch.
        if self.0.read().is_err() && !self.0.has_ended(batch) {
            return Err(Error::monitor_lost());
        }
        Ok(())
    }

    /// Runs one command.
    pub fn execute(&mut self, command: &Command, deadline: &Deadline) -> Result<Value> {
        self.run(std::slice::from_ref(command), deadline).only_reply(&command.name)
    }

    /// QEMU's version.
    pub fn version(&self) -> Version {
        self.0.version()
    }

    /// The process that listens.
    pub fn peer(&self) -> Result<i32> {
        self.0.peer()
    }

    /// What has been sent so far.
    pub fn counters(&self) -> Counters {
        self.0.counters()
    }

    /// Whether the connection is past use.
    pub fn is_broken(&self) -> bool {
        self.0.is_broken()
    }

    /// Reads what has arrived, without waiting.
    pub fn read_all(&mut self) -> Result<()> {
        self.0.read_all()
    }

    /// Waits until at least one event is kept.
    pub fn wait_event(&mut self, deadline: &Deadline) -> Result<()> {
        while !self.0.has_events() {
            wait(&mut self.0, deadline)?;
            self.0.read()?;
        }
        Ok(())
    }

    /// The oldest event kept, or a notice that some were lost.
    pub fn next_event(&mut self) -> Option<Queued> {
        self.0.next_event()
    }
}

/// Waits until the socket has or takes something; the deadline holds however fast the peer talks.
fn wait(monitor: &mut Monitor, deadline: &Deadline) -> Result<()> {
    if let Some(rest) = monitor.rest(Instant::now()) {
        deadline.pause(rest)?;
    }
    let mut events = PollFlags::POLLIN;
    if monitor.has_unsent() {
        events |= PollFlags::POLLOUT;
    }
    deadline.wait_for(monitor.as_fd(), events)
}
