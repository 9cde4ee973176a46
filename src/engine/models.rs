//! Which device models the QEMU of the guest knows: it is asked, and not guessed from its version.

use serde_json::Value;

use super::guest_state::GuestState;
use super::limit::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::model::DeviceKind;
use crate::qmp::Command;
use crate::qmp::qemu_errors::is_absence;
use crate::sanitize::readable;

/// What tells whether QEMU knows a model, and what the model can be given.
const QUESTION: &str = "device-list-properties";

/// Models that each QEMU from 5.2 on has.
const ALWAYS: &[&str] = &[
    "virtio-net-pci",
    "virtio-net-pci-non-transitional",
    "virtio-net-pci-transitional",
    "virtio-blk-pci",
    "virtio-blk-pci-non-transitional",
    "virtio-blk-pci-transitional",
    "scsi-hd",
    "scsi-block",
];

impl GuestState {
    /// Refuses a model that this QEMU does not know, or that is no NIC or disk. Recorded for the next boot,
    /// it would keep the guest from starting. Asked once on each connection.
    pub(super) async fn check_model(
        &mut self,
        kind: DeviceKind,
        model: &str,
        deadline: &Deadline,
    ) -> Result<()> {
        if ALWAYS.contains(&model) || self.known_models.contains(model) {
            return Ok(());
        }
        let question = Command::with(QUESTION, &[("typename", model)]);
        let properties = match self.ask_one(question, deadline).await {
            Ok(properties) => properties,
            Err(error) if is_absence(QUESTION, &error) => return Err(self.unknown_model(model)),
            Err(error) if error.kind() == ErrorKind::Qmp => {
                let text = format!("{} is no device model of QEMU {}", readable(model), self.version);
                return Err(Error::invalid(format!("{text}: {}", error.message())));
            }
            Err(error) => return Err(error),
        };
        let needed = match kind {
            DeviceKind::Nic => "netdev",
            DeviceKind::Disk => "drive",
            DeviceKind::Controller => return Ok(()),
        };
        if !has_property(&properties, needed) {
            let (model, kind) = (readable(model), kind.title());
            return Err(Error::invalid(format!("model {model} is no {kind}: QEMU gives it no {needed}")));
        }
        self.known_models.insert(model.to_owned());
        Ok(())
    }

    fn unknown_model(&self, model: &str) -> Error {
        let text = format!("QEMU {} does not know the device model {}", self.version, readable(model));
        Error::new(ErrorKind::NotHotpluggable, format!("{text}; take another one, or another QEMU"))
    }
}

fn has_property(properties: &Value, wanted: &str) -> bool {
    let name = |property: &Value| property.get("name").and_then(Value::as_str) == Some(wanted);
    properties.as_array().is_some_and(|list| list.iter().any(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn properties_are_found_by_name() {
        let list = json!([{"name": "mac", "type": "str"}, {"name": "netdev", "type": "str"}, {}, 1]);
        assert!(has_property(&list, "netdev") && !has_property(&list, "drive"));
        for odd in [json!({}), json!(null), json!([])] {
            assert!(!has_property(&odd, "netdev"), "{odd}");
        }
    }
}
