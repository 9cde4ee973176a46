//! Asks QEMU what it has.

use std::path::Path;

use serde_json::{Map, Value};

use super::argument::Argument;
use super::shown::{Answers, CONTAINERS, PLACE, SCSI_PLACE, Shown, ShownDevice, required};
use super::{controller, disk, nic};
use crate::deadline::Deadline;
use crate::engine::graph;
use crate::error::Result;
use crate::qmp::{Client, Command};
use crate::slots::pci::QomChild;
use crate::slots::scsi;
use crate::sorted::object;

/// Questions that are asked in one go.
const QUESTIONS: usize = 1024;

/// Connects to the monitor.
pub(super) fn connect(monitor: &Path, deadline: &Deadline) -> Result<Client> {
    Client::connect(monitor, deadline)
}

/// Asks all of it: two round trips, more with hundreds of devices.
pub(super) fn ask(client: &mut Client, arguments: &[Argument], deadline: &Deadline) -> Result<Shown> {
    let questions = [
        Command::with("qom-list", &[("path", CONTAINERS[0])]),
        Command::with("qom-list", &[("path", CONTAINERS[1])]),
        Command::with("query-block", &[]),
        Command::new("query-named-block-nodes", object([("flat", true.into())])),
        Command::with("query-fdsets", &[]),
        Command::with("query-pci", &[]),
        graph::question(),
        Command::with("human-monitor-command", &[("command-line", "info network")]),
    ];
    let batch = client.run(&questions, deadline);
    if let Some(error) = batch.failure {
        return Err(error.with_step("ask QEMU what it has"));
    }
    let mut replies = batch.replies.into_iter();
    let mut next = |index: usize| {
        let name = questions.get(index).map_or("", |question| &question.name);
        required(replies.next().flatten(), name)
    };
    let (named, anonymous) = (next(0)?, next(1)?);
    let (drives, nodes, fdsets, pci) = (next(2)?, next(3)?, next(4)?, next(5)?);
    // A QEMU without one of these has devices that are left as they are.
    let (graph, network) = (next(6).unwrap_or_default(), next(7).unwrap_or_default());
    let mut devices = Vec::new();
    for (container, list) in CONTAINERS.iter().zip([named, anonymous]) {
        let has_id = *container == CONTAINERS[0];
        devices.extend(QomChild::list(&list)?.into_iter().map(|child| ShownDevice {
            path: format!("{container}/{}", child.name),
            id: has_id.then_some(child.name),
            driver: child.driver,
            properties: Map::new(),
        }));
    }
    ask_devices(client, &mut devices, arguments, deadline)?;
    let answers = Answers { network, graph, nodes, drives, fdsets, pci };
    Ok(Shown::new(devices, answers))
}

fn ask_devices(
    client: &mut Client,
    devices: &mut [ShownDevice],
    arguments: &[Argument],
    deadline: &Deadline,
) -> Result<()> {
    let wanted: Vec<(usize, String)> = devices
        .iter()
        .enumerate()
        .flat_map(|(index, device)| {
            questions_of(device, arguments).into_iter().map(move |name| (index, name))
        })
        .collect();
    for some in wanted.chunks(QUESTIONS) {
        let question = |(index, name): &(usize, String)| {
            let path = devices.get(*index).map_or("", |device| device.path.as_str());
            Command::with("qom-get", &[("path", path), ("property", name)])
        };
        let questions: Vec<Command> = some.iter().map(question).collect();
        let batch = client.run(&questions, deadline);
        if let Some(error) = batch.failure {
            return Err(error.with_step("qom-get"));
        }
        for ((index, name), reply) in some.iter().zip(batch.replies) {
            // One that it does not have is null.
            let value = reply.and_then(Result::ok).unwrap_or(Value::Null);
            if let Some(device) = devices.get_mut(*index) {
                device.properties.insert(name.clone(), value);
            }
        }
    }
    Ok(())
}

/// The properties that are asked of a device: what is recorded of its kind, and what its own `-device` sets.
fn questions_of(device: &ShownDevice, arguments: &[Argument]) -> Vec<String> {
    let of_kind: &[&str] = match () {
        () if nic::is_nic(device) => nic::PROPERTIES,
        () if disk::is_disk(device) => disk::PROPERTIES,
        () if controller::is_controller(device) => controller::PROPERTIES,
        () => &[],
    };
    let place = if scsi::qom::is_unit(&device.driver) { SCSI_PLACE } else { PLACE };
    let mut names: Vec<String> = place.iter().chain(of_kind).map(|name| (*name).to_owned()).collect();
    let id = device.id.as_deref().filter(|_| !of_kind.is_empty());
    let own = id.and_then(|id| arguments.iter().find(|argument| argument.is("device", id)));
    for name in own.into_iter().flat_map(Argument::names) {
        let is_property =
            !matches!(name, "driver" | "id" | "bus") && !names.iter().any(|known| known == name);
        if is_property {
            names.push(name.to_owned());
        }
    }
    names
}
