//! QMP messages: commands as they are written, replies and events as they are read.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::events::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::json;
use crate::sanitize::readable;
use crate::sorted;
use crate::sys::descriptor::Descriptor;

/// One command, with the file descriptor that travels on its first byte, if any.
#[derive(Clone, Debug)]
pub struct Command {
    /// The QMP name, such as `device_add`; it needs no escaping in JSON.
    pub name: Cow<'static, str>,
    /// Its arguments, which others may have as well; `None` if it has none.
    pub arguments: Option<Arc<Map<String, Value>>>,
    /// Passed by SCM_RIGHTS; QEMU takes one per command.
    pub fd: Option<Descriptor>,
}

impl Command {
    /// A command without a file descriptor.
    pub fn new(name: impl Into<Cow<'static, str>>, arguments: Map<String, Value>) -> Self {
        let arguments = (!arguments.is_empty()).then(|| Arc::new(arguments));
        Self { name: name.into(), arguments, fd: None }
    }

    /// A command whose arguments somebody else has, too.
    pub fn sharing(name: &'static str, arguments: &Arc<Map<String, Value>>) -> Self {
        let arguments = (!arguments.is_empty()).then(|| arguments.clone());
        Self { name: name.into(), arguments, fd: None }
    }

    /// A command with string arguments only.
    pub fn with(name: &'static str, arguments: &[(&str, &str)]) -> Self {
        Self::new(name, sorted::object(arguments.iter().map(|(key, value)| (*key, Value::from(*value)))))
    }

    /// The same command carrying `fd`.
    #[must_use]
    pub fn carrying(mut self, fd: Descriptor) -> Self {
        self.fd = Some(fd);
        self
    }

    /// Whether it asks and changes nothing.
    pub fn is_question(&self) -> bool {
        let is_info = || {
            let line =
                self.arguments.as_ref().and_then(|all| all.get("command-line")).and_then(Value::as_str);
            self.name == "human-monitor-command" && line.is_some_and(|line| line.starts_with("info "))
        };
        let asks = ["query-", "qom-get", "qom-list", "device-list-properties", "x-query-", "x-debug-query-"];
        self.fd.is_none() && (asks.iter().any(|name| self.name.starts_with(name)) || is_info())
    }

    /// Compact, because QEMU takes some 3.5 µs to read each byte; an id too is sent only if it is needed.
    pub fn encode(&self, id: Option<u64>, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(b"{\"execute\":\"");
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'"');
        if let Some(arguments) = &self.arguments {
            out.extend_from_slice(b",\"arguments\":");
            json::append(out, arguments.as_ref())
                .map_err(|error| Error::invalid(format!("{} cannot be written: {error}", self.name)))?;
        }
        if let Some(id) = id {
            out.extend_from_slice(b",\"id\":");
            out.extend_from_slice(id.to_string().as_bytes());
        }
        // QEMU takes the closing brace for the end; a line feed would be one more byte.
        out.push(b'}');
        Ok(())
    }
}

/// QEMU's version from the greeting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Micro number.
    pub micro: u32,
}

/// The oldest QEMU that devices are plugged into: the oldest this library is tested with. Into an older one,
/// changes are recorded for the next boot.
pub const OLDEST_QEMU: Version = Version { major: 5, minor: 2, micro: 0 };

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// The answer to one command: the returned value, or QEMU's error.
pub type Reply = Result<Value>;

/// One message from the monitor.
#[derive(Debug)]
pub enum Message {
    /// Sent once, when the monitor begins to serve us.
    Greeting(Version),
    /// An event.
    Event(Event),
    /// An answer.
    Reply(ReplyId, Reply),
}

/// What an answer says about the command it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyId {
    /// Nothing: the command had no id.
    Absent,
    /// Its id.
    Number(u64),
    /// Something that is no id of ours.
    Foreign,
}

impl Message {
    /// Parses one complete JSON object; `memory_estimate` is the memory in bytes it takes at most.
    pub fn parse(bytes: &[u8], memory_estimate: usize) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| {
            Error::new(ErrorKind::Protocol, format!("the monitor sent malformed JSON: {error}"))
        })?;
        let Value::Object(mut object) = value else {
            return Err(Error::new(ErrorKind::Protocol, "the monitor sent something that is no JSON object"));
        };
        if let Some(greeting) = object.get("QMP") {
            let named = greeting.get("version").and_then(|version| version.get("qemu"));
            return Ok(Self::Greeting(version(named)));
        }
        if let Some(name) = object.get("event").and_then(Value::as_str) {
            let name = readable(name);
            let [data, timestamp] = ["data", "timestamp"].map(|key| object.remove(key).unwrap_or_default());
            return Ok(Self::Event(Event { name, data, timestamp, size: memory_estimate }));
        }
        let id = match object.get("id") {
            None => ReplyId::Absent,
            Some(id) => id.as_u64().map_or(ReplyId::Foreign, ReplyId::Number),
        };
        if let Some(error) = object.get("error") {
            let text = |key| readable(error.get(key).and_then(Value::as_str).unwrap_or(""));
            return Ok(Self::Reply(id, Err(Error::qmp(text("class"), text("desc")))));
        }
        match object.remove("return") {
            Some(value) => Ok(Self::Reply(id, Ok(value))),
            None => Err(Error::new(
                ErrorKind::Protocol,
                "the monitor sent an object that is neither greeting, event, reply nor error",
            )),
        }
    }
}

/// A version in the members of QEMU's VersionTriple.
pub(super) fn version(qemu: Option<&Value>) -> Version {
    let number = |key| {
        let number = qemu.and_then(|qemu| qemu.get(key)).and_then(Value::as_u64);
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    };
    Version { major: number("major"), minor: number("minor"), micro: number("micro") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sanitize::MAX_TEXT;

    #[test]
    fn absurd_error_texts_are_cut() {
        let text = format!("{{\"id\":1,\"error\":{{\"desc\":\"a\\n\\u0000b{}\"}}}}", "ä".repeat(100_000));
        let Ok(Message::Reply(ReplyId::Number(1), Err(error))) = Message::parse(text.as_bytes(), text.len())
        else {
            panic!("an error reply")
        };
        let desc = error.qmp_desc().unwrap();
        assert!(desc.starts_with("a  bä") && desc.ends_with("ä ..."), "{desc}");
        assert_eq!(desc.chars().count(), MAX_TEXT + 4);
    }

    #[test]
    fn commands_are_compact() {
        let mut out = Vec::new();
        Command::with("device_del", &[("id", "nic-pci-5")]).encode(Some(7), &mut out).unwrap();
        Command::new("query-pci", Map::new()).encode(None, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"nic-pci-5\"},\"id\":7}\
             {\"execute\":\"query-pci\"}"
        );
    }

    #[test]
    fn messages() {
        let parse = |text: &str| Message::parse(text.as_bytes(), text.len());
        let greeting = r#"{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":""},"capabilities":["oob"]}}"#;
        assert!(
            matches!(parse(greeting), Ok(Message::Greeting(v)) if v == Version { major: 7, minor: 2, micro: 22 })
        );
        assert!(
            matches!(parse(r#"{"event":"STOP","timestamp":{}}"#), Ok(Message::Event(e)) if e.name == "STOP")
        );
        assert!(matches!(parse(r#"{"return":{},"id":3}"#), Ok(Message::Reply(ReplyId::Number(3), Ok(_)))));
        assert!(matches!(parse(r#"{"return":{}}"#), Ok(Message::Reply(ReplyId::Absent, Ok(_)))));
        assert!(matches!(parse(r#"{"return":{},"id":"x"}"#), Ok(Message::Reply(ReplyId::Foreign, Ok(_)))));
        let Ok(Message::Reply(ReplyId::Number(1), Err(error))) =
            parse(r#"{"id":1,"error":{"class":"DeviceNotFound","desc":"Device 'x' not found"}}"#)
        else {
            panic!("an error reply")
        };
        assert_eq!(error.qmp_class(), Some("DeviceNotFound"));
        for bad in ["{}", r#"{"event":5}"#, r#"{"return":1e999}"#, "{\"a\":\"\u{1}\"}", "[]"] {
            assert_eq!(parse(bad).unwrap_err().kind(), ErrorKind::Protocol, "{bad}");
        }
        assert!(Message::parse(b"{\"event\":\"\xff\"}", 0).is_err());
    }
}
