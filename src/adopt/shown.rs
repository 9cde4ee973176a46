//! What a running QEMU shows of itself: its answers, read.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::engine::graph::BlockGraph;
use crate::error::Result;
use crate::ids::PciAddress;
use crate::slots::pci::QomAddress;

/// Where QEMU keeps devices with and without an id.
pub(super) const CONTAINERS: [&str; 2] = ["/machine/peripheral", "/machine/peripheral-anon"];

/// All of it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) devices: Vec<ShownDevice>,
    pub(super) netdevs: BTreeMap<String, Netdev>,
    pub(super) graph: BlockGraph,
    /// It has a NIC that no `-device` has made.
    pub(super) has_nic_of_its_own: bool,
    nodes: Value,
    drives: Value,
    fdsets: Value,
    pci: Value,
}

/// QEMU's answers to what is asked but for the devices.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) network: Value,
    pub(super) graph: Value,
    pub(super) nodes: Value,
    pub(super) drives: Value,
    pub(super) fdsets: Value,
    pub(super) pci: Value,
}

/// One device that a `-device` or `device_add` made.
#[derive(Clone, Debug)]
pub(super) struct ShownDevice {
    /// Its QOM path.
    pub(super) path: String,
    /// Its id; none of those that have no id.
    pub(super) id: Option<String>,
    /// Its QOM type.
    pub(super) driver: String,
    /// What QOM says, as far as it was asked.
    pub(super) properties: Map<String, Value>,
}

/// A netdev in `info network`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Netdev {
    /// Such as `tap` or `user`.
    pub(super) kind: String,
    /// Queues.
    pub(super) queues: usize,
    /// The tap's name, as far as it is shown.
    pub(super) ifname: Option<String>,
    /// Descriptors that QEMU was given.
    pub(super) fds: Vec<i32>,
    /// The script that set the tap up.
    pub(super) script: Option<String>,
}

impl Shown {
    pub(super) fn new(devices: Vec<ShownDevice>, answers: Answers) -> Self {
        let Answers { network, graph, nodes, drives, fdsets, pci } = answers;
        let network = network.as_str().unwrap_or_default();
        // QEMU connects such a one by a hub.
        let has_nic_of_its_own = network.contains(": index=0,type=nic,") && network.starts_with("hub ");
        let netdevs = netdevs(network);
        Self {
            devices,
            netdevs,
            has_nic_of_its_own,
            graph: BlockGraph::read(&graph),
            nodes,
            drives,
            fdsets,
            pci,
        }
    }

    /// A block node.
    pub(super) fn node(&self, name: &str) -> Option<&Value> {
        let is_it = |node: &&Value| node.get("node-name").and_then(Value::as_str) == Some(name);
        self.nodes.as_array()?.iter().find(is_it)
    }

    /// What `-drive` made, by its name.
    pub(super) fn drive(&self, name: &str) -> Option<&Value> {
        let is_it = |drive: &&Value| drive.get("device").and_then(Value::as_str) == Some(name);
        self.drives.as_array()?.iter().find(is_it)
    }

    /// The numbers that the descriptors of an fdset have in QEMU.
    pub(super) fn descriptors(&self, set: u64) -> Vec<i32> {
        let is_it = |entry: &&Value| entry.get("fdset-id").and_then(Value::as_u64) == Some(set);
        let found = self.fdsets.as_array().and_then(|sets| sets.iter().find(is_it));
        let fds = found.and_then(|set| set.get("fds")).and_then(Value::as_array);
        let number = |fd: &Value| i32::try_from(fd.get("fd")?.as_i64()?).ok();
        fds.into_iter().flatten().filter_map(number).collect()
    }

    /// Slots of the root bus that something sits in, as `query-pci` numbers them.
    pub(super) fn root_slots(&self) -> Vec<u8> {
        let is_root = |bus: &&Value| bus.get("bus").and_then(Value::as_u64) == Some(0);
        let root = self.pci.as_array().and_then(|buses| buses.iter().find(is_root));
        let devices = root.and_then(|bus| bus.get("devices")).and_then(Value::as_array);
        let slot = |device: &Value| u8::try_from(device.get("slot")?.as_u64()?).ok();
        devices.into_iter().flatten().filter_map(slot).collect()
    }
}

impl ShownDevice {
    pub(super) fn property(&self, name: &str) -> &Value {
        self.properties.get(name).unwrap_or(&Value::Null)
    }

    /// A property that is text and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.property(name).as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.property(name).as_u64()
    }

    /// How people call it.
    pub(super) fn title(&self) -> String {
        self.id.clone().unwrap_or_else(|| format!("a {} without an id", self.driver))
    }

    /// Where QOM says that it sits.
    pub(super) fn place(&self) -> Option<QomAddress> {
        let (bus, addr) = (self.property("parent_bus"), self.property("addr"));
        QomAddress::from_qom(self.id.as_deref(), &self.driver, bus, addr)
    }

    /// The same, if it is function 0 of a slot that no other of `devices` shares with it.
    pub(super) fn pci_address(&self, devices: &[Self]) -> std::result::Result<PciAddress, String> {
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
pub(super) const PLACE: &[&str] = &["parent_bus", "addr", "hotpluggable"];

/// The same of a SCSI device.
pub(super) const SCSI_PLACE: &[&str] = &["parent_bus", "channel", "scsi-id", "lun", "hotpluggable"];

/// The value of a QOM property for one version as for another: "on" and true are one setting.
pub(super) fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(word) if word == "on" => Some(true),
        Value::String(word) if word == "off" => Some(false),
        _ => None,
    }
}

/// What is wrong with an answer that a guest cannot be read without.
pub(super) fn required(answer: Option<Result<Value>>, question: &str) -> Result<Value> {
    let missing = crate::error::Error::no_reply;
    answer.unwrap_or_else(|| Err(missing())).map_err(|error| error.with_step(question.to_owned()))
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
