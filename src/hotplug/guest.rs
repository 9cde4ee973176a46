//! The handle of a live guest: one call at a time, each with its deadline, any of them cancellable.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::access::Access;
use super::add::AddRequest;
use super::call_lock::CallLock;
use super::controller::ControllerRequest;
use super::difference::Difference;
use super::disk::DiskRequest;
use super::dry_run::DryRun;
use super::events::Event;
use super::listener::Listener;
use super::nic::NicRequest;
use super::outcome::{DeferReason, Outcome, PendingReason};
use super::passthrough::RawCommand;
use super::resize::NewSize;
use super::session::Session;
use super::unplug::{Removal, RemovalOfMany};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::ids::{Address, BusName, IfName, PciAddress, ScsiAddress, Slot};
use crate::log::{Level, Log};
use crate::pci::SlotState;
use crate::qmp::{Counters, Version};
use crate::runtime::{Device, Intent, Operation, Presence, RecordFile};
use crate::scsi::UnitState;

/// A connected guest.
#[derive(Debug)]
pub struct Guest {
    call_lock: CallLock<Session>,
    runtime: Arc<Mutex<RecordFile>>,
    fd: RawFd,
}

/// Where a device is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// In the guest.
    Live,
    /// In the guest and asked to leave.
    Pending(PendingReason),
    /// Recorded as in the guest, which did not have it when it was last asked.
    Missing,
    /// Recorded for the next boot; why it is not in the guest now.
    AddAfterReboot(DeferReason),
    /// In the guest, gone with the next boot; why not now.
    RemoveAfterReboot(DeferReason),
}

/// A device and its state.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInfo {
    /// The device.
    pub device: Device,
    /// Its state.
    pub state: DeviceState,
}

/// One place, for showing to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Bus and slot, or bus, target and unit.
    pub address: Address,
    /// Free, reserved, taken, quarantined, or not hot-pluggable.
    pub state: SlotStatus,
    /// Id or description of what is there.
    pub occupant: String,
}

/// What a slot is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SlotStatus {
    /// Can be handed out.
    Free = 0,
    /// Left to QEMU, unless pinned.
    Reserved = 1,
    /// Somebody is there.
    Taken = 2,
    /// A removal is pending.
    Quarantined = 3,
    /// Empty, but takes no devices while the guest runs.
    NotHotpluggable = 4,
    /// The guest has not said.
    Unknown = 5,
    /// Left to a device of the record that the guest does not have.
    Missing = 6,
}

impl Guest {
    /// Connects to the monitor, looks at the guest and settles what an earlier agent left unfinished.
    pub fn open(runtime: Arc<Mutex<RecordFile>>, socket: &Path, log: Log, timeout: Duration) -> Result<Self> {
        Self::open_of(runtime, socket, Listener::default(), Access::Change, log, timeout)
    }

    /// The same, if the right one listens there. One that is to look only has a copy of the record, which may be another handle's.
    pub fn open_of(
        runtime: Arc<Mutex<RecordFile>>,
        socket: &Path,
        listener: Listener,
        access: Access,
        log: Log,
        timeout: Duration,
    ) -> Result<Self> {
        let deadline = Deadline::after(timeout);
        let runtime = own_of(runtime, access);
        runtime.lock().unwrap_or_else(PoisonError::into_inner).attach()?;
        let session = Session::open(runtime.clone(), socket.to_owned(), listener, access, log, &deadline)
            .and_then(|mut session| {
                session.update_poll_fd();
                Ok((session.poll_fd.as_fd().as_raw_fd(), CallLock::new(session)?))
            });
        match session {
            Ok((fd, call_lock)) => Ok(Self { call_lock, runtime, fd }),
            Err(error) => {
                runtime.lock().unwrap_or_else(PoisonError::into_inner).detach();
                Err(error)
            }
        }
    }

    /// Runs one call: waits for its turn, does it, and brings the pollable descriptor up to date.
    fn call<T>(
        &self,
        name: &str,
        timeout: Duration,
        work: impl FnOnce(&mut Session, &Deadline) -> Result<T>,
    ) -> Result<T> {
        let deadline = self.call_lock.deadline(timeout);
        let mut pass = self.call_lock.enter(&deadline.uncancelable())?;
        let session = pass.get()?;
        session.log.write(Level::Debug, || format!("{name}, {} ms", timeout.as_millis()));
        let result = work(session, &deadline);
        session.update_poll_fd();
        if let Err(error) = &result {
            session.log.write(Level::Warning, || format!("{name}: {error}"));
        }
        result
    }

    /// The same for a call that changes something.
    fn change<T>(
        &self,
        name: &str,
        timeout: Duration,
        work: impl FnOnce(&mut Session, &Deadline) -> Result<T>,
    ) -> Result<T> {
        self.call(name, timeout, |session, deadline| {
            session.check_may_change()?;
            work(session, deadline)
        })
    }

    /// Adds a NIC.
    pub fn add_nic(&self, request: NicRequest, timeout: Duration) -> Result<Outcome> {
        self.change("add_nic", timeout, |session, deadline| session.add_nic(request, deadline))
    }

    /// Adds a disk.
    pub fn add_disk(&self, request: &DiskRequest, timeout: Duration) -> Result<Outcome> {
        self.change("add_disk", timeout, |session, deadline| session.add_disk(request, deadline))
    }

    /// Adds devices as one operation, all or nothing; the answers are in the same order.
    pub fn add_all(&self, requests: Vec<AddRequest>, timeout: Duration) -> Result<Vec<Outcome>> {
        self.change("add_all", timeout, |session, deadline| session.add_all(requests, deadline))
    }

    /// Adds a SCSI controller.
    pub fn add_controller(&self, request: &ControllerRequest, timeout: Duration) -> Result<Outcome> {
        self.change("add_controller", timeout, |session, deadline| session.add_controller(request, deadline))
    }

    /// Removes a NIC, disk or SCSI controller.
    pub fn unplug(&self, removal: &Removal, timeout: Duration) -> Result<Outcome> {
        self.change("unplug", timeout, |session, deadline| session.unplug(removal, deadline))
    }

    /// Sets the link of a NIC up or down.
    pub fn set_link(&self, id: &str, up: bool, timeout: Duration) -> Result<Outcome> {
        self.change("set_link", timeout, |session, deadline| session.set_link(id, up, deadline))
    }

    /// Moves a NIC to another bridge, or out of any.
    pub fn move_nic(&self, id: &str, bridge: Option<&IfName>, timeout: Duration) -> Result<Outcome> {
        self.change("move_nic", timeout, |session, deadline| session.move_nic(id, bridge, deadline))
    }

    /// Resizes a disk; answers its size in bytes.
    pub fn resize_disk(&self, id: &str, size: NewSize, timeout: Duration) -> Result<(Device, u64)> {
        self.change("resize_disk", timeout, |session, deadline| session.resize_disk(id, size, deadline))
    }

    /// Runs a QMP command of the caller's own.
    pub fn qmp(&self, command: &RawCommand, timeout: Duration) -> Result<Value> {
        self.call("qmp", timeout, |session, deadline| session.passthrough(command, deadline))
    }

    /// Whether QMP events are to be fetched as they are, besides the events made from them.
    pub fn watch_qmp(&self, on: bool) -> Result<()> {
        self.call("watch_qmp", SHORT, |session, _| {
            session.forward_qmp_events = on;
            Ok(())
        })
    }

    /// Everything known of all devices, or of one; `None` if there is no such one.
    pub fn describe(&self, id: Option<&str>, timeout: Duration) -> Result<Option<Value>> {
        self.call("describe", timeout, |session, deadline| session.describe(id, deadline))
    }

    /// Removes many devices, asked for at once and waited for together; each has an answer, in the order of `ids`.
    pub fn unplug_all(
        &self,
        ids: &[String],
        how: RemovalOfMany,
        timeout: Duration,
    ) -> Result<Vec<Result<Outcome>>> {
        self.change("unplug_all", timeout, |session, deadline| Ok(session.unplug_all(ids, how, deadline)))
    }

    /// Takes in what the monitor has said, finishes late adds and removals, repeats requests that the guest may not have
    /// heard, and reconnects if the connection was lost. Answers how many events can be fetched.
    pub fn process(&self, timeout: Duration) -> Result<usize> {
        self.call("process", timeout, |session, deadline| {
            if session.advance_async_add(deadline) {
                session.ready(deadline)?;
                if !session.only_looks() {
                    session.repeat_due_requests(deadline)?;
                }
            }
            Ok(session.events.len())
        })
    }

    /// Finishes or undoes what is unfinished; answers what is still pending.
    pub fn settle(&self, timeout: Duration) -> Result<Vec<DeviceInfo>> {
        self.change("settle", timeout, |session, deadline| {
            session.ready(deadline)?;
            session.resync(deadline)?;
            session.process_reports(deadline)?;
            let is_pending = |device_info: &DeviceInfo| matches!(device_info.state, DeviceState::Pending(_));
            Ok(list(session).into_iter().filter(is_pending).collect())
        })
    }

    /// The oldest event not fetched yet.
    pub fn next_event(&self) -> Result<Option<Event>> {
        self.call("next_event", SHORT, |session, _| Ok(session.events.pop()))
    }

    /// All devices of the record, and those on their way out.
    pub fn list(&self) -> Result<Vec<DeviceInfo>> {
        self.call("list", SHORT, |session, _| Ok(list(session)))
    }

    /// One device; `None` if there is no such one.
    pub fn find(&self, id: &str) -> Result<Option<DeviceInfo>> {
        Ok(self.list()?.into_iter().find(|device_info| device_info.device.id.as_str() == id))
    }

    /// Every slot of every PCI bus, then of every SCSI bus the places that are taken and the first free one; brought up to
    /// date.
    pub fn slot_map(&self, timeout: Duration) -> Result<Vec<SlotInfo>> {
        self.call("slot_map", timeout, |session, deadline| {
            session.ready(deadline)?;
            session.resync(deadline)?;
            session.learn_buses(deadline)?;
            let mut lines = Vec::new();
            for bus in session.slots.pci.buses() {
                let line = |(slot, state): (Slot, SlotState<'_>)| slot_line(bus.name(), slot, state);
                lines.extend(bus.slots().map(line));
            }
            lines.extend(session.slots.scsi.lines().into_iter().map(unit_line));
            let is_missing = |line: &SlotInfo| {
                line.state == SlotStatus::Taken
                    && session.absent_in_guest.iter().any(|id| id.as_str() == line.occupant)
            };
            lines
                .iter_mut()
                .filter(|line| is_missing(line))
                .for_each(|line| line.state = SlotStatus::Missing);
            Ok(lines)
        })
    }

    /// What adding this NIC would do.
    pub fn plan_nic(&self, request: &NicRequest, timeout: Duration) -> Result<DryRun> {
        self.call("plan_nic", timeout, |session, deadline| session.dry_run_nic(request, deadline))
    }

    /// What adding this disk would do.
    pub fn plan_disk(&self, request: &DiskRequest, timeout: Duration) -> Result<DryRun> {
        self.call("plan_disk", timeout, |session, deadline| session.dry_run_disk(request, deadline))
    }

    /// What adding this SCSI controller would do.
    pub fn plan_controller(&self, request: &ControllerRequest, timeout: Duration) -> Result<DryRun> {
        self.call("plan_controller", timeout, |session, deadline| {
            session.dry_run_controller(request, deadline)
        })
    }

    /// What this removal would do.
    pub fn plan_removal(&self, removal: &Removal, timeout: Duration) -> Result<DryRun> {
        self.call("plan_removal", timeout, |session, deadline| session.dry_run_removal(removal, deadline))
    }

    /// What record and guest disagree about.
    pub fn verify(&self, timeout: Duration) -> Result<Vec<Difference>> {
        self.call("verify", timeout, |session, deadline| session.verify(deadline))
    }

    /// Mends what can be mended safely; answers what is left.
    pub fn repair(&self, timeout: Duration) -> Result<Vec<Difference>> {
        self.change("mend", timeout, |session, deadline| session.repair(deadline))
    }

    /// QEMU's version, and what talking to it has cost on the connection of the moment.
    pub fn facts(&self) -> Result<(Version, Counters)> {
        self.call("facts", SHORT, |session, _| {
            let counters = session.monitor().map(|monitor| monitor.counters()).unwrap_or_default();
            Ok((session.version, counters))
        })
    }

    /// Readable when [`Guest::process`] has something to do or an event can be fetched. Stays the same for the life of
    /// the handle.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Ends the call that another thread is in, if any; that call says what became of the device.
    pub fn cancel(&self) -> bool {
        self.call_lock.cancel()
    }
}

/// The record that a handle works with.
fn own_of(runtime: Arc<Mutex<RecordFile>>, access: Access) -> Arc<Mutex<RecordFile>> {
    match access {
        Access::Change => runtime,
        Access::Look => {
            Arc::new(Mutex::new(runtime.lock().unwrap_or_else(PoisonError::into_inner).copy_for_looking()))
        }
    }
}

/// Calls that talk to nobody wait this long for their turn.
const SHORT: Duration = Duration::from_secs(60);

impl Drop for Guest {
    fn drop(&mut self) {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner).detach();
    }
}

pub(super) fn list(session: &Session) -> Vec<DeviceInfo> {
    let state = |device: &Device| match (session.unplugging.get(&device.id), device.presence) {
        (Some(request), _) => DeviceState::Pending(request.why),
        (None, Presence::Live) if session.absent_in_guest.contains(&device.id) => DeviceState::Missing,
        (None, Presence::Live) => DeviceState::Live,
        (None, Presence::AddAfterReboot) => {
            DeviceState::AddAfterReboot(session.recorded_defer_reason(device))
        }
        (None, Presence::RemoveAfterReboot) => {
            DeviceState::RemoveAfterReboot(session.recorded_defer_reason(device))
        }
    };
    // A statement of its own, so that the record is free again: to say why a device waits is to look at it as well.
    let devices = recorded_or_leaving(&session.runtime());
    devices.into_iter().map(|device| DeviceInfo { state: state(&device), device }).collect()
}

fn recorded_or_leaving(runtime: &RecordFile) -> Vec<Device> {
    // A removal may have come as far as the record, and still not be at its end.
    let is_being_removed = |intent: &&Intent| match intent.operation {
        Operation::RollbackAdd => true,
        Operation::Remove => runtime.record().find(intent.device.id.as_str()).is_none(),
        Operation::Add | Operation::SetLink | Operation::Move => false,
    };
    let leaving = runtime.journal().intents.iter().filter(is_being_removed).map(|intent| &intent.device);
    runtime.record().devices.iter().chain(leaving).cloned().collect()
}

fn slot_line(bus: &BusName, slot: Slot, state: SlotState<'_>) -> SlotInfo {
    let (state, occupant) = match state {
        SlotState::Free => (SlotStatus::Free, ""),
        SlotState::Reserved => (SlotStatus::Reserved, ""),
        SlotState::Taken { by } => (SlotStatus::Taken, by),
        SlotState::Quarantined { id } => (SlotStatus::Quarantined, id),
        SlotState::NotHotpluggable => (SlotStatus::NotHotpluggable, ""),
        SlotState::Unknown => (SlotStatus::Unknown, ""),
    };
    let address = PciAddress { bus: bus.clone(), slot }.into();
    SlotInfo { address, state, occupant: occupant.to_owned() }
}

fn unit_line((address, state): (ScsiAddress, UnitState<'_>)) -> SlotInfo {
    let (state, occupant) = match state {
        UnitState::Free => (SlotStatus::Free, ""),
        UnitState::Taken(by) => (SlotStatus::Taken, by),
        UnitState::Quarantined(id) => (SlotStatus::Quarantined, id),
    };
    SlotInfo { address: address.into(), state, occupant: occupant.to_owned() }
}
