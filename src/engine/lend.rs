//! A monitor for the caller's other tools. A monitor serves one client at a time; since 11.1 QEMU makes
//! further ones while it runs, and deletes them when their client hangs up.

use serde_json::json;

use super::descriptors::MONITORS_ARE_OBJECTS;
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::store_step::Undurable;
use crate::error::{Error, ErrorKind, Result};
use crate::qmp::Command;
use crate::sorted::object;
use crate::sys::descriptor::Descriptor;

impl GuestState {
    /// Has QEMU make a monitor, and answers the caller's end of its connection.
    pub(super) async fn lend_monitor(&mut self, deadline: &Deadline) -> Result<Descriptor> {
        self.connect(deadline).await?;
        if self.version < MONITORS_ARE_OBJECTS {
            let text = format!(
                "QEMU {} cannot make another monitor while it runs, which takes {MONITORS_ARE_OBJECTS}; give it a second one when \
                 it is started",
                self.version
            );
            return Err(Error::new(ErrorKind::NotHotpluggable, text));
        }
        self.check_passes_descriptors("the other end of a monitor")?;
        let pair = self.make_socket_pair().await?;
        let id = format!("kvm-hotplug-lent-{}", pair.number);
        let batch = self.send(Undurable::LentMonitor.may(), commands(&id, pair.qemu), deadline).await;
        if let Some(error) = batch.failure {
            return Err(error.context("lend a monitor"));
        }
        match batch.replies.into_iter().find_map(|reply| reply?.err()) {
            None => Ok(pair.own),
            Some(error) => {
                // What was not made is not there to be taken back.
                self.send(Undurable::LentMonitor.may(), inverses(&id), deadline).await;
                Err(error.context("lend a monitor"))
            }
        }
    }
}

/// The chardev takes the descriptor by its name, and the monitor takes the chardev.
fn commands(id: &str, qemu: Descriptor) -> Vec<Command> {
    let backend = json!({
        "type": "socket",
        "data": { "addr": { "type": "fd", "data": { "str": id } }, "server": false },
    });
    vec![
        Command::with("getfd", &[("fdname", id)]).carrying(qemu),
        Command::new("chardev-add", object([("id", id.into()), ("backend", backend)])),
        Command::with(
            "object-add",
            &[("qom-type", "monitor-qmp"), ("id", id), ("chardev", id), ("close-action", "delete")],
        ),
    ]
}

fn inverses(id: &str) -> Vec<Command> {
    vec![Command::with("chardev-remove", &[("id", id)]), Command::with("closefd", &[("fdname", id)])]
}
