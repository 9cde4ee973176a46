//! The state behind a guest handle: connection, slot map, what is pending, and news.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::async_add::Arrival;
use super::device_reports::Word;
use super::events::{EventLog, What};
use super::inventory::{FdSets, Inventory, Survey};
use super::listener::Listener;
use super::outcome::Waiting;
use super::overlay::is_live_disk;
use super::poll_fd::Readiness;
use super::slots::Places;
use super::tap_teardown::{HeldTap, SeenTaps};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BusName, DeviceId};
use crate::log::{Level, Log};
use crate::net::tap::TunDevice;
use crate::ordered;
use crate::pci::{QomChild, Rules, SlotMap, Topology};
use crate::qmp::{Monitor, Version};
use crate::runtime::{Device, Peer, Presence, Runtime, Verb};
use crate::scsi::ScsiMap;

/// A guest that did not hear a request, because it had not booted yet, never answers it. It is repeated no sooner than
/// this: within 5 s QEMU refuses, and a second press of the attention button would mean "never mind".
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Pauses before a connection that was dropped at once is made again, when a guest is opened.
const DROPPED_PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(10), Duration::from_millis(40), Duration::from_millis(160)];

/// A removal that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// When QEMU was last asked; `None` if it was not, because the guest is [deaf](Session::deaf).
    pub(super) at: Option<Instant>,
    /// Why it is not done yet.
    pub(super) why: Waiting,
}

impl Request {
    /// How long until the guest is to be asked (again).
    pub(super) fn until_due(&self, deaf: Option<Waiting>) -> Duration {
        match self.at {
            _ if deaf.is_some() => ASK_AGAIN,
            Some(at) => ASK_AGAIN.saturating_sub(at.elapsed()),
            None => Duration::ZERO,
        }
    }

    /// Whether it is time to ask (again).
    pub(super) fn is_due(&self, deaf: Option<Waiting>) -> bool {
        self.until_due(deaf).is_zero()
    }
}

/// Everything a call on a guest works with. One call has it at a time.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) runtime: Arc<Mutex<Runtime>>,
    pub(super) log: Log,
    pub(super) events: EventLog,
    pub(super) fdsets: FdSets,
    pub(super) pending: BTreeMap<DeviceId, Request>,
    pub(super) places: Places,
    pub(super) topology: Topology,
    /// The guest's devices without an id.
    pub(super) nameless: Vec<QomChild>,
    pub(super) version: Version,
    /// The picture of the guest may be wrong: ask before acting on it.
    pub(super) stale: bool,
    /// Why the guest is not asked for devices now, but later: it sleeps, or has not been started.
    ///
    /// Waking up is a reset, with which QEMU completes whatever removal is pending (7.2): Linux would find its driver's
    /// device gone, keep a ghost of it, and hang on the next one in that slot. What is asked for before the start is not
    /// heard, and never can be again: see `hearing`.
    pub(super) deaf: Option<Waiting>,
    /// The guest was being migrated when it was last asked, or waited for that.
    pub(super) migrating: bool,
    /// The guest is known to run: nothing has been heard to the contrary since it was last asked.
    pub(super) running: bool,
    /// When this guest was first seen to have been started.
    pub(super) ran_at: Option<Instant>,
    pub(super) readiness: Readiness,
    /// Where taps come from.
    pub(super) tun: TunDevice,
    /// Recorded devices that the guest did not show when it was last asked.
    pub(super) missing: BTreeSet<DeviceId>,
    /// Buses that are known to take nothing while the guest runs.
    pub(super) closed: BTreeSet<BusName>,
    /// Buses of which QEMU has said whether they do.
    pub(super) learned: BTreeSet<BusName>,
    /// Devices that the guest has refused to let go of since it was last asked for them.
    pub(super) refused: BTreeSet<DeviceId>,
    /// Events were lost: a device may have left without a word.
    pub(super) unheard_of: bool,
    /// Devices that the call of the moment has given a place, and not plugged in yet.
    pub(super) upcoming: Vec<Device>,
    /// The add that is under way without anybody waiting for it.
    pub(super) arrival: Option<Arrival>,
    /// Devices whose add was begun on an earlier connection.
    pub(super) doubtful: BTreeSet<DeviceId>,
    /// NICs of an add that is being taken back, whose descriptors this process has itself: their taps go with those, and not
    /// before, since the add may be tried again.
    pub(super) own_queues: BTreeSet<DeviceId>,
    /// Taps of NICs that have left, until QEMU has closed them.
    pub(super) held_taps: Vec<HeldTap>,
    /// The taps that QEMU had when it was looked at, until something changes about them.
    pub(super) seen_taps: Option<SeenTaps>,
    /// What QEMU has said of devices of ours, and QOM has not been asked about yet.
    pub(super) heard: Vec<(String, Word)>,
    /// QMP events are passed on as they are, too.
    pub(super) watching: bool,
    /// An export or a block job has ended: who used a disk's image may have let go of it.
    pub(super) block_users_changed: bool,
    /// Connections to other monitors of this QEMU, over which an earlier agent's commands went, until what it left is settled.
    pub(super) former: Vec<Monitor>,
    /// Nothing has been asked on this connection yet.
    is_new: bool,
    /// Links that are recorded as down have not been set down on this connection yet.
    links_due: bool,
    /// The connection was lost, and the caller told so.
    lost: bool,
    monitor: Option<Monitor>,
    pub(super) socket: PathBuf,
    /// Who is expected to listen there.
    pub(super) listener: Listener,
}

impl Session {
    /// Connects, looks at the guest, and finishes or undoes what an earlier agent left.
    pub(super) fn open(
        runtime: Arc<Mutex<Runtime>>,
        socket: PathBuf,
        listener: Listener,
        log: Log,
        deadline: &Deadline,
    ) -> Result<Self> {
        let empty = Topology::from_query_pci(&serde_json::Value::Array(Vec::new()))?;
        let mut session = Self {
            runtime,
            log,
            events: EventLog::default(),
            fdsets: FdSets::default(),
            pending: BTreeMap::new(),
            places: Places { pci: SlotMap::new(&empty, Rules::default()), scsi: ScsiMap::default() },
            topology: empty,
            nameless: Vec::new(),
            version: Version::default(),
            stale: true,
            deaf: None,
            ran_at: None,
            migrating: false,
            running: false,
            readiness: Readiness::new()?,
            tun: TunDevice::default(),
            missing: BTreeSet::new(),
            closed: BTreeSet::new(),
            learned: BTreeSet::new(),
            refused: BTreeSet::new(),
            unheard_of: false,
            upcoming: Vec::new(),
            arrival: None,
            doubtful: BTreeSet::new(),
            own_queues: BTreeSet::new(),
            held_taps: Vec::new(),
            seen_taps: None,
            heard: Vec::new(),
            watching: false,
            block_users_changed: false,
            former: Vec::new(),
            is_new: true,
            links_due: true,
            lost: false,
            monitor: None,
            socket,
            listener,
        };
        if listener != Listener::default() {
            session.connect(deadline)?;
            session.remember_peer()?;
        }
        session.ready_at_last(deadline)?;
        Ok(session)
    }

    /// A guest that is opened right after another client was killed may lose its connection at once, and the next one as well:
    /// seen with QEMU 5.2 and 11.1, once in some 10,000 times, when QEMU was still answering that client. Nobody has been told of
    /// these connections yet.
    fn ready_at_last(&mut self, deadline: &Deadline) -> Result<()> {
        let mut outcome = self.ready(deadline);
        for pause in DROPPED_PAUSES {
            let error = match outcome {
                Err(error) if error.kind() == ErrorKind::MonitorLost => error,
                other => return other,
            };
            self.log.write(Level::Warning, || format!("connecting once more: {error}"));
            self.absorb();
            self.monitor = None;
            if deadline.pause(pause).and_then(|()| self.connect(deadline)).is_err() {
                return Err(error);
            }
            outcome = self.ready(deadline);
        }
        outcome
    }

    /// The record and its file.
    pub(super) fn runtime(&self) -> MutexGuard<'_, Runtime> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The recorded device with this id.
    pub(super) fn recorded(&self, id: &str) -> Option<Device> {
        self.runtime().record().find(id).cloned()
    }

    /// The connection; an error once it is lost, until the next call makes a new one.
    pub(super) fn monitor(&mut self) -> Result<&mut Monitor> {
        self.monitor
            .as_mut()
            .filter(|monitor| !monitor.is_broken())
            .ok_or_else(|| Error::new(ErrorKind::MonitorLost, "the connection to the monitor is gone"))
    }

    /// The connection, also one that is lost, whose last answers may still be there.
    pub(super) fn connection(&mut self) -> Option<&mut Monitor> {
        self.monitor.as_mut()
    }

    /// Brings connection and picture of the guest up to date. In steady state this asks nothing.
    pub(super) fn ready(&mut self, deadline: &Deadline) -> Result<()> {
        self.finish_arrival(deadline)?;
        self.connect(deadline)?;
        self.absorb();
        if !self.stale {
            self.clear_heard(deadline)?;
        }
        self.stale |= !self.unsettled().is_empty();
        if self.is_new {
            self.await_predecessors(deadline)?;
            self.is_new = false;
        }
        if self.stale {
            self.resync(deadline)?;
            // Not before: until the guest has been asked, nobody knows which fdsets stand behind a device.
            self.clear_heard(deadline)?;
        }
        if std::mem::take(&mut self.block_users_changed) {
            self.finish_released(deadline)?;
        }
        Ok(())
    }

    /// Makes sure that there is a connection.
    pub(super) fn connect(&mut self, deadline: &Deadline) -> Result<()> {
        let alive = match self.monitor.as_mut() {
            Some(monitor) => !monitor.is_broken() && monitor.pump().is_ok(),
            None => false,
        };
        if alive {
            return Ok(());
        }
        self.drop_connection();
        let monitor = Monitor::connect(&self.socket, deadline)?;
        self.check_peer(&monitor)?;
        self.readiness.watch(&monitor)?;
        self.version = monitor.version();
        self.log.write(Level::Info, || {
            format!("connected to QEMU {} at {}", monitor.version(), self.socket.display())
        });
        let peer = Peer::of(&self.socket, monitor.peer().unwrap_or_default());
        self.runtime().meet(peer);
        self.monitor = Some(monitor);
        self.stale = true;
        self.is_new = true;
        self.doubt_what_was_begun();
        // It may be another QEMU by now, whose guest has only just been started.
        self.ran_at = None;
        self.closed.clear();
        self.learned.clear();
        self.links_due = true;
        if std::mem::take(&mut self.lost) {
            self.events.guest(What::MonitorRestored, "connected to the monitor again");
        }
        Ok(())
    }

    /// Forgets a connection that broke, telling the caller once; events already read are used.
    fn drop_connection(&mut self) {
        self.absorb();
        self.held_taps.clear();
        self.seen_taps = None;
        if self.monitor.take().is_some() {
            self.log.write(Level::Warning, || "the connection to the monitor is gone".to_owned());
            self.events.guest(What::MonitorLost, "the connection to the monitor is gone");
            self.lost = true;
        }
    }

    /// Asks the guest for everything, rebuilds the slot map and settles what is unfinished.
    pub(super) fn resync(&mut self, deadline: &Deadline) -> Result<()> {
        // Until it is whole: a question on the way may be cancelled, and the slots are those of half a picture then.
        self.stale = true;
        let disks = self.runtime().record().devices.iter().filter(|device| is_live_disk(device)).count();
        let mut survey = Survey::take(self.monitor()?, disks, deadline)?;
        // A bus that is gone meanwhile needs no forbidding.
        self.closed.retain(|bus| survey.topology.forbid_hotplug(bus).is_ok());
        self.log.write(Level::Debug, || format!("the guest has {} devices with ids", survey.inventory.len()));
        let rules = Rules::new(self.runtime().record().reserved_slots)?;
        self.places = Places { pci: SlotMap::new(&survey.topology, rules), scsi: ScsiMap::default() };
        self.topology = survey.topology;
        self.nameless = survey.nameless;
        let earlier = std::mem::replace(&mut self.fdsets, survey.fdsets);
        self.note_state(survey.state);
        self.settle_for_another_qemu(survey.state, &survey.inventory, deadline)?;
        let shown = self.look_up_journalled(&survey.inventory, deadline)?;
        self.strike_outdated(&shown)?;
        self.record_places_found(&survey.inventory, &survey.units, deadline)?;
        self.claim_recorded();
        for controller in &survey.controllers {
            self.places.scsi.add_controller(&controller.name, &controller.driver, false);
        }
        for unit in &survey.units {
            self.places.scsi.see(&unit.address, unit.id.as_deref(), &unit.driver);
        }
        self.missing = self.recorded_but_not_in(&survey.inventory);
        self.note_overlays(&survey.graph, deadline)?;
        let mut fdsets = std::mem::take(&mut self.fdsets);
        fdsets.tell_spares(&earlier, |owner| self.known_device(owner.as_str()).is_some());
        self.fdsets = fdsets;
        self.give_back_descriptors(deadline)?;
        self.settle(&shown, deadline)?;
        if self.links_due {
            self.set_recorded_links(deadline)?;
            self.links_due = false;
        }
        self.succeed()?;
        self.stale = false;
        self.unheard_of = false;
        Ok(())
    }

    /// Recorded devices that should be in the guest and are not.
    fn recorded_but_not_in(&self, inventory: &Inventory) -> BTreeSet<DeviceId> {
        let runtime = self.runtime();
        let lacks = |device: &&Device| {
            device.presence == Presence::Live
                && device.address.is_some()
                && !inventory.has(device.id.as_str())
        };
        ordered::set(runtime.record().devices.iter().filter(lacks).map(|device| device.id.clone()))
    }

    /// Own record ∪ live view: what the record has stays taken, what is on its way out stays quarantined.
    fn claim_recorded(&mut self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.record().devices.iter().for_each(|device| self.places.occupy(device));
        self.upcoming.iter().for_each(|device| self.places.occupy(device));
        for intent in &runtime.journal().intents {
            match intent.verb {
                Verb::Add | Verb::SetLink | Verb::Move => self.places.occupy(&intent.device),
                Verb::UndoAdd | Verb::Remove => self.places.quarantine(&intent.device),
            }
        }
    }

    /// Why nothing is to be put on the bus of this SCSI controller now.
    pub(super) fn why_closed(&self, controller: &str) -> Option<String> {
        if self.pending.keys().any(|pending| pending.as_str() == controller) {
            return Some(format!("the removal of its controller {controller} is pending"));
        }
        if self.missing.iter().any(|missing| missing.as_str() == controller) {
            return Some(format!("its controller {controller} is recorded, but the guest does not have it"));
        }
        match self.known_device(controller)?.presence {
            Presence::Live => None,
            Presence::AddAfterReboot => Some(format!("its controller {controller} comes with the next boot")),
            Presence::RemoveAfterReboot => {
                Some(format!("its controller {controller} goes with the next boot"))
            }
        }
    }

    /// Adds that were interrupted: nobody knows whether they happened.
    fn unsettled(&self) -> Vec<DeviceId> {
        let known = |id: &DeviceId| self.pending.contains_key(id);
        let runtime = self.runtime();
        let intents = runtime.journal().intents.iter().map(|intent| &intent.device.id);
        intents.filter(|id| !known(id)).cloned().collect()
    }

    /// The removal of a device is off: it keeps its place, and no journal entry is left. A device that only is on its
    /// way out of a failed add has no record to stay in: it stays pending and is asked for again, after the usual pause.
    pub(super) fn forget_request(&mut self, device: &Device) {
        let verb = self.runtime().journal().find(device.id.as_str()).map(|intent| intent.verb);
        if verb == Some(Verb::UndoAdd) {
            return self.note_request(device, Waiting::Deadline);
        }
        self.pending.remove(&device.id);
        self.places.end_quarantine(device);
        let struck = self.runtime().write_journal(|journal| journal.strike(device.id.as_str()));
        if let Err(error) = struck {
            self.log.write(Level::Error, || error.to_string());
        }
    }

    /// A device of ours, recorded, in the journal, or about to be.
    pub(super) fn known_device(&self, id: &str) -> Option<Device> {
        let runtime = self.runtime();
        let journalled = || runtime.journal().find(id).map(|intent| &intent.device);
        let upcoming = || self.upcoming.iter().find(|device| device.id.as_str() == id);
        runtime.record().find(id).or_else(journalled).or_else(upcoming).cloned()
    }

    /// Makes the descriptor readable while there is something to fetch or to do.
    pub(super) fn show_readiness(&mut self) {
        // What has been heard during an add waits for its end, which is heard as well.
        let waiting = self.arrival.is_none()
            && (!self.heard.is_empty() || self.monitor.as_ref().is_some_and(Monitor::has_events));
        self.readiness.show(waiting || !self.events.is_empty());
    }
}
