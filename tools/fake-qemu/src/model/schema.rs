//! What each command has to be given, and of which type. What else it may be given, the model takes without a
//! look.

use serde_json::Value;

use crate::command::{Command, QmpError};

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Flag,
}

use Kind::{Flag, Number, Text};

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Text => value.is_string(),
            Number => value.is_i64() || value.is_u64(),
            Flag => value.is_boolean(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Text => "string",
            Number => "integer",
            Flag => "boolean",
        }
    }
}

/// A parameter, its type, and whether it may be missing.
type Parameter = (&'static str, Kind, bool);

const MUST: bool = false;
const MAY: bool = true;

/// In the order in which QEMU looks at them.
const PARAMETERS: [(&str, &[Parameter]); 25] = [
    ("getfd", &[("fdname", Text, MUST)]),
    ("closefd", &[("fdname", Text, MUST)]),
    ("add-fd", &[("fdset-id", Number, MAY), ("opaque", Text, MAY)]),
    ("remove-fd", &[("fdset-id", Number, MUST), ("fd", Number, MAY)]),
    ("netdev_add", &[("type", Text, MUST), ("id", Text, MUST)]),
    ("chardev-add", &[("id", Text, MUST)]),
    ("chardev-remove", &[("id", Text, MUST)]),
    ("netdev_del", &[("id", Text, MUST)]),
    ("set_link", &[("name", Text, MUST), ("up", Flag, MUST)]),
    ("blockdev-add", &[("driver", Text, MUST), ("node-name", Text, MAY)]),
    ("blockdev-del", &[("node-name", Text, MUST)]),
    ("block_resize", &[("device", Text, MAY), ("node-name", Text, MAY), ("size", Number, MUST)]),
    ("object-add", &[("qom-type", Text, MUST), ("id", Text, MUST)]),
    ("qom-set", &[("path", Text, MUST), ("property", Text, MUST)]),
    ("object-del", &[("id", Text, MUST)]),
    ("blockdev-open-tray", &[("id", Text, MAY), ("force", Flag, MAY)]),
    ("blockdev-close-tray", &[("id", Text, MAY)]),
    ("blockdev-remove-medium", &[("id", Text, MUST)]),
    ("blockdev-insert-medium", &[("id", Text, MUST), ("node-name", Text, MUST)]),
    ("device_add", &[("driver", Text, MUST)]),
    ("device_del", &[("id", Text, MUST)]),
    ("device-list-properties", &[("typename", Text, MUST)]),
    ("qom-list", &[("path", Text, MUST)]),
    ("qom-get", &[("path", Text, MUST), ("property", Text, MUST)]),
    ("human-monitor-command", &[("command-line", Text, MUST)]),
];

/// Whether a command has what it has to have.
pub(super) fn check(command: &Command) -> Result<(), QmpError> {
    let found = PARAMETERS.iter().find(|(name, _)| *name == command.name);
    for (name, kind, may_be_missing) in found.map_or(&[][..], |(_, parameters)| parameters) {
        match command.arguments.get(name) {
            Some(value) if kind.fits(value) => {}
            Some(_) => {
                let kind = kind.name();
                return Err(QmpError::generic(format!(
                    "Invalid parameter type for '{name}', expected: {kind}"
                )));
            }
            None if *may_be_missing => {}
            None => return Err(QmpError::generic(format!("Parameter '{name}' is missing"))),
        }
    }
    Ok(())
}
