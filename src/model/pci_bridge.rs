//! The PCI bridges that the boot command makes on a `pc` whose `pci.0` is full. None is added to a running
//! guest: docs/decisions.md says why.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::device::Presence;
use super::root_port::Occupied;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BusName, Slot};

/// The device model of a bridge.
pub const MODEL: &str = "pci-bridge";

/// One bridge on `pci.0`. Its bus has its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciBridge {
    /// Its id.
    pub id: BusName,
    /// Its slot on `pci.0`.
    pub slot: Slot,
    /// Its chassis number, 1 to 255: no two bridges have the same.
    pub chassis_nr: u8,
    /// Whether the running guest has it, or only the next one.
    #[serde(default, skip_serializing_if = "Presence::is_live")]
    pub presence: Presence,
    /// Fields a newer version wrote; kept as they are.
    #[serde(flatten, skip_deserializing)]
    pub extra: Map<String, Value>,
}

impl PciBridge {
    /// A further bridge, in this slot.
    pub fn further(bridges: &[Self], slot: Slot, occupied: &Occupied) -> Result<Self> {
        let chassis_nr = (1..=u8::MAX).find(|number| {
            !occupied.chassis.contains(number) && bridges.iter().all(|bridge| bridge.chassis_nr != *number)
        });
        let Some(chassis_nr) = chassis_nr else {
            return Err(Error::new(ErrorKind::NoSlot, "no chassis number is left for a PCI bridge"));
        };
        let is_taken = |name: &str| {
            occupied.ids.contains(name) || bridges.iter().any(|bridge| bridge.id.as_str() == name)
        };
        let names = (1u32..).map(|number| format!("bridge{number}"));
        let name = names.into_iter().find(|name| !is_taken(name)).unwrap_or_default();
        let (id, presence) = (BusName::parse(&name)?, Presence::AddAfterReboot);
        Ok(Self { id, slot, chassis_nr, presence, extra: Map::new() })
    }

    /// The arguments of `-device`.
    pub fn device_args(&self) -> Map<String, Value> {
        let mut args = Map::new();
        args.insert("driver".into(), MODEL.into());
        args.insert("id".into(), self.id.as_str().into());
        args.insert("bus".into(), "pci.0".into());
        args.insert("addr".into(), format!("{:x}", self.slot.get()).into());
        args.insert("chassis_nr".into(), self.chassis_nr.into());
        args
    }

    /// Refuses what no list of bridges could be.
    pub fn check(bridges: &[Self]) -> std::result::Result<(), String> {
        for (index, bridge) in bridges.iter().enumerate() {
            if bridge.chassis_nr == 0 {
                return Err(format!("PCI bridge {}: chassis_nr is 1 to 255", bridge.id));
            }
            for other in bridges.iter().take(index) {
                let same = [
                    (other.id == bridge.id, "id"),
                    (other.slot == bridge.slot, "slot"),
                    (other.chassis_nr == bridge.chassis_nr, "chassis_nr"),
                ];
                if let Some((_, what)) = same.into_iter().find(|(same, _)| *same) {
                    return Err(format!("PCI bridges {} and {} have the same {what}", other.id, bridge.id));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_taken_is_kept_clear_of() {
        let occupied = Occupied {
            chassis: BTreeSet::from([1]),
            ids: BTreeSet::from(["bridge2".to_owned()]),
            ..Occupied::default()
        };
        let mut bridges = Vec::new();
        for slot in [30, 31] {
            let slot = Slot::new(slot).unwrap();
            bridges.push(PciBridge::further(&bridges, slot, &occupied).unwrap());
        }
        PciBridge::check(&bridges).unwrap();
        let second =
            json!({"driver": "pci-bridge", "id": "bridge3", "bus": "pci.0", "addr": "1f", "chassis_nr": 3});
        assert_eq!(Value::Object(bridges[1].device_args()), second);
        let bad = |change: fn(&mut PciBridge)| {
            let mut bridges = bridges.clone();
            change(&mut bridges[1]);
            PciBridge::check(&bridges).unwrap_err()
        };
        assert!(bad(|bridge| bridge.chassis_nr = 0).contains("1 to 255"));
        assert!(bad(|bridge| bridge.chassis_nr = 2).contains("same chassis_nr"));
        assert!(bad(|bridge| bridge.slot = Slot::new(30).unwrap()).contains("same slot"));
        assert!(bad(|bridge| bridge.id = BusName::parse("bridge1").unwrap()).contains("same id"));
    }
}
