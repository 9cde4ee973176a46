//! What the guest shows when it is asked: its slots, its devices, its fdsets and whether it runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::drives;
use super::fdsets::FdSets;
use super::graph::{self, BlockGraph};
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::PendingReason;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::ScsiAddress;
use crate::model::{BackendNames, Device};
use crate::qmp::{Batch, Command};
use crate::slots::pci::{CONTAINERS, QomAddress, QomChild, Topology};
use crate::slots::scsi;
use crate::sorted;
use crate::sorted::object;

/// Questions about places that are asked in one go: enough for any real guest, while a peer that lists
/// thousands of devices does not make thousands of commands exist at once.
pub(super) const QUESTIONS: usize = 1024;

/// The answer to the questions asked when a guest is opened, or when the inventory may be wrong.
#[derive(Debug)]
pub(super) struct Inventory {
    pub(super) topology: Topology,
    /// SCSI controllers with an id, in the order of their ids.
    pub(super) controllers: Vec<QomChild>,
    /// SCSI devices on such controllers.
    pub(super) units: Vec<Unit>,
    pub(super) peripheral_ids: PeripheralIds,
    /// Devices without an id.
    pub(super) devices_without_id: Vec<QomChild>,
    pub(super) fdsets: FdSets,
    /// Why the guest could not let go of a device; `None` if it runs.
    pub(super) state: Option<PendingReason>,
    /// Which block nodes its devices use.
    pub(super) graph: BlockGraph,
}

/// The ids of all devices that have one, as QOM has said.
#[derive(Debug)]
pub(super) struct PeripheralIds(BTreeSet<String>);

/// A SCSI device of the guest.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) address: ScsiAddress,
    pub(super) id: Option<String>,
    pub(super) driver: String,
}

impl Inventory {
    /// One round trip as a rule. Another one while the guest has not numbered its buses, because `query-pci`
    /// then shows occupied ports as empty; and one if there are SCSI devices, to ask where they sit.
    ///
    /// Which block nodes are used is asked as well where there are `disks` of ours.
    pub(super) async fn take(state: &mut GuestState, disks: usize, deadline: &Deadline) -> Result<Self> {
        let questions = [
            Command::with("query-pci", &[]),
            PeripheralIds::question(),
            Command::with("qom-list", &[("path", CONTAINERS[1])]),
            Command::with("query-fdsets", &[]),
            Command::with("query-status", &[]),
        ];
        let more = (disks > 0).then(graph::question);
        let ([pci, named, devices_without_id, fdsets, status], graph) =
            ask_and_try(state, questions, more, deadline).await?;
        let mut topology = Topology::from_query_pci(&pci)?;
        let named = QomChild::list(&named)?;
        let devices_without_id = QomChild::list(&devices_without_id)?;
        let mut children: Vec<(&str, &QomChild)> = named.iter().map(|child| (CONTAINERS[0], child)).collect();
        children.extend(devices_without_id.iter().map(|child| (CONTAINERS[1], child)));
        if topology.has_unnumbered() {
            locate_all(&mut topology, state, &children, deadline).await?;
        }
        children.retain(|(_, child)| scsi::qom::is_unit(&child.driver));
        let units = locate_units(state, &children, deadline).await?;
        let controllers = named.iter().filter(|child| scsi::spec::is_controller_model(&child.driver));
        // QEMU's order is that of a hash table.
        let controllers = sorted::map(controllers.cloned().map(|child| (child.name.clone(), child)));
        let controllers: Vec<QomChild> = controllers.into_values().collect();
        let peripheral_ids = PeripheralIds::of(&named);
        let (fdsets, state) = (FdSets::read(&fdsets)?, PendingReason::of_status(&status));
        let graph = BlockGraph::read(&graph);
        Ok(Self { topology, controllers, units, peripheral_ids, devices_without_id, fdsets, state, graph })
    }
}

async fn locate_all(
    topology: &mut Topology,
    state: &GuestState,
    children: &[(&str, &QomChild)],
    deadline: &Deadline,
) -> Result<()> {
    for some in children.chunks(QUESTIONS / 2) {
        locate_some(topology, state, some, deadline).await?;
    }
    Ok(())
}

async fn locate_some(
    topology: &mut Topology,
    state: &GuestState,
    children: &[(&str, &QomChild)],
    deadline: &Deadline,
) -> Result<()> {
    // A device without such a property is no PCI device, and one that left meanwhile is no occupant.
    let answers = properties(state, children, ["parent_bus", "addr"], deadline).await?;
    for ((container, child), [bus, addr]) in children.iter().zip(answers) {
        let id = (*container == CONTAINERS[0]).then_some(child.name.as_str());
        if let Some(placement) = QomAddress::from_qom(id, &child.driver, &bus, &addr) {
            topology.place(placement)?;
        }
    }
    Ok(())
}

/// Where the SCSI devices among the children sit.
async fn locate_units(
    state: &GuestState,
    children: &[(&str, &QomChild)],
    deadline: &Deadline,
) -> Result<Vec<Unit>> {
    let names = scsi::qom::PLACE_PROPERTIES;
    let mut units = Vec::new();
    for some in children.chunks(QUESTIONS / names.len()) {
        let answers = properties(state, some, names, deadline).await?;
        for ((container, child), values) in some.iter().zip(answers) {
            let id = (*container == CONTAINERS[0]).then(|| child.name.clone());
            let address = scsi::qom::address(values.each_ref());
            units.extend(address.map(|address| Unit { address, id, driver: child.driver.clone() }));
        }
    }
    Ok(units)
}

/// Properties of several devices, asked for in one write; null for each that a device does not have.
pub(super) async fn properties<const N: usize>(
    state: &GuestState,
    children: &[(&str, &QomChild)],
    names: [&str; N],
    deadline: &Deadline,
) -> Result<Vec<[Value; N]>> {
    let questions: Vec<Command> = children
        .iter()
        .flat_map(|(container, child)| {
            let path = format!("{container}/{}", child.name);
            names.map(|name| Command::with("qom-get", &[("path", &path), ("property", name)]))
        })
        .collect();
    let batch = state.ask(questions, deadline).await;
    if let Some(error) = batch.failure {
        return Err(error.with_step("qom-get"));
    }
    let mut answers = batch.replies.into_iter().map(|reply| reply.and_then(Result::ok).unwrap_or_default());
    Ok(children.iter().map(|_| [(); N].map(|()| answers.next().unwrap_or_default())).collect())
}

impl GuestState {
    /// Asks several questions at once, each of which has to be answered.
    pub(super) async fn questions<const N: usize>(
        &self,
        questions: [Command; N],
        deadline: &Deadline,
    ) -> Result<[Value; N]> {
        let batch = self.ask(questions.to_vec(), deadline).await;
        answers(&questions, batch)
    }
}

impl GuestState {
    /// The drives of the guest, if a disk of ours has one that another program has made.
    pub(super) async fn drives_of_others(&self, deadline: &Deadline) -> Result<Value> {
        let has_drive = |device: &Device| matches!(device.backend, Some(BackendNames::Drive(_)));
        if !self.contents().record().devices.iter().any(has_drive) {
            return Ok(Value::Null);
        }
        let [drives] = self.questions([drives::question()], deadline).await?;
        Ok(drives)
    }
}

/// Asks several questions at once, each of which has to be answered, and perhaps one more, whose answer is
/// null where QEMU does not have it.
async fn ask_and_try<const N: usize>(
    state: &mut GuestState,
    questions: [Command; N],
    last: Option<Command>,
    deadline: &Deadline,
) -> Result<([Value; N], Value)> {
    let all: Vec<Command> = questions.iter().cloned().chain(last).collect();
    let mut batch = state.ask_or_first(all, deadline).await;
    let last = batch.replies.drain(N.min(batch.replies.len())..).next();
    let last = last.flatten().and_then(Result::ok).unwrap_or_default();
    Ok((answers(&questions, batch)?, last))
}

fn answers<const N: usize>(questions: &[Command; N], batch: Batch) -> Result<[Value; N]> {
    if let Some(error) = batch.failure {
        return Err(error);
    }
    let mut answers = Vec::with_capacity(N);
    for (question, reply) in questions.iter().zip(batch.replies) {
        let reply = reply.unwrap_or_else(|| Err(Error::no_reply()));
        answers.push(reply.map_err(|error| error.with_step(question.name.as_ref()))?);
    }
    answers.try_into().map_err(|_| Error::new(ErrorKind::Protocol, "replies are missing"))
}

/// Block nodes by name.
pub(super) type Nodes<'a> = BTreeMap<&'a str, &'a Value>;

/// The question for all block nodes, without the images behind each.
pub(super) fn block_nodes() -> Command {
    Command::new("query-named-block-nodes", object([("flat", true.into())]))
}

/// The nodes in the answer to [`block_nodes`].
pub(super) fn by_name(reply: &Value) -> Nodes<'_> {
    let named = |node| Some((Value::as_str(Value::get(node, "node-name")?)?, node));
    sorted::map(reply.as_array().into_iter().flatten().filter_map(named))
}

/// The size that a node shows to the guest, in bytes.
pub(super) fn virtual_size(node: &Value) -> Option<u64> {
    node.pointer("/image/virtual-size").and_then(Value::as_u64)
}

impl PeripheralIds {
    /// Asks for it, and for nothing else.
    pub(super) async fn ask(state: &GuestState, deadline: &Deadline) -> Result<Self> {
        let [named] = state.questions([Self::question()], deadline).await?;
        Self::read(&named)
    }

    /// The question.
    pub(super) fn question() -> Command {
        Command::with("qom-list", &[("path", CONTAINERS[0])])
    }

    /// The answer to [`PeripheralIds::question`].
    pub(super) fn read(reply: &Value) -> Result<Self> {
        Ok(Self::of(&QomChild::list(reply)?))
    }

    /// The same, of what has been read.
    pub(super) fn of(named: &[QomChild]) -> Self {
        Self(sorted::set(named.iter().map(|child| child.name.clone())))
    }

    /// Whether a device with this id is in the guest.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
