//! What a QEMU knows of a device model: whether it has the model, and which properties that takes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Command;
use super::qemu_errors::is_absence;
use crate::error::Result;

/// `qom-list-types` would have QEMU load every module it has.
const COMMAND: &str = "device-list-properties";

/// The question about a model.
pub fn question(model: &str) -> Command {
    Command::with(COMMAND, &[("typename", model)])
}

/// The names of the model's properties; `None` if QEMU does not have the model.
pub fn read(reply: Result<Value>) -> Result<Option<BTreeSet<String>>> {
    match reply {
        Ok(properties) => Ok(Some(names(&properties))),
        Err(error) if is_absence(COMMAND, &error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn names(properties: &Value) -> BTreeSet<String> {
    let name = |entry: &Value| entry.get("name").and_then(Value::as_str).map(str::to_owned);
    properties.as_array().into_iter().flatten().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn properties_are_known_by_name() {
        let list = json!([{"name": "mac", "type": "str"}, {"name": "netdev", "type": "str"}, {}, 1]);
        let known = read(Ok(list)).unwrap().unwrap();
        assert_eq!(known.iter().collect::<Vec<_>>(), ["mac", "netdev"]);
        for odd in [json!({}), json!(null), json!([])] {
            assert!(read(Ok(odd)).unwrap().unwrap().is_empty());
        }
    }
}
