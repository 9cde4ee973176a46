//! How the tap of a NIC is a port of its bridge: what the bridge does with its frames.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result, errno};

/// The ids of VLANs that a port can have; 0 and 4095 mean something else.
const FIRST: u16 = 1;
/// See [`FIRST`].
pub(super) const LAST: u16 = 4094;

/// Longest text in bytes.
const MOST_BYTES: usize = 4096;

/// The most entries of a trunk: as many messages tell the kernel.
const MOST_RANGES: usize = 128;

/// Settings of a port. What is not given is as the kernel makes a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSettings {
    /// It exchanges no frames with other ports that are isolated.
    #[serde(default, skip_serializing_if = "is_false")]
    pub isolated: bool,
    /// The bridge does not learn which addresses are behind it.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub learning: bool,
    /// Frames may go back out where they came in.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hairpin: bool,
    /// The VLAN of frames without a tag, in both directions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// VLANs whose frames have their tags, each a number or a text of two, such as "20-30".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trunk: Vec<VlanRange>,
}

/// VLANs from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct VlanRange {
    /// The first.
    pub first: u16,
    /// The last, which may be the first.
    pub last: u16,
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_false(value: &bool) -> bool {
    !*value
}

impl PortSettings {
    /// From JSON text; none for settings that change nothing.
    pub fn parse(text: &str) -> Result<Option<Box<Self>>> {
        if text.len() > MOST_BYTES {
            let text = format!("port has {} bytes, at most {MOST_BYTES} are read", text.len());
            return Err(Error::invalid(text).with_errno(errno::E2BIG));
        }
        let read = serde_json::from_str(text);
        Self::of(read.map_err(|error| Error::invalid(format!("port is no JSON object: {error}")))?)
    }

    /// From the members of a JSON object; none for settings that change nothing.
    pub fn of(members: Map<String, Value>) -> Result<Option<Box<Self>>> {
        let read = serde_json::from_value::<Self>(members.into());
        let settings = read.map_err(|error| Error::invalid(format!("port: {error}")))?;
        settings.check()?;
        let nothing = Self { learning: true, ..Self::default() };
        Ok((settings != nothing).then(|| Box::new(settings)))
    }

    /// Refuses VLANs that there are not, or that are there twice.
    pub fn check(&self) -> Result<()> {
        let refuse = |why: String| Err(Error::invalid(format!("port: {why}")));
        if self.trunk.len() > MOST_RANGES {
            return refuse(format!("a trunk has at most {MOST_RANGES} entries"));
        }
        let untagged = self.vlan.map(|vlan| VlanRange { first: vlan, last: vlan });
        let mut seen: Vec<VlanRange> = Vec::new();
        for range in untagged.into_iter().chain(self.trunk.iter().copied()) {
            let is_known = |vlan: u16| (FIRST..=LAST).contains(&vlan);
            if !is_known(range.first) || !is_known(range.last) || range.first > range.last {
                return refuse(format!("VLAN {}: {FIRST} to {LAST} are allowed", range.text()));
            }
            if let Some(other) =
                seen.iter().find(|other| other.first <= range.last && range.first <= other.last)
            {
                return refuse(format!("VLAN {} is given twice, also as {}", range.text(), other.text()));
            }
            seen.push(range);
        }
        Ok(())
    }

    /// Whether the bridge has to tell VLANs apart.
    pub fn has_vlans(&self) -> bool {
        self.vlan.is_some() || !self.trunk.is_empty()
    }
}

impl VlanRange {
    fn text(self) -> String {
        match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}-{}", self.first, self.last),
        }
    }
}

impl TryFrom<Value> for VlanRange {
    type Error = String;

    fn try_from(value: Value) -> std::result::Result<Self, String> {
        let wrong = || format!("{value} is neither a VLAN nor a text of two, such as \"20-30\"");
        match &value {
            Value::Number(number) => {
                let vlan = number.as_u64().and_then(|vlan| vlan.try_into().ok()).ok_or_else(wrong)?;
                Ok(Self { first: vlan, last: vlan })
            }
            Value::String(text) => {
                let (first, last) = text.split_once('-').ok_or_else(wrong)?;
                let number = |digits: &str| {
                    digits
                        .bytes()
                        .all(|byte| byte.is_ascii_digit())
                        .then(|| digits.parse::<u16>().ok())
                        .flatten()
                };
                Ok(Self { first: number(first).ok_or_else(wrong)?, last: number(last).ok_or_else(wrong)? })
            }
            _ => Err(wrong()),
        }
    }
}

impl From<VlanRange> for Value {
    fn from(range: VlanRange) -> Self {
        match range.first == range.last {
            true => range.first.into(),
            false => range.text().into(),
        }
    }
}

/// What the kernel has of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortFlags {
    /// See [`PortSettings::isolated`].
    pub isolated: bool,
    /// See [`PortSettings::learning`].
    pub learning: bool,
    /// See [`PortSettings::hairpin`].
    pub hairpin: bool,
}

impl PortFlags {
    /// As they are asked for; as the kernel makes a port if nothing is.
    pub fn wanted(settings: Option<&PortSettings>) -> Self {
        match settings {
            Some(settings) => {
                let PortSettings { isolated, learning, hairpin, .. } = *settings;
                Self { isolated, learning, hairpin }
            }
            None => Self { isolated: false, learning: true, hairpin: false },
        }
    }

    /// For people.
    pub fn text(self) -> String {
        let word = |on: bool| if on { "on" } else { "off" };
        let Self { isolated, learning, hairpin } = self;
        format!("isolated {}, learning {}, hairpin {}", word(isolated), word(learning), word(hairpin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_written() {
        let text = r#"{"isolated":true,"learning":false,"hairpin":true,"vlan":10,"trunk":[20,"30-40"]}"#;
        let settings = PortSettings::parse(text).unwrap().unwrap();
        assert_eq!(settings.trunk, [VlanRange { first: 20, last: 20 }, VlanRange { first: 30, last: 40 }]);
        assert!(settings.has_vlans());
        assert_eq!(serde_json::to_string(&settings).unwrap(), text);
        for nothing in ["{}", r#"{"learning": true, "isolated": false}"#] {
            assert_eq!(PortSettings::parse(nothing).unwrap(), None);
        }
        assert!(!PortSettings::parse(r#"{"isolated": true}"#).unwrap().unwrap().has_vlans());
    }

    #[test]
    fn what_is_refused_is_named() {
        for (text, says) in [
            ("[]", "port is no JSON object"),
            (r#"{"vlans": 1}"#, "unknown field `vlans`"),
            (r#"{"vlan": 0}"#, "VLAN 0: 1 to 4094"),
            (r#"{"vlan": 4095}"#, "VLAN 4095: 1 to 4094"),
            (r#"{"vlan": 65536}"#, "port: "),
            (r#"{"trunk": ["30-20"]}"#, "VLAN 30-20: 1 to 4094"),
            (r#"{"trunk": ["30"]}"#, "neither a VLAN"),
            (r#"{"trunk": ["+1-2"]}"#, "neither a VLAN"),
            (r#"{"trunk": [true]}"#, "neither a VLAN"),
            (r#"{"vlan": 25, "trunk": ["20-30"]}"#, "VLAN 20-30 is given twice, also as 25"),
        ] {
            let error = PortSettings::parse(text).unwrap_err();
            assert!(error.message().contains(says), "{error} lacks {says:?}");
        }
        let long = format!(r#"{{"trunk": [{}]}}"#, vec!["1"; 3000].join(","));
        assert_eq!(PortSettings::parse(&long).unwrap_err().errno(), errno::E2BIG);
    }
}
