//! The root ports that the boot command makes: on a `q35` every hot-plugged device needs one of its own, and
//! none can be added to a running guest.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::device::Presence;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BusName, Slot};

/// The slots of `pcie.0` that ports are put into: the upper half, so that what QEMU places by itself goes
/// below, without 29 and 31, where `q35` has its USB controllers and its chipset (hw/i386/pc_q35.c).
const SLOTS: std::ops::RangeInclusive<u8> = 16..=28;

const FUNCTIONS: u8 = 8;

/// How many ports there can be.
pub const MOST_PORTS: usize = (*SLOTS.end() - *SLOTS.start() + 1) as usize * FUNCTIONS as usize;

/// The device model of a port.
pub const MODEL: &str = "pcie-root-port";

/// One port. Its bus has its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootPort {
    /// Its id.
    pub id: BusName,
    /// Its slot on `pcie.0`.
    pub slot: Slot,
    /// Its function there, 0 to 7.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub function: u8,
    /// Its chassis and physical slot number, 1 to 255: no two ports have the same.
    pub chassis: u8,
    /// Whether the running guest has it, or only the next one.
    #[serde(default, skip_serializing_if = "Presence::is_live")]
    pub presence: Presence,
    /// Fields a newer version wrote; kept as they are.
    #[serde(flatten, skip_deserializing)]
    pub extra: Map<String, Value>,
}

fn is_zero(function: &u8) -> bool {
    *function == 0
}

/// What else is on the command line that a new port must keep clear of.
#[derive(Clone, Debug, Default)]
pub struct Occupied {
    /// Slots of `pcie.0`.
    pub slots: BTreeSet<Slot>,
    /// Chassis numbers.
    pub chassis: BTreeSet<u8>,
    /// Ids.
    pub ids: BTreeSet<String>,
}

impl RootPort {
    /// A further port. Ports have slots of their own as long as there are any, then they share them, up to
    /// eight in one.
    pub fn further(ports: &[Self], occupied: &Occupied) -> Result<Self> {
        let free = |place: &(Slot, u8)| {
            !occupied.slots.contains(&place.0)
                && ports.iter().all(|port| (port.slot, port.function) != *place)
        };
        let slots = || SLOTS.filter_map(Slot::new);
        let place = (0..FUNCTIONS).flat_map(|function| slots().map(move |slot| (slot, function))).find(free);
        let chassis = (1..=u8::MAX).find(|number| {
            !occupied.chassis.contains(number) && ports.iter().all(|port| port.chassis != *number)
        });
        let (Some((slot, function)), Some(chassis)) = (place, chassis) else {
            let text = format!("no room on pcie.0 for more than the {} root ports there are", ports.len());
            return Err(Error::new(ErrorKind::NoSlot, text));
        };
        let taken =
            |name: &str| occupied.ids.contains(name) || ports.iter().any(|port| port.id.as_str() == name);
        let name = (1u32..).map(|number| format!("rp{number}")).find(|name| !taken(name)).unwrap_or_default();
        let (id, presence) = (BusName::parse(&name)?, Presence::AddAfterReboot);
        Ok(Self { id, slot, function, chassis, presence, extra: Map::new() })
    }

    /// The arguments of `-device`; `shared` says that other ports sit in the same slot.
    pub fn device_args(&self, shared: bool) -> Map<String, Value> {
        let mut args = Map::new();
        args.insert("driver".into(), MODEL.into());
        args.insert("id".into(), self.id.as_str().into());
        args.insert("bus".into(), "pcie.0".into());
        args.insert("addr".into(), format!("{:x}.{}", self.slot.get(), self.function).into());
        args.insert("chassis".into(), self.chassis.into());
        // The guest's name for the slot.
        args.insert("slot".into(), self.chassis.into());
        if shared && self.function == 0 {
            args.insert("multifunction".into(), true.into());
        }
        args
    }

    /// Refuses what no list of ports could be.
    pub fn check(ports: &[Self]) -> std::result::Result<(), String> {
        for (index, port) in ports.iter().enumerate() {
            if port.function >= FUNCTIONS || port.chassis == 0 {
                return Err(format!("root port {}: function is 0 to 7 and chassis 1 to 255", port.id));
            }
            for other in ports.iter().take(index) {
                let same = [
                    (other.id == port.id, "id"),
                    ((other.slot, other.function) == (port.slot, port.function), "place"),
                    (other.chassis == port.chassis, "chassis"),
                ];
                if let Some((_, what)) = same.into_iter().find(|(same, _)| *same) {
                    return Err(format!("root ports {} and {} have the same {what}", other.id, port.id));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn many(count: usize, occupied: &Occupied) -> Vec<RootPort> {
        let mut ports = Vec::new();
        for _ in 0..count {
            let port = RootPort::further(&ports, occupied).unwrap();
            ports.push(port);
        }
        ports
    }

    #[test]
    fn slots_first_then_functions() {
        let ports = many(15, &Occupied::default());
        RootPort::check(&ports).unwrap();
        let place = |index: usize| (ports[index].id.as_str(), ports[index].slot.get(), ports[index].function);
        assert_eq!(place(0), ("rp1", 16, 0));
        assert_eq!(place(12), ("rp13", 28, 0));
        assert_eq!(place(13), ("rp14", 16, 1));
        let first = json!({"driver": "pcie-root-port", "id": "rp1", "bus": "pcie.0", "addr": "10.0", "chassis": 1,
                           "slot": 1, "multifunction": true});
        assert_eq!(Value::Object(ports[0].device_args(true)), first);
        assert_eq!(ports[13].device_args(true).get("multifunction"), None);
        assert_eq!(ports[1].device_args(false).get("multifunction"), None);
    }

    #[test]
    fn others_are_kept_clear_of() {
        let occupied = Occupied {
            slots: [16, 18].into_iter().filter_map(Slot::new).collect(),
            chassis: BTreeSet::from([1, 3]),
            ids: BTreeSet::from(["rp2".to_owned()]),
        };
        let ports = many(11 * 8, &occupied);
        RootPort::check(&ports).unwrap();
        let ids: Vec<_> = ports.iter().take(2).map(|port| (port.id.as_str(), port.chassis)).collect();
        assert_eq!(ids, [("rp1", 2), ("rp3", 4)]);
        assert!(ports.iter().all(|port| !occupied.slots.contains(&port.slot)));
        assert_eq!(RootPort::further(&ports, &occupied).unwrap_err().kind(), ErrorKind::NoSlot);
    }

    #[test]
    fn nonsense_is_refused() {
        let good = many(2, &Occupied::default());
        let bad = |change: fn(&mut RootPort)| {
            let mut ports = good.clone();
            change(&mut ports[1]);
            RootPort::check(&ports).unwrap_err()
        };
        assert!(bad(|port| port.function = 8).contains("function is 0 to 7"));
        assert!(bad(|port| port.chassis = 0).contains("chassis 1 to 255"));
        assert!(bad(|port| port.chassis = 1).contains("same chassis"));
        assert!(bad(|port| port.slot = Slot::new(16).unwrap()).contains("same place"));
        assert!(bad(|port| port.id = BusName::parse("rp1").unwrap()).contains("same id"));
    }
}
