//! What callers ask for, what they are told, and which operation that is.

use std::time::Instant;

use super::access::Access;
use super::add_item::AddRequest;
use super::answer::Answer;
use super::board::Purpose;
use super::guest_state::{GuestState, Own};
use super::io::{Effect, Given, Link, OpId};
use super::limit::Deadline;
use super::list::list;
use super::listener::Listener;
use super::medium_request::NewMedium;
use super::operations::{Demand, Operations};
use super::passthrough::RawCommand;
use super::removal::{Removal, RemovalOfMany};
use super::resize::NewSize;
use super::turn::Turn;
use super::wanted::Apply;
use crate::disk::Limits as DiskLimits;
use crate::error::Result;
use crate::ids::IfName;
use crate::log::Log;
use crate::net::bandwidth::Limits;
use crate::qmp::capabilities::Capabilities;
use crate::qmp::{MonitorName, Queued};
use crate::store::Contents;

/// What a caller asks for.
#[derive(Debug)]
pub enum Request {
    /// Connect, look at the guest and settle what an earlier agent left.
    Open,
    /// Add these devices as one operation.
    Add(Vec<AddRequest>),
    /// Make the guest have these NICs and disks and no others.
    Apply(Vec<AddRequest>, Apply),
    /// Remove a device.
    Remove(Removal),
    /// Remove many devices, asked for at once and waited for together.
    RemoveMany(Vec<String>, RemovalOfMany),
    /// Set the link of a NIC up or down.
    SetLink(String, bool),
    /// Move a NIC to a bridge, or out of any.
    MoveNic(String, Option<IfName>),
    /// Set how much the guest may receive and send over a NIC.
    SetNicLimits(String, Limits),
    /// Resize a disk.
    Resize(String, NewSize),
    /// Change the medium of a CD drive.
    ChangeMedium(String, Box<NewMedium>),
    /// Set the limits of a disk and its group.
    SetDiskLimits(String, DiskLimits),
    /// Run a QMP command of the caller's own.
    Qmp(RawCommand),
    /// Whether QMP events are to be passed on as they are.
    ForwardQmpEvents(bool),
    /// Say everything that is known of all devices, or of one.
    Describe(Option<String>),
    /// Say what the guest has and the record has not.
    DescribeUnrecorded,
    /// Take in what QEMU has said, and go on with what is pending.
    Process,
    /// Finish or undo what is unfinished.
    Settle,
    /// The oldest event that has not been fetched.
    NextEvent,
    /// All devices.
    List,
    /// All slots.
    SlotMap,
    /// What adding a device would do.
    PlanAdd(Box<AddRequest>),
    /// What a removal would do.
    PlanRemoval(Removal),
    /// Compare record and guest.
    Verify,
    /// Repair what can be repaired.
    Repair,
    /// Have QEMU make a monitor for another client.
    LendMonitor,
    /// Say what QEMU knows of device models.
    Capabilities,
    /// Take what a guest of the same build has said.
    GiveCapabilities(Capabilities),
    /// The connection of the moment.
    Facts,
}

impl Request {
    /// Whether a guest that is only looked at cannot be asked for it.
    fn changes(&self) -> bool {
        match self {
            Self::Add(_) | Self::Remove(_) | Self::RemoveMany(..) | Self::SetLink(..) | Self::MoveNic(..) => {
                true
            }
            Self::SetNicLimits(..) | Self::SetDiskLimits(..) | Self::Resize(..) | Self::ChangeMedium(..) => {
                true
            }
            Self::Settle | Self::Repair | Self::LendMonitor => true,
            Self::Apply(_, how) => !how.plan_only,
            // Which commands change something is found out for each.
            Self::Qmp(_) | Self::Open | Self::ForwardQmpEvents(_) | Self::Describe(_) | Self::Process => {
                false
            }
            Self::NextEvent | Self::List | Self::SlotMap | Self::Verify | Self::Facts => false,
            Self::DescribeUnrecorded | Self::Capabilities | Self::GiveCapabilities(_) => false,
            Self::PlanAdd(_) | Self::PlanRemoval(_) => false,
        }
    }

    /// What it wants the state of the guest for.
    fn purpose(&self) -> Purpose {
        match self {
            Self::ForwardQmpEvents(_) | Self::NextEvent | Self::List | Self::Facts => Purpose::Look,
            _ => Purpose::Talk,
        }
    }
}

/// The engine of one guest.
#[derive(Debug)]
pub struct Engine {
    operations: Operations<GuestState>,
}

impl Engine {
    /// Nothing is known of the guest yet; the record is.
    pub fn new(
        contents: Contents,
        socket: MonitorName,
        listener: (Listener, Access),
        log: Log,
        now: Instant,
    ) -> Self {
        Self { operations: Operations::new(GuestState::new(contents, socket, listener, log, now), now) }
    }

    /// Begins what is asked for.
    pub fn handle(&mut self, request: Request, deadline: Deadline) -> OpId {
        self.operations.start(move |port, cell| async move {
            if matches!(request, Request::Process) {
                // Before it takes its turn: adds that nobody waits for may end with what has been said.
                let _ = port.perform(Effect::ReadAll).await;
            }
            let own = Own { port, cell, deadline };
            let answer = take_turn(&own, request).await;
            own.port.answer(answer);
        })
    }

    /// Lets operations go on until the shell is needed; `None` when all of them wait. An operation that is
    /// waited for goes on in the thread of its call, which says that it is its `own`.
    pub fn poll(&mut self, now: Instant, own: Option<OpId>) -> Option<Demand> {
        self.operations.poll(now, own)
    }

    /// What the shell has done for an operation.
    pub fn give(&mut self, op: OpId, given: Given) {
        self.operations.give(op, given);
    }

    /// What the record's file says from now on.
    pub fn contents(&mut self, contents: Contents) {
        self.operations.tell_contents(contents);
    }

    /// What QEMU has said unasked.
    pub fn event(&mut self, event: Queued) {
        self.operations.event(event);
    }

    /// A connection has ended.
    pub fn disconnected(&mut self, link: Link) {
        self.operations.disconnected(link);
    }

    /// Ends what the operation waits for.
    pub fn cancel(&mut self, op: OpId) -> Option<Demand> {
        self.operations.cancel(op)
    }

    /// The call that waited for this operation has ended without its answer.
    pub fn leave(&mut self, op: OpId) {
        self.operations.leave(op);
    }

    /// When something is to go on by itself.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.operations.next_timeout()
    }

    /// What the caller is told, once it is known.
    pub fn answer(&mut self, op: OpId) -> Option<Result<Answer>> {
        self.operations.answer(op)
    }

    /// Whether an operation can go on that another call waits for.
    pub fn others_are_ready(&self, own: OpId) -> bool {
        self.operations.others_are_ready(Some(own))
    }

    /// Whether there is something to fetch, or something to do that nobody waits for; `None` while an
    /// operation has the state.
    pub fn has_news(&self) -> Option<bool> {
        let heard = self.operations.has_events();
        self.operations.with_state(|state| state.has_news() || heard)
    }
}

/// Waits for the state of the guest, and does with it what is asked for.
async fn take_turn(own: &Own, request: Request) -> Result<Answer> {
    let turn = Turn::take(&own.port, &own.cell, request.purpose(), Some(own.deadline.at()), true).await;
    let mut turn = turn.map_err(|error| error.context("another call on this handle is still running"))?;
    let state = turn.get()?;
    if request.changes() {
        state.check_may_change()?;
    }
    state.own = Some(own.clone());
    let answer = state.serve(request, &own.deadline).await;
    state.own = None;
    answer
}

impl GuestState {
    // Each has a room of its own, or the largest of them would make the room of all.
    async fn serve(&mut self, request: Request, deadline: &Deadline) -> Result<Answer> {
        match request {
            Request::Open => Box::pin(self.open(deadline)).await.map(|()| Answer::Done),
            Request::Add(requests) => Box::pin(self.add_all(requests, deadline)).await.map(Answer::Outcomes),
            Request::Apply(requests, how) => {
                let applied = Box::pin(self.apply(requests, how, deadline)).await;
                applied.map(|applied| Answer::Applied(Box::new(applied)))
            }
            Request::Remove(removal) => Box::pin(self.unplug(&removal, deadline)).await.map(Answer::outcome),
            Request::RemoveMany(ids, how) => {
                Ok(Answer::Each(Box::pin(self.unplug_all(&ids, how, deadline)).await))
            }
            Request::SetLink(id, up) => Box::pin(self.set_link(&id, up, deadline)).await.map(Answer::outcome),
            Request::MoveNic(id, bridge) => {
                Box::pin(self.set_bridge(&id, bridge.as_ref(), deadline)).await.map(Answer::outcome)
            }
            Request::SetNicLimits(id, limits) => {
                Box::pin(self.set_nic_limits(&id, limits, deadline)).await.map(Answer::outcome)
            }
            Request::Resize(id, size) => {
                let resized = Box::pin(self.resize_disk(&id, size, deadline)).await;
                resized.map(|(device, bytes)| Answer::Resized(Box::new(device), bytes))
            }
            Request::ChangeMedium(id, medium) => {
                Box::pin(self.change_medium(&id, &medium, deadline)).await.map(Answer::outcome)
            }
            Request::SetDiskLimits(id, limits) => {
                Box::pin(self.set_disk_limits(&id, limits, deadline)).await.map(Answer::outcome)
            }
            Request::Qmp(command) => Box::pin(self.passthrough(&command, deadline)).await.map(Answer::Value),
            Request::DescribeUnrecorded => {
                Box::pin(self.describe_unrecorded(deadline)).await.map(Answer::Value)
            }
            Request::Describe(id) => {
                Box::pin(self.describe(id.as_deref(), deadline)).await.map(Answer::Described)
            }
            Request::Capabilities => {
                let known = Box::pin(self.capabilities(deadline)).await;
                known.map(|known| Answer::Value(known.to_json()))
            }
            Request::GiveCapabilities(given) => {
                Box::pin(self.give_capabilities(given, deadline)).await.map(|()| Answer::Done)
            }
            Request::LendMonitor => Box::pin(self.lend_monitor(deadline)).await.map(Answer::Descriptor),
            Request::Process => Box::pin(self.process(deadline)).await.map(Answer::Count),
            Request::Settle => Box::pin(self.settle(deadline)).await.map(Answer::Devices),
            Request::SlotMap => Box::pin(self.slot_map(deadline)).await.map(Answer::Slots),
            Request::PlanAdd(request) => {
                Box::pin(self.dry_run_add(*request, deadline)).await.map(Answer::plan)
            }
            Request::PlanRemoval(removal) => {
                Box::pin(self.dry_run_removal(&removal, deadline)).await.map(Answer::plan)
            }
            Request::Verify => Box::pin(self.verify(deadline)).await.map(Answer::Differences),
            Request::Repair => Box::pin(self.repair(deadline)).await.map(Answer::Differences),
            Request::ForwardQmpEvents(on) => {
                self.forward_qmp_events = on;
                Ok(Answer::Done)
            }
            Request::NextEvent => Ok(Answer::Event(self.events.pop())),
            Request::List => Ok(Answer::Devices(list(self))),
            Request::Facts => {
                let link = self.monitor().ok().map(|monitor| monitor.link);
                Ok(Answer::Facts(self.version, link))
            }
        }
    }
}
