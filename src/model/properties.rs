//! Further properties of a device, which its settings have no place for: QEMU's own names and values.

use serde_json::{Map, Value};

use crate::error::{Error, Result, errno};
use crate::ids::{MAPPING, is_model_name};
use crate::sanitize::readable;

/// Room for a hundred of them: a NIC has some ninety.
const MOST_BYTES: usize = 8192;

/// What each of these is set by instead.
const OWN: &[(&str, &str)] = &[
    ("addr", "slot"),
    ("bootindex", "boot_index"),
    ("bus", "bus"),
    ("channel", "bus"),
    ("drive", "path"),
    ("driver", "model"),
    ("host_mtu", "mtu"),
    ("id", "id"),
    ("iothread", "iothread"),
    (MAPPING, "iothread"),
    ("logical_block_size", "logical_block_size"),
    ("lun", "lun"),
    ("mac", "mac"),
    ("mq", "queues"),
    ("netdev", "netdev, bridge, ifname or tap_fds"),
    ("num-queues", "queues"),
    ("num_queues", "queues"),
    ("physical_block_size", "physical_block_size"),
    ("scsi-id", "target"),
    ("serial", "serial"),
    ("share-rw", "the flag for sharing"),
    ("wwn", "wwn"),
];

/// What a caller cannot have, and why.
const REFUSED: &[(&str, &str)] = &[
    ("device_id", "the library sets it with a long serial"),
    ("failover", "a failover pair needs a second device, which the library does not add"),
    ("failover_pair_id", "a failover pair needs a second device, which the library does not add"),
    ("multifunction", "a slot has one device"),
    ("romfile", "QEMU would open the file by itself"),
];

/// The properties in a JSON text.
pub fn parse(text: &str) -> Result<Map<String, Value>> {
    check_size(text.len())?;
    let read = serde_json::from_str(text);
    let properties: Map<String, Value> =
        read.map_err(|error| Error::invalid(format!("properties are no JSON object: {error}")))?;
    check(&properties)?;
    Ok(properties)
}

/// Refuses what no request may set, and values that QEMU's options cannot have.
pub fn check(properties: &Map<String, Value>) -> Result<()> {
    check_size(properties.iter().map(|(name, value)| name.len() + value.to_string().len()).sum())?;
    properties.iter().try_for_each(|(name, value)| check_one(name, value))
}

fn check_one(name: &str, value: &Value) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid(format!("properties: {}: {why}", readable(name))));
    if !is_model_name(name) {
        return refuse("this is no name of a property");
    }
    let in_list = |list: &'static [(&str, &'static str)]| list.iter().find(|(own, _)| *own == name);
    if let Some((_, setting)) = in_list(OWN) {
        return refuse(&format!("it is set by the request itself: use {setting}"));
    }
    if let Some((_, why)) = in_list(REFUSED) {
        return refuse(why);
    }
    match value {
        Value::Bool(_) => Ok(()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(()),
        Value::String(text) if !text.chars().any(char::is_control) => Ok(()),
        Value::String(_) => refuse("the text has control characters"),
        _ => refuse("a value is a text, a whole number, true or false"),
    }
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let text = format!("properties have {bytes} bytes, at most {MOST_BYTES} are allowed");
    Err(Error::invalid(text).with_errno(errno::E2BIG))
}

/// A value as QEMU's key=value options have it, by which two are the same.
pub fn plain_text(value: &Value) -> String {
    match value {
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether QEMU shows a property as it is expected. Of a link to another object it shows the path.
pub fn agrees(expected: &Value, shown: &Value) -> bool {
    let (expected, shown) = (plain_text(expected), plain_text(shown));
    expected == shown || shown.starts_with('/') && shown.rsplit('/').next() == Some(expected.as_str())
}

/// The first property that is asked for and that a device does not have so. What is not asked for may be as
/// it is: another program may have started the device.
pub fn first_other<'a>(asked: &'a Map<String, Value>, has: &Map<String, Value>) -> Option<&'a str> {
    let differs =
        |(name, value): &(&String, &Value)| has.get(*name).map(plain_text) != Some(plain_text(value));
    asked.iter().find(differs).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_numbers_and_switches_are_taken() {
        let properties = parse(r#"{"packed": true, "queue-size": 128, "werror": "stop"}"#).unwrap();
        assert_eq!(Value::Object(properties), json!({"packed": true, "queue-size": 128, "werror": "stop"}));
        assert!(parse("{}").unwrap().is_empty());
    }

    #[test]
    fn what_is_refused_is_named() {
        let table = [
            ("[]", "no JSON object"),
            (r#"{"mac": "x"}"#, "mac: it is set by the request itself: use mac"),
            (r#"{"drive": "x"}"#, "use path"),
            (r#"{"romfile": "/etc/passwd"}"#, "romfile: QEMU would open the file by itself"),
            (r#"{"failover": true}"#, "failover: a failover pair"),
            (r#"{"a,b": 1}"#, "no name of a property"),
            (r#"{"a": null}"#, "a: a value is"),
            (r#"{"a": 1.5}"#, "a: a value is"),
            (r#"{"a": {"b": 1}}"#, "a: a value is"),
            (r#"{"a": "x\ny"}"#, "control characters"),
        ];
        for (text, expected) in table {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(MOST_BYTES));
        assert_eq!(parse(&long).unwrap_err().errno(), errno::E2BIG);
    }

    #[test]
    fn only_what_is_asked_for_is_compared() {
        let of = |value: Value| value.as_object().unwrap().clone();
        let has = of(json!({"packed": true, "queue-size": 128}));
        assert_eq!(first_other(&of(json!({"packed": "on"})), &has), None);
        assert_eq!(first_other(&of(json!({"queue-size": "256"})), &has), Some("queue-size"));
        assert_eq!(first_other(&of(json!({"ats": false})), &has), Some("ats"));
    }
}
