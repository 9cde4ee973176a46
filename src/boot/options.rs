//! How QEMU's command line is written and read: JSON where a version takes it, key=value text where not.

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::model::helper::LIMITS;
use crate::qmp::Version;

/// `-device` takes JSON from here on; in 5.2 it is "Parameter 'id' is missing".
const DEVICE_JSON: Version = Version { major: 6, minor: 2, micro: 0 };

/// `-netdev` takes JSON from here on.
const NETDEV_JSON: Version = Version { major: 7, minor: 2, micro: 0 };

/// `-object` takes JSON from here on; in 5.2 it is "Parameter 'id' is missing".
const OBJECT_JSON: Version = Version { major: 6, minor: 0, micro: 0 };

/// An option whose argument is an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// A block node; JSON since QEMU 2.9.
    Blockdev,
    /// A backend of a NIC.
    Netdev,
    /// A device.
    Device,
    /// An object that devices need.
    Helper,
    /// The socket of a netdev; no JSON (5.2 to 11.1).
    Chardev,
}

impl Object {
    /// The option itself.
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Blockdev => "-blockdev",
            Self::Netdev => "-netdev",
            Self::Device => "-device",
            Self::Helper => "-object",
            Self::Chardev => "-chardev",
        }
    }

    /// JSON, whatever version it is for.
    pub(super) fn json(arguments: &Map<String, Value>) -> String {
        Value::Object(arguments.clone()).to_string()
    }

    fn takes_json(self, qemu: Option<Version>) -> bool {
        let since = match self {
            Self::Blockdev => return true,
            Self::Netdev => NETDEV_JSON,
            Self::Device => DEVICE_JSON,
            Self::Helper => OBJECT_JSON,
            Self::Chardev => return false,
        };
        // Every version takes the other form.
        qemu.is_some_and(|version| version >= since)
    }

    /// Without objects in it. The limits of a throttle group have names of their own there, which every QEMU
    /// knows (5.2 to 11.1). In a netdev, a member of an object is named by both, and one that is a list of
    /// texts stands once for each of them.
    fn flat(self, arguments: &Map<String, Value>) -> Vec<(String, &Value)> {
        let mut flat = Vec::new();
        for (key, value) in arguments {
            match value {
                Value::Object(limits) if self == Self::Helper && key == LIMITS => {
                    flat.extend(limits.iter().map(|(name, value)| (format!("x-{name}"), value)));
                }
                Value::Object(members) if self == Self::Netdev => {
                    let inner = self.flat(members).into_iter();
                    flat.extend(inner.map(|(name, value)| (format!("{key}.{name}"), value)));
                }
                Value::Array(list) if self == Self::Netdev => {
                    flat.extend(list.iter().map(|one| (key.clone(), one.get("str").unwrap_or(one))));
                }
                _ => flat.push((key.clone(), value)),
            }
        }
        flat
    }

    /// The member that key=value text begins with.
    fn first(self) -> &'static str {
        match self {
            Self::Netdev => "type",
            Self::Helper => "qom-type",
            Self::Chardev => "backend",
            Self::Blockdev | Self::Device => "driver",
        }
    }

    /// The argument as this QEMU reads it; a QEMU of unknown version gets what all of them read.
    pub(super) fn write(self, arguments: &Map<String, Value>, qemu: Option<Version>) -> Result<String> {
        // Each QEMU that has a property for a list takes JSON.
        let needs_json = qemu.is_none() && self != Self::Netdev && arguments.values().any(Value::is_array);
        if self.takes_json(qemu) || needs_json {
            return Ok(Self::json(arguments));
        }
        let (first, rest): (Vec<_>, Vec<_>) =
            self.flat(arguments).into_iter().partition(|(key, _)| key == self.first());
        let mut text = String::new();
        for (key, value) in first.iter().chain(&rest) {
            if !text.is_empty() {
                text.push(',');
            }
            text += &format!("{key}={}", plain(key, value)?);
        }
        Ok(text)
    }
}

/// A value in key=value text, where only the comma means something, and twice means itself.
fn plain(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::Bool(on) => Ok(if *on { "on" } else { "off" }.to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) if !text.contains('\0') => Ok(text.replace(',', ",,")),
        _ => Err(Error::new(
            ErrorKind::Invalid,
            format!("{key} is {value}, which QEMU's key=value options cannot carry"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::option::read;

    const OLD: Option<Version> = Some(Version { major: 5, minor: 2, micro: 0 });
    const NEW: Option<Version> = Some(Version { major: 7, minor: 2, micro: 0 });

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_form_follows_the_version() {
        let netdev = map(json!({"fd": "3", "id": "n", "type": "tap", "vhostforce": true}));
        let device = map(json!({"addr": "e", "driver": "virtio-net-pci", "romfile": "", "vectors": 6}));
        let table = [
            (Object::Netdev, &netdev, OLD, "type=tap,fd=3,id=n,vhostforce=on"),
            (Object::Netdev, &netdev, None, "type=tap,fd=3,id=n,vhostforce=on"),
            (Object::Netdev, &netdev, NEW, r#"{"fd":"3","id":"n","type":"tap","vhostforce":true}"#),
            (Object::Device, &device, OLD, "driver=virtio-net-pci,addr=e,romfile=,vectors=6"),
            (
                Object::Device,
                &device,
                NEW,
                r#"{"addr":"e","driver":"virtio-net-pci","romfile":"","vectors":6}"#,
            ),
            (
                Object::Blockdev,
                &device,
                None,
                r#"{"addr":"e","driver":"virtio-net-pci","romfile":"","vectors":6}"#,
            ),
        ];
        for (object, arguments, version, text) in table {
            assert_eq!(object.write(arguments, version).unwrap(), text);
        }
        let iothread = map(json!({"id": "io", "qom-type": "iothread"}));
        for (version, text) in [
            (None, "qom-type=iothread,id=io"),
            (OLD, "qom-type=iothread,id=io"),
            (NEW, r#"{"id":"io","qom-type":"iothread"}"#),
        ] {
            assert_eq!(Object::Helper.write(&iothread, version).unwrap(), text);
        }
        let group = map(
            json!({"id": "g", "qom-type": "throttle-group", "limits": {"bps-read": 9, "bps-read-max": 10}}),
        );
        assert_eq!(
            Object::Helper.write(&group, OLD).unwrap(),
            "qom-type=throttle-group,id=g,x-bps-read=9,x-bps-read-max=10"
        );
        assert_eq!(Object::Helper.write(&group, NEW).unwrap(), Value::from(group.clone()).to_string());
        let socket = json!({"type": "unix", "path": "/a,b"});
        let stream = map(json!({"id": "n", "type": "stream", "addr": socket, "server": false}));
        let text = "type=stream,addr.path=/a,,b,addr.type=unix,id=n,server=off";
        assert_eq!(Object::Netdev.write(&stream, None).unwrap(), text);
        let ports = json!([{"str": "tcp::1-:2"}, {"str": "udp::3-:4"}]);
        let user = map(json!({"id": "n", "type": "user", "hostfwd": ports}));
        for version in [None, OLD] {
            let text = "type=user,hostfwd=tcp::1-:2,hostfwd=udp::3-:4,id=n";
            assert_eq!(Object::Netdev.write(&user, version).unwrap(), text);
        }
        assert_eq!(Object::Netdev.write(&user, NEW).unwrap(), Value::from(user.clone()).to_string());
        let chardev = map(json!({"backend": "socket", "id": "n", "path": "/a,b"}));
        assert_eq!(Object::Chardev.write(&chardev, NEW).unwrap(), "backend=socket,id=n,path=/a,,b");
        let between = Some(Version { major: 6, minor: 2, micro: 0 });
        assert!(Object::Device.takes_json(between) && !Object::Netdev.takes_json(between));
    }

    #[test]
    fn what_key_value_cannot_carry_is_refused() {
        for bad in [json!({"a": 1}), json!([1]), Value::Null, json!("a\0b")] {
            let arguments = map(json!({"driver": "x", "odd": bad}));
            let error = Object::Device.write(&arguments, OLD).unwrap_err();
            assert!(error.message().starts_with("odd is "), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn nothing_in_a_value_becomes_an_option(values in prop::collection::vec("[a,=\"'\n {}\\\\-]{0,12}", 1..5)) {
            let mut arguments = map(json!({"driver": "x"}));
            for (index, value) in values.iter().enumerate() {
                arguments.insert(format!("k{index}"), value.as_str().into());
            }
            for version in [OLD, NEW] {
                let mut found = read(&Object::Device.write(&arguments, version).unwrap(), "driver");
                found.sort();
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let mut expected: Vec<_> = arguments.iter().map(|(key, value)| (key.clone(), text(value))).collect();
                expected.sort();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
