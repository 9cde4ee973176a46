//! QMP commands of the caller's own, over the connection that the library has: a monitor serves one client at
//! a time.

use serde_json::{Map, Value};

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::store_step::Undurable;
use crate::error::{Error, ErrorKind, Result, errno};
use crate::ids::is_model_name;
use crate::model::DeviceKind;
use crate::net::args;
use crate::qmp::Command;
use crate::sys::descriptor::Descriptor;

/// A command as the caller asks for it.
#[derive(Debug)]
pub struct RawCommand {
    /// Its QMP name.
    pub name: String,
    /// Its arguments; none is an empty object.
    pub arguments: Map<String, Value>,
    /// Travels on its first byte.
    pub fd: Option<Descriptor>,
    /// Send it whatever it does to the record.
    pub force: bool,
}

impl RawCommand {
    /// Arguments as a caller writes them: the text of a JSON object.
    pub fn read_arguments(text: &str) -> Result<Map<String, Value>> {
        match serde_json::from_slice(text.as_bytes()) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(Error::invalid("arguments: not a JSON object")),
            Err(error) => Err(Error::invalid(format!("arguments: not JSON: {error}"))),
        }
    }
}

/// What a command means to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Nothing that is kept here.
    None,
    /// The inventory of the guest may be wrong afterwards.
    Invalidates,
    /// The record would not know.
    Conflicts(&'static str),
}

/// Commands that plug and unplug by themselves.
const PLUGGING: &[&str] = &["device_add", "device_del", "netdev_add", "netdev_del"];

/// Commands that fool the record when they are about a device of ours.
const OURS: &[&str] = &[
    "add-fd",
    "block-commit",
    "block-stream",
    "block_resize",
    "blockdev-add",
    "blockdev-change-medium",
    "blockdev-close-tray",
    "blockdev-del",
    "blockdev-insert-medium",
    "blockdev-mirror",
    "blockdev-open-tray",
    "blockdev-remove-medium",
    "blockdev-reopen",
    "blockdev-snapshot",
    "blockdev-snapshot-sync",
    "change-backing-file",
    "drive-mirror",
    "eject",
    "object-del",
    "qom-set",
    "remove-fd",
    "set_link",
    "transaction",
    "x-blockdev-change",
];

/// Commands after which the inventory is taken anew.
const UNSETTLING: &[&str] = &["add-fd", "remove-fd"];

impl GuestState {
    /// Runs the command and answers what it returns.
    pub(super) async fn passthrough(&mut self, raw: &RawCommand, deadline: &Deadline) -> Result<Value> {
        if !is_model_name(&raw.name) {
            return Err(Error::invalid(format!("{:?} is not the name of a QMP command", raw.name)));
        }
        let mut command = Command::new(raw.name.clone(), raw.arguments.clone());
        command.fd = raw.fd.clone();
        if !command.is_question() {
            self.check_may_change()?;
        }
        self.connect(deadline).await?;
        self.drain_events();
        if command.fd.is_some() {
            self.check_passes_descriptors("the file that the command has")?;
        }
        let effect = effect(&raw.name, &raw.arguments, |value| self.names_ours(value));
        if let (Effect::Conflicts(instead), false) = (effect, raw.force) {
            let text = format!("{} would fool the record: {instead}, or force it", raw.name);
            return Err(Error::new(ErrorKind::State, text).with_errno(errno::EPERM));
        }
        self.needs_resync |= effect != Effect::None;
        let answer = self.send_one(Undurable::Passthrough.may(), command, deadline).await;
        answer.map_err(|error| match error.is_refusal() {
            true => error,
            false => error.with_undo(vec![format!("{}: unknown whether it is done", raw.name)]),
        })
    }

    /// Whether it is the name of something of ours: a device, the netdev or node behind it and the objects
    /// that it was made with, their QOM paths, or one of the fdsets.
    fn names_ours(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => {
                let prefixes = ["/machine/peripheral/", "/objects/"];
                let text = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
                let id = text.split_once('/').map_or(text, |(id, _)| id);
                let is_backend = |kind| self.owner_of_backend(kind, id).is_some();
                self.is_known(id) || self.is_helper(id) || DeviceKind::ALL.into_iter().any(is_backend)
            }
            Value::Number(number) => {
                number.as_u64().is_some_and(|set| self.fdsets.owned().any(|(own, _)| u64::from(own) == set))
            }
            _ => false,
        }
    }
}

/// Whether descriptors of NICs may be handed over under this name.
fn is_fd_name_of_ours(name: &Value) -> bool {
    name.as_str().is_some_and(args::is_fd_name)
}

fn effect(name: &str, arguments: &Map<String, Value>, ours: impl Fn(&Value) -> bool) -> Effect {
    let fdset = |value: &Value| value.is_number() && ours(value);
    let named = |value: &Value| value.is_string() && ours(value);
    match name {
        "qmp_capabilities" => Effect::Conflicts("the connection has been set up already"),
        _ if PLUGGING.contains(&name) => {
            Effect::Conflicts("add and remove devices with the library's own calls")
        }
        "human-monitor-command" if !is_question(arguments) => {
            Effect::Conflicts("only \"info\" and \"help\" are known to change nothing; use a QMP command")
        }
        "add-fd" | "remove-fd" if arguments.get("fdset-id").is_some_and(fdset) => {
            Effect::Conflicts("the fdset belongs to a disk; take another one")
        }
        "getfd" | "closefd" if arguments.get("fdname").is_some_and(is_fd_name_of_ours) => {
            Effect::Conflicts("descriptors of NICs go by that name; take another one")
        }
        _ if OURS.contains(&name) && any(arguments.values(), &named) => Effect::Conflicts(
            "it is about a device of the record; use the library's own call if there is one",
        ),
        _ if UNSETTLING.contains(&name) => Effect::Invalidates,
        _ => Effect::None,
    }
}

fn is_question(arguments: &Map<String, Value>) -> bool {
    let line = arguments.get("command-line").and_then(Value::as_str).unwrap_or_default();
    matches!(line.split_whitespace().next(), Some("info" | "help"))
}

/// Whether it is so of any value, however deep; the depth is bounded by the parser.
fn any<'a>(values: impl IntoIterator<Item = &'a Value>, so: &impl Fn(&Value) -> bool) -> bool {
    values.into_iter().any(|value| match value {
        Value::Array(list) => any(list, so),
        Value::Object(object) => any(object.values(), so),
        value => so(value),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(name: &str, arguments: Value) -> &'static str {
        let Value::Object(arguments) = arguments else { panic!("an object") };
        let ours = |value: &Value| match value {
            Value::String(text) => text == "disk-pci-6",
            Value::Number(number) => number.as_u64() == Some(6),
            _ => false,
        };
        match effect(name, &arguments, ours) {
            Effect::None => "none",
            Effect::Invalidates => "unsettling",
            Effect::Conflicts(_) => "fooling",
        }
    }

    #[test]
    fn commands_are_judged_by_what_they_do_to_the_record() {
        for (name, arguments, expected) in [
            ("query-status", json!({}), "none"),
            ("stop", json!({}), "none"),
            ("quit", json!({}), "none"),
            ("system_reset", json!({}), "none"),
            ("device_add", json!({ "driver": "usb-tablet" }), "fooling"),
            ("device_del", json!({ "id": "other" }), "fooling"),
            ("netdev_add", json!({ "type": "user", "id": "n" }), "fooling"),
            ("netdev_del", json!({ "id": "n" }), "fooling"),
            ("qmp_capabilities", json!({}), "fooling"),
            ("blockdev-add", json!({ "node-name": "other", "driver": "null-co" }), "none"),
            ("blockdev-add", json!({ "node-name": "x", "driver": "raw", "file": "disk-pci-6" }), "fooling"),
            ("blockdev-del", json!({ "node-name": "disk-pci-6" }), "fooling"),
            ("blockdev-del", json!({ "node-name": "other" }), "none"),
            ("transaction", json!({ "actions": [{ "data": { "node-name": "disk-pci-6" } }] }), "fooling"),
            ("transaction", json!({ "actions": [{ "data": { "node-name": "other" } }] }), "none"),
            ("block_resize", json!({ "node-name": "disk-pci-6", "size": 7 }), "fooling"),
            ("blockdev-remove-medium", json!({ "id": "disk-pci-6" }), "fooling"),
            ("blockdev-open-tray", json!({ "id": "other" }), "none"),
            ("block_resize", json!({ "node-name": "other", "size": 6 }), "none"),
            ("query-block-jobs", json!({ "about": "disk-pci-6" }), "none"),
            ("add-fd", json!({}), "unsettling"),
            ("add-fd", json!({ "fdset-id": 6 }), "fooling"),
            ("add-fd", json!({ "fdset-id": 7 }), "unsettling"),
            ("remove-fd", json!({ "fdset-id": 6 }), "fooling"),
            ("remove-fd", json!({ "fdset-id": 7, "fd": 6 }), "unsettling"),
            ("getfd", json!({ "fdname": "k8" }), "fooling"),
            ("closefd", json!({ "fdname": "v1.2" }), "fooling"),
            ("getfd", json!({ "fdname": "kh8" }), "none"),
            ("getfd", json!({ "fdname": "mine" }), "none"),
            ("human-monitor-command", json!({ "command-line": "info network" }), "none"),
            ("human-monitor-command", json!({ "command-line": " help" }), "none"),
            ("human-monitor-command", json!({ "command-line": "device_del nic-pci-5" }), "fooling"),
            ("human-monitor-command", json!({}), "fooling"),
        ] {
            assert_eq!(judged(name, arguments.clone()), expected, "{name} {arguments}");
        }
    }
}
