//! What a monitor has to be for a device whose tap or image QEMU gets as a descriptor.

use super::guest_state::GuestState;
use super::limit::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::qmp::{Command, MonitorName, Version};

/// The first QEMU whose monitors can be made at run time, and go with their client.
pub(super) const MONITORS_ARE_OBJECTS: Version = Version { major: 11, minor: 1, micro: 0 };

impl GuestState {
    /// Refuses what is passed as a descriptor where none can be.
    pub(super) fn check_passes_descriptors(&self, what: &str) -> Result<()> {
        let reached = &self.monitor()?.reached;
        if reached.passes_descriptors {
            return Ok(());
        }
        let text = format!(
            "{what} goes to QEMU as a descriptor, and none can be passed over the monitor at {}; open the guest at a Unix socket \
             of QEMU for that",
            reached.name
        );
        Err(Error::new(ErrorKind::NotHotpluggable, text))
    }

    /// Refuses NICs over a monitor that goes with its client: QEMU 11.1 does not close what that client has
    /// passed by `getfd` and not used, and no other monitor can. QEMU does not say which monitor this one is,
    /// so that each without a name counts.
    pub(super) async fn check_lasting_monitor(&mut self, deadline: &Deadline) -> Result<()> {
        let is_nameless = self.monitor()?.reached.name == MonitorName::Given;
        if !is_nameless || self.version < MONITORS_ARE_OBJECTS {
            return Ok(());
        }
        for id in self.monitor_objects(deadline).await? {
            let arguments = [("path", id.as_str()), ("property", "close-action")];
            // One that has gone meanwhile is none.
            let action = self.ask_one(Command::with("qom-get", &arguments), deadline).await;
            if action.is_ok_and(|action| action == "delete") {
                let text = "a NIC is not added over a monitor that QEMU deletes with its client, as one from \
                            kvm_hotplug_lend_monitor() is: a descriptor that is not used would stay open in QEMU; open the guest at \
                            another monitor for that";
                return Err(Error::new(ErrorKind::NotHotpluggable, text));
            }
        }
        Ok(())
    }

    async fn monitor_objects(&mut self, deadline: &Deadline) -> Result<Vec<String>> {
        let objects = self.ask_one(Command::with("qom-list", &[("path", "/objects")]), deadline).await?;
        let text = |value: &serde_json::Value, key| {
            value.get(key).and_then(serde_json::Value::as_str).map(str::to_owned)
        };
        let path = |object| {
            let name = text(object, "name")?;
            (text(object, "type")? == "child<monitor-qmp>").then(|| format!("/objects/{name}"))
        };
        Ok(objects.as_array().into_iter().flatten().filter_map(path).collect())
    }
}
