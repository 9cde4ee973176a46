//! The monitor: commands in flight, their replies, and the events between them.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::poll::PollFlags;
use serde_json::Value;

use super::events::{EventQueue, Queued};
use super::frame::{Framer, MAX_PARSED_MEMORY};
use super::pace::Pace;
use super::peer::Peer;
use super::pending_replies::{InFlight, PendingReplies};
use super::transport::{Segment, Transport};
use super::wire::{Command, Message, Reply, Version};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::random::random_bytes;

/// Most reads in a row without looking at the deadline; as much as a socket holds by default (208 KiB).
const READS: usize = 16;

/// Above every id that is counted up to on a connection.
const FIRST_SYNC_ID: u64 = 1 << 32;

/// One connection to one QMP socket.
#[derive(Debug)]
pub struct Monitor {
    transport: Transport,
    path: PathBuf,
    framer: Framer,
    events: EventQueue,
    pace: Pace,
    version: Version,
    next_id: u64,
    counters: Counters,
    broken: bool,
    /// Negotiation mode has not been left: the command that does goes in front of the first ones.
    negotiating: bool,
    /// An answer was missing or too many. QEMU answers in the order of the commands, so that ids would only cost time; where
    /// this is not so, they are sent.
    use_ids: bool,
    /// Commands whose answers nobody waits for at the moment.
    in_flight: Option<InFlight>,
    /// Nothing is sent that may change anything.
    asks_only: bool,
}

/// What this connection has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands sent.
    pub commands: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Times the caller waited for the answers to what it had sent.
    pub round_trips: u64,
    /// Replies that matched no command of the moment: late, doubled or invented.
    pub stray_replies: u64,
}

/// The outcome of several commands sent together.
#[derive(Debug)]
pub struct Batch {
    /// One entry per command; `None` when its answer never came.
    pub replies: Vec<Option<Reply>>,
    /// Why answers are missing.
    pub failure: Option<Error>,
}

impl Monitor {
    /// Connects and waits for the greeting. Negotiation mode is left with the first commands, in the same write.
    ///
    /// A monitor that accepts the connection but says nothing until the deadline is serving another client.
    pub fn connect(path: &Path, deadline: &Deadline) -> Result<Self> {
        let mut monitor = Self {
            transport: Transport::connect(path, deadline)?,
            path: path.to_owned(),
            framer: Framer::default(),
            events: EventQueue::default(),
            pace: Pace::default(),
            version: Version::default(),
            next_id: 1,
            counters: Counters::default(),
            broken: false,
            negotiating: true,
            use_ids: false,
            in_flight: None,
            asks_only: false,
        };
        monitor.await_greeting(deadline).map_err(|error| error.context(monitor.name()))?;
        Ok(monitor)
    }

    /// For errors before anything has worked.
    fn name(&self) -> String {
        format!("monitor {}", self.path.display())
    }

    fn await_greeting(&mut self, deadline: &Deadline) -> Result<()> {
        let mut silent = true;
        loop {
            while let Some(message) = self.next_message(0)? {
                match message {
                    Message::Greeting(version) => {
                        self.version = version;
                        return Ok(());
                    }
                    other => self.set_aside(other),
                }
            }
            let heard = self.fill(deadline).map_err(|error| match error.kind() {
                ErrorKind::Timeout if silent => Error::new(
                    ErrorKind::MonitorBusy,
                    "the monitor sent no greeting before the deadline: it is serving another client, \
                     or QEMU is stopped; a monitor serves one client at a time",
                ),
                _ => error,
            })?;
            silent &= !heard;
        }
    }

    /// QEMU's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The process at the other end, or which was there when the socket was made.
    pub fn peer(&self) -> Result<i32> {
        self.transport.peer()
    }

    /// The same with its user, as far as both can be told.
    pub fn who(&self) -> Result<Peer> {
        self.transport.who()
    }

    /// What has been sent so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// From now on, whatever is not a question is refused before anything is sent.
    pub fn only_ask(&mut self) {
        self.asks_only = true;
    }

    /// Why one of the commands is not sent.
    fn refusal(&self, commands: &[Command<'_>]) -> Option<Error> {
        let other = commands.iter().find(|command| self.asks_only && !command.is_question())?;
        let text = format!("{} may change something, and the guest was opened for looking only", other.name);
        Some(Error::new(ErrorKind::State, text).with_errno(libc::EROFS))
    }

    /// Whether the connection is past use: closed, or left with half a command written.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Runs one command.
    pub fn execute(&mut self, command: &Command<'_>, deadline: &Deadline) -> Result<Value> {
        let batch = self.run(std::slice::from_ref(command), deadline);
        let reply = batch.replies.into_iter().next().flatten();
        match (reply, batch.failure) {
            (Some(reply), _) => reply.map_err(|error| error.with_step(command.name.as_ref())),
            (None, Some(error)) => Err(error.with_step(command.name.as_ref())),
            (None, None) => Err(Error::new(ErrorKind::Protocol, "no reply").with_step(command.name.as_ref())),
        }
    }

    /// Sends all `commands` at once and waits for all their replies.
    ///
    /// QEMU runs them in order. Each file descriptor rides on the first byte of its own command, which starts a
    /// new `sendmsg`; everything between two file descriptors goes in one.
    pub fn run(&mut self, commands: &[Command<'_>], deadline: &Deadline) -> Batch {
        if let Some(error) = self.refusal(commands) {
            return Batch { replies: commands.iter().map(|_| None).collect(), failure: Some(error) };
        }
        if !self.negotiating {
            return self.run_now(commands, None, deadline);
        }
        let sync_id = match sync_id() {
            Ok(id) => Some(id),
            Err(error) => {
                return Batch { replies: commands.iter().map(|_| None).collect(), failure: Some(error) };
            }
        };
        let mut all = vec![Command::with("qmp_capabilities", &[])];
        all.extend_from_slice(commands);
        let Batch { replies, mut failure } = self.run_now(&all, sync_id, deadline);
        let mut replies = replies.into_iter();
        let refusal = match replies.next().flatten() {
            Some(Err(error)) if !is_negotiated(&error) => Some(error.with_step("qmp_capabilities")),
            Some(_) => {
                self.negotiating = false;
                return Batch { replies: replies.collect(), failure };
            }
            None => None,
        };
        // Nothing else is understood then, and nobody knows which mode the monitor is in.
        self.broken = true;
        failure = refusal.or(failure).map(|error| error.context(self.name()));
        Batch { replies: commands.iter().map(|_| None).collect(), failure }
    }

    fn run_now(&mut self, commands: &[Command<'_>], sync_id: Option<u64>, deadline: &Deadline) -> Batch {
        let mut pending = PendingReplies::replies(commands.len(), sync_id);
        let ended =
            self.start(commands, &mut pending, deadline).and_then(|()| self.collect(&mut pending, deadline));
        let failure = ended.err();
        if let Some(error) = &failure {
            self.note_failure(error, &mut pending);
        }
        Batch { replies: pending.replies, failure }
    }

    fn note_failure(&mut self, error: &Error, pending: &mut PendingReplies) {
        if error.kind() == ErrorKind::MonitorLost {
            self.drain_on_close(pending);
        }
        self.broken |= !matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled);
        self.use_ids = true;
    }

    /// Sends all `commands` at once, and leaves their replies for [`Monitor::take_in_flight`]. Whatever is sent next waits for
    /// them first. The connection must have been used before.
    pub fn submit(&mut self, commands: &[Command<'_>], deadline: &Deadline) {
        let mut pending = PendingReplies::replies(commands.len(), None);
        let failure = match (self.negotiating, self.refusal(commands)) {
            (_, Some(error)) => Some(error),
            (true, None) => Some(Error::new(ErrorKind::State, "the monitor has not been spoken to yet")),
            (false, None) => self.start(commands, &mut pending, deadline).err(),
        };
        if let Some(error) = &failure {
            self.note_failure(error, &mut pending);
        }
        self.in_flight = Some(InFlight { pending, failure });
    }

    /// Whether [`Monitor::take_in_flight`] has everything there will be. Reads what has arrived.
    pub fn in_flight_has_ended(&mut self) -> bool {
        // An error is noted where it belongs.
        let _ = self.read_available();
        self.in_flight.as_ref().is_none_or(InFlight::has_ended)
    }

    /// Waits for the replies to what was begun; fails only when they are not there in time.
    pub fn await_in_flight(&mut self, deadline: &Deadline) -> Result<()> {
        let Some(mut in_flight) = self.in_flight.take() else { return Ok(()) };
        let waited = match in_flight.failure {
            None => self.collect(&mut in_flight.pending, deadline),
            Some(_) => Ok(()),
        };
        let late = match waited {
            Err(error) if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled) => Err(error),
            Err(error) => {
                self.note_failure(&error, &mut in_flight.pending);
                in_flight.failure = Some(error);
                Ok(())
            }
            Ok(()) => Ok(()),
        };
        self.in_flight = Some(in_flight);
        late
    }

    /// What has become of what was begun; `None` if nothing was, on this connection. Replies that are missing are not waited for
    /// any more.
    pub fn take_in_flight(&mut self) -> Option<Batch> {
        let InFlight { mut pending, mut failure } = self.in_flight.take()?;
        if pending.missing > 0 && failure.is_none() {
            let error = Error::new(ErrorKind::Timeout, "the deadline passed");
            self.note_failure(&error, &mut pending);
            failure = Some(error);
        }
        Some(Batch { replies: pending.replies, failure })
    }

    fn start(
        &mut self,
        commands: &[Command<'_>],
        pending: &mut PendingReplies,
        deadline: &Deadline,
    ) -> Result<()> {
        self.await_in_flight(deadline)?;
        if self.broken {
            return Err(Error::new(ErrorKind::MonitorLost, "the connection to the monitor is gone"));
        }
        deadline.check()?;
        if !self.use_ids && pending.sync_id.is_none() {
            // An answer that is here before its question belongs to none.
            self.read_now()?;
            self.sort_out(&mut PendingReplies::nothing())?;
        }
        pending.first = self.use_ids.then_some(self.next_id);
        self.send(commands, pending, deadline)?;
        self.counters.round_trips += 1;
        Ok(())
    }

    fn collect(&mut self, pending: &mut PendingReplies, deadline: &Deadline) -> Result<()> {
        self.sort_out(pending)?;
        while pending.missing > 0 {
            self.fill(deadline)?;
            self.sort_out(pending)?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        commands: &[Command<'_>],
        pending: &mut PendingReplies,
        deadline: &Deadline,
    ) -> Result<()> {
        let mut bytes = Vec::with_capacity(512);
        let mut starts = Vec::new();
        let mut sync_id = pending.sync_id;
        for command in commands {
            if command.fd.is_some() || starts.is_empty() {
                starts.push((bytes.len(), command.fd));
            }
            let id = sync_id.take().or_else(|| pending.first.map(|_| self.next_id));
            command.encode(id, &mut bytes)?;
            self.next_id += 1;
        }
        self.counters.commands += u64::try_from(commands.len()).unwrap_or(u64::MAX);
        self.counters.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([bytes.len()]);
        for ((start, fd), end) in starts.iter().zip(ends) {
            let piece = bytes.get(*start..end).unwrap_or_default();
            self.send_segment(Segment { bytes: piece, fd: *fd }, pending, deadline)?;
        }
        Ok(())
    }

    /// Writes one segment to its end, reading meanwhile: a monitor that waits for us to read would never let us write.
    fn send_segment(
        &mut self,
        mut segment: Segment<'_>,
        pending: &mut PendingReplies,
        deadline: &Deadline,
    ) -> Result<()> {
        while !segment.bytes.is_empty() {
            match self.transport.write(&segment)? {
                0 => {
                    let waited = self.transport.wait(PollFlags::POLLIN | PollFlags::POLLOUT, deadline);
                    // Half a command may be out: whatever comes next would be read as its rest.
                    self.broken |= waited.is_err();
                    waited?;
                    self.read_now()?;
                    self.sort_out(pending)?;
                }
                sent => {
                    segment = Segment { bytes: segment.bytes.get(sent..).unwrap_or_default(), fd: None };
                }
            }
        }
        Ok(())
    }

    /// A write finds out about the end of a connection before what QEMU said last has been read: that a device is
    /// gone, for instance, which it will not say again. A peer that only stopped reading could talk on for ever.
    fn drain_on_close(&mut self, pending: &mut PendingReplies) {
        for _ in 0..READS {
            if !matches!(self.read_now(), Ok(true)) || self.sort_out(pending).is_err() {
                return;
            }
        }
    }

    /// Handles everything that has been read completely.
    fn sort_out(&mut self, pending: &mut PendingReplies) -> Result<()> {
        while let Some(message) = self.next_message(pending.memory_estimate)? {
            let unannounced = pending.sync_id.is_some();
            match message {
                Message::Reply(id, reply) => match pending.slot(id) {
                    Some(slot) => {
                        *slot = Some(reply);
                        pending.missing -= 1;
                        pending.memory_estimate += self.framer.memory_estimate();
                    }
                    // Left over from a client before this one.
                    None if unannounced => self.counters.stray_replies += 1,
                    None => self.note_unexpected_reply(),
                },
                other => self.set_aside(other),
            }
        }
        Ok(())
    }

    fn set_aside(&mut self, message: Message) {
        self.pace.note();
        match message {
            Message::Event(event) => self.events.push(event),
            Message::Reply(..) | Message::Greeting(_) => self.note_unexpected_reply(),
        }
    }

    /// Whoever sends answers to nothing is not taken to keep them in order.
    fn note_unexpected_reply(&mut self) {
        self.counters.stray_replies += 1;
        self.use_ids = true;
    }

    /// Judged by its weight before it is parsed: `held` is the memory that earlier answers of the batch take.
    fn next_message(&mut self, held: usize) -> Result<Option<Message>> {
        let Some(bytes) = self.framer.next_message()? else { return Ok(None) };
        let memory_estimate = self.framer.memory_estimate();
        if memory_estimate > MAX_PARSED_MEMORY.saturating_sub(held) {
            let text =
                format!("the monitor's answers would take more than {MAX_PARSED_MEMORY} bytes of memory");
            return Err(Error::new(ErrorKind::Protocol, text));
        }
        Message::parse(&bytes, memory_estimate).map(Some)
    }

    /// Waits for bytes and reads once; the deadline holds however fast the peer talks.
    fn fill(&mut self, deadline: &Deadline) -> Result<bool> {
        self.wait_to_read(deadline)?;
        self.read_now()
    }

    fn wait_to_read(&mut self, deadline: &Deadline) -> Result<()> {
        if let Some(rest) = self.pace.rest(Instant::now()) {
            deadline.pause(rest)?;
        }
        self.transport.wait(PollFlags::POLLIN, deadline)
    }

    fn read_now(&mut self) -> Result<bool> {
        let framer = &mut self.framer;
        self.transport.read(|bytes| framer.push(bytes))
    }

    /// Reads what has arrived, without waiting. At most a few reads, so that a flood cannot hold the caller.
    pub fn read_available(&mut self) -> Result<()> {
        let mut in_flight = self.in_flight.take();
        let mut nobody = PendingReplies::nothing();
        let read = self.read_on(in_flight.as_mut().map_or(&mut nobody, |in_flight| &mut in_flight.pending));
        self.broken |= read.is_err();
        if let (Some(in_flight), Err(error)) = (&mut in_flight, &read) {
            in_flight.failure.get_or_insert_with(|| error.clone());
        }
        self.in_flight = in_flight;
        read
    }

    fn read_on(&mut self, pending: &mut PendingReplies) -> Result<()> {
        for _ in 0..READS {
            let more = self.read_now()?;
            self.sort_out(pending)?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Waits until at least one event is kept.
    pub fn wait_event(&mut self, deadline: &Deadline) -> Result<()> {
        while self.events.is_empty() {
            self.wait_to_read(deadline)?;
            self.read_available()?;
        }
        Ok(())
    }

    /// Whether an event is kept.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The oldest event kept, or a notice that some were lost.
    pub fn next_event(&mut self) -> Option<Queued> {
        self.events.pop()
    }
}

/// The same command of a client that died right after it was sent is carried out when the next one is there already, and
/// ends the negotiation of that one (seen on QEMU 11.1, once in some thousand kills).
fn is_negotiated(error: &Error) -> bool {
    error.qmp_desc().is_some_and(|text| text.contains("negotiation is already complete"))
}

/// An id that no client before has used. QEMU gives the answer to a command that it is at when its client dies to the next
/// client (7.2), and that one's ids are as short as ours; it answers in order, so the first answer to this one ends that.
fn sync_id() -> Result<u64> {
    Ok(u64::from(u32::from_ne_bytes(random_bytes()?)) + FIRST_SYNC_ID)
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}
