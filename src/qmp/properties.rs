//! What a QEMU knows of a device model: whether it has the model, and which properties that takes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Command;
use super::qemu_errors::is_absence;
use crate::error::Result;
use crate::sorted;

/// `qom-list-types` would have QEMU load every module it has.
const COMMAND: &str = "device-list-properties";

/// Names and types of the properties of a model.
pub type Properties = BTreeMap<String, String>;

/// The question about a model.
pub fn question(model: &str) -> Command {
    Command::with(COMMAND, &[("typename", model)])
}

/// The properties of the model, each with its type in QEMU's words; `None` if QEMU does not have the model.
pub fn read(reply: Result<Value>) -> Result<Option<Properties>> {
    match reply {
        Ok(list) => Ok(Some(of_list(&list))),
        Err(error) if is_absence(COMMAND, &error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn of_list(list: &Value) -> Properties {
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let entries = list.as_array().into_iter().flatten();
    sorted::map(
        entries.filter_map(|entry| Some((text(entry, "name")?, text(entry, "type").unwrap_or_default()))),
    )
}

/// A value in the type that QEMU has the property in: callers may write "on" for true, and numbers as text.
pub fn typed(value: &Value, of: &str) -> std::result::Result<Value, &'static str> {
    let is_number = ["int", "uint", "size"].iter().any(|word| of.starts_with(word));
    match value {
        Value::String(text) if of == "bool" => match text.as_str() {
            "on" => Ok(true.into()),
            "off" => Ok(false.into()),
            _ => Err("QEMU takes true or false"),
        },
        Value::Number(_) if of == "bool" => Err("QEMU takes true or false"),
        // A type of two words takes texts as well.
        Value::String(text) if is_number && !of.contains(' ') => {
            let number =
                text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from));
            number.map_err(|_| "QEMU takes a whole number")
        }
        Value::Bool(_) if is_number => Err("QEMU takes a whole number"),
        Value::Bool(on) if of != "bool" => Ok(if *on { "on" } else { "off" }.into()),
        Value::Number(number) if !is_number => Ok(number.to_string().into()),
        _ => Ok(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_have_the_type_that_qemu_has_them_in() {
        let table = [
            (json!("on"), "bool", Ok(json!(true))),
            (json!(true), "bool", Ok(json!(true))),
            (json!("maybe"), "bool", Err(())),
            (json!(1), "bool", Err(())),
            (json!("128"), "uint16", Ok(json!(128))),
            (json!(128), "uint16", Ok(json!(128))),
            (json!("18446744073709551615"), "uint64", Ok(json!(u64::MAX))),
            (json!("many"), "uint32", Err(())),
            (json!(true), "int32", Err(())),
            (json!("9.1"), "int32 / str", Ok(json!("9.1"))),
            (json!(true), "OnOffAuto", Ok(json!("on"))),
            (json!("stop"), "BlockdevOnError", Ok(json!("stop"))),
            (json!(7), "str", Ok(json!("7"))),
        ];
        for (value, of, expected) in table {
            assert_eq!(typed(&value, of).map_err(drop), expected, "{value} as {of}");
        }
    }

    #[test]
    fn properties_are_known_by_name() {
        let list = json!([{"name": "mac", "type": "str"}, {"name": "netdev", "type": "str"}, {}, 1]);
        let known = read(Ok(list)).unwrap().unwrap();
        assert_eq!(known.keys().collect::<Vec<_>>(), ["mac", "netdev"]);
        for odd in [json!({}), json!(null), json!([])] {
            assert!(read(Ok(odd)).unwrap().unwrap().is_empty());
        }
    }
}
