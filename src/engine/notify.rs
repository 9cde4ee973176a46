//! What the monitor says unasked, turned into events for the caller.

use super::events::{EventKind, IoAction, IoError};
use super::guest_state::GuestState;
use crate::model::DeviceKind;
use crate::qmp::Event;

impl GuestState {
    /// Tells the caller of events whether or not it concerns anything that is being done.
    pub(super) fn notify(&mut self, event: &Event) {
        let by_guest = event.flag("guest");
        let why = || event.text("reason").unwrap_or("no reason given").to_owned();
        match event.name.as_str() {
            "BLOCK_IO_ERROR" => self.notify_io_error(event),
            "SHUTDOWN" => self.events.push_coalesced(EventKind::Shutdown { by_guest }, None, why()),
            "RESET" => self.events.push_coalesced(EventKind::Reset { by_guest }, None, why()),
            "GUEST_PANICKED" => {
                let action = event.text("action").unwrap_or("unknown");
                self.events.push_coalesced(
                    EventKind::Panicked,
                    None,
                    format!("the guest has crashed; action: {action}"),
                );
            }
            _ => {}
        }
    }

    /// One of somebody else's disks is told without a device.
    fn notify_io_error(&mut self, event: &Event) {
        let text = |key| event.text(key).unwrap_or_default();
        let (node, operation, action) = (text("node-name"), text("operation"), text("action"));
        let error = IoError {
            write: operation == "write",
            no_space: event.flag("nospace"),
            action: match action {
                "stop" => IoAction::Stop,
                "ignore" => IoAction::Ignore,
                _ => IoAction::Report,
            },
        };
        let device = self.known_device(node).filter(|device| device.backend.is_none()).or_else(|| {
            let names = [node, text("device")];
            let owner = names.iter().find_map(|name| self.owner_of_backend(DeviceKind::Disk, name))?;
            self.known_device(owner.as_str())
        });
        let node = if node.is_empty() { text("device") } else { node };
        let what = format!("{operation} of {node} failed: {}; action: {action}", text("reason"));
        self.events.push_coalesced(EventKind::IoError(error), device.as_ref(), what);
    }
}
