//! A NIC's netdev as QEMU describes it, in the place of a tap: what QEMU's interface calls `Netdev`, without
//! its id. QEMU opens what is behind it by itself, so the library passes no descriptors for such a NIC.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result, errno};
use crate::sanitize::readable;

/// The longest text that is read, in bytes.
pub const MAX_BYTES: usize = 8192;

/// The type that needs a chardev, and guest memory that another process can map.
const VHOST_USER: &str = "vhost-user";

/// The types that a description may have.
const TYPES: [&str; 4] = ["dgram", "stream", "user", VHOST_USER];

/// Of the members of vhost-user those that are of its chardev.
const OF_CHARDEV: [&str; 3] = ["addr", "reconnect", "reconnect-ms"];

/// Members that are refused: of which type, or of all; and why.
const REFUSED: &[(&str, &str, &str)] = &[
    ("", "id", "the library gives it"),
    ("user", "smb", SHARES),
    ("user", "smbserver", SHARES),
    ("user", "tftp", "it lets the guest read files of the host"),
    ("user", "guestfwd", "it connects the guest to programs and sockets of the host"),
    (VHOST_USER, "chardev", "the library makes it; give the backend's socket as addr"),
    (VHOST_USER, "queues", "it is set by the request itself: use queues"),
    (VHOST_USER, "vhostforce", "QEMU passes over it"),
];
const SHARES: &str = "it shares files of the host with the guest";

/// Members that are addresses of sockets.
const ADDRESSES: [&str; 3] = ["addr", "local", "remote"];

/// A netdev without its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Netdev(Map<String, Value>);

/// A chardev that is made with a netdev: its socket, and whether it connects anew.
#[derive(Debug)]
pub struct Chardev<'a> {
    path: &'a str,
    more: Vec<(&'a String, &'a Value)>,
}

impl Netdev {
    /// From JSON text.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_BYTES {
            let text = format!("netdev: it has {} bytes, at most {MAX_BYTES} are read", text.len());
            return Err(Error::invalid(text).with_errno(errno::E2BIG));
        }
        let read = serde_json::from_str(text);
        let netdev =
            Self(read.map_err(|error| Error::invalid(format!("netdev: it is no JSON object: {error}")))?);
        netdev.check()?;
        Ok(netdev)
    }

    /// Refuses what is no description, what the library gives itself, and what reaches the host in another
    /// way than the packets of a NIC do.
    pub fn check(&self) -> Result<()> {
        let bad = |why: String| Err(Error::invalid(format!("netdev: {why}")));
        let kind = self.kind();
        if kind == "tap" {
            return bad("type tap: that is what a NIC has without netdev; leave netdev out".to_owned());
        }
        if !TYPES.contains(&kind) {
            return bad(format!("type {:?}: it is none of {}", readable(kind).to_string(), TYPES.join(", ")));
        }
        let is_refused = |(of, member, _): &&(&str, &str, &str)| {
            (of.is_empty() || *of == kind) && self.0.contains_key(*member)
        };
        if let Some((_, member, why)) = REFUSED.iter().find(is_refused) {
            return bad(format!("{member}: {why}"));
        }
        ADDRESSES.iter().filter_map(|member| Some((*member, self.0.get(*member)?))).try_for_each(
            |(member, address)| match address_problem(address) {
                Some(why) => bad(format!("{member}: {why}")),
                None => Ok(()),
            },
        )?;
        if self.is_vhost_user() && self.chardev().is_none() {
            return bad(
                "addr: a vhost-user has the socket of its backend, as {\"type\": \"unix\", \"path\": PATH}"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// QEMU's name of its type.
    pub fn kind(&self) -> &str {
        self.0.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether another process moves the packets, in the guest's memory.
    pub fn is_vhost_user(&self) -> bool {
        self.kind() == VHOST_USER
    }

    /// The arguments of `netdev_add` for a NIC of this id and with so many queues.
    pub fn arguments(&self, id: &str, queues: u16) -> Map<String, Value> {
        let mut arguments = self.0.clone();
        arguments.insert("id".into(), id.into());
        if self.is_vhost_user() {
            arguments.retain(|member, _| !OF_CHARDEV.contains(&member.as_str()));
            arguments.insert("chardev".into(), id.into());
            if queues > 1 {
                arguments.insert("queues".into(), queues.into());
            }
        }
        arguments
    }

    /// The chardev that is made before it. `netdev_del` takes it away with the netdev (QEMU 5.2 to 11.1).
    pub fn chardev(&self) -> Option<Chardev<'_>> {
        if !self.is_vhost_user() {
            return None;
        }
        let address = self.0.get("addr")?.as_object().filter(|address| address.len() == 2)?;
        let path = address.get("path")?.as_str()?;
        (address.get("type")?.as_str() == Some("unix")).then_some(())?;
        let more = self.0.iter().filter(|(member, _)| member.starts_with("reconnect")).collect();
        Some(Chardev { path, more })
    }
}

impl Chardev<'_> {
    /// The arguments of `chardev-add`.
    pub fn arguments(&self, id: &str) -> Map<String, Value> {
        let address = serde_json::json!({ "type": "unix", "data": { "path": self.path } });
        let mut data = Map::new();
        data.insert("addr".into(), address);
        data.insert("server".into(), false.into());
        data.extend(self.more.iter().map(|(member, value)| ((*member).clone(), (*value).clone())));
        let mut backend = Map::new();
        backend.insert("type".into(), "socket".into());
        backend.insert("data".into(), data.into());
        let mut arguments = Map::new();
        arguments.insert("id".into(), id.into());
        arguments.insert("backend".into(), backend.into());
        arguments
    }

    /// The members of `-chardev`.
    pub fn members(&self, id: &str) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("backend".into(), "socket".into());
        members.insert("id".into(), id.into());
        members.insert("path".into(), self.path.into());
        members.extend(self.more.iter().map(|(member, value)| ((*member).clone(), (*value).clone())));
        members
    }
}

/// Why QEMU would not find what is meant.
fn address_problem(address: &Value) -> Option<&'static str> {
    let text = |member: &str| address.get(member).and_then(Value::as_str);
    match text("type") {
        Some("fd") => Some("a descriptor of QEMU's has no name that stays; give a path or a host"),
        Some("unix") => {
            let is_abstract = address.get("abstract").and_then(Value::as_bool) == Some(true);
            let is_fine = is_abstract || text("path").is_some_and(|path| path.starts_with('/'));
            (!is_fine).then_some("path is not absolute")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_qemu_is_told() {
        let socket = json!({"type": "unix", "path": "/run/a,b.sock"});
        let table = [
            (
                json!({"type": "user", "hostfwd": [{"str": "tcp::2222-:22"}]}),
                1,
                json!({"hostfwd": [{"str": "tcp::2222-:22"}]}),
            ),
            (
                json!({"type": "stream", "addr": socket, "server": false}),
                1,
                json!({"addr": socket, "server": false}),
            ),
            (json!({"type": "vhost-user", "addr": socket}), 1, json!({"chardev": "lan"})),
            (
                json!({"type": "vhost-user", "addr": socket, "reconnect": 1}),
                2,
                json!({"chardev": "lan", "queues": 2}),
            ),
        ];
        for (given, queues, mut expected) in table {
            let netdev = Netdev::parse(&given.to_string()).unwrap();
            expected["type"] = given["type"].clone();
            expected["id"] = "lan".into();
            assert_eq!(Value::from(netdev.arguments("lan", queues)), expected);
        }
    }

    #[test]
    fn its_chardev() {
        let text = r#"{"type":"vhost-user","addr":{"type":"unix","path":"/run/vu"},"reconnect":2}"#;
        let netdev = Netdev::parse(text).unwrap();
        let chardev = netdev.chardev().unwrap();
        let data =
            json!({"addr": {"type": "unix", "data": {"path": "/run/vu"}}, "server": false, "reconnect": 2});
        let expected = json!({"id": "lan", "backend": {"type": "socket", "data": data}});
        assert_eq!(Value::from(chardev.arguments("lan")), expected);
        let expected = json!({"backend": "socket", "id": "lan", "path": "/run/vu", "reconnect": 2});
        assert_eq!(Value::from(chardev.members("lan")), expected);
        assert!(Netdev::parse(r#"{"type":"user"}"#).unwrap().chardev().is_none());
    }

    #[test]
    fn what_is_refused() {
        let table = [
            ("[]", "no JSON object"),
            ("{}", "none of dgram, stream, user, vhost-user"),
            (r#"{"type":"tap","fd":"3"}"#, "leave netdev out"),
            (r#"{"type":"bridge"}"#, "none of"),
            (r#"{"type":"user","id":"x"}"#, "id: the library gives it"),
            (r#"{"type":"user","smb":"/"}"#, "smb: it shares"),
            (r#"{"type":"user","tftp":"/"}"#, "tftp: it lets"),
            (r#"{"type":"user","guestfwd":[{"str":"tcp:10.0.2.9:80-cmd:sh"}]}"#, "guestfwd: it connects"),
            (r#"{"type":"stream","addr":{"type":"fd","str":"k7"}}"#, "addr: a descriptor"),
            (r#"{"type":"dgram","local":{"type":"unix","path":"a"}}"#, "local: path is not absolute"),
            (r#"{"type":"vhost-user"}"#, "addr: a vhost-user has"),
            (
                r#"{"type":"vhost-user","addr":{"type":"inet","host":"a","port":"1"}}"#,
                "addr: a vhost-user has",
            ),
            (r#"{"type":"vhost-user","chardev":"c"}"#, "chardev: the library makes it"),
            (r#"{"type":"vhost-user","queues":2}"#, "use queues"),
        ];
        for (text, why) in table {
            let error = Netdev::parse(text).unwrap_err();
            assert!(error.message().contains(why), "{text}: {error}");
        }
        let long = format!("{:width$}", "{}", width = MAX_BYTES + 1);
        assert_eq!(Netdev::parse(&long).unwrap_err().errno(), errno::E2BIG);
        let text = r#"{"type":"stream","addr":{"type":"unix","path":"a","abstract":true}}"#;
        Netdev::parse(text).unwrap();
    }
}
