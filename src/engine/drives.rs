//! Drives of `-drive`: `query-block` has the names that they were given, and their images.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::qmp::Command;
use crate::sorted;

/// The question for them.
pub(super) fn question() -> Command {
    Command::with("query-block", &[])
}

/// The images in the answer, by the names of their drives.
pub(super) fn by_name(reply: &Value) -> BTreeMap<&str, &Value> {
    fn named(drive: &Value) -> Option<(&str, &Value)> {
        Some((name(drive)?, drive.get("inserted")?))
    }
    sorted::map(reply.as_array().into_iter().flatten().filter_map(named))
}

/// Whether there is a drive of this name that no device has. One that a device has is a new one: the device
/// that the earlier one was behind has left.
pub(super) fn has_without_device(reply: &Value, drive: &str) -> bool {
    let is_it = |entry: &Value| name(entry) == Some(drive) && text(entry, "qdev").is_none();
    reply.as_array().into_iter().flatten().any(is_it)
}

/// The image that a device has, by the device's path in QOM, or its id.
pub(super) fn image_of<'a>(reply: &'a Value, device: &str) -> Option<&'a Value> {
    let is_it = |entry: &&Value| text(entry, "qdev") == Some(device);
    reply.as_array()?.iter().find(is_it)?.get("inserted")
}

fn name(drive: &Value) -> Option<&str> {
    text(drive, "device")
}

/// QEMU leaves some members out, and others empty.
fn text<'a>(drive: &'a Value, key: &str) -> Option<&'a str> {
    drive.get(key)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn drives_with_and_without_a_device() {
        let reply = json!([
            { "device": "", "qdev": "/machine/peripheral/a/virtio-backend", "inserted": { "node-name": "n" } },
            { "device": "drive0", "qdev": "", "inserted": { "node-name": "#block1" } },
            { "device": "drive1", "inserted": { "node-name": "#block2" } },
            { "device": "drive2", "qdev": "b", "inserted": { "node-name": "#block3" } },
            { "device": "empty" },
        ]);
        assert_eq!(by_name(&reply).keys().copied().collect::<Vec<_>>(), ["drive0", "drive1", "drive2"]);
        let without = ["", "drive0", "drive1", "drive2", "empty"];
        assert_eq!(without.map(|name| has_without_device(&reply, name)), [false, true, true, false, true]);
        assert!(by_name(&json!({})).is_empty() && !has_without_device(&Value::Null, "drive0"));
    }
}
