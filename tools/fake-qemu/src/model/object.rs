//! Objects that devices are made with: iothreads.

use serde_json::{Value, json};

use super::Model;
use crate::command::{Answer, QmpError};

/// Types that are known here.
const TYPES: [&str; 1] = ["iothread"];

impl Model {
    pub(super) fn object_add(&mut self, id: &str, arguments: &Value) -> Answer {
        let kind = arguments.get("qom-type").and_then(Value::as_str).unwrap_or_default();
        if !TYPES.contains(&kind) {
            return Err(QmpError::generic(if self.version.has_old_texts() {
                format!("invalid object type: {kind}")
            } else {
                format!("Parameter 'qom-type' does not accept value '{kind}'")
            }));
        }
        if self.objects.contains_key(id) {
            let text = format!("attempt to add duplicate property '{id}' to object (type 'container')");
            return Err(QmpError::generic(text));
        }
        self.objects.insert(id.to_owned(), arguments.clone());
        Ok(json!({}))
    }

    /// QEMU deletes an iothread that a device uses: the thread goes on, and nothing has its name any more.
    pub(super) fn object_del(&mut self, id: &str) -> Answer {
        if self.objects.remove(id).is_none() {
            return Err(QmpError::generic(format!("object '{id}' not found")));
        }
        let uses = |value: &Value| value.as_str() == Some(id);
        let user = self.devices.iter().find(|device| device.properties.get("iothread").is_some_and(uses));
        if let Some(user) = user {
            let user = user.id.as_deref().unwrap_or_default();
            self.violations.push(format!("object-del {id} while {user} is in the guest"));
        }
        Ok(json!({}))
    }

    /// The iothread that a new device names.
    pub(super) fn check_iothread(&self, arguments: &Value) -> Result<(), QmpError> {
        match arguments.get("iothread").and_then(Value::as_str) {
            Some(id) if !self.objects.contains_key(id) => Err(QmpError::absent(id)),
            _ => Ok(()),
        }
    }

    /// What `qom-list` says of them.
    pub(super) fn list_objects(&self) -> impl Iterator<Item = Value> {
        self.objects.iter().map(|(id, arguments)| {
            let kind = arguments.get("qom-type").and_then(Value::as_str).unwrap_or_default();
            json!({ "name": id, "type": format!("child<{kind}>") })
        })
    }
}
