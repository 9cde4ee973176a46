//! What a QEMU has: descriptors, netdevs, fdsets, block nodes, devices. Behaviour and texts as seen on QEMU 7.2.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::wire::{Held, QmpError};
use super::{Later, Setup};

/// A machine type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// `pc`: 32 slots on `pci.0`.
    Pc,
    /// `q35` with this many root ports, `rp0` and up.
    Q35(u8),
}

/// How the guest takes to a request to let go of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnplugBehaviour {
    /// At once, after the reply to `device_del`.
    AtOnce,
    /// Even before that reply.
    BeforeReply,
    /// After a while.
    After(Duration),
    /// Never, until the test says so.
    Never,
    /// Refuses at once.
    Refuses,
    /// QEMU says that the guest is busy this many times, then the guest lets go at once.
    Busy(u32),
}

/// A device.
#[derive(Clone, Debug)]
pub struct Dev {
    pub id: Option<String>,
    pub driver: String,
    pub bus: String,
    pub slot: u8,
    pub function: u8,
    /// Channel, target and lun instead, on the bus of a SCSI controller.
    pub unit: Option<(u64, u64, u64)>,
    pub netdev: Option<String>,
    pub drive: Option<String>,
    pub mac: Option<String>,
    /// When the guest was asked to let go of it.
    pub asked: Option<Instant>,
    /// The guest has set it up.
    pub configured: bool,
    /// PCI vendor and device number.
    pub pci_id: (u16, u16),
}

impl Dev {
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
            pci_id: (0x1af4, 0x1000),
        }
    }
}

/// A netdev over descriptors.
#[derive(Debug, Default)]
pub struct Netdev {
    pub fds: Vec<Held>,
    /// Half made: a later queue's descriptor was missing. QEMU 7.2 cannot delete it any more.
    pub broken: bool,
    pub link_down: bool,
}

/// A block node.
#[derive(Debug, Default)]
pub struct Node {
    /// Sets it has open.
    pub sets: BTreeSet<u32>,
    /// In bytes, as the guest sees it.
    pub size: u64,
}

/// A set of descriptors.
#[derive(Debug, Default)]
pub struct FdSet {
    pub fds: Vec<SetFd>,
    /// Nodes that have a duplicate open.
    pub users: BTreeSet<String>,
}

/// One descriptor of a set.
#[derive(Debug)]
pub struct SetFd {
    pub fd: Held,
    pub opaque: Option<String>,
    pub removed: bool,
}

/// Everything QEMU has.
pub struct Model {
    pub machine: Machine,
    pub version: (u32, u32, u32),
    pub run_state: String,
    pub numbered: bool,
    /// The firmware is about to number the buses: all have 255, and QEMU finds the one that was made last by it.
    pub numbering: bool,
    pub fds: BTreeMap<String, Held>,
    pub netdevs: BTreeMap<String, Netdev>,
    pub fdsets: BTreeMap<u32, FdSet>,
    pub nodes: BTreeMap<String, Node>,
    pub devices: Vec<Dev>,
    /// NBD exports, and the node that each uses.
    pub exports: BTreeMap<String, String>,
    /// What `query-chardev` answers.
    pub chardevs: Vec<Value>,
    /// Buses that refuse hot-plug although they look like others.
    pub closed: BTreeSet<String>,
    /// QOM says which those are.
    pub tells_closed: bool,
    /// How the guest takes to requests, unless `manners` says otherwise.
    pub unplug_behaviour: UnplugBehaviour,
    /// For single devices.
    pub manners: BTreeMap<String, UnplugBehaviour>,
    /// After this long, a request that the guest did not answer can be repeated.
    pub expiry: Option<Duration>,
    /// What the client did that no client may do.
    pub violations: Vec<String>,
    /// What is said of every virtio device; null if QEMU has no such question.
    pub virtio_status: Value,
    pub(super) events: Vec<(String, Value)>,
    pub(super) early: Vec<(String, Value)>,
    pub(super) later: Vec<(Duration, Later)>,
}

pub(super) type Answer = Result<Value, QmpError>;

impl Model {
    pub(super) fn new(setup: &Setup) -> Self {
        let mut model = Self {
            machine: setup.machine,
            version: setup.version,
            run_state: setup.run_state.clone(),
            numbered: setup.numbered,
            numbering: false,
            fds: BTreeMap::new(),
            netdevs: BTreeMap::new(),
            fdsets: BTreeMap::new(),
            nodes: BTreeMap::new(),
            devices: Vec::new(),
            exports: BTreeMap::new(),
            chardevs: Vec::new(),
            closed: BTreeSet::new(),
            tells_closed: true,
            unplug_behaviour: UnplugBehaviour::AtOnce,
            manners: BTreeMap::new(),
            expiry: None,
            violations: Vec::new(),
            virtio_status: Value::Null,
            events: Vec::new(),
            early: Vec::new(),
            later: Vec::new(),
        };
        model.build();
        model
    }

    fn build(&mut self) {
        let root = self.root();
        let mut put = |slot, function, driver: &str, pci_id| {
            self.devices.push(Dev { pci_id, ..Dev::new(None, driver, root, slot, function) });
        };
        match self.machine {
            Machine::Pc => {
                put(0, 0, "i440FX", (0x8086, 0x1237));
                put(1, 0, "PIIX3", (0x8086, 0x7000));
                put(1, 1, "piix3-ide", (0x8086, 0x7010));
                put(1, 3, "PIIX4_PM", (0x8086, 0x7113));
                put(2, 0, "VGA", (0x1234, 0x1111));
            }
            Machine::Q35(ports) => {
                put(0, 0, "mch", (0x8086, 0x29c0));
                put(1, 0, "VGA", (0x1234, 0x1111));
                put(31, 0, "ICH9-LPC", (0x8086, 0x2918));
                for port in 0..ports {
                    let place =
                        Dev::new(Some(&format!("rp{port}")), "pcie-root-port", root, 3 + port / 8, port % 8);
                    self.devices.push(Dev { pci_id: (0x1b36, 0x000c), ..place });
                }
            }
        }
    }

    /// The name of the root bus.
    pub fn root(&self) -> &'static str {
        match self.machine {
            Machine::Pc => "pci.0",
            Machine::Q35(_) => "pcie.0",
        }
    }

    pub fn is_running(&self) -> bool {
        self.run_state == "running"
    }

    pub fn device(&self, id: &str) -> Option<&Dev> {
        self.devices.iter().find(|device| device.id.as_deref() == Some(id))
    }

    pub(super) fn device_mut(&mut self, id: &str) -> Option<&mut Dev> {
        self.devices.iter_mut().find(|device| device.id.as_deref() == Some(id))
    }

    pub(super) fn fds_held(&self) -> usize {
        let netdevs: usize = self.netdevs.values().map(|netdev| netdev.fds.len()).sum();
        let sets: usize = self.fdsets.values().map(|set| set.fds.len()).sum();
        self.fds.len() + netdevs + sets
    }

    /// Runs one command.
    pub(super) fn execute(&mut self, name: &str, arguments: &Value, fd: Option<Held>) -> Answer {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        match name {
            "getfd" => self.getfd(&text("fdname"), fd),
            "closefd" => self.closefd(&text("fdname")),
            "netdev_add" => self.netdev_add(&text("id"), arguments),
            "netdev_del" => self.netdev_del(&text("id")),
            "set_link" => self.set_link(&text("name"), arguments.get("up") == Some(&Value::Bool(true))),
            "block_resize" => self.block_resize(&text("node-name"), arguments),
            "add-fd" => self.add_fd(arguments, fd),
            "remove-fd" => self.remove_fd(arguments),
            "query-fdsets" => Ok(self.query_fdsets()),
            "blockdev-add" => self.blockdev_add(&text("node-name"), arguments),
            "blockdev-del" => self.blockdev_del(&text("node-name")),
            "query-named-block-nodes" => Ok(self.query_nodes()),
            "query-block-exports" => Ok(self.query_exports()),
            "query-block-jobs" => Ok(json!([])),
            "x-debug-query-block-graph" => Ok(self.query_graph()),
            "device_add" => self.device_add(arguments),
            "device_del" => self.device_del(&text("id")),
            "query-chardev" => Ok(json!(self.chardevs)),
            "query-pci" => Ok(self.query_pci()),
            "qom-list" => self.qom_list(&text("path")),
            "human-monitor-command" if text("command-line") == "info network" => {
                let devices = || self.devices.iter().filter_map(|device| device.netdev.as_deref());
                let kind = |id: &str| if devices().any(|other| other == id) { "nic" } else { "tap" };
                let line = |id: &String| format!("{id}: index=0,type={},fd=9\r\n", kind(id));
                Ok(self.netdevs.keys().map(line).collect::<String>().into())
            }
            "x-query-virtio-status" if !self.virtio_status.is_null() => Ok(self.virtio_status.clone()),
            "qom-get" => self.qom_get(&text("path"), &text("property")),
            "query-status" => {
                Ok(json!({ "status": self.run_state, "singlestep": false, "running": self.is_running() }))
            }
            "stop" => self.become_state("paused", "STOP"),
            "cont" => self.become_state("running", "RESUME"),
            "system_reset" => self.reset(),
            _ => Err(QmpError {
                class: "CommandNotFound".into(),
                desc: format!("The command {name} has not been found"),
            }),
        }
    }

    fn become_state(&mut self, state: &str, event: &str) -> Answer {
        self.run_state = state.into();
        self.events.push((event.into(), json!({})));
        Ok(json!({}))
    }

    /// The whole state, one line a thing.
    pub fn snapshot(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.fds.keys().map(|name| format!("fd {name}")).collect();
        lines.extend(self.netdevs.iter().map(|(id, netdev)| {
            let broken = if netdev.broken { ", half made" } else { "" };
            let down = if netdev.link_down { ", link down" } else { "" };
            format!("netdev {id}: {} fds{broken}{down}", netdev.fds.len())
        }));
        lines.extend(self.fdsets.iter().map(|(id, set)| {
            let tags: Vec<&str> = set.fds.iter().map(|fd| fd.opaque.as_deref().unwrap_or("-")).collect();
            format!("fdset {id}: {tags:?}, used by {:?}", set.users)
        }));
        lines.extend(
            self.nodes
                .iter()
                .map(|(name, node)| format!("node {name}: {:?}, {} bytes", node.sets, node.size)),
        );
        lines.extend(self.devices.iter().map(|device| {
            let asked = if device.asked.is_some() { ", asked to leave" } else { "" };
            let id = device.id.as_deref().unwrap_or("-");
            let place = match device.unit {
                Some((channel, target, lun)) => format!("{channel}:{target}:{lun}"),
                None => format!("{}.{}", device.slot, device.function),
            };
            format!("device {id}: {} at {} {place}{asked}", device.driver, device.bus)
        }));
        lines.push(format!("state {}", self.run_state));
        lines.sort();
        lines
    }
}
