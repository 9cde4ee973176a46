//! Objects that devices are made with: iothreads, throttle groups, secrets and credentials for TLS; and the
//! limits of disks without a group.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Model;
use crate::command::{Answer, QmpError};

/// The property that divides the queues of a device among iothreads.
const MAPPING: &str = "iothread-vq-mapping";

/// Types that are known here.
const TYPES: [&str; 6] =
    ["iothread", SECRET, "throttle-group", "tls-creds-anon", "tls-creds-psk", "tls-creds-x509"];

const SECRET: &str = "secret";

const RATES: [&str; 6] = ["bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write"];

/// What `block_set_io_throttle` has to be told, in the order in which QEMU looks at it.
const THROTTLE: [&str; 6] = ["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"];

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
        let mut made = arguments.clone();
        if kind == "throttle-group" {
            made["limits"] = with(&no_limits(), arguments.get("limits"))?;
        }
        if kind == SECRET && arguments.get("data").is_none() && arguments.get("file").is_none() {
            return Err(QmpError::generic("Either 'file' or 'data' must be provided"));
        }
        self.objects.insert(id.to_owned(), made);
        Ok(json!({}))
    }

    /// QEMU deletes an iothread that a device uses: the thread goes on, and nothing has its name any more. A
    /// throttle group stays as long as a node is limited by it. A node needs the secret that it names only
    /// while it is opened, and holds its credentials by itself.
    pub(super) fn object_del(&mut self, id: &str) -> Answer {
        if !self.objects.contains_key(id) {
            return Err(QmpError::generic(format!("object '{id}' not found")));
        }
        let named = |options: &Value, key: &str| options.get(key).and_then(Value::as_str) == Some(id);
        if self.nodes.values().any(|node| named(&node.options, "throttle-group")) {
            return Err(QmpError::generic(if self.version.counts_references() {
                format!("Cannot delete throttle group '{id}' with active references")
            } else {
                format!("object '{id}' is in use, can not be deleted")
            }));
        }
        let user = self.devices.iter().find(|device| uses(&device.properties, id));
        if let Some(user) = user {
            let user = user.id.as_deref().unwrap_or_default();
            self.violations.push(format!("object-del {id} while {user} is in the guest"));
        }
        self.objects.remove(id);
        Ok(json!({}))
    }

    /// The iothreads that a new device names.
    pub(super) fn check_iothread(&self, arguments: &Value) -> Result<(), QmpError> {
        let one = arguments.get("iothread").and_then(Value::as_str);
        if let Some(id) = one.filter(|id| !self.objects.contains_key(*id)) {
            return Err(QmpError::absent(id));
        }
        let mapping = arguments.get(MAPPING).filter(|_| self.version.takes_lists());
        if one.is_some() && mapping.is_some() {
            let text = "iothread and iothread-vq-mapping properties cannot be set at the same time";
            return Err(QmpError::generic(text));
        }
        match mapping.into_iter().flat_map(mapped).find(|id| !self.objects.contains_key(*id)) {
            Some(id) => Err(QmpError::generic(format!("IOThread \"{id}\" object does not exist"))),
            None => Ok(()),
        }
    }

    /// The throttle group that a new node names.
    pub(super) fn check_group(&self, options: &Value) -> Result<(), QmpError> {
        match options.get("throttle-group").and_then(Value::as_str) {
            Some(id) if !self.objects.contains_key(id) => {
                Err(QmpError::generic(format!("Throttle group '{id}' does not exist")))
            }
            _ => Ok(()),
        }
    }

    /// The secret of an encrypted image, and the credentials of a connection, that a new node names.
    pub(super) fn check_named(&self, options: &Value) -> Result<(), QmpError> {
        let kind = |id: &str| self.objects.get(id).and_then(|one| one.get("qom-type")?.as_str());
        let named = |member: &str| options.get(member).and_then(Value::as_str);
        if options.get("driver") == Some(&json!("luks")) {
            let id = named("key-secret").unwrap_or_default();
            match kind(id) {
                Some(SECRET) => {}
                Some(_) => return Err(QmpError::generic(format!("Object with id '{id}' is not a secret"))),
                None => return Err(QmpError::generic(format!("No secret with id '{id}'"))),
            }
        }
        if let Some(id) = named("tls-creds") {
            match kind(id) {
                Some(kind) if kind.starts_with("tls-creds-") => {}
                Some(_) => {
                    return Err(QmpError::generic(format!("Object with id '{id}' is not TLS credentials")));
                }
                None => return Err(QmpError::generic(format!("No TLS credentials with id '{id}'"))),
            }
        }
        Ok(())
    }

    /// What `qom-list` says of them.
    pub(super) fn list_objects(&self) -> impl Iterator<Item = Value> {
        self.objects.iter().map(|(id, arguments)| {
            let kind = arguments.get("qom-type").and_then(Value::as_str).unwrap_or_default();
            json!({ "name": id, "type": format!("child<{kind}>") })
        })
    }

    /// A property of an object.
    pub(super) fn object_property(&self, path: &str, property: &str) -> Option<Answer> {
        let id = path.strip_prefix("/objects/")?;
        let unknown = || QmpError::generic(format!("Property '{id}.{property}' not found"));
        let object = self.objects.get(id);
        Some(match object {
            None => Err(QmpError::absent(path)),
            Some(object) => object.get(property).cloned().ok_or_else(unknown),
        })
    }

    /// Limits that are not named stay as they are.
    pub(super) fn qom_set(&mut self, path: &str, property: &str, value: Option<&Value>) -> Answer {
        let object = path.strip_prefix("/objects/").and_then(|id| self.objects.get_mut(id));
        let object = object.ok_or_else(|| QmpError::absent(path))?;
        if property != "limits" {
            return Err(QmpError::generic(format!("Property '{path}.{property}' not found")));
        }
        let limits = with(&object["limits"], value)?;
        object["limits"] = limits;
        Ok(json!({}))
    }

    /// Of the device of a disk, by its path.
    pub(super) fn block_set_io_throttle(&mut self, path: &str, arguments: &Value) -> Answer {
        let missing = THROTTLE.iter().find(|name| !arguments.get(**name).is_some_and(Value::is_u64));
        if let Some(missing) = missing {
            return Err(QmpError::generic(format!("Parameter '{missing}' is missing")));
        }
        let device =
            self.devices.iter_mut().find(|device| device.drive.is_some() && device.backend_path() == path);
        let device = device.ok_or_else(|| QmpError::absent(path))?;
        let mut limits = arguments.clone();
        if let Some(limits) = limits.as_object_mut() {
            limits.remove("id");
        }
        device.throttle = if limits_anything(&limits) { limits } else { Value::Null };
        Ok(json!({}))
    }
}

fn limits_anything(limits: &Value) -> bool {
    THROTTLE.iter().any(|name| limits.get(*name) != Some(&json!(0)))
}

/// All limits that there are, each as it is by itself.
fn no_limits() -> Value {
    let mut limits = Map::from_iter([("iops-size".to_owned(), json!(0))]);
    for rate in RATES {
        limits.insert(rate.to_owned(), json!(0));
        limits.insert(format!("{rate}-max"), json!(0));
        limits.insert(format!("{rate}-max-length"), json!(1));
    }
    limits.into()
}

fn with(old: &Value, new: Option<&Value>) -> Answer {
    let mut limits = old.clone();
    for (name, value) in new.and_then(Value::as_object).into_iter().flatten() {
        limits[name] = value.clone();
    }
    let number = |name: &str| limits.get(name).and_then(Value::as_u64).unwrap_or_default();
    let both = |unit: &str| {
        let of = |what: &str| number(&format!("{unit}-{what}")) > 0;
        of("total") && (of("read") || of("write"))
    };
    if both("bps") || both("iops") {
        let text = "bps/iops/max total values and read/write values cannot be used at the same time";
        return Err(QmpError::generic(text));
    }
    Ok(limits)
}

/// The iothreads among which the queues of a device are divided.
fn mapped(mapping: &Value) -> impl Iterator<Item = &str> {
    mapping.as_array().into_iter().flatten().filter_map(|entry| entry.get("iothread")?.as_str())
}

fn uses(properties: &BTreeMap<String, Value>, id: &str) -> bool {
    let one = properties.get("iothread").and_then(Value::as_str);
    let mapping = properties.get(MAPPING).into_iter().flat_map(mapped);
    one.into_iter().chain(mapping).any(|name| name == id)
}
