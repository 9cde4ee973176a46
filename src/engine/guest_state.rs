//! The state behind a guest handle: connection, slot map, what is pending, and events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::access::Access;
use super::board::{Cell, Port};
use super::events::EventLog;
use super::fdsets::FdSets;
use super::io::Connected;
use super::limit::Deadline;
use super::listener::Listener;
use super::outcome::PendingReason;
use super::phase::Phase;
use super::phases::Phases;
use super::report::Report;
use super::tap_fds::{TapCache, TapFd};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BusName, DeviceId};
use crate::log::{Level, Log};
use crate::model::{Device, DeviceKind};
use crate::qmp::capabilities::Models;
use crate::qmp::{MonitorName, Version};
use crate::slots::Slots;
use crate::slots::pci::{QomChild, Rules, SlotMap, Topology};
use crate::slots::scsi::ScsiMap;
use crate::store::Contents;

/// Pauses before a connection that was dropped at once is made again, when a guest is opened.
const RECONNECT_PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(10), Duration::from_millis(40), Duration::from_millis(160)];

/// An operation's own: how it asks, and where the state goes while it waits for the guest.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) port: Port,
    pub(super) cell: Cell<GuestState>,
    /// Of the call.
    pub(super) deadline: Deadline,
}

/// Everything a call on a guest works with. One call has it at a time.
#[derive(Debug)]
pub(super) struct GuestState {
    /// Of the operation that has the state.
    pub(super) own: Option<Own>,
    pub(super) opened_at: Instant,
    /// What the file of the record said then.
    pub(super) opened_with: Contents,
    pub(super) log: Log,
    pub(super) events: EventLog,
    pub(super) fdsets: FdSets,
    /// What each device is at.
    pub(super) phases: Phases,
    pub(super) slots: Slots,
    pub(super) topology: Topology,
    /// The guest's devices without an id.
    pub(super) devices_without_id: Vec<QomChild>,
    pub(super) version: Version,
    /// The inventory of the guest may be wrong: ask before acting on it.
    pub(super) needs_resync: bool,
    /// Why the guest is not asked for devices now, but later: it sleeps, or has not been started.
    ///
    /// Waking up is a reset, with which QEMU completes whatever removal is pending (7.2): Linux would find
    /// its driver's device gone, keep a stale copy of it, and hang on the next one in that slot. What is
    /// asked for before the start is not heard, and never can be again: see `qmp_events`.
    pub(super) unplug_blocked: Option<PendingReason>,
    /// The guest was being migrated when it was last asked, or waited for that.
    pub(super) migrating: bool,
    /// The guest is known to run: nothing has been heard to the contrary since it was last asked.
    pub(super) running: bool,
    /// When this guest was first seen to have been started.
    pub(super) running_since: Option<Instant>,
    /// Buses that are known to take nothing while the guest runs.
    pub(super) no_hotplug_buses: BTreeSet<BusName>,
    /// Device models that QEMU has been asked about, with their properties.
    pub(super) known_models: Models,
    /// Buses of which QEMU has said whether they do.
    pub(super) probed_buses: BTreeSet<BusName>,
    /// Events were lost: a device may have left without a word.
    pub(super) events_lost: bool,
    /// A device of a lower generation may have left before anybody was listening, and another one may have
    /// its id.
    pub(super) heard_from_generation: u64,
    /// Devices that the call of the moment has given a place, and not plugged in yet.
    pub(super) reserved: Vec<Device>,
    /// Devices that are removed after the present add, as one operation with it.
    pub(super) followed_by: Vec<Device>,
    /// Taps of NICs that have left, until QEMU has closed them.
    pub(super) tap_fds: Vec<TapFd>,
    /// The taps that QEMU had when it was looked at, until something changes about them.
    pub(super) tap_cache: Option<TapCache>,
    /// Devices without an id that a call waits for, and whether the guest has refused.
    pub(super) awaited_paths: BTreeMap<String, bool>,
    /// What QEMU has said of devices of ours, and QOM has not been asked about yet.
    pub(super) reports: Vec<(String, Report)>,
    /// QMP events are passed on as they are, too.
    pub(super) forward_qmp_events: bool,
    /// An export or a block job has ended: who used a disk's image may have let go of it.
    pub(super) block_users_changed: bool,
    /// A tray of a CD drive may have moved since QEMU was asked.
    pub(super) trays_moved: bool,
    /// Drives whose trays a call waits for, which tells what becomes of them.
    pub(super) awaited_trays: BTreeSet<DeviceId>,
    /// Connections to other monitors of this QEMU, over which an earlier agent's commands went, until what it
    /// left is settled.
    pub(super) former_monitors: Vec<Connected>,
    /// Nothing has been asked on this connection yet.
    pub(super) is_new_connection: bool,
    /// Something has been answered on this connection.
    pub(super) has_answered: bool,
    /// Links that are recorded as down have not been set down on this connection yet.
    pub(super) links_to_reapply: bool,
    /// The connection was lost, and the caller told so.
    pub(super) monitor_lost: bool,
    pub(super) monitor: Option<Connected>,
    pub(super) socket: MonitorName,
    /// Who is expected to listen there.
    pub(super) listener: Listener,
    /// Whether anything may be changed.
    pub(super) access: Access,
}

impl GuestState {
    /// Nothing is known of the guest yet.
    pub(super) fn new(
        opened_with: Contents,
        socket: MonitorName,
        (listener, access): (Listener, Access),
        log: Log,
        now: Instant,
    ) -> Self {
        let topology = Topology::default();
        Self {
            own: None,
            opened_at: now,
            opened_with,
            log,
            events: EventLog::default(),
            fdsets: FdSets::default(),
            phases: Phases::default(),
            slots: Slots { pci: SlotMap::new(&topology, Rules::default()), scsi: ScsiMap::default() },
            topology,
            devices_without_id: Vec::new(),
            version: Version::default(),
            needs_resync: true,
            unplug_blocked: None,
            running_since: None,
            migrating: false,
            running: false,
            no_hotplug_buses: BTreeSet::new(),
            known_models: BTreeMap::new(),
            probed_buses: BTreeSet::new(),
            events_lost: false,
            heard_from_generation: 0,
            reserved: Vec::new(),
            followed_by: Vec::new(),
            tap_fds: Vec::new(),
            tap_cache: None,
            awaited_paths: BTreeMap::new(),
            reports: Vec::new(),
            forward_qmp_events: false,
            block_users_changed: false,
            trays_moved: false,
            awaited_trays: BTreeSet::new(),
            former_monitors: Vec::new(),
            is_new_connection: true,
            has_answered: false,
            links_to_reapply: true,
            monitor_lost: false,
            monitor: None,
            socket,
            listener,
            access,
        }
    }

    /// Stands where the state was while another operation has it.
    pub(super) fn placeholder(&self) -> Self {
        Self::new(
            self.opened_with.clone(),
            MonitorName::Given,
            (Listener::default(), self.access),
            self.log.clone(),
            self.opened_at,
        )
    }

    /// Connects, looks at the guest, and finishes or undoes what an earlier agent left.
    pub(super) async fn open(&mut self, deadline: &Deadline) -> Result<()> {
        if self.listener != Listener::default() {
            self.connect(deadline).await?;
            self.record_peer().await?;
        }
        self.ready_with_retries(deadline).await
    }

    /// A guest that is opened right after another client was killed may lose its connection at once, and the
    /// next one as well: seen with QEMU 5.2 and 11.1, once in some 10,000 times, when QEMU was still
    /// answering that client. Nobody has been told of these connections yet.
    async fn ready_with_retries(&mut self, deadline: &Deadline) -> Result<()> {
        let mut outcome = self.ready(deadline).await;
        for pause in RECONNECT_PAUSES {
            let error = match outcome {
                Err(error) if error.kind() == ErrorKind::MonitorLost => error,
                other => return other,
            };
            self.log.write(Level::Warning, || format!("connecting once more: {error}"));
            self.drain_events();
            self.monitor = None;
            if self.pause(pause, deadline).await.is_err() || self.connect(deadline).await.is_err() {
                return Err(error);
            }
            outcome = self.ready(deadline).await;
        }
        outcome
    }

    /// The recorded device with this id.
    pub(super) fn recorded(&self, id: &str) -> Option<Device> {
        self.contents().record().find(id).cloned()
    }

    /// Whether there is one.
    pub(super) fn is_recorded(&self, id: &str) -> bool {
        self.contents().record().find(id).is_some()
    }

    /// Brings connection and inventory of the guest up to date. In steady state this asks nothing.
    pub(super) async fn ready(&mut self, deadline: &Deadline) -> Result<()> {
        self.connect(deadline).await?;
        self.drain_events();
        let steady = !self.needs_resync && !self.is_new_connection;
        let steady = steady && !self.block_users_changed && !self.trays_moved;
        if steady && self.reports.is_empty() && self.open_intents().is_empty() {
            return Ok(());
        }
        // Boxed: what is done now and then takes no room in each operation.
        Box::pin(self.catch_up(deadline)).await
    }

    /// Whether the guest has been looked at anew after this error, which left open what became of a command.
    /// A call whose time is over, or that is cancelled, leaves that to the next one.
    pub(super) async fn can_look_again(&mut self, error: &Error, deadline: &Deadline) -> bool {
        let has_ended = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled);
        !has_ended && self.ready(deadline).await.is_ok()
    }

    async fn catch_up(&mut self, deadline: &Deadline) -> Result<()> {
        if self.only_looks() {
            self.disregard_reports();
            return if self.needs_resync { self.resync(deadline).await } else { Ok(()) };
        }
        if !self.needs_resync {
            self.process_reports(deadline).await?;
        }
        self.needs_resync |= !self.open_intents().is_empty();
        if self.is_new_connection {
            self.await_former_agents(deadline).await?;
            self.is_new_connection = false;
        }
        if self.needs_resync {
            self.resync(deadline).await?;
            // Not before: until the guest has been asked, nobody knows which fdsets stand behind a device.
            self.process_reports(deadline).await?;
        }
        if self.trays_moved {
            self.look_at_trays(deadline).await?;
        }
        if std::mem::take(&mut self.block_users_changed) {
            self.finish_released(deadline).await?;
        }
        Ok(())
    }

    /// Why nothing is to be put on the bus of this SCSI controller now.
    pub(super) fn why_closed(&self, controller: &str) -> Option<String> {
        match self.phases.of(&self.known_device(controller)?) {
            Phase::Unplugging(_) | Phase::Detached(_) => {
                Some(format!("the removal of its controller {controller} is pending"))
            }
            Phase::AbsentInGuest => {
                Some(format!("its controller {controller} is recorded, but the guest does not have it"))
            }
            Phase::Deferred => Some(format!("its controller {controller} comes with the next boot")),
            Phase::Plugged { drop_at_boot: true } => {
                Some(format!("its controller {controller} goes with the next boot"))
            }
            Phase::Plugging | Phase::Plugged { drop_at_boot: false } => None,
        }
    }

    /// Adds that were interrupted: nobody knows whether they happened.
    fn open_intents(&self) -> Vec<DeviceId> {
        let known = |id: &DeviceId| {
            self.phases.is_unplugging(id) || self.phases.is_plugging(id) || self.phases.is_asked_again(id)
        };
        let contents = self.contents();
        let intents = contents.journal().intents.iter().map(|intent| &intent.device.id);
        intents.filter(|id| !known(id)).cloned().collect()
    }

    /// Which attachment of the id the device of ours is.
    pub(super) fn known_generation(&self, id: &str) -> Option<u64> {
        let contents = self.contents();
        let journalled = || contents.journal().find(id).map(|intent| &intent.device);
        let reserved = || self.reserved.iter().find(|device| device.id.as_str() == id);
        Some(contents.record().find(id).or_else(journalled).or_else(reserved)?.generation)
    }

    /// Whether it is a device of ours.
    pub(super) fn is_known(&self, id: &str) -> bool {
        self.known_generation(id).is_some()
    }

    /// A device of ours, recorded, in the journal, or about to be.
    pub(super) fn known_device(&self, id: &str) -> Option<Device> {
        let contents = self.contents();
        let journalled = || contents.journal().find(id).map(|intent| &intent.device);
        let reserved = || self.reserved.iter().find(|device| device.id.as_str() == id);
        contents.record().find(id).or_else(journalled).or_else(reserved).cloned()
    }

    /// The device of ours with a netdev, or a block node or drive, of this name that another program has
    /// made.
    pub(super) fn owner_of_backend(&self, kind: DeviceKind, name: &str) -> Option<DeviceId> {
        let contents = self.contents();
        let journalled = contents.journal().intents.iter().map(|intent| &intent.device);
        let is_its = |device: &&Device| {
            device.backend.is_some() && device.kind() == kind && device.has_backend_named(name)
        };
        contents.record().devices.iter().chain(journalled).find(is_its).map(|device| device.id.clone())
    }

    /// Whether it is the id of a device of ours, or the name of a node that one has.
    pub(super) fn is_of_known(&self, name: &str) -> bool {
        self.is_known(name) || self.owner_of_backend(DeviceKind::Disk, name).is_some()
    }

    /// Whether there is something to fetch or to do.
    pub(super) fn has_news(&self) -> bool {
        // What has been heard during an add waits for its end, which is heard as well.
        let waiting = !self.phases.any_plugging() && !self.reports.is_empty();
        waiting || self.trays_moved || !self.events.is_empty()
    }
}
