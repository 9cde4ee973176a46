//! How much I/O a disk may do, in QEMU's own words: bytes (`bps`) and operations (`iops`) each second, of
//! reads, writes or both, with bursts, for the disk alone or for a group of disks together.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result, errno};
use crate::ids::{BackendName, DeviceId};
use crate::sanitize::readable;
use crate::sorted::object;

/// The largest that QEMU takes (`THROTTLE_VALUE_MAX`; 5.2 to 11.1).
const MOST: u64 = 1_000_000_000_000_000;

/// Longest text in bytes: twice what all of them take.
const MOST_BYTES: usize = 2048;

/// The unit of I/O that counts as one operation, or several of it.
const SIZE: &str = "iops-size";

/// The group's name among the limits.
const GROUP: &str = "group";

/// Rates in the words of a throttle group and of `block_set_io_throttle`.
const RATES: [(&str, &str); 6] = [
    ("bps-total", "bps"),
    ("bps-read", "bps_rd"),
    ("bps-write", "bps_wr"),
    ("iops-total", "iops"),
    ("iops-read", "iops_rd"),
    ("iops-write", "iops_wr"),
];

/// Limits that QEMU takes. Only what limits is in them: no rate is 0, and no burst lasts as long as it does
/// by itself, a second. So two that limit alike are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Limits {
    /// With whom it shares them.
    group: Option<BackendName>,
    /// By QEMU's names.
    values: Map<String, Value>,
}

impl Limits {
    /// The limits in a JSON text.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MOST_BYTES {
            let text = format!("limits have {} bytes, at most {MOST_BYTES} are read", text.len());
            return Err(Error::invalid(text).with_errno(errno::E2BIG));
        }
        let read = serde_json::from_str::<Map<String, Value>>(text);
        read.map_err(|error| Error::invalid(format!("limits are no JSON object: {error}")))?.try_into()
    }

    /// Whether nothing is limited, and no group is named.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The same, without anything that limits.
    #[must_use]
    pub fn lifted(&self) -> Self {
        Self { group: self.group.clone(), values: Map::new() }
    }

    /// The group that it shares them with.
    pub fn group(&self) -> Option<&BackendName> {
        self.group.as_ref()
    }

    /// Other limits for the same group.
    #[must_use]
    pub fn of_group(self, group: Option<&BackendName>) -> Self {
        Self { group: group.cloned(), ..self }
    }

    /// The id of the throttle group in QEMU, for a disk with this id.
    pub fn group_id(&self, device: &DeviceId) -> BackendName {
        self.group.clone().unwrap_or_else(|| BackendName::of_helper(device, "limits"))
    }

    /// What limits, for a new throttle group.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Every limit that a throttle group has. What a change leaves out, QEMU leaves as it is (5.2 to 11.1).
    pub fn all_values(&self) -> Map<String, Value> {
        let all = RATES.iter().flat_map(|(rate, _)| {
            [(*rate).to_owned(), max_of(rate), length_of(rate)].map(|name| (self.value(&name), name))
        });
        let size = (self.value(SIZE), SIZE.to_owned());
        object(all.chain([size]).map(|(value, name)| (name, value)))
    }

    /// The same as arguments of `block_set_io_throttle`, which takes no length without a burst.
    pub fn throttle_arguments(&self) -> Map<String, Value> {
        let mut arguments = Map::new();
        for (rate, word) in RATES {
            arguments.insert(word.to_owned(), self.value(rate));
            for (name, word) in
                [(max_of(rate), format!("{word}_max")), (length_of(rate), format!("{word}_max_length"))]
            {
                arguments.extend(self.values.get(&name).map(|value| (word, value.clone())));
            }
        }
        arguments.extend(self.values.get(SIZE).map(|value| ("iops_size".to_owned(), value.clone())));
        arguments
    }

    /// A limit, or what it is by itself.
    fn value(&self, name: &str) -> Value {
        self.values.get(name).cloned().unwrap_or_else(|| default_of(name).into())
    }

    fn number(&self, name: &str) -> u64 {
        self.values.get(name).and_then(Value::as_u64).unwrap_or_else(|| default_of(name))
    }

    /// Refuses what QEMU would refuse, in words that name it.
    fn check(&self) -> Result<()> {
        let bad = |text: String| Err(Error::invalid(format!("limits: {text}")));
        for unit in ["bps", "iops"] {
            let of = |what: &str| self.number(&format!("{unit}-{what}"));
            if of("total") > 0 && (of("read") > 0 || of("write") > 0) {
                return bad(format!(
                    "{unit}-total does not go with {unit}-read or {unit}-write: use either one limit for both, or one for each"
                ));
            }
        }
        for (rate, _) in RATES {
            let (max, length) = (max_of(rate), length_of(rate));
            let (usual, burst, seconds) = (self.number(rate), self.number(&max), self.number(&length));
            match () {
                () if usual > MOST => return bad(format!("{rate} is {usual}, at most {MOST} is allowed")),
                () if burst > MOST => return bad(format!("{max} is {burst}, at most {MOST} is allowed")),
                () if burst > 0 && usual == 0 => {
                    return bad(format!("{max} needs {rate}, the limit outside of bursts"));
                }
                () if burst > 0 && burst < usual => {
                    return bad(format!(
                        "{max} is {burst}, which is below {rate}, {usual}; a burst is faster"
                    ));
                }
                () if seconds != 1 && burst == 0 => {
                    return bad(format!("{length} needs {max}, the limit in a burst"));
                }
                () if seconds == 0 => return bad(format!("{length} is 0; a burst lasts at least a second")),
                () if burst > 0 && seconds > MOST / burst => {
                    return bad(format!("{length} is {seconds}, at most {} goes with {max}", MOST / burst));
                }
                () => {}
            }
        }
        let limits_operations =
            ["iops-total", "iops-read", "iops-write"].iter().any(|rate| self.number(rate) > 0);
        match self.number(SIZE) {
            0 => Ok(()),
            size if size > MOST => bad(format!("{SIZE} is {size}, at most {MOST} is allowed")),
            _ if limits_operations => Ok(()),
            _ => bad(format!("{SIZE} needs a limit of operations, such as iops-total")),
        }
    }
}

fn max_of(rate: &str) -> String {
    format!("{rate}-max")
}

fn length_of(rate: &str) -> String {
    format!("{rate}-max-length")
}

fn default_of(name: &str) -> u64 {
    u64::from(name.ends_with("-length"))
}

fn is_known(name: &str) -> bool {
    let rate = name.strip_suffix("-max-length").or_else(|| name.strip_suffix("-max")).unwrap_or(name);
    name == SIZE || RATES.iter().any(|(known, _)| *known == rate)
}

impl TryFrom<Map<String, Value>> for Limits {
    type Error = Error;

    fn try_from(members: Map<String, Value>) -> Result<Self> {
        let mut limits = Self::default();
        for (name, value) in members {
            let bad = |why: &str| Err(Error::invalid(format!("limits: {}: {why}", readable(&name))));
            match (&value, value.as_u64()) {
                (Value::Null, _) => {}
                (Value::String(group), _) if name == GROUP => limits.group = Some(BackendName::parse(group)?),
                (_, _) if name == GROUP => return bad("it is the name of a group"),
                (_, _) if !is_known(&name) => {
                    return bad(
                        "QEMU has no such limit; there are bps and iops, each with -total, -read or -write, these with -max and -max-length, iops-size and group",
                    );
                }
                (_, None) => return bad("it is a whole number, 0 for no limit"),
                (_, Some(number)) if number == default_of(&name) => {}
                (_, Some(number)) => drop(limits.values.insert(name, number.into())),
            }
        }
        limits.check()?;
        Ok(limits)
    }
}

impl From<Limits> for Map<String, Value> {
    fn from(limits: Limits) -> Self {
        let mut members = limits.values;
        members.extend(limits.group.map(|group| (GROUP.to_owned(), group.as_str().into())));
        members
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_limits_is_kept_and_written_as_qemu_takes_it() {
        let text = r#"{"bps-total": 1000, "bps-total-max": 5000, "bps-total-max-length": 3, "iops-read": 0,
            "iops-write-max-length": 1, "iops-write": 7, "iops-size": 4096, "group": "tenant"}"#;
        let limits = Limits::parse(text).unwrap();
        let kept = json!({
            "bps-total": 1000, "bps-total-max": 5000, "bps-total-max-length": 3, "iops-write": 7, "iops-size": 4096,
            "group": "tenant",
        });
        assert_eq!(serde_json::to_value(&limits).unwrap(), kept);
        assert_eq!(serde_json::from_value::<Limits>(kept).unwrap(), limits);
        let all = limits.all_values();
        assert_eq!(all.len(), 19);
        assert_eq!(
            (&all["bps-read"], &all["iops-write-max-length"], &all["iops-write"]),
            (&json!(0), &json!(1), &json!(7))
        );
        let expected = json!({
            "bps": 1000, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 7, "bps_max": 5000,
            "bps_max_length": 3, "iops_size": 4096,
        });
        assert_eq!(Value::from(limits.throttle_arguments()), expected);
        let lifted = limits.lifted();
        assert!(lifted.values().is_empty() && !lifted.is_default() && !lifted.all_values().is_empty());
        let id = DeviceId::parse("data").unwrap();
        assert_eq!(limits.group_id(&id).as_str(), "tenant");
        assert_eq!(Limits::default().group_id(&id).as_str(), "data-limits");
        assert!(Limits::parse(r#"{"bps-total": 0, "iops-read-max-length": 1}"#).unwrap().is_default());
    }

    #[test]
    fn what_qemu_refuses_is_refused_by_name() {
        for (text, why) in [
            ("[]", "no JSON object"),
            (r#"{"bps": 1}"#, "bps: QEMU has no such limit"),
            (r#"{"bps-total-length": 1}"#, "bps-total-length: QEMU has no such limit"),
            (r#"{"iops-size-max": 1}"#, "no such limit"),
            (r#"{"bps-total": "1M"}"#, "bps-total: it is a whole number"),
            (r#"{"bps-total": -1}"#, "bps-total: it is a whole number"),
            (r#"{"bps-total": 1.5}"#, "bps-total: it is a whole number"),
            (r#"{"group": 7}"#, "group: it is the name of a group"),
            (r#"{"group": "a,b"}"#, "',' is not allowed"),
            (r#"{"bps-total": 1, "bps-write": 1}"#, "bps-total does not go with bps-read or bps-write"),
            (r#"{"iops-total": 1, "iops-read": 1}"#, "iops-total does not go with"),
            (r#"{"bps-read": 1000000000000001}"#, "bps-read is 1000000000000001, at most 1000000000000000"),
            (r#"{"bps-read-max": 5}"#, "bps-read-max needs bps-read"),
            (r#"{"bps-read": 9, "bps-read-max": 5}"#, "bps-read-max is 5, which is below bps-read, 9"),
            (r#"{"bps-read": 9, "bps-read-max-length": 5}"#, "bps-read-max-length needs bps-read-max"),
            (r#"{"bps-read": 9, "bps-read-max": 9, "bps-read-max-length": 0}"#, "bps-read-max-length is 0"),
            (
                r#"{"bps-read": 1, "bps-read-max": 500000000000000, "bps-read-max-length": 3}"#,
                "bps-read-max-length is 3, at most 2 goes with bps-read-max",
            ),
            (r#"{"iops-size": 512}"#, "iops-size needs a limit of operations"),
        ] {
            let error = Limits::parse(text).unwrap_err();
            assert!(error.message().contains(why), "{text}: {error}");
        }
        let long = format!("{{\"bps-total\": 1{}}}", " ".repeat(MOST_BYTES));
        assert_eq!(Limits::parse(&long).unwrap_err().errno(), errno::E2BIG);
    }
}
