//! What a QEMU has: descriptors, netdevs, fdsets, block nodes, devices; and what a guest does with them.
//!
//! Pure: commands and choices go in with the time, replies, events and effects come out. A [`Model`] is a
//! value: it can be cloned, compared, and asked for a [fingerprint](Model::fingerprint). It does what QEMU
//! 7.2 does, with the differences of other versions in [`version`]; `tests/against_qemu.rs` holds it to real
//! ones.

mod block;
mod chardev;
mod device;
mod execute;
mod fdset;
mod graph;
mod guest;
mod machine;
mod monitor;
mod net;
mod object;
mod pci;
mod qom;
mod schema;
mod scsi;
mod snapshot;
mod started;
mod tray;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::command::{Descriptor, Effect, Event};

pub use machine::{Built, Machine};
pub use monitor::Monitor;
pub use version::Version;

/// How the guest answers a request to let go of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnplugBehaviour {
    /// It lets go at once, after the reply to `device_del`.
    AtOnce,
    /// Even before that reply.
    BeforeReply,
    /// After a while.
    After(Duration),
    /// Never, until somebody calls [`Model::grant`] or [`Model::guest_refuses`].
    Never,
    /// Refuses at once.
    Refuses,
    /// Refuses one request, and then does as it does usually.
    RefusesOnce,
    /// QEMU says that the guest is busy this many times, then the guest lets go at once.
    Busy(u32),
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dev {
    /// None of the machine's own devices has one. A path in QOM for one that has no id.
    pub id: Option<String>,
    /// Such as `virtio-net-pci`.
    pub driver: String,
    /// The bus it is on.
    pub bus: String,
    /// On a PCI bus.
    pub slot: u8,
    /// On a PCI bus.
    pub function: u8,
    /// Channel, target and lun instead, on the bus of a SCSI controller.
    pub unit: Option<(u64, u64, u64)>,
    /// What a NIC stands on.
    pub netdev: Option<String>,
    /// The node or drive that a disk stands on.
    pub drive: Option<String>,
    /// Of a NIC.
    pub mac: Option<String>,
    /// When the guest was asked to let go of it.
    pub asked: Option<Duration>,
    /// The guest has set it up.
    pub configured: bool,
    /// What `query-pci` shows of it.
    pub pci: Built,
    /// What it was made with, for `qom-get`.
    pub properties: BTreeMap<String, Value>,
    /// What limits its disk besides nodes; null for nothing.
    pub throttle: Value,
    /// Of a CD drive.
    pub tray: Tray,
}

/// The tray of a CD drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tray {
    /// It is open.
    pub open: bool,
    /// The guest has locked it.
    pub locked: bool,
}

impl Dev {
    /// A device with nothing behind it, set up by the guest.
    pub fn new(id: Option<&str>, driver: &str, bus: &str, slot: u8, function: u8) -> Self {
        Self {
            id: id.map(str::to_owned),
            driver: driver.into(),
            bus: bus.into(),
            slot,
            function,
            unit: None,
            netdev: None,
            drive: None,
            mac: None,
            asked: None,
            configured: true,
            pci: Built::of_driver(driver),
            properties: BTreeMap::new(),
            tray: Tray::default(),
            throttle: Value::Null,
        }
    }

    fn has_id(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id)
    }
}

/// A netdev: a tap over descriptors, or of another type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Netdev {
    /// The type, of one that is no tap.
    pub kind: Option<String>,
    /// The chardev that goes with it.
    pub chardev: Option<String>,
    /// Of each queue the tap's, and vhost's behind it if it has one.
    pub fds: Vec<Descriptor>,
    /// Half made: the descriptor of a later queue was missing. QEMU 7.2 cannot delete it any more.
    pub broken: bool,
    /// `set_link` has taken the link down.
    pub link_down: bool,
}

/// A block node with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// The sets whose descriptors it has open.
    pub sets: BTreeSet<u32>,
    /// In bytes, as the guest sees it.
    pub size: u64,
    /// What it was made with.
    pub options: Value,
    /// The nodes below it, each behind its parent.
    pub below: Vec<BelowNode>,
}

/// A node below another one, made with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BelowNode {
    /// One that QEMU has made up, unless the client gave one.
    pub name: String,
    /// Of the node that it is a child of.
    pub parent: String,
    /// `file` or `backing`.
    pub role: String,
    /// In bytes.
    pub size: u64,
    /// What it was made with.
    pub options: Value,
}

/// A set of descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FdSet {
    /// Oldest first.
    pub fds: Vec<SetFd>,
    /// Nodes that have a duplicate open.
    pub users: BTreeSet<String>,
}

/// One descriptor of a set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetFd {
    /// The descriptor.
    pub fd: Descriptor,
    /// The tag that its client gave it.
    pub opaque: Option<String>,
    /// `remove-fd` has named it; it goes when nothing has a duplicate and the guest runs.
    pub removed: bool,
}

/// A device that QOM shows no more, and that QEMU has not taken apart yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leaving {
    /// As it was.
    pub device: Dev,
}

/// Everything QEMU has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    /// The machine type.
    pub machine: Machine,
    /// QEMU's version.
    pub version: Version,
    /// `running`, `prelaunch`, `paused` and so on.
    pub run_state: String,
    /// The firmware has numbered the buses.
    pub numbered: bool,
    /// The firmware is about to number the buses: all have 255, and QEMU finds the one that was made last by
    /// it.
    pub numbering: bool,
    /// A guest that runs sets up what is plugged in.
    pub sets_up: bool,
    /// The monitors, in the order of the command line.
    pub monitors: Vec<Monitor>,
    /// By id.
    pub netdevs: BTreeMap<String, Netdev>,
    /// By number.
    pub fdsets: BTreeMap<u32, FdSet>,
    /// By name.
    pub nodes: BTreeMap<String, Node>,
    /// The drives of the command line, and the node of each.
    pub drives: BTreeMap<String, String>,
    /// Questions about nodes are answered with those below named ones, too, as QEMU does. A test that counts
    /// what answers cost has them left out.
    pub shows_nodes_below: bool,
    /// What `object-add` has made, by id: type and properties.
    pub objects: BTreeMap<String, Value>,
    /// In the order in which they came.
    pub devices: Vec<Dev>,
    /// Devices that are gone from QOM, whose `DEVICE_DELETED` is still to come.
    pub leaving: Vec<Leaving>,
    /// NBD exports, and the node that each uses.
    pub exports: BTreeMap<String, String>,
    /// Nodes that QEMU holds for ever: it forgets a medium that was put into a drive which was made without
    /// one.
    pub forgotten: BTreeSet<String>,
    /// Block jobs, and the node that each uses.
    pub jobs: BTreeMap<String, String>,
    /// What `query-chardev` answers besides the monitors.
    pub chardevs: Vec<Value>,
    /// What `chardev-add` has made, by id: the backend.
    pub added_chardevs: BTreeMap<String, Value>,
    /// Buses that refuse hot-plug although they look like others.
    pub closed: BTreeSet<String>,
    /// QOM says which those are.
    pub tells_closed: bool,
    /// How the guest answers requests, unless `unplug_behaviours` says otherwise.
    pub unplug_behaviour: UnplugBehaviour,
    /// For single devices by their ids, and for any other by `*`.
    pub unplug_behaviours: BTreeMap<String, UnplugBehaviour>,
    /// After this long, a request that the guest did not answer can be repeated.
    pub expiry: Option<Duration>,
    /// A device that leaves is taken apart, and `DEVICE_DELETED` said, only by [`Model::finish_leaving`].
    pub leaves_late: bool,
    /// What the client did that no client may do.
    pub violations: Vec<String>,
    /// What is said of every virtio device; null if QEMU has no such question.
    pub virtio_status: Value,
    /// `quit` was asked for.
    pub ended: bool,
    nodes_made: u64,
    now: Duration,
    due: Vec<(Duration, Due)>,
    before: Vec<Event>,
    after: Vec<Event>,
    effects: Vec<Effect>,
}

/// What the guest does later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Due {
    Grant(String),
    Refuse(String),
}

impl Model {
    /// A QEMU with one monitor, nothing plugged in, and nobody connected.
    pub fn new(machine: Machine, version: Version) -> Self {
        let mut model = Self {
            machine,
            version,
            run_state: "running".into(),
            numbered: true,
            numbering: false,
            sets_up: true,
            monitors: vec![Monitor::new("compat_monitor0", "")],
            netdevs: BTreeMap::new(),
            fdsets: BTreeMap::new(),
            nodes: BTreeMap::new(),
            drives: BTreeMap::new(),
            shows_nodes_below: true,
            objects: BTreeMap::new(),
            devices: Vec::new(),
            leaving: Vec::new(),
            exports: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            jobs: BTreeMap::new(),
            chardevs: Vec::new(),
            added_chardevs: BTreeMap::new(),
            closed: BTreeSet::new(),
            tells_closed: true,
            unplug_behaviour: UnplugBehaviour::AtOnce,
            unplug_behaviours: BTreeMap::new(),
            expiry: None,
            leaves_late: false,
            violations: Vec::new(),
            virtio_status: Value::Null,
            ended: false,
            nodes_made: 0,
            now: Duration::ZERO,
            due: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            effects: Vec::new(),
        };
        model.devices = machine.devices();
        model
    }

    /// The name of the root bus.
    pub fn root(&self) -> &'static str {
        self.machine.root()
    }

    /// The guest's processors run.
    pub fn is_running(&self) -> bool {
        self.run_state == "running"
    }

    /// A device of QOM by its id.
    pub fn device(&self, id: &str) -> Option<&Dev> {
        self.devices.iter().find(|device| device.has_id(id))
    }

    /// The same, to change it.
    pub fn device_mut(&mut self, id: &str) -> Option<&mut Dev> {
        self.devices.iter_mut().find(|device| device.has_id(id))
    }

    /// Every descriptor that it has.
    pub fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        let named = self.monitors.iter().flat_map(|monitor| monitor.fds.values());
        let netdevs = self.netdevs.values().flat_map(|netdev| &netdev.fds);
        let sets = self.fdsets.values().flat_map(|set| set.fds.iter().map(|fd| &fd.fd));
        named.chain(netdevs).chain(sets)
    }

    fn descriptors_mut(&mut self) -> impl Iterator<Item = &mut Descriptor> {
        let named = self.monitors.iter_mut().flat_map(|monitor| monitor.fds.values_mut());
        let netdevs = self.netdevs.values_mut().flat_map(|netdev| &mut netdev.fds);
        let sets = self.fdsets.values_mut().flat_map(|set| set.fds.iter_mut().map(|fd| &mut fd.fd));
        named.chain(netdevs).chain(sets)
    }

    /// Events since the last call that no [`Outcome`](crate::Outcome) has: of choices that were made for the
    /// guest, and of time.
    pub fn take_events(&mut self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.before);
        events.append(&mut self.after);
        events
    }

    /// Effects since the last call that no [`Outcome`](crate::Outcome) has.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Lets time pass: what the guest was to do by now is done.
    pub fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        while let Some(next) = self.next_due().filter(|(at, _)| *at <= self.now).map(|(_, index)| index) {
            match self.due.remove(next).1 {
                Due::Grant(id) => self.grant(&id),
                Due::Refuse(id) => self.guest_refuses(&id),
            };
        }
    }

    /// When the guest does something by itself.
    pub fn next_timeout(&self) -> Option<Duration> {
        self.next_due().map(|(at, _)| at)
    }

    fn next_due(&self) -> Option<(Duration, usize)> {
        self.due.iter().enumerate().map(|(index, (at, _))| (*at, index)).min()
    }

    fn say(&mut self, event: Event) {
        self.after.push(event);
    }
}
