//! Asks QEMU what it has.

use std::path::Path;

use super::argument::Argument;
use crate::deadline::Deadline;
use crate::engine::shown::{self, Shown, ShownDevice};
use crate::error::Result;
use crate::qmp::{Client, Command};

/// Questions that are asked in one go.
const QUESTIONS: usize = 1024;

/// Connects to the monitor.
pub(super) fn connect(monitor: &Path, deadline: &Deadline) -> Result<Client> {
    Client::connect(monitor, deadline)
}

/// Asks all of it: two round trips, more with hundreds of devices.
pub(super) fn ask(client: &mut Client, arguments: &[Argument], deadline: &Deadline) -> Result<Shown> {
    let batch = client.run(&shown::questions(), deadline);
    if let Some(error) = batch.failure {
        return Err(error.with_step("ask QEMU what it has"));
    }
    let mut shown = Shown::read(batch.replies)?;
    let properties =
        |(index, device)| properties_of(device, arguments).into_iter().map(move |name| (index, name));
    let wanted: Vec<(usize, String)> = shown.devices.iter().enumerate().flat_map(properties).collect();
    for some in wanted.chunks(QUESTIONS) {
        let questions: Vec<Command> = some.iter().map(|wanted| shown.question(wanted)).collect();
        let batch = client.run(&questions, deadline);
        if let Some(error) = batch.failure {
            return Err(error.with_step("qom-get"));
        }
        shown.set_properties(some.iter(), batch.replies);
    }
    Ok(shown)
}

/// The properties that are asked of a device: what is recorded of its kind, and what its own `-device` sets.
fn properties_of(device: &ShownDevice, arguments: &[Argument]) -> Vec<String> {
    let of_kind = device.own_properties();
    let mut names: Vec<String> =
        device.place_properties().iter().chain(of_kind).map(|name| (*name).to_owned()).collect();
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
