//! A live guest: adding and removing NICs, disks and SCSI controllers as transactions against its monitor and
//! its record. What is to be done is decided in [`crate::engine`]; this does it, and is the only code that
//! waits.

mod call_lock;
pub mod coldplug;
mod driver;
mod host;
mod poll_fd;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::epoll::Epoll;
use serde_json::Value;

use crate::clock::Clock;
use crate::disk::Limits as DiskLimits;
use crate::engine::{self, Answer, Engine, Request};
pub use crate::engine::{
    Access, Action, AddFailure, AddRequest, Applied, Apply, Change, ControllerRequest, DeferReason,
    DeviceAnswer, DeviceInfo, DeviceRef, DeviceState, DeviceStep, Difference, DiskRequest, DryRun, Event,
    EventKind, GuestView, IoAction, IoError, LIVE_DISK_MODELS, Listener, Lock, MISSING, MediumImage,
    Mismatch, NewMedium, NewSize, NicRequest, OLDEST_QEMU, Outcome, PendingReason, PlaceRequest, Placement,
    RawCommand, Removal, RemovalOfMany, SlotInfo, SlotStatus, TapSource,
};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::IfName;
use crate::log::{Level, Log};
use crate::model::Device;
use crate::mutex::lock;
use crate::net::MAX_QUEUES;
use crate::net::bandwidth::Limits;
use crate::qmp::capabilities::Capabilities;
use crate::qmp::{Counters, MonitorName, Reached, Version};
use crate::store::RecordFile;
use crate::sys::descriptor::{self, Descriptor};
use call_lock::CallLock;
use driver::Driver;
use poll_fd::PollFd;

/// A connected guest.
#[derive(Debug)]
pub struct Guest {
    call_lock: CallLock<Driver>,
    record_file: Arc<Mutex<RecordFile>>,
    log: Log,
    epoll: Arc<Epoll>,
    clock: Clock,
    /// Whether the caller makes its connections.
    is_given: bool,
}

/// A thread, told from all others that live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadNumber(pub usize);

impl ThreadNumber {
    /// That of this thread.
    pub fn this() -> Self {
        Self(call_lock::this_thread())
    }
}

/// Calls that talk to nobody wait this long for their turn.
const SHORT: Duration = Duration::from_secs(60);

/// The answer to a request, if it is the kind that belongs to it.
macro_rules! expect {
    ($answer:expr, $pattern:pat => $value:expr) => {
        match $answer? {
            $pattern => Ok($value),
            _ => Err(Error::new(ErrorKind::State, "the answer belongs to another request")),
        }
    };
}

impl Guest {
    /// Connects to the monitor, looks at the guest and settles what an earlier agent left unfinished.
    pub fn open(
        record_file: Arc<Mutex<RecordFile>>,
        socket: &Path,
        log: Log,
        timeout: Duration,
    ) -> Result<Self> {
        Self::open_of(record_file, socket, Listener::default(), Access::Change, log, timeout)
    }

    /// The same, if the right one listens there. One that is to look only has a copy of the record, which may
    /// be another handle's.
    pub fn open_of(
        record_file: Arc<Mutex<RecordFile>>,
        socket: &Path,
        listener: Listener,
        access: Access,
        log: Log,
        timeout: Duration,
    ) -> Result<Self> {
        Self::open_at(record_file, (MonitorName::of(socket), None), (listener, access), log, timeout)
    }

    /// The same over a connection that the caller has made, and over which nothing has been said.
    pub fn open_over(
        record_file: Arc<Mutex<RecordFile>>,
        connection: OwnedFd,
        listener: Listener,
        access: Access,
        log: Log,
        timeout: Duration,
    ) -> Result<Self> {
        Reached::given(&connection)?;
        let socket = (MonitorName::Given, Some(connection));
        Self::open_at(record_file, socket, (listener, access), log, timeout)
    }

    fn open_at(
        record_file: Arc<Mutex<RecordFile>>,
        (name, connection): (MonitorName, Option<OwnedFd>),
        (listener, access): (Listener, Access),
        log: Log,
        timeout: Duration,
    ) -> Result<Self> {
        let is_given = connection.is_some();
        let record_file = own_of(record_file, access);
        lock(&record_file).attach()?;
        let clock = Clock::of_this_thread();
        let detach = || lock(&record_file).detach();
        let opened = PollFd::new().and_then(|poll_fd| {
            let epoll = poll_fd.epoll();
            let contents = lock(&record_file).contents().clone();
            let engine = Engine::new(contents, name.clone(), (listener, access), log.clone(), clock.now());
            let mut driver = Driver::new(engine, poll_fd, record_file.clone(), clock.clone());
            connection.into_iter().for_each(|fd| driver.give_connection(fd));
            if listener.starts {
                driver.await_start(name);
            }
            Ok((CallLock::new(driver, clock.clone())?, epoll))
        });
        let (call_lock, epoll) = opened.inspect_err(|_| detach())?;
        // Detached when it is dropped.
        let guest = Self { call_lock, record_file, log, epoll, clock, is_given };
        guest.answer(Request::Open, timeout)?;
        Ok(guest)
    }

    /// The socket over which the guest is reached when the present connection is lost. Nothing has been
    /// said over it.
    pub fn give_connection(&self, connection: OwnedFd) -> Result<()> {
        Reached::given(&connection)?;
        if !self.is_given {
            let text = "the guest was opened by the name of its monitor, by which the library connects again by itself";
            return Err(Error::new(ErrorKind::State, text));
        }
        let mut pass = self.call_lock.enter(self.clock.now() + SHORT)?;
        pass.get()?.give_connection(connection);
        Ok(())
    }

    /// Runs one call, and tells the log.
    fn call(&self, name: &str, timeout: Duration, request: Request) -> Result<Answer> {
        let begin = || self.log.write(Level::Debug, || format!("{name}, {} ms", timeout.as_millis()));
        let end = |answer: &Result<Answer>| {
            if let Err(error) = answer {
                self.log.write(Level::Warning, || format!("{name}: {error}"));
            }
        };
        self.drive(request, timeout, begin, end)
    }

    fn answer(&self, request: Request, timeout: Duration) -> Result<Answer> {
        self.drive(request, timeout, || {}, |_| {})
    }

    /// Begins what is asked for, and drives it until it is answered. `begin` and `end` are called while no
    /// other call does anything: one line of the log is written at a time.
    fn drive(
        &self,
        request: Request,
        timeout: Duration,
        begin: impl FnOnce(),
        end: impl FnOnce(&Result<Answer>),
    ) -> Result<Answer> {
        let deadline = engine::Deadline::after(self.clock.now(), timeout);
        let call = self.call_lock.begin();
        let mut pass = self.call_lock.enter(deadline.at())?;
        begin();
        let op = pass.get()?.engine.handle(request, deadline);
        let mut cancelled = false;
        loop {
            let driver = pass.get()?;
            if !cancelled && call.is_cancelled() {
                cancelled = true;
                driver.cancel(op);
            }
            driver.drive(Some(op));
            let answer = driver.engine.answer(op);
            let tell = driver.engine.others_are_ready(op);
            // Somebody else may be waiting for what is not about this call.
            driver.show_news();
            if let Some(answer) = answer {
                end(&answer);
                drop(pass);
                self.call_lock.tell_if(true);
                return answer;
            }
            let wait_for = driver.wait_for(self.clock.now());
            self.call_lock.tell_if(tell);
            let waited = call.wait(pass, &wait_for);
            pass = self.call_lock.enter_again()?;
            let readable = match waited {
                Ok(readable) => readable,
                Err(error) => {
                    pass.get()?.leave(op);
                    drop(pass);
                    self.call_lock.tell_if(true);
                    return Err(error);
                }
            };
            pass.get()?.wake(self.clock.now(), readable);
        }
    }

    /// Adds a NIC.
    pub fn add_nic(&self, request: NicRequest, timeout: Duration) -> Result<Outcome> {
        one(
            expect!(self.call("add_nic", timeout, Request::Add(vec![AddRequest::Nic(request)])), Answer::Outcomes(all) => all),
        )
    }

    /// Adds a disk.
    pub fn add_disk(&self, request: &DiskRequest, timeout: Duration) -> Result<Outcome> {
        let request = Request::Add(vec![AddRequest::Disk(Box::new(request.clone()))]);
        one(expect!(self.call("add_disk", timeout, request), Answer::Outcomes(all) => all))
    }

    /// Adds devices as one operation, all or nothing; the answers are in the same order.
    pub fn add_all(&self, requests: Vec<AddRequest>, timeout: Duration) -> Result<Vec<Outcome>> {
        expect!(self.call("add_all", timeout, Request::Add(requests)), Answer::Outcomes(all) => all)
    }

    /// Makes the guest have these NICs and disks and no others, or says what that would take.
    pub fn apply(&self, wanted: Vec<AddRequest>, how: Apply, timeout: Duration) -> Result<Applied> {
        expect!(self.call("apply", timeout, Request::Apply(wanted, how)), Answer::Applied(applied) => *applied)
    }

    /// Adds a SCSI controller.
    pub fn add_controller(&self, request: &ControllerRequest, timeout: Duration) -> Result<Outcome> {
        let request = Request::Add(vec![AddRequest::Controller(request.clone())]);
        one(expect!(self.call("add_controller", timeout, request), Answer::Outcomes(all) => all))
    }

    /// Removes a NIC, disk or SCSI controller.
    pub fn unplug(&self, removal: &Removal, timeout: Duration) -> Result<Outcome> {
        expect!(self.call("unplug", timeout, Request::Remove(removal.clone())), Answer::Outcome(outcome) => *outcome)
    }

    /// Sets the link of a NIC up or down.
    pub fn set_link(&self, id: &str, up: bool, timeout: Duration) -> Result<Outcome> {
        let request = Request::SetLink(id.to_owned(), up);
        expect!(self.call("set_link", timeout, request), Answer::Outcome(outcome) => *outcome)
    }

    /// Moves a NIC to another bridge, or out of any.
    pub fn set_bridge(&self, id: &str, bridge: Option<&IfName>, timeout: Duration) -> Result<Outcome> {
        let request = Request::MoveNic(id.to_owned(), bridge.cloned());
        expect!(self.call("set_bridge", timeout, request), Answer::Outcome(outcome) => *outcome)
    }

    /// Sets how much the guest may receive and send over a NIC.
    pub fn set_nic_limits(&self, id: &str, limits: Limits, timeout: Duration) -> Result<Outcome> {
        let request = Request::SetNicLimits(id.to_owned(), limits);
        expect!(self.call("set_nic_limits", timeout, request), Answer::Outcome(outcome) => *outcome)
    }

    /// Resizes a disk; answers its size in bytes.
    pub fn resize_disk(&self, id: &str, size: NewSize, timeout: Duration) -> Result<(Device, u64)> {
        let request = Request::Resize(id.to_owned(), size);
        expect!(self.call("resize_disk", timeout, request), Answer::Resized(device, bytes) => (*device, bytes))
    }

    /// Changes the medium of a CD drive.
    pub fn change_media(&self, id: &str, medium: NewMedium, timeout: Duration) -> Result<Outcome> {
        let request = Request::ChangeMedium(id.to_owned(), Box::new(medium));
        expect!(self.call("change_media", timeout, request), Answer::Outcome(outcome) => *outcome)
    }

    /// Sets the limits of a disk, and with it those of all disks of its group.
    pub fn set_disk_limits(&self, id: &str, limits: DiskLimits, timeout: Duration) -> Result<Outcome> {
        let request = Request::SetDiskLimits(id.to_owned(), limits);
        expect!(self.call("set_disk_limits", timeout, request), Answer::Outcome(outcome) => *outcome)
    }

    /// Runs a QMP command of the caller's own.
    pub fn qmp(&self, command: RawCommand, timeout: Duration) -> Result<Value> {
        expect!(self.call("qmp", timeout, Request::Qmp(command)), Answer::Value(value) => value)
    }

    /// The end of a connection to a monitor that QEMU makes for it, and deletes when that is closed. Nothing
    /// has been said over it.
    pub fn lend_monitor(&self, timeout: Duration) -> Result<Descriptor> {
        expect!(self.call("lend_monitor", timeout, Request::LendMonitor), Answer::Descriptor(fd) => fd)
    }

    /// Whether QMP events are to be fetched as they are, besides the news made from them.
    pub fn forward_qmp_events(&self, on: bool) -> Result<()> {
        expect!(self.call("forward_qmp_events", SHORT, Request::ForwardQmpEvents(on)), Answer::Done => ())
    }

    /// Everything known of all devices, or of one; `None` if there is no such one.
    pub fn describe(&self, id: Option<&str>, timeout: Duration) -> Result<Option<Value>> {
        let request = Request::Describe(id.map(str::to_owned));
        expect!(self.call("describe", timeout, request), Answer::Described(value) => value)
    }

    /// What QEMU knows of device models, as JSON.
    pub fn capabilities(&self, timeout: Duration) -> Result<Value> {
        expect!(self.call("capabilities", timeout, Request::Capabilities), Answer::Value(value) => value)
    }

    /// Takes what a guest of the same build of QEMU has said.
    pub fn give_capabilities(&self, given: &str, timeout: Duration) -> Result<()> {
        let request = Request::GiveCapabilities(Capabilities::parse(given)?);
        expect!(self.call("give_capabilities", timeout, request), Answer::Done => ())
    }

    /// What the guest has and the record has not, as JSON.
    pub fn describe_unrecorded(&self, timeout: Duration) -> Result<Value> {
        let name = "describe_unrecorded";
        expect!(self.call(name, timeout, Request::DescribeUnrecorded), Answer::Value(value) => value)
    }

    /// Removes many devices, asked for at once and waited for together; each has an answer, in the order of
    /// `ids`.
    pub fn unplug_all(
        &self,
        ids: &[String],
        how: RemovalOfMany,
        timeout: Duration,
    ) -> Result<Vec<Result<Outcome>>> {
        expect!(self.call("unplug_all", timeout, Request::RemoveMany(ids.to_vec(), how)), Answer::Each(all) => all)
    }

    /// Takes in what the monitor has said, finishes late adds and removals, repeats requests that the guest
    /// may not have heard, and reconnects if the connection was lost. Answers how many events can be fetched.
    pub fn process(&self, timeout: Duration) -> Result<usize> {
        expect!(self.call("process", timeout, Request::Process), Answer::Count(count) => count)
    }

    /// Finishes or undoes what is unfinished; answers what is still pending.
    pub fn settle(&self, timeout: Duration) -> Result<Vec<DeviceInfo>> {
        expect!(self.call("settle", timeout, Request::Settle), Answer::Devices(pending) => pending)
    }

    /// The oldest event not fetched yet.
    pub fn next_event(&self) -> Result<Option<Event>> {
        expect!(self.call("next_event", SHORT, Request::NextEvent), Answer::Event(event) => event)
    }

    /// All devices of the record, and those on their way out.
    pub fn list(&self) -> Result<Vec<DeviceInfo>> {
        expect!(self.call("list", SHORT, Request::List), Answer::Devices(all) => all)
    }

    /// One device; `None` if there is no such one.
    pub fn find(&self, id: &str) -> Result<Option<DeviceInfo>> {
        Ok(self.list()?.into_iter().find(|device_info| device_info.device.id.as_str() == id))
    }

    /// Every slot of every PCI bus, then of every SCSI bus the places that are taken and the first free one;
    /// brought up to date.
    pub fn slot_map(&self, timeout: Duration) -> Result<Vec<SlotInfo>> {
        expect!(self.call("slot_map", timeout, Request::SlotMap), Answer::Slots(slots) => slots)
    }

    /// What adding this NIC would do.
    pub fn plan_nic(&self, request: NicRequest, timeout: Duration) -> Result<DryRun> {
        expect!(self.call("plan_nic", timeout, Request::PlanAdd(Box::new(AddRequest::Nic(request)))), Answer::Plan(plan) => *plan)
    }

    /// What adding this disk would do.
    pub fn plan_disk(&self, request: &DiskRequest, timeout: Duration) -> Result<DryRun> {
        let request = Request::PlanAdd(Box::new(AddRequest::Disk(Box::new(request.clone()))));
        expect!(self.call("plan_disk", timeout, request), Answer::Plan(plan) => *plan)
    }

    /// What adding this SCSI controller would do.
    pub fn plan_controller(&self, request: &ControllerRequest, timeout: Duration) -> Result<DryRun> {
        let request = Request::PlanAdd(Box::new(AddRequest::Controller(request.clone())));
        expect!(self.call("plan_controller", timeout, request), Answer::Plan(plan) => *plan)
    }

    /// What this removal would do.
    pub fn plan_removal(&self, removal: &Removal, timeout: Duration) -> Result<DryRun> {
        let request = Request::PlanRemoval(removal.clone());
        expect!(self.call("plan_removal", timeout, request), Answer::Plan(plan) => *plan)
    }

    /// What record and guest disagree about.
    pub fn verify(&self, timeout: Duration) -> Result<Vec<Difference>> {
        expect!(self.call("verify", timeout, Request::Verify), Answer::Differences(all) => all)
    }

    /// Repairs what can be repaired safely; answers what is left.
    pub fn repair(&self, timeout: Duration) -> Result<Vec<Difference>> {
        expect!(self.call("repair", timeout, Request::Repair), Answer::Differences(left) => left)
    }

    /// QEMU's version, and what talking to it has cost on the connection of the moment.
    pub fn facts(&self) -> Result<(Version, Counters)> {
        let (version, link) = expect!(self.call("facts", SHORT, Request::Facts), Answer::Facts(version, link) => (version, link))?;
        let mut pass = self.call_lock.enter_again()?;
        let driver = pass.get()?;
        Ok((version, link.map(|link| driver.counters(link)).unwrap_or_default()))
    }

    /// Readable when [`Guest::process`] has something to do or an event can be fetched. Stays the same for
    /// the life of the handle.
    pub fn fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }

    /// Ends the calls that other threads are in, if any; each says what became of its device.
    pub fn cancel(&self) -> bool {
        self.call_lock.cancel(None)
    }

    /// Ends the call that this thread is in, if it is in one.
    pub fn cancel_thread(&self, thread: ThreadNumber) -> bool {
        self.call_lock.cancel(Some(thread.0))
    }
}

impl AsFd for Guest {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.record_file).detach();
    }
}

/// The devices of a JSON text: one object, or a list. Descriptors that it names are this process's, and are
/// duplicated.
pub fn read_devices(text: &str) -> Result<Vec<AddRequest>> {
    engine::read_devices(text, &take_fds)
}

/// The same for the list of what a guest is to have.
pub fn read_wanted(text: &str) -> Result<Vec<AddRequest>> {
    engine::read_wanted(text, &take_fds)
}

fn take_fds(fds: &[i32]) -> Result<Vec<Descriptor>> {
    if fds.len() > usize::from(MAX_QUEUES) {
        let text = format!("tap_fds: {} file descriptors, at most {MAX_QUEUES} are taken", fds.len());
        return Err(Error::invalid(text));
    }
    fds.iter().map(|fd| descriptor::duplicate(*fd, "tap_fds").map(Into::into)).collect()
}

/// The record that a handle works with.
fn own_of(record_file: Arc<Mutex<RecordFile>>, access: Access) -> Arc<Mutex<RecordFile>> {
    match access {
        Access::Change => record_file,
        Access::Look => Arc::new(Mutex::new(lock(&record_file).copy_for_looking())),
    }
}

/// The only outcome of a request about one device.
fn one(outcomes: Result<Vec<Outcome>>) -> Result<Outcome> {
    outcomes?.into_iter().next().ok_or_else(|| Error::new(ErrorKind::State, "no device was added"))
}
