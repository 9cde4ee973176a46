//! A SCSI controller that runs.

use super::taken::{Sight, Taken, Why, further};
use crate::engine::shown::{OF_CONTROLLER, ShownDevice};
use crate::ids::Address;
use crate::model::Spec;
use crate::slots::scsi::ControllerSpec;

/// Its settings, or why it stays in the command.
pub(super) fn take(sight: &Sight<'_>, device: &ShownDevice) -> Result<Taken, Why> {
    let address = Address::from(device.pci_address(&sight.shown.devices)?);
    let argument = sight.argument_of(device);
    let is_asked = argument.is_none_or(|argument| argument.member("num_queues").is_some());
    let queues = device.number("num_queues").and_then(|queues| u16::try_from(queues).ok());
    let spec =
        ControllerSpec { model: device.driver.clone(), queues: queues.filter(|_| is_asked), iothread: None };
    spec.validate().map_err(|error| error.to_string())?;
    Ok(Taken {
        spec: Spec::Controller(spec),
        address,
        names: None,
        properties: further(device, argument, OF_CONTROLLER),
        goes: argument.into_iter().map(|argument| argument.at).collect(),
        notes: Vec::new(),
    })
}

/// Whether the device sits on the bus of this controller.
pub(super) fn carries(controller: &str, device: &ShownDevice) -> bool {
    let bus = device.text("parent_bus").and_then(|bus| bus.strip_prefix("/machine/peripheral/"));
    bus.and_then(|bus| bus.split('/').next()) == Some(controller)
}
