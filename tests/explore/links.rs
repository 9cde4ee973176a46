//! Who is connected to which monitor, and what QEMU has not carried out of what a client has sent.

use std::path::Path;

use fake_qemu::Command;

use crate::world::{MONITORS, World};

impl World {
    /// A client comes to the monitor at this path, and leaves negotiation mode. What the one before has sent
    /// there is carried out first.
    pub fn connect(&mut self, path: &Path) -> u64 {
        let monitor = usize::from(path == Path::new(MONITORS[1]));
        self.carry_out_rest(monitor);
        self.links.retain(|_, other| *other != monitor);
        self.model.disconnect(monitor);
        self.model.connect(monitor);
        self.model.execute(self.now, monitor, &Command::new("qmp_capabilities", serde_json::json!({})));
        self.last_link += 1;
        self.links.insert(self.last_link, monitor);
        self.last_link
    }

    /// A client goes, if it is there.
    pub fn close(&mut self, link: u64) {
        if let Some(monitor) = self.links.remove(&link) {
            self.model.disconnect(monitor);
        }
    }

    /// All clients go. QEMU does not take leave of one whose commands it has not carried out.
    pub fn disconnect(&mut self) {
        for (_, monitor) in std::mem::take(&mut self.links) {
            if !self.rest.iter().any(|(other, _)| *other == monitor) {
                self.model.disconnect(monitor);
            }
        }
    }

    /// An agent has died after it sent these.
    pub fn leave_rest<'a>(
        &mut self,
        link: u64,
        commands: impl Iterator<Item = &'a kvm_hotplug::qmp::Command>,
    ) {
        let Some(monitor) = self.links.get(&link).copied() else { return };
        for command in commands {
            self.last_number += i32::from(command.fd.is_some());
            self.rest.push((monitor, self.command(command, self.last_number)));
        }
    }

    /// Whether QEMU has not carried out all that was sent.
    pub fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// QEMU has ended before it carried that out.
    pub(crate) fn forget_rest(&mut self) {
        self.rest.clear();
    }

    /// QEMU carries out what an agent that died has sent.
    pub fn carry_out_rest(&mut self, monitor: usize) {
        let (mine, others) = std::mem::take(&mut self.rest).into_iter().partition(|(own, _)| *own == monitor);
        self.rest = others;
        let mine: Vec<(usize, Command)> = mine;
        for (_, command) in &mine {
            self.model.execute(self.now, monitor, command);
        }
        if !mine.is_empty() {
            self.model.disconnect(monitor);
            self.host.close_unused(&self.model);
        }
    }
}
