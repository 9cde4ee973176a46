//! What plugging a device in takes, step by step, each with its undo step. Pure: nothing here talks to
//! anybody.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::drives;
use super::throttle::Throttle;
use crate::disk::{DiskSpec, LayerRef, Limits, Secrets, SourceObjects, node};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, BackendName, DeviceId, PciAddress};
use crate::model::{BackendNames, Device, DeviceKind, Helper, Spec};
use crate::net::args;
use crate::net::netdev::Netdev;
use crate::net::spec::NicSpec;
use crate::qmp::{Command, Version};
use crate::slots::scsi::{self, ControllerSpec};
use crate::sorted::object;

/// The oldest QEMU known to take back a netdev whose vhost fails; 5.2 is known not to.
const WHOLE_NETDEVS: Version = Version { major: 7, minor: 2, micro: 0 };

/// One command of a plan.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// The QMP command.
    pub(super) command: &'static str,
    /// Its arguments.
    pub(super) arguments: Arc<Map<String, Value>>,
    /// Which of the operation's file descriptors goes with it.
    pub(super) fd: Option<usize>,
    /// What takes it back.
    pub(super) undo_step: UndoStep,
}

/// How a step is taken back. Every one of them is fine with finding nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UndoStep {
    /// `closefd` of a name that `netdev_add` has not consumed.
    CloseFd(String),
    /// `netdev_add` of a netdev without a host side, so that the half-made one of this name can be deleted
    /// with it.
    NetdevClaim(BackendName),
    /// `netdev_del`, which closes the fds given to it.
    NetdevDel(BackendName),
    /// `chardev-remove`. It comes after `netdev_del`, which removes the chardev of a netdev that was made.
    ChardevRemove(BackendName),
    /// `remove-fd` of a whole set.
    RemoveFd(u32),
    /// `blockdev-del`.
    BlockdevDel(BackendName),
    /// `object-del` of a [helper](Helper).
    ObjectDel(BackendName),
    /// Nothing but to wait until QEMU has deleted the drive: it does so when it has taken the device apart.
    AwaitDrive(BackendName),
    /// `device_del`, and then waiting for the guest to let go.
    Unplug(DeviceId),
    /// The limits of a disk, back to these.
    SetLimits(Throttle, Limits),
    /// `set_link`, back to this state.
    SetLink {
        /// The netdev of the NIC.
        netdev: BackendName,
        /// Whether the link was up.
        up: bool,
    },
}

impl Step {
    /// The command, for a step without a descriptor.
    pub(super) fn plain_command(&self) -> Command {
        Command::sharing(self.command, &self.arguments)
    }

    /// Names the step in errors: the command and what it is about.
    pub(super) fn label(&self) -> String {
        let about = ["id", "node-name", "fdname", "name", "path"]
            .iter()
            .find_map(|key| self.arguments.get(*key))
            .or_else(|| self.arguments.get("fdset-id"))
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        match about {
            Some(about) => format!("{} {about}", self.command),
            None => self.command.to_owned(),
        }
    }
}

impl UndoStep {
    /// The command that does it.
    pub(super) fn command(&self) -> Command {
        match self {
            Self::CloseFd(name) => Command::with("closefd", &[("fdname", name)]),
            Self::NetdevClaim(id) => {
                let hub = [("type", "hubport".into()), ("hubid", 0.into()), ("id", id.as_str().into())];
                Command::new("netdev_add", object(hub))
            }
            Self::NetdevDel(id) => Command::with("netdev_del", &[("id", id.as_str())]),
            Self::ChardevRemove(id) => Command::with("chardev-remove", &[("id", id.as_str())]),
            Self::RemoveFd(set) => Command::new("remove-fd", object([("fdset-id", Value::from(*set))])),
            Self::BlockdevDel(node) => Command::with("blockdev-del", &[("node-name", node.as_str())]),
            Self::ObjectDel(id) => Command::with("object-del", &[("id", id.as_str())]),
            Self::AwaitDrive(_) => drives::question(),
            Self::Unplug(id) => Command::with("device_del", &[("id", id.as_str())]),
            Self::SetLimits(throttle, limits) => Command::new(throttle.command(), throttle.arguments(limits)),
            Self::SetLink { netdev, up } => Command::new("set_link", link_arguments(netdev, *up)),
        }
    }

    /// The error that it is still there, if the answer to its command says so.
    pub(super) fn still_there(&self, answer: &Value) -> Option<Error> {
        let Self::AwaitDrive(drive) = self else { return None };
        let is_there = drives::has_without_device(answer, drive.as_str());
        is_there.then(|| Error::new(ErrorKind::Qmp, "QEMU has not deleted it yet"))
    }

    /// Whether it only prepares for the next one, which fails if it was needed and failed.
    pub(super) fn prepares(&self) -> bool {
        matches!(self, Self::NetdevClaim(_))
    }

    /// What is left behind when it fails.
    pub(super) fn residue(&self) -> String {
        match self {
            Self::CloseFd(name) => format!("fd {name}"),
            Self::NetdevClaim(id) | Self::NetdevDel(id) => format!("netdev {id}"),
            Self::ChardevRemove(id) => format!("chardev {id}"),
            Self::RemoveFd(set) => format!("fdset {set}"),
            Self::BlockdevDel(node) => format!("block node {node}"),
            Self::ObjectDel(id) => format!("object {id}"),
            Self::AwaitDrive(drive) => format!("drive {drive}"),
            Self::Unplug(id) => format!("device {id}"),
            Self::SetLimits(throttle, _) => format!("limits of {throttle}"),
            Self::SetLink { netdev, .. } => format!("link of {netdev}"),
        }
    }
}

/// QEMU changes the NIC that uses the netdev with it.
fn link_arguments(netdev: &BackendName, up: bool) -> Map<String, Value> {
    object([("name", netdev.as_str().into()), ("up", up.into())])
}

/// The step that sets the link of the NIC with this netdev up or down.
pub(super) fn set_link(netdev: BackendName, up: bool) -> Step {
    let arguments = link_arguments(&netdev, up).into();
    let undo_step = UndoStep::SetLink { netdev, up: !up };
    Step { command: "set_link", arguments, fd: None, undo_step }
}

/// Has the device made with these properties.
pub(super) fn with_properties(stages: &mut [Stage], properties: &Map<String, Value>) {
    if properties.is_empty() {
        return;
    }
    let steps = stages.iter_mut().flatten().filter(|step| step.command == "device_add");
    steps.for_each(|step| Arc::make_mut(&mut step.arguments).extend(properties.clone()));
}

/// Steps that are sent in one write and waited for once; the next stage is sent when all of them are done.
pub(super) type Stage = Vec<Step>;

/// The steps for a NIC. File descriptors: the taps in queue order, then vhost in queue order.
///
/// The taps are handed over last: QEMU takes descriptors in the order in which they come, and of a tap it can
/// be told whether QEMU has it.
///
/// With several queues, `netdev_add` waits until every fd has arrived: if it fails at a later queue, QEMU 7.2
/// keeps a half-made netdev that can neither be deleted nor made again.
///
/// With vhost, an old QEMU keeps one as well, and plugs a device into it: there `device_add` waits for the
/// answer.
pub(super) fn nic(
    id: &DeviceId,
    generation: u64,
    address: &PciAddress,
    spec: &NicSpec,
    qemu: Version,
) -> Vec<Stage> {
    let taps = args::fd_names(generation, spec.tap_queues()).into_iter().enumerate();
    let vhost = vhost_fd_names(generation, spec).into_iter().enumerate();
    let mut passed: Stage = vhost
        .map(|(queue, name)| (usize::from(spec.queues) + queue, name))
        .chain(taps)
        .map(|(index, name)| Step {
            command: "getfd",
            arguments: object([("fdname", name.as_str().into())]).into(),
            fd: Some(index),
            undo_step: UndoStep::CloseFd(name),
        })
        .collect();
    let netdev = Step {
        command: "netdev_add",
        arguments: args::netdev_args(id, generation, spec).into(),
        fd: None,
        undo_step: UndoStep::NetdevDel(id.into()),
    };
    let chardev = spec.netdev.as_ref().and_then(Netdev::chardev);
    passed.extend(chardev.map(|chardev| Step {
        command: "chardev-add",
        arguments: chardev.arguments(id.as_str()).into(),
        fd: None,
        undo_step: UndoStep::ChardevRemove(id.into()),
    }));
    let mut plugged = vec![device_add(id, args::device_args(id, address, spec))];
    // In the same write, so before any driver of the guest has looked.
    plugged.extend(spec.link_down.then(|| set_link(id.into(), false)));
    let mut stages = vec![passed];
    for (steps, waits) in
        [(vec![netdev], spec.tap_queues() > 1), (plugged, spec.vhost && qemu < WHOLE_NETDEVS)]
    {
        match stages.last_mut() {
            Some(stage) if !waits => stage.extend(steps),
            _ => stages.push(steps),
        }
    }
    stages
}

fn vhost_fd_names(generation: u64, spec: &NicSpec) -> Vec<String> {
    if spec.vhost { args::vhost_fd_names(generation, spec.queues) } else { Vec::new() }
}

/// What QEMU may have made of a step that it refused, which nothing else takes back: QEMU 5.2 keeps a netdev
/// whose vhost failed, and refuses to delete it until one of the same name has been made whole. An empty hub
/// is left, once.
pub(super) fn undo_of_refused(step: &Step, qemu: Version) -> Vec<UndoStep> {
    match &step.undo_step {
        UndoStep::NetdevDel(id) if step.arguments.contains_key("vhostforce") && qemu < WHOLE_NETDEVS => {
            vec![UndoStep::NetdevClaim(id.clone()), UndoStep::NetdevDel(id.clone())]
        }
        _ => Vec::new(),
    }
}

/// The steps for a disk. File descriptors: one per image layer, top first, each into its own fdset.
pub(super) fn disk(
    id: &DeviceId,
    address: &Address,
    spec: &DiskSpec,
    layers: &[LayerRef],
    fdsets: &[u32],
) -> Result<Vec<Stage>> {
    let mut steps = Vec::new();
    if spec.has_medium() {
        steps = image(id, spec, layers, fdsets)?;
    }
    steps.push(device_add(id, node::device_args(id, address, spec)));
    Ok(vec![steps])
}

/// The steps that make the node of an image.
pub(super) fn image(node: &DeviceId, spec: &DiskSpec, layers: &[LayerRef], fdsets: &[u32]) -> Result<Stage> {
    let tag = node::fdset_tag(node);
    let mut steps: Stage = fdsets
        .iter()
        .enumerate()
        .map(|(index, set)| Step {
            command: "add-fd",
            arguments: object([("fdset-id", (*set).into()), ("opaque", tag.as_str().into())]).into(),
            fd: Some(index),
            undo_step: UndoStep::RemoveFd(*set),
        })
        .collect();
    steps.push(Step {
        command: "blockdev-add",
        arguments: node::block_node(node, spec, layers)?.into(),
        fd: None,
        undo_step: UndoStep::BlockdevDel(node.into()),
    });
    Ok(steps)
}

/// Plugs a controller in with the disk that is to sit on it: after its block node, which is what fails most
/// easily, so that no controller comes and goes for nothing.
pub(super) fn with_controller(stages: &mut Vec<Stage>, controller: &Device) {
    let (Spec::Controller(spec), Some(Address::Pci(address))) = (&controller.spec, &controller.address)
    else {
        return;
    };
    let disk = stages.last_mut().and_then(Vec::pop);
    let device = device_add(&controller.id, scsi::args::device_args(&controller.id, address, spec));
    stages.push([device].into_iter().chain(disk).collect());
}

/// Has the objects of a device made after its descriptors have been handed over, and before anything that
/// names them. Those that are not there yet are given.
pub(super) fn with_helpers(stages: &mut [Stage], helpers: Vec<Helper>) {
    let Some(stage) = stages.last_mut().filter(|_| !helpers.is_empty()) else { return };
    let steps = helpers.into_iter().map(|helper| Step {
        command: "object-add",
        arguments: helper.arguments.into(),
        fd: None,
        undo_step: UndoStep::ObjectDel(helper.id),
    });
    let at = stage.iter().position(|step| step.fd.is_none()).unwrap_or(stage.len());
    stage.splice(at..at, steps);
}

/// Gives the objects that hold secrets what they hold.
pub(super) fn with_secrets(stages: &mut [Stage], disk: &DeviceId, secrets: &Secrets) {
    for name in secrets.names() {
        let made = UndoStep::ObjectDel(SourceObjects::id_of(disk, name));
        let step = stages.iter_mut().flatten().find(|step| step.undo_step == made);
        if let (Some(step), Some(secret)) = (step, secrets.get(name)) {
            secret.add_to(Arc::make_mut(&mut step.arguments));
        }
    }
}

/// The step for a SCSI controller.
pub(super) fn controller(id: &DeviceId, address: &PciAddress, spec: &ControllerSpec) -> Vec<Stage> {
    vec![vec![device_add(id, scsi::args::device_args(id, address, spec))]]
}

fn device_add(id: &DeviceId, arguments: Map<String, Value>) -> Step {
    Step {
        command: "device_add",
        arguments: arguments.into(),
        fd: None,
        undo_step: UndoStep::Unplug(id.clone()),
    }
}

/// The steps of several plans as one. What waits for nothing is sent in one write, in the order of the plans;
/// only what has to arrive before that is sent first, for all of them. `fds` is how many file descriptors
/// each plan has.
pub(super) fn merge(plans: Vec<(Vec<Stage>, usize)>) -> Vec<Stage> {
    let mut merged: Vec<Stage> = Vec::new();
    let most = plans.iter().map(|(stages, _)| stages.len()).max().unwrap_or_default();
    merged.resize_with(most, Vec::new);
    let mut first_fd = 0;
    for (stages, fds) in plans {
        let late = most - stages.len();
        for (place, stage) in merged.iter_mut().skip(late).zip(stages) {
            place.extend(stage.into_iter().map(|step| Step { fd: step.fd.map(|fd| fd + first_fd), ..step }));
        }
        first_fd += fds;
    }
    merged
}

/// The backend of a device that has left the guest, in the order in which it is taken down. Other devices may
/// still need its [helpers](Helper).
pub(super) fn backend(device: &Device, fdsets: &[u32]) -> Vec<UndoStep> {
    let mut backend = match (&device.spec, &device.backend) {
        (Spec::Controller(_), _) => Vec::new(),
        (Spec::Nic(spec), _) => {
            let chardev = spec.netdev.as_ref().and_then(Netdev::chardev);
            let chardev = chardev.map(|_| UndoStep::ChardevRemove(device.backend_name()));
            [UndoStep::NetdevDel(device.backend_name())].into_iter().chain(chardev).collect()
        }
        (Spec::Disk(_), Some(BackendNames::Nodes(nodes))) => {
            nodes.iter().cloned().map(UndoStep::BlockdevDel).collect()
        }
        (Spec::Disk(_), Some(BackendNames::Drive(drive))) => vec![UndoStep::AwaitDrive(drive.clone())],
        (Spec::Disk(_), _) => vec![UndoStep::BlockdevDel(device.backend_name())],
    };
    backend.extend(device.helpers().into_iter().rev().map(|helper| UndoStep::ObjectDel(helper.id)));
    if device.kind() == DeviceKind::Disk {
        backend.extend(fdsets.iter().map(|set| UndoStep::RemoveFd(*set)));
    }
    backend
}

/// What an interrupted plug of a device may have made of the descriptors that were handed over for it, when
/// nobody knows how far it came.
pub(super) fn possible_backend(device: &Device, qemu: Version) -> Vec<UndoStep> {
    let mut made = backend(device, &[]);
    if matches!(&device.spec, Spec::Nic(spec) if spec.vhost && qemu < WHOLE_NETDEVS) {
        made.insert(0, UndoStep::NetdevClaim(device.backend_name()));
    }
    made
}

/// The descriptors that an interrupted plug may have handed over, in the order in which it did. `getfd` names
/// survive the connection and no command lists them (QEMU 7.2), so each possible one is named.
pub(super) fn passed_fds(device: &Device, fdsets: &[u32]) -> Vec<UndoStep> {
    match &device.spec {
        Spec::Nic(spec) => vhost_fd_names(device.generation, spec)
            .into_iter()
            .chain(args::fd_names(device.generation, spec.tap_queues()))
            .map(UndoStep::CloseFd)
            .collect(),
        Spec::Disk(_) => fdsets.iter().map(|set| UndoStep::RemoveFd(*set)).collect(),
        Spec::Controller(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BusName, MacAddr, Slot};

    #[test]
    fn what_waits_for_the_answer_to_something_else() {
        let (old, new) = (Version { major: 5, minor: 2, micro: 0 }, WHOLE_NETDEVS);
        for (queues, vhost, qemu, expected) in [
            (1, false, old, &["getfd netdev_add device_add"][..]),
            (1, true, new, &["getfd getfd netdev_add device_add"]),
            (1, true, old, &["getfd getfd netdev_add", "device_add"]),
            (2, false, old, &["getfd getfd", "netdev_add device_add"]),
            (2, true, new, &["getfd getfd getfd getfd", "netdev_add device_add"]),
            (2, true, old, &["getfd getfd getfd getfd", "netdev_add", "device_add"]),
        ] {
            let mut spec = NicSpec::new(MacAddr::parse("52:54:00:00:00:01").unwrap());
            (spec.queues, spec.vhost) = (queues, vhost);
            let address =
                PciAddress { bus: BusName::parse("pci.0").unwrap(), slot: Slot::try_from(5).unwrap() };
            let stages = nic(&DeviceId::parse("lan").unwrap(), 1, &address, &spec, qemu);
            let words = |stage: &Stage| stage.iter().map(|step| step.command).collect::<Vec<_>>().join(" ");
            assert_eq!(stages.iter().map(words).collect::<Vec<_>>(), expected, "{queues} {vhost} {qemu}");
            let refused = stages.iter().flatten().find(|step| step.command == "netdev_add").unwrap();
            let more = undo_of_refused(refused, qemu).len();
            assert_eq!(more, if vhost && qemu < WHOLE_NETDEVS { 2 } else { 0 }, "{queues} {vhost} {qemu}");
        }
    }
}
