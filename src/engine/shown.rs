//! What a running QEMU shows of itself: the questions, and its answers, read.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::graph::{self, BlockGraph};
use crate::disk::models::LIVE_DISK_MODELS;
use crate::error::{Error, Result};
use crate::ids::PciAddress;
use crate::net::models;
use crate::qmp::{Command, Reply};
use crate::slots::pci::{CONTAINERS, QomAddress, QomChild};
use crate::slots::scsi;
use crate::sorted::object;

/// All of it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) devices: Vec<ShownDevice>,
    pub(crate) netdevs: BTreeMap<String, Netdev>,
    pub(crate) graph: BlockGraph,
    /// It has a NIC that no `-device` has made.
    pub(crate) has_nic_of_its_own: bool,
    nodes: Value,
    drives: Value,
    fdsets: Value,
    pci: Value,
}

/// One device that a `-device` or `device_add` made.
#[derive(Clone, Debug)]
pub(crate) struct ShownDevice {
    /// Its QOM path.
    pub(crate) path: String,
    /// Its id; none of those that have no id.
    pub(crate) id: Option<String>,
    /// Its QOM type.
    pub(crate) driver: String,
    /// What QOM says, as far as it was asked.
    pub(crate) properties: Map<String, Value>,
}

/// A netdev in `info network`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Netdev {
    /// Such as `tap` or `user`.
    pub(crate) kind: String,
    /// Queues.
    pub(crate) queues: usize,
    /// The tap's name, as far as it is shown.
    pub(crate) ifname: Option<String>,
    /// Descriptors that QEMU was given.
    pub(crate) fds: Vec<i32>,
    /// The script that set the tap up.
    pub(crate) script: Option<String>,
}

impl Shown {
    /// QEMU's answers to [`questions`]. Of the devices only the names are known yet.
    pub(crate) fn read(replies: Vec<Option<Reply>>) -> Result<Self> {
        let names = questions().map(|question| question.name);
        let mut both = names.iter().zip(replies.into_iter().chain(std::iter::repeat_with(|| None)));
        let mut next = || match both.next() {
            Some((name, Some(reply))) => reply.map_err(|error| error.with_step(name.to_string())),
            _ => Err(Error::no_reply()),
        };
        let lists = [next()?, next()?];
        let (drives, nodes, fdsets, pci) = (next()?, next()?, next()?, next()?);
        // A QEMU without one of these has devices that are left as they are.
        let (graph, network) = (next().unwrap_or_default(), next().unwrap_or_default());
        let mut devices = Vec::new();
        for (container, list) in CONTAINERS.iter().zip(&lists) {
            let has_id = *container == CONTAINERS[0];
            devices.extend(QomChild::list(list)?.into_iter().map(|child| ShownDevice {
                path: format!("{container}/{}", child.name),
                id: has_id.then_some(child.name),
                driver: child.driver,
                properties: Map::new(),
            }));
        }
        let network = network.as_str().unwrap_or_default();
        // QEMU connects such a one by a hub.
        let has_nic_of_its_own = network.contains(": index=0,type=nic,") && network.starts_with("hub ");
        let netdevs = netdevs(network);
        Ok(Self {
            devices,
            netdevs,
            has_nic_of_its_own,
            graph: BlockGraph::read(&graph),
            nodes,
            drives,
            fdsets,
            pci,
        })
    }

    /// Sets the properties of devices, in the order in which they were asked: `wanted` has the device's
    /// number and the property's name. One that a device does not have is null.
    pub(crate) fn set_properties<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a (usize, String)>,
        replies: Vec<Option<Reply>>,
    ) {
        for ((index, name), reply) in wanted.zip(replies) {
            if let Some(device) = self.devices.get_mut(*index) {
                let value = reply.and_then(Result::ok).unwrap_or(Value::Null);
                device.properties.insert(name.clone(), value);
            }
        }
    }

    /// The question for a property.
    pub(crate) fn question(&self, (index, name): &(usize, String)) -> Command {
        let path = self.devices.get(*index).map_or("", |device| device.path.as_str());
        Command::with("qom-get", &[("path", path), ("property", name)])
    }

    /// What the block nodes say of the files behind them.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.nodes.as_array().into_iter().flatten().filter_map(|node| node.get("file")?.as_str())
    }

    /// A block node.
    pub(crate) fn node(&self, name: &str) -> Option<&Value> {
        let is_it = |node: &&Value| node.get("node-name").and_then(Value::as_str) == Some(name);
        self.nodes.as_array()?.iter().find(is_it)
    }

    /// What `-drive` made, by its name.
    pub(crate) fn drive(&self, name: &str) -> Option<&Value> {
        let is_it = |drive: &&Value| drive.get("device").and_then(Value::as_str) == Some(name);
        self.drives.as_array()?.iter().find(is_it)
    }

    /// The numbers that the descriptors of an fdset have in QEMU.
    pub(crate) fn descriptors(&self, set: u64) -> Vec<i32> {
        let is_it = |entry: &&Value| entry.get("fdset-id").and_then(Value::as_u64) == Some(set);
        let found = self.fdsets.as_array().and_then(|sets| sets.iter().find(is_it));
        let fds = found.and_then(|set| set.get("fds")).and_then(Value::as_array);
        let number = |fd: &Value| i32::try_from(fd.get("fd")?.as_i64()?).ok();
        fds.into_iter().flatten().filter_map(number).collect()
    }

    /// Slots of the root bus that something sits in, as `query-pci` numbers them.
    pub(crate) fn root_slots(&self) -> Vec<u8> {
        let is_root = |bus: &&Value| bus.get("bus").and_then(Value::as_u64) == Some(0);
        let root = self.pci.as_array().and_then(|buses| buses.iter().find(is_root));
        let devices = root.and_then(|bus| bus.get("devices")).and_then(Value::as_array);
        let slot = |device: &Value| u8::try_from(device.get("slot")?.as_u64()?).ok();
        devices.into_iter().flatten().filter_map(slot).collect()
    }
}

impl ShownDevice {
    /// Whether it is a NIC of a model that a record can have.
    pub(crate) fn is_nic(&self) -> bool {
        models::is_nic(&self.driver)
    }

    /// Whether it is a disk of a model that a record can have.
    pub(crate) fn is_disk(&self) -> bool {
        LIVE_DISK_MODELS.contains(&self.driver.as_str())
    }

    /// Whether it is a SCSI controller of a model that a record can have. Others are recorded with the
    /// command.
    pub(crate) fn is_controller(&self) -> bool {
        scsi::spec::is_live_model(&self.driver)
    }

    /// The properties that say where it sits.
    pub(crate) fn place_properties(&self) -> &'static [&'static str] {
        if scsi::qom::is_unit(&self.driver) { SCSI_PLACE } else { PLACE }
    }

    /// The properties of its kind that are recorded.
    pub(crate) fn own_properties(&self) -> &'static [&'static str] {
        match () {
            () if self.is_nic() => OF_NIC,
            () if self.is_disk() => OF_DISK,
            () if self.is_controller() => OF_CONTROLLER,
            () => &[],
        }
    }

    pub(crate) fn property(&self, name: &str) -> &Value {
        self.properties.get(name).unwrap_or(&Value::Null)
    }

    /// A property that is text and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.property(name).as_str().filter(|text| !text.is_empty())
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.property(name).as_u64()
    }

    /// How people call it.
    pub(crate) fn title(&self) -> String {
        self.id.clone().unwrap_or_else(|| format!("a {} without an id", self.driver))
    }

    /// Where QOM says that it sits.
    pub(crate) fn place(&self) -> Option<QomAddress> {
        let (bus, addr) = (self.property("parent_bus"), self.property("addr"));
        QomAddress::from_qom(self.id.as_deref(), &self.driver, bus, addr)
    }

    /// The same, if it is function 0 of a slot that no other of `devices` shares with it.
    pub(crate) fn pci_address(&self, devices: &[Self]) -> std::result::Result<PciAddress, String> {
        let place = self.place().ok_or("QEMU does not say where it sits on PCI")?;
        let is_with = |other: &&Self| {
            let other_place = other
                .place()
                .filter(|other| other.parent_bus == place.parent_bus && other.devfn >> 3 == place.devfn >> 3);
            other.path != self.path && other_place.is_some()
        };
        if let Some(other) = devices.iter().find(is_with) {
            return Err(format!("it shares its PCI slot with {}", other.title()));
        }
        if place.devfn & 7 != 0 {
            return Err(format!(
                "it is function {} of its PCI slot, and the record has slots only",
                place.devfn & 7
            ));
        }
        place.address().ok_or_else(|| "it sits on a bus without a name of its own".to_owned())
    }
}

/// The netdevs of `info network`: one line for each queue, indented where a NIC has it.
fn netdevs(text: &str) -> BTreeMap<String, Netdev> {
    let mut found: BTreeMap<String, Netdev> = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim_start_matches([' ', '\\']);
        let Some((name, rest)) = line.split_once(": index=") else { continue };
        let member = |key: &str| rest.split(',').find_map(|member| member.trim().strip_prefix(key));
        let Some(kind) = member("type=").filter(|kind| *kind != "nic") else { continue };
        let netdev = found.entry(name.to_owned()).or_default();
        kind.clone_into(&mut netdev.kind);
        netdev.queues += 1;
        netdev.ifname = netdev.ifname.take().or_else(|| member("ifname=").map(str::to_owned));
        netdev.script = netdev.script.take().or_else(|| member("script=").map(str::to_owned));
        netdev.fds.extend(member("fd=").and_then(|fd| fd.parse::<i32>().ok()));
    }
    found
}

/// The properties that are read of every device.
const PLACE: &[&str] = &["parent_bus", "addr", "hotpluggable"];

/// The same of a SCSI device.
const SCSI_PLACE: &[&str] = &["parent_bus", "channel", "scsi-id", "lun", "hotpluggable"];

/// What is read of a NIC.
pub(crate) const OF_NIC: &[&str] = &["mac", "netdev", "bootindex", "romfile", "mq", "vectors", "host_mtu"];

/// What is read of a disk.
pub(crate) const OF_DISK: &[&str] = &[
    "drive",
    "serial",
    "share-rw",
    "bootindex",
    "write-cache",
    "logical_block_size",
    "physical_block_size",
    "num-queues",
    "wwn",
    "device_id",
];

/// What is read of a SCSI controller.
pub(crate) const OF_CONTROLLER: &[&str] = &["num_queues"];

/// The questions for all of it but the devices' properties, in the order in which [`Shown::read`] takes the
/// answers.
pub(crate) fn questions() -> [Command; 8] {
    [
        Command::with("qom-list", &[("path", CONTAINERS[0])]),
        Command::with("qom-list", &[("path", CONTAINERS[1])]),
        Command::with("query-block", &[]),
        Command::new("query-named-block-nodes", object([("flat", true.into())])),
        Command::with("query-fdsets", &[]),
        Command::with("query-pci", &[]),
        graph::question(),
        Command::with("human-monitor-command", &[("command-line", "info network")]),
    ]
}

/// The value of a QOM property for one version as for another: "on" and true are one setting.
pub(crate) fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(word) if word == "on" => Some(true),
        Value::String(word) if word == "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn netdevs_by_name() {
        let text = "lan: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56\r\n \
                    \\ hostlan: index=0,type=tap,ifname=tap0,script=no,downscript=no\r\n\
                    left: index=0,type=tap,fd=26\r\nleft: index=1,type=tap,fd=27\r\n\
                    u: index=0,type=user,net=10.0.2.0\r\n";
        let all = netdevs(text);
        let tap = Netdev {
            kind: "tap".into(),
            queues: 1,
            ifname: Some("tap0".into()),
            fds: Vec::new(),
            script: Some("no".into()),
        };
        assert_eq!(all.get("hostlan"), Some(&tap));
        assert_eq!(all.get("left").map(|left| (left.queues, left.fds.clone())), Some((2, vec![26, 27])));
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn a_slot_of_its_own() {
        let device = |id: &str, addr: i32| ShownDevice {
            path: format!("/machine/peripheral/{id}"),
            id: Some(id.into()),
            driver: "e1000".into(),
            properties: crate::sorted::object([
                ("parent_bus".to_owned(), json!("/machine/i440fx/pci.0")),
                ("addr".to_owned(), json!(addr)),
            ]),
        };
        let all = [device("a", 24), device("b", 32), device("c", 33), device("d", 41)];
        let address = |index: usize| all[index].pci_address(&all).map(|address| address.to_string());
        assert_eq!(address(0).as_deref(), Ok("pci.0 slot 3"));
        assert!(address(1).is_err_and(|why| why.contains("shares its PCI slot with c")));
        assert!(address(3).is_err_and(|why| why.contains("function 1")));
    }
}
