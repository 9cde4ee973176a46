//! What the guest shows when it is asked: its slots, its devices, its fdsets and whether it runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::outcome::Waiting;
use crate::deadline::Deadline;
use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::DeviceId;
use crate::pci::{Placement, QomChild, Topology};
use crate::qmp::{Command, Monitor};

/// Where QEMU keeps devices with and without an id.
const CONTAINERS: [&str; 2] = ["/machine/peripheral", "/machine/peripheral-anon"];

/// Questions about places that are asked in one go: enough for any real guest, while a peer that lists thousands of
/// devices does not make thousands of commands exist at once.
const QUESTIONS: usize = 1024;

/// Most fdsets looked at. 500 disks with the longest chain of images make as many.
const MAX_SETS: usize = 8192;

/// Most fdsets that one device is taken to have: what an add leaves if it is interrupted a few times.
const MAX_SETS_OF_ONE: usize = 64;

/// The answer to the questions asked when a guest is opened, or when the own picture may be wrong.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) topology: Topology,
    /// Ids of all devices that have one.
    pub(super) present: BTreeSet<String>,
    pub(super) fdsets: FdSets,
    /// Why the guest could not let go of a device; `None` if it runs.
    pub(super) state: Option<Waiting>,
}

/// The fdsets of the guest, with the device that owns each one of ours.
#[derive(Clone, Debug, Default)]
pub(super) struct FdSets(BTreeMap<u32, Option<DeviceId>>);

impl Survey {
    /// Two round trips for any real guest: a second one while the guest has not numbered its buses, because `query-pci` then
    /// shows occupied ports as empty.
    pub(super) fn take(monitor: &mut Monitor, deadline: &Deadline) -> Result<Self> {
        let questions = [
            Command::with("query-pci", &[]),
            Command::with("qom-list", &[("path", CONTAINERS[0])]),
            Command::with("qom-list", &[("path", CONTAINERS[1])]),
            Command::with("query-fdsets", &[]),
            Command::with("query-status", &[]),
        ];
        let [pci, named, nameless, fdsets, status] = ask(monitor, questions, deadline)?;
        let mut topology = Topology::from_query_pci(&pci)?;
        let named = QomChild::list(&named)?;
        if topology.has_unnumbered() {
            let mut children: Vec<(&str, &QomChild)> =
                named.iter().map(|child| (CONTAINERS[0], child)).collect();
            let nameless = QomChild::list(&nameless)?;
            children.extend(nameless.iter().map(|child| (CONTAINERS[1], child)));
            place_all(&mut topology, monitor, &children, deadline)?;
        }
        let present = named.into_iter().map(|child| child.name).collect();
        let state = Waiting::of_status(&status);
        Ok(Self { topology, present, fdsets: FdSets::read(&fdsets)?, state })
    }
}

fn place_all(
    topology: &mut Topology,
    monitor: &mut Monitor,
    children: &[(&str, &QomChild)],
    deadline: &Deadline,
) -> Result<()> {
    for some in children.chunks(QUESTIONS / 2) {
        place_some(topology, monitor, some, deadline)?;
    }
    Ok(())
}

fn place_some(
    topology: &mut Topology,
    monitor: &mut Monitor,
    children: &[(&str, &QomChild)],
    deadline: &Deadline,
) -> Result<()> {
    let questions: Vec<Command<'_>> = children
        .iter()
        .flat_map(|(container, child)| {
            let path = format!("{container}/{}", child.name);
            ["parent_bus", "addr"]
                .map(|name| Command::with("qom-get", &[("path", &path), ("property", name)]))
        })
        .collect();
    let batch = monitor.run(&questions, deadline);
    if let Some(error) = batch.failure {
        return Err(error.with_step("qom-get"));
    }
    // A device without such a property is no PCI device, and one that left meanwhile is no occupant.
    let value = |reply| match reply {
        Some(&Some(Ok(ref value))) => value,
        _ => &Value::Null,
    };
    for ((container, child), pair) in children.iter().zip(batch.replies.chunks(2)) {
        let id = (*container == CONTAINERS[0]).then_some(child.name.as_str());
        if let Some(placement) =
            Placement::from_qom(id, &child.driver, value(pair.first()), value(pair.get(1)))
        {
            topology.place(placement)?;
        }
    }
    Ok(())
}

/// Asks several questions at once, each of which has to be answered.
pub(super) fn ask<const N: usize>(
    monitor: &mut Monitor,
    questions: [Command<'_>; N],
    deadline: &Deadline,
) -> Result<[Value; N]> {
    let batch = monitor.run(&questions, deadline);
    if let Some(error) = batch.failure {
        return Err(error);
    }
    let mut answers = Vec::with_capacity(N);
    for (question, reply) in questions.iter().zip(batch.replies) {
        let reply = reply.unwrap_or_else(|| Err(Error::new(ErrorKind::Protocol, "no reply")));
        answers.push(reply.map_err(|error| error.with_step(question.name.as_ref()))?);
    }
    answers.try_into().map_err(|_| Error::new(ErrorKind::Protocol, "replies are missing"))
}

/// Block nodes by name.
pub(super) type Nodes<'a> = BTreeMap<&'a str, &'a Value>;

/// The question for all block nodes, without the images behind each.
pub(super) fn block_nodes() -> Command<'static> {
    Command::new("query-named-block-nodes", Map::from_iter([("flat".to_owned(), true.into())]))
}

/// The nodes in the answer to [`block_nodes`].
pub(super) fn by_name(reply: &Value) -> Nodes<'_> {
    let named = |node| Some((Value::as_str(Value::get(node, "node-name")?)?, node));
    reply.as_array().into_iter().flatten().filter_map(named).collect()
}

/// The size that a node shows to the guest, in bytes.
pub(super) fn virtual_size(node: &Value) -> Option<u64> {
    node.pointer("/image/virtual-size").and_then(Value::as_u64)
}

/// Whether a device with this id is in the guest.
pub(super) fn is_present(monitor: &mut Monitor, id: &DeviceId, deadline: &Deadline) -> Result<bool> {
    let [named] = ask(monitor, [Command::with("qom-list", &[("path", CONTAINERS[0])])], deadline)?;
    Ok(QomChild::list(&named)?.iter().any(|child| child.name == id.as_str()))
}

impl FdSets {
    fn read(reply: &Value) -> Result<Self> {
        let malformed =
            || Error::new(ErrorKind::Protocol, "query-fdsets: not a list of sets with an fdset-id");
        let mut sets = BTreeMap::new();
        let list = reply.as_array().ok_or_else(malformed)?;
        if list.len() > MAX_SETS {
            return Err(Error::new(ErrorKind::Protocol, format!("query-fdsets: more than {MAX_SETS} sets")));
        }
        for set in list {
            let id = set.get("fdset-id").and_then(Value::as_u64).ok_or_else(malformed)?;
            let fds = set.get("fds").and_then(Value::as_array);
            let tags = fds.into_iter().flatten().filter_map(|fd| fd.get("opaque").and_then(Value::as_str));
            // A set number beyond ours can be in nobody's way.
            if let Ok(id) = u32::try_from(id) {
                sets.insert(id, tags.filter_map(disk::node::fdset_tag_owner).next());
            }
        }
        Ok(Self(sets))
    }

    /// Takes `count` numbers that are not in use for `owner`. Chosen here, so that no command has to wait for an
    /// answer; low, because every digit is a byte on the wire.
    pub(super) fn take(&mut self, count: usize, owner: &DeviceId) -> Vec<u32> {
        let free: Vec<u32> = (1..=u32::MAX).filter(|id| !self.0.contains_key(id)).take(count).collect();
        self.0.extend(free.iter().map(|id| (*id, Some(owner.clone()))));
        free
    }

    /// The sets of a device, the first few if QEMU claims that there are many.
    pub(super) fn of(&self, owner: &DeviceId) -> Vec<u32> {
        let own = self.0.iter().filter(|(_, tag)| tag.as_ref() == Some(owner));
        own.map(|(id, _)| *id).take(MAX_SETS_OF_ONE).collect()
    }

    /// The sets that carry our tag, with the device each belongs to.
    pub(super) fn owned(&self) -> impl Iterator<Item = (u32, &DeviceId)> {
        self.0.iter().filter_map(|(id, owner)| Some((*id, owner.as_ref()?)))
    }

    /// The sets of a device are gone.
    pub(super) fn release(&mut self, owner: &DeviceId) {
        self.0.retain(|_, tag| tag.as_ref() != Some(owner));
    }
}
