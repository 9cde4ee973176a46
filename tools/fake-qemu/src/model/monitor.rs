//! Monitors: who is connected, and the descriptors that came by each.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Model;
use crate::command::{Answer, Descriptor, QmpError};

/// A QMP monitor. It outlives its clients, and with it the descriptors that they passed by `getfd`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Monitor {
    /// The name of its character device.
    pub label: String,
    /// Its socket, for `query-chardev`.
    pub path: String,
    /// It has a client.
    pub connected: bool,
    /// The client has left negotiation mode.
    pub negotiated: bool,
    /// Descriptors by the names that `getfd` gave them.
    pub fds: BTreeMap<String, Descriptor>,
}

impl Monitor {
    /// Without a client.
    pub fn new(label: &str, path: &str) -> Self {
        Self {
            label: label.into(),
            path: path.into(),
            connected: false,
            negotiated: false,
            fds: BTreeMap::new(),
        }
    }
}

impl Model {
    /// A client comes to the monitor with this index.
    pub fn connect(&mut self, monitor: usize) {
        let monitor = &mut self.monitors[monitor];
        monitor.connected = true;
        monitor.negotiated = false;
    }

    /// The client leaves.
    pub fn disconnect(&mut self, monitor: usize) {
        let monitor = &mut self.monitors[monitor];
        monitor.connected = false;
        monitor.negotiated = false;
        let last = self.monitors.iter().all(|monitor| !monitor.connected);
        self.sweep_fdsets(last && self.version.sweeps_fdsets());
    }

    /// Whether events reach the client of this monitor: nobody keeps them for one that comes later.
    pub fn hears(&self, monitor: usize) -> bool {
        self.monitors[monitor].negotiated
    }

    pub(super) fn query_chardev(&self) -> Value {
        let shown = self.monitors.iter().map(|monitor| {
            let prefix = if monitor.connected { "" } else { "disconnected:" };
            let server = if self.version.has_old_texts() { "server" } else { "server=on" };
            let name = format!("{prefix}unix:{},{server}", monitor.path);
            json!({ "frontend-open": true, "filename": name, "label": monitor.label })
        });
        shown.chain(self.chardevs.iter().cloned()).chain(self.show_added_chardevs()).collect()
    }

    pub(super) fn getfd(&mut self, monitor: usize, name: &str, fd: Option<Descriptor>) -> Answer {
        let Some(fd) = fd else {
            return Err(QmpError::generic("No file descriptor supplied via SCM_RIGHTS"));
        };
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(QmpError::generic("Parameter 'fdname' expects a name not starting with a digit"));
        }
        // A name that is taken lets go of its earlier descriptor.
        self.monitors[monitor].fds.insert(name.into(), fd);
        Ok(json!({}))
    }

    pub(super) fn closefd(&mut self, monitor: usize, name: &str) -> Answer {
        match self.monitors[monitor].fds.remove(name) {
            Some(_) => Ok(json!({})),
            None => Err(QmpError::generic(format!("File descriptor named '{name}' not found"))),
        }
    }
}
