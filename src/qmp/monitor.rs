//! The monitor: commands in flight, their replies, and the events between them.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::poll::PollFlags;
use serde_json::Value;

use super::awaited::{Awaited, Begun};
use super::events::{EventQueue, Kept};
use super::frame::{Framer, MAX_WEIGHT};
use super::pace::Pace;
use super::peer::Peer;
use super::transport::{Segment, Transport};
use super::wire::{Command, Message, Reply, Version};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::random::random_bytes;

/// Most reads in a row without looking at the deadline; as much as a socket holds by default (208 KiB).
const READS: usize = 16;

/// Above every id that is counted up to on a connection.
const FIRST_HERALD: u64 = 1 << 32;

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
    astray: bool,
    /// Commands whose answers nobody waits for at the moment.
    begun: Option<Begun>,
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
            astray: false,
            begun: None,
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
        if !self.negotiating {
            return self.run_now(commands, None, deadline);
        }
        let herald = match herald() {
            Ok(id) => Some(id),
            Err(error) => {
                return Batch { replies: commands.iter().map(|_| None).collect(), failure: Some(error) };
            }
        };
        let mut all = vec![Command::with("qmp_capabilities", &[])];
        all.extend_from_slice(commands);
        let Batch { replies, mut failure } = self.run_now(&all, herald, deadline);
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

    fn run_now(&mut self, commands: &[Command<'_>], herald: Option<u64>, deadline: &Deadline) -> Batch {
        let mut awaited = Awaited::replies(commands.len(), herald);
        let ended =
            self.start(commands, &mut awaited, deadline).and_then(|()| self.collect(&mut awaited, deadline));
        let failure = ended.err();
        if let Some(error) = &failure {
            self.note_failure(error, &mut awaited);
        }
        Batch { replies: awaited.replies, failure }
    }

    fn note_failure(&mut self, error: &Error, awaited: &mut Awaited) {
        if error.kind() == ErrorKind::MonitorLost {
            self.salvage(awaited);
        }
        self.broken |= !matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled);
        self.astray = true;
    }

    /// Sends all `commands` at once, and leaves their replies for [`Monitor::take_begun`]. Whatever is sent next waits for
    /// them first. The connection must have been used before.
    pub fn begin(&mut self, commands: &[Command<'_>], deadline: &Deadline) {
        let mut awaited = Awaited::replies(commands.len(), None);
        let failure = match self.negotiating {
            true => Some(Error::new(ErrorKind::State, "the monitor has not been spoken to yet")),
            false => self.start(commands, &mut awaited, deadline).err(),
        };
        if let Some(error) = &failure {
            self.note_failure(error, &mut awaited);
        }
        self.begun = Some(Begun { awaited, failure });
    }

    /// Whether [`Monitor::take_begun`] has everything there will be. Reads what has arrived.
    pub fn begun_has_ended(&mut self) -> bool {
        // An error is noted where it belongs.
        let _ = self.pump();
        self.begun.as_ref().is_none_or(Begun::has_ended)
    }

    /// Waits for the replies to what was begun; fails only when they are not there in time.
    pub fn await_begun(&mut self, deadline: &Deadline) -> Result<()> {
        let Some(mut begun) = self.begun.take() else { return Ok(()) };
        let waited = match begun.failure {
            None => self.collect(&mut begun.awaited, deadline),
            Some(_) => Ok(()),
        };
        let late = match waited {
            Err(error) if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled) => Err(error),
            Err(error) => {
                self.note_failure(&error, &mut begun.awaited);
                begun.failure = Some(error);
                Ok(())
            }
            Ok(()) => Ok(()),
        };
        self.begun = Some(begun);
        late
    }

    /// What has become of what was begun; `None` if nothing was, on this connection. Replies that are missing are not waited for
    /// any more.
    pub fn take_begun(&mut self) -> Option<Batch> {
        let Begun { mut awaited, mut failure } = self.begun.take()?;
        if awaited.missing > 0 && failure.is_none() {
            let error = Error::new(ErrorKind::Timeout, "the deadline passed");
            self.note_failure(&error, &mut awaited);
            failure = Some(error);
        }
        Some(Batch { replies: awaited.replies, failure })
    }

    fn start(&mut self, commands: &[Command<'_>], awaited: &mut Awaited, deadline: &Deadline) -> Result<()> {
        self.await_begun(deadline)?;
        if self.broken {
            return Err(Error::new(ErrorKind::MonitorLost, "the connection to the monitor is gone"));
        }
        deadline.check()?;
        if !self.astray && awaited.herald.is_none() {
            // An answer that is here before its question belongs to none.
            self.read_now()?;
            self.sort_out(&mut Awaited::nothing())?;
        }
        awaited.first = self.astray.then_some(self.next_id);
        self.send(commands, awaited, deadline)?;
        self.counters.round_trips += 1;
        Ok(())
    }

    fn collect(&mut self, awaited: &mut Awaited, deadline: &Deadline) -> Result<()> {
        self.sort_out(awaited)?;
        while awaited.missing > 0 {
            self.fill(deadline)?;
            self.sort_out(awaited)?;
        }
        Ok(())
    }

    fn send(&mut self, commands: &[Command<'_>], awaited: &mut Awaited, deadline: &Deadline) -> Result<()> {
        let mut bytes = Vec::with_capacity(512);
        let mut starts = Vec::new();
        let mut herald = awaited.herald;
        for command in commands {
            if command.fd.is_some() || starts.is_empty() {
                starts.push((bytes.len(), command.fd));
            }
            let id = herald.take().or_else(|| awaited.first.map(|_| self.next_id));
            command.encode(id, &mut bytes)?;
            self.next_id += 1;
        }
        self.counters.commands += u64::try_from(commands.len()).unwrap_or(u64::MAX);
        self.counters.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([bytes.len()]);
        for ((start, fd), end) in starts.iter().zip(ends) {
            let piece = bytes.get(*start..end).unwrap_or_default();
            self.send_segment(Segment { bytes: piece, fd: *fd }, awaited, deadline)?;
        }
        Ok(())
    }

    /// Writes one segment to its end, reading meanwhile: a monitor that waits for us to read would never let us write.
    fn send_segment(
        &mut self,
        mut segment: Segment<'_>,
        awaited: &mut Awaited,
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
                    self.sort_out(awaited)?;
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
    fn salvage(&mut self, awaited: &mut Awaited) {
        for _ in 0..READS {
            if !matches!(self.read_now(), Ok(true)) || self.sort_out(awaited).is_err() {
                return;
            }
        }
    }

    /// Handles everything that has been read completely.
    fn sort_out(&mut self, awaited: &mut Awaited) -> Result<()> {
        while let Some(message) = self.next_message(awaited.weight)? {
            let unannounced = awaited.herald.is_some();
            match message {
                Message::Reply(id, reply) => match awaited.slot(id) {
                    Some(slot) => {
                        *slot = Some(reply);
                        awaited.missing -= 1;
                        awaited.weight += self.framer.weight();
                    }
                    // Left over from a client before this one.
                    None if unannounced => self.counters.stray_replies += 1,
                    None => self.note_stray(),
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
            Message::Reply(..) | Message::Greeting(_) => self.note_stray(),
        }
    }

    /// Whoever sends answers to nothing is not taken to keep them in order.
    fn note_stray(&mut self) {
        self.counters.stray_replies += 1;
        self.astray = true;
    }

    /// Judged by its weight before it is parsed: `held` is the memory that earlier answers of the batch take.
    fn next_message(&mut self, held: usize) -> Result<Option<Message>> {
        let Some(bytes) = self.framer.next_message()? else { return Ok(None) };
        let weight = self.framer.weight();
        if weight > MAX_WEIGHT.saturating_sub(held) {
            let text = format!("the monitor's answers would take more than {MAX_WEIGHT} bytes of memory");
            return Err(Error::new(ErrorKind::Protocol, text));
        }
        Message::parse(&bytes, weight).map(Some)
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
    pub fn pump(&mut self) -> Result<()> {
        let mut begun = self.begun.take();
        let mut nobody = Awaited::nothing();
        let read = self.read_on(begun.as_mut().map_or(&mut nobody, |begun| &mut begun.awaited));
        self.broken |= read.is_err();
        if let (Some(begun), Err(error)) = (&mut begun, &read) {
            begun.failure.get_or_insert_with(|| error.clone());
        }
        self.begun = begun;
        read
    }

    fn read_on(&mut self, awaited: &mut Awaited) -> Result<()> {
        for _ in 0..READS {
            let more = self.read_now()?;
            self.sort_out(awaited)?;
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
            self.pump()?;
        }
        Ok(())
    }

    /// Whether an event is kept.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The oldest event kept, or a notice that some were lost.
    pub fn next_event(&mut self) -> Option<Kept> {
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
fn herald() -> Result<u64> {
    Ok(u64::from(u32::from_ne_bytes(random_bytes()?)) + FIRST_HERALD)
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}
