//! The monitor: commands in flight, their replies, and the events between them. Nothing here waits.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::events::{EventQueue, Queued};
use super::frame::{Frame, Framer, MAX_PARSED_MEMORY};
use super::in_flight::{Batch, BatchId, Flight, InFlight};
use super::monitor_name::MonitorName;
use super::pace::Pace;
use super::peer::Peer;
use super::qemu_errors::{self, Refusal};
use super::reached::Reached;
use super::transport::{Segment, Transport};
use super::wire::{Command, Message, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::descriptor::Descriptor;
use crate::sys::random::random_bytes;

/// Most reads in a row; as much as a socket holds by default (208 KiB).
const READS: usize = 16;

/// Above every id that is counted up to on a connection.
const FIRST_SYNC_ID: u64 = 1 << 32;

/// One connection to one QMP socket.
#[derive(Debug)]
pub struct Monitor {
    transport: Transport,
    name: MonitorName,
    framer: Framer,
    events: EventQueue,
    pace: Pace,
    /// From the greeting; `None` until it has come.
    version: Option<Version>,
    /// Something has been heard before the greeting.
    heard: bool,
    next_id: u64,
    counters: Counters,
    broken: bool,
    /// Negotiation mode has not been left: the command that does goes in front of the first ones.
    negotiating: bool,
    /// An answer was missing or too many. QEMU answers in the order of the commands, so that ids would only
    /// cost time; where this is not so, they are sent.
    use_ids: bool,
    in_flight: InFlight,
    /// What the socket has not taken yet.
    outgoing: VecDeque<Piece>,
}

/// A run of bytes that one `sendmsg` may carry: an fd belongs to the first byte of its own command.
#[derive(Debug)]
struct Piece {
    batch: BatchId,
    bytes: Vec<u8>,
    sent: usize,
    fd: Option<Descriptor>,
}

/// What this connection has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands sent.
    pub commands: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Times commands were sent to be answered together.
    pub round_trips: u64,
    /// Replies that matched no command of the moment: late, doubled or invented.
    pub stray_replies: u64,
}

impl Monitor {
    /// Connects; `None` while the listen queue is full, to be tried again. The greeting is still to come.
    pub fn connect(name: &MonitorName) -> Result<Option<Self>> {
        Ok(Transport::connect(name)?.map(|transport| Self::new(transport, name.clone())))
    }

    /// Talks over a connection that the caller has made, and over which nothing has been said.
    pub fn over(fd: OwnedFd) -> Result<Self> {
        Ok(Self::new(Transport::over(fd)?, MonitorName::Given))
    }

    fn new(transport: Transport, name: MonitorName) -> Self {
        Self {
            transport,
            name,
            framer: Framer::default(),
            events: EventQueue::default(),
            pace: Pace::default(),
            version: None,
            heard: false,
            next_id: 1,
            counters: Counters::default(),
            broken: false,
            negotiating: true,
            use_ids: false,
            in_flight: InFlight::default(),
            outgoing: VecDeque::new(),
        }
    }

    /// For errors before anything has worked.
    fn name(&self) -> String {
        format!("monitor {}", self.name)
    }

    /// What the connection is like.
    pub fn reached(&self) -> &Reached {
        self.transport.reached()
    }

    /// Whether the monitor has begun to serve this client.
    pub fn is_greeted(&self) -> bool {
        self.version.is_some()
    }

    /// What it means that the greeting has not come in time. A monitor that accepts the connection but says
    /// nothing is serving another client.
    pub fn not_greeted(&self, error: Error) -> Error {
        if let (Some(late), ErrorKind::Timeout) = (self.transport.not_connected(), error.kind()) {
            return late;
        }
        let error = match error.kind() {
            ErrorKind::Timeout if !self.heard && self.name == MonitorName::Given => Error::new(
                ErrorKind::MonitorBusy,
                "the monitor sent no greeting before the deadline: it is serving another client, QEMU is stopped, or the greeting \
                 has been read by another program; nothing may have been read from a connection that is given",
            ),
            ErrorKind::Timeout if !self.heard => Error::new(
                ErrorKind::MonitorBusy,
                "the monitor sent no greeting before the deadline: it is serving another client, \
                 or QEMU is stopped; a monitor serves one client at a time",
            ),
            // It says where already.
            ErrorKind::Host if self.transport.not_connected().is_some() => return error,
            _ => error,
        };
        error.context(self.name())
    }

    /// QEMU's version, once it is known.
    pub fn version(&self) -> Version {
        self.version.unwrap_or_default()
    }

    /// The process at the other end, or which was there when the socket was made.
    pub fn peer(&self) -> Result<i32> {
        self.transport.peer()
    }

    /// The same with its user, as far as both can be told.
    pub fn who(&self) -> Result<Peer> {
        self.transport.who()
    }

    /// The socket, to wait on.
    pub fn descriptor(&self) -> Descriptor {
        self.transport.descriptor()
    }

    /// What has been sent so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the connection is past use: closed, or left with half a command written.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sends all `commands` at once; their answers are kept for [`Monitor::take`].
    ///
    /// QEMU runs them in order. Each file descriptor rides on the first byte of its own command, which starts
    /// a new `sendmsg`; everything between two file descriptors goes in one. Negotiation mode is left with
    /// the first commands, in the same write.
    pub fn submit(&mut self, commands: &[Command]) -> BatchId {
        let mut flight = self.in_flight.begin(commands.len() + usize::from(self.negotiating));
        flight.negotiates = self.negotiating;
        let id = flight.id;
        match self.prepare(&mut flight).and_then(|()| self.encode(commands, &flight)) {
            Ok(pieces) => {
                self.negotiating = false;
                self.in_flight.push(flight);
                self.outgoing.extend(pieces);
                self.counters.round_trips += 1;
                self.write();
            }
            Err(error) => {
                flight.failure = Some(error);
                self.in_flight.push(flight);
            }
        }
        id
    }

    fn prepare(&mut self, flight: &mut Flight) -> Result<()> {
        if self.broken {
            return Err(Error::monitor_lost());
        }
        if flight.negotiates {
            flight.sync_id = Some(sync_id()?);
            return Ok(());
        }
        let alone = !self.in_flight.awaits();
        if alone && !self.use_ids {
            // An answer that is here before its question belongs to none.
            self.read()?;
        }
        flight.first = (self.use_ids || !alone).then_some(self.next_id);
        Ok(())
    }

    fn encode(&mut self, commands: &[Command], flight: &Flight) -> Result<Vec<Piece>> {
        if commands.iter().any(|command| command.fd.is_some()) && !self.reached().passes_descriptors {
            let text = format!(
                "{}: a descriptor cannot be passed over it; use the monitor's Unix socket",
                self.name()
            );
            return Err(Error::new(ErrorKind::NotHotpluggable, text));
        }
        let capabilities = flight.negotiates.then(|| Command::with("qmp_capabilities", &[]));
        let mut pieces: Vec<Piece> = Vec::new();
        let mut sync_id = flight.sync_id;
        let mut count = 0;
        for command in capabilities.iter().chain(commands) {
            let id = sync_id.take().or_else(|| flight.first.map(|_| self.next_id));
            if command.fd.is_some() || pieces.is_empty() {
                let bytes = Vec::with_capacity(512);
                pieces.push(Piece { batch: flight.id, bytes, sent: 0, fd: command.fd.clone() });
            }
            if let Some(piece) = pieces.last_mut() {
                command.encode(id, &mut piece.bytes)?;
            }
            self.next_id += 1;
            count += 1;
        }
        self.counters.commands += count;
        let bytes = pieces.iter().fold(0, |sum: usize, piece| sum.saturating_add(piece.bytes.len()));
        self.counters.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        Ok(pieces)
    }

    /// Whether the socket has not taken everything yet.
    pub fn has_unsent(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Writes as much as the socket takes now.
    pub fn write(&mut self) {
        while let Some(piece) = self.outgoing.front_mut() {
            let bytes = piece.bytes.get(piece.sent..).unwrap_or_default();
            let fd = piece.fd.as_ref().filter(|_| piece.sent == 0).map(AsFd::as_fd);
            match self.transport.write(&Segment { bytes, fd }) {
                Ok(0) => return,
                Ok(count) => {
                    piece.sent += count;
                    if piece.sent >= piece.bytes.len() {
                        self.outgoing.pop_front();
                    }
                }
                Err(error) => {
                    // A write finds out about the end of a connection before what QEMU said last has been
                    // read: that a device is gone, for instance, which it will not say again. A peer that
                    // only stopped reading could talk on for ever.
                    for _ in 0..READS {
                        if !matches!(self.read_now(), Ok(true)) || self.sort_out().is_err() {
                            break;
                        }
                    }
                    return self.fail(&error);
                }
            }
        }
    }

    /// Reads what has arrived, without waiting: once, so that a flood cannot hold the caller. False when
    /// nothing was there.
    pub fn read(&mut self) -> Result<bool> {
        let read = self.read_now().and_then(|more| self.sort_out().map(|()| more));
        if let Err(error) = &read {
            self.fail(error);
        }
        read
    }

    /// The same a few times, until nothing more is there.
    pub fn read_all(&mut self) -> Result<()> {
        for _ in 0..READS {
            if !self.read()? {
                break;
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: &Error) {
        self.broken = true;
        self.use_ids = true;
        self.outgoing.clear();
        self.in_flight.fail_all(error);
    }

    /// Whether [`Monitor::take`] has everything there will be.
    pub fn has_ended(&self, id: BatchId) -> bool {
        self.in_flight.has_ended(id)
    }

    /// What has become of a batch. Replies that are missing are not waited for any more, for the reason of
    /// `late`.
    pub fn take(&mut self, id: BatchId, late: impl FnOnce() -> Error) -> Batch {
        let Some(mut flight) = self.in_flight.remove(id) else {
            return Batch::failed(0, Error::new(ErrorKind::State, "the batch was never sent"));
        };
        if !flight.has_ended() {
            flight.failure = Some(late());
            self.use_ids = true;
            // Half a command may be out: whatever comes next would be read as its rest.
            self.broken |= self.outgoing.iter().any(|piece| piece.batch == id);
        }
        if flight.negotiates {
            self.negotiated(flight)
        } else {
            Batch { replies: flight.replies, failure: flight.failure }
        }
    }

    fn negotiated(&mut self, flight: Flight) -> Batch {
        let Flight { replies, failure, .. } = flight;
        let count = replies.len().saturating_sub(1);
        let mut replies = replies.into_iter();
        let refusal = match replies.next().flatten() {
            Some(Err(error)) if !is_negotiated(&error) => Some(error.with_step("qmp_capabilities")),
            Some(_) => return Batch { replies: replies.collect(), failure },
            None => None,
        };
        // Nothing else is understood then, and nobody knows which mode the monitor is in.
        self.broken = true;
        let error = refusal.or(failure).unwrap_or_else(Error::no_reply);
        Batch::failed(count, error.context(self.name()))
    }

    /// Handles everything that has been read completely.
    fn sort_out(&mut self) -> Result<()> {
        while let Some((message, memory)) = self.next_message()? {
            match message {
                Message::Greeting(version) if self.version.is_none() => self.version = Some(version),
                Message::Reply(id, reply) if self.version.is_some() => {
                    let for_another = self.in_flight.awaits_sync();
                    if !self.in_flight.take_in(id, reply, memory) {
                        self.counters.stray_replies += 1;
                        self.pace.note();
                        // Whoever sends answers to nothing is not taken to keep them in order.
                        self.use_ids |= !for_another;
                    }
                }
                other => self.set_aside(other),
            }
        }
        Ok(())
    }

    fn set_aside(&mut self, message: Message) {
        self.pace.note();
        match message {
            Message::Event(event) => self.events.push(event),
            Message::Reply(..) | Message::Greeting(_) => {
                self.counters.stray_replies += 1;
                self.use_ids = true;
            }
        }
    }

    /// Judged by its memory before it is parsed: the answers of batches that have not been taken count as
    /// well.
    fn next_message(&mut self) -> Result<Option<(Message, usize)>> {
        let Some(Frame { text, memory }) = self.framer.next_message()? else { return Ok(None) };
        if memory > MAX_PARSED_MEMORY.saturating_sub(self.in_flight.memory()) {
            let what =
                format!("the monitor's answers would take more than {MAX_PARSED_MEMORY} bytes of memory");
            return Err(Error::new(ErrorKind::Protocol, what));
        }
        Message::parse(text, memory).map(|message| Some((message, memory)))
    }

    fn read_now(&mut self) -> Result<bool> {
        let framer = &mut self.framer;
        let read = self.transport.read(|bytes| framer.push(bytes))?;
        self.heard |= read;
        Ok(read)
    }

    /// How long nothing is to be read now; called before each wait.
    pub fn rest(&mut self, now: Instant) -> Option<Duration> {
        self.pace.rest(now)
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

/// A client that died may have done it for us.
fn is_negotiated(error: &Error) -> bool {
    qemu_errors::refusal("qmp_capabilities", error) == Some(Refusal::AlreadyNegotiated)
}

/// An id that no client before has used. QEMU gives the answer to a command that it is at when its client
/// dies to the next client (7.2), and that one's ids are as short as ours; it answers in order, so the first
/// answer to this one ends that.
fn sync_id() -> Result<u64> {
    Ok(u64::from(u32::from_ne_bytes(random_bytes()?)) + FIRST_SYNC_ID)
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}
