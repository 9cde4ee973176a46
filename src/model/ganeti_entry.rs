//! A device's entry in Ganeti's configuration, as the caller hands it over: it stands in a Ganeti list as it
//! was given, so that Ganeti's own code finds the device there.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result, errno};
use crate::ids::{DeviceId, IfName};

/// Longest text in bytes. Ganeti's own have some 500, and a record with as many devices as it may have still
/// has to fit into its file.
const MOST_BYTES: usize = 8 << 10;

/// The object that Ganeti has of a NIC or disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GanetiEntry(Map<String, Value>);

/// What a NIC's `nicparams` say its tap is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// They are not there.
    Unsaid,
    /// Mode "bridged".
    Bridge(IfName),
    /// Another mode, in which Ganeti's scripts connect the tap.
    ByScripts(String),
}

impl GanetiEntry {
    /// Reads the JSON text of an object.
    pub fn parse(text: &str) -> Result<Self> {
        check_size(text.len())?;
        serde_json::from_str(text)
            .map(Self)
            .map_err(|error| Error::invalid(format!("ganeti_entry is no JSON object: {error}")))
    }

    /// Refuses one that is too large, whichever way it came.
    pub fn check(&self) -> Result<()> {
        check_size(serde_json::to_string(self).map_or(0, |text| text.len()))
    }

    /// What stands in it.
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A member that is a text; nothing if it is not there, or null.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        text_in(&self.0, key)
    }

    /// The id by which Ganeti looks for the device, which follows from its uuid; `word` is "nic" or "disk".
    pub fn device_id(&self, word: &str) -> Result<Option<DeviceId>> {
        let id = self.text("uuid")?.map(|uuid| device_id(word, uuid)).transpose();
        id.map_err(|error| error.context("ganeti_entry, uuid"))
    }

    /// What a NIC is connected to.
    pub fn connection(&self) -> Result<Connection> {
        let nicparams = match self.0.get("nicparams") {
            None | Some(Value::Null) => return Ok(Connection::Unsaid),
            Some(Value::Object(nicparams)) => nicparams,
            Some(_) => return Err(Error::invalid("ganeti_entry: nicparams is no object")),
        };
        match text_in(nicparams, "mode")? {
            Some("bridged") => {
                let link = text_in(nicparams, "link")?
                    .ok_or_else(|| Error::invalid("ganeti_entry: nicparams has no link"))?;
                let bridge = IfName::parse(link);
                bridge.map(Connection::Bridge).map_err(|error| error.context("ganeti_entry, nicparams.link"))
            }
            Some(mode) => Ok(Connection::ByScripts(mode.to_owned())),
            None => Err(Error::invalid("ganeti_entry: nicparams has no mode")),
        }
    }
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let text = format!("ganeti_entry has {bytes} bytes, at most {MOST_BYTES} are allowed");
    Err(Error::invalid(text).with_errno(errno::E2BIG))
}

fn text_in<'a>(members: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>> {
    match members.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid(format!("ganeti_entry: {key} is no string"))),
    }
}

/// The id that Ganeti looks for, since 2.16: `nic-` or `disk-` and the uuid without its last two groups.
pub fn device_id(word: &str, uuid: &str) -> Result<DeviceId> {
    let head = uuid.rsplitn(3, '-').nth(2).unwrap_or(uuid);
    DeviceId::parse(&format!("{word}-{head}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_of_an_entry() {
        let entry = GanetiEntry::parse(
            r#"{"uuid":"932df160-7a22-4067-a566-7e0ca8386133","mac":"aa:00:00:01:02:03",
                "nicparams":{"mode":"bridged","link":"br0","vlan":""},"ip":null}"#,
        )
        .unwrap();
        assert_eq!(entry.device_id("nic").unwrap().unwrap().as_str(), "nic-932df160-7a22-4067");
        assert_eq!(entry.text("mac").unwrap(), Some("aa:00:00:01:02:03"));
        assert_eq!(entry.text("ip").unwrap(), None);
        assert_eq!(entry.connection().unwrap(), Connection::Bridge(IfName::parse("br0").unwrap()));
        let routed = GanetiEntry::parse(r#"{"nicparams":{"mode":"routed","link":"100"}}"#).unwrap();
        assert_eq!(routed.connection().unwrap(), Connection::ByScripts("routed".into()));
        assert_eq!(routed.device_id("nic").unwrap(), None);
        assert_eq!(GanetiEntry::parse("{}").unwrap().connection().unwrap(), Connection::Unsaid);
    }

    #[test]
    fn what_is_no_entry() {
        for (text, says) in [
            ("[]", "is no JSON object"),
            ("{", "is no JSON object"),
            (r#"{"uuid":5}"#, "uuid is no string"),
            (r#"{"uuid":"a b-c-d"}"#, "ganeti_entry, uuid"),
            (r#"{"nicparams":[]}"#, "nicparams is no object"),
            (r#"{"nicparams":{}}"#, "nicparams has no mode"),
            (r#"{"nicparams":{"mode":"bridged"}}"#, "nicparams has no link"),
            (r#"{"nicparams":{"mode":"bridged","link":"a/b"}}"#, "nicparams.link"),
        ] {
            let read = GanetiEntry::parse(text)
                .and_then(|entry| entry.device_id("nic").map(|_| entry))
                .and_then(|entry| entry.connection());
            assert!(read.unwrap_err().message().contains(says), "{text}");
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MOST_BYTES));
        assert_eq!(GanetiEntry::parse(&long).unwrap_err().errno(), errno::E2BIG);
    }
}
