//! Which device the guest shows under an id. Ids are used again, so that an id alone says little: a NIC is
//! known by its MAC address, a disk by the image behind it, and each of them by its place.

use serde_json::Value;

use super::guest_state::GuestState;
use super::inventory::{self, PeripheralIds};
use super::limit::Deadline;
use crate::error::{Error, Result};
use crate::ids::{Address, MacAddr};
use crate::model::{Device, Spec};
use crate::net::spec::NicSpec;
use crate::planted::{self, Fault};
use crate::qmp::qemu_errors::is_absence;
use crate::qmp::{Command, Reply};
use crate::slots::pci::CONTAINERS;
use crate::slots::pci::QomAddress;
use crate::slots::scsi;

/// What the guest shows under the id of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing.
    Nothing,
    /// The device.
    Itself,
    /// Another device, which somebody else has made.
    Another {
        /// The netdev or block node of this name is in use by it.
        has_backend: bool,
    },
}

/// A device that QEMU has been asked about and does not have. Only an answer to that question makes one, so
/// that nothing is taken down behind a device, or removed from the record, on the strength of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct DetachedDevice<'a> {
    pub(super) device: &'a Device,
    /// Another device has its id by now.
    pub(super) is_replaced: bool,
    /// That one uses the netdev or block node of that name.
    pub(super) backend_is_taken: bool,
}

impl Shown {
    /// Whether the device itself is there.
    pub(super) fn is_itself(self) -> bool {
        self == Self::Itself
    }

    /// The device, if this says that it is not there.
    pub(super) fn gone(self, device: &Device) -> Option<DetachedDevice<'_>> {
        match self {
            Self::Nothing => Some(DetachedDevice { device, is_replaced: false, backend_is_taken: false }),
            Self::Another { has_backend } => {
                Some(DetachedDevice { device, is_replaced: true, backend_is_taken: has_backend })
            }
            Self::Itself => None,
        }
    }
}

/// Properties that tell one device from another. Every object has a type: it is asked for last, since a
/// device that leaves between two of these questions has no more to say and is no other one.
const PROPERTIES: [&str; 9] =
    ["mac", "netdev", "drive", "parent_bus", "addr", "channel", "scsi-id", "lun", "type"];

/// What they are; `None` for each that the device does not have.
type Values = [Option<Value>; PROPERTIES.len()];

impl GuestState {
    /// What the guest shows under the ids of these devices, by an inventory that has just been made. Asks
    /// nothing more as long as it has none of them.
    pub(super) async fn identify(
        &mut self,
        devices: &[&Device],
        peripheral_ids: &PeripheralIds,
        deadline: &Deadline,
    ) -> Result<Vec<Shown>> {
        let here = devices.iter().copied().filter(|device| peripheral_ids.has(device.id.as_str()));
        let here: Vec<&Device> = here.collect();
        let values = self.identifying_properties(&here, deadline).await?;
        let mut shown = Vec::with_capacity(here.len());
        for (device, values) in here.iter().zip(values) {
            shown.push(match judge(device, &values) {
                // The node of another one may be on top of its own: somebody has taken a snapshot.
                Shown::Another { has_backend: false } if is_over(device, &values) => {
                    match self.has_node(device, deadline).await? {
                        true => Shown::Itself,
                        false => Shown::Another { has_backend: false },
                    }
                }
                shown => shown,
            });
        }
        let mut shown = shown.into_iter();
        let of = |device: &&Device| match peripheral_ids.has(device.id.as_str()) {
            true => shown.next().unwrap_or(Shown::Itself),
            false => Shown::Nothing,
        };
        Ok(devices.iter().map(of).collect())
    }

    async fn identifying_properties(
        &mut self,
        devices: &[&Device],
        deadline: &Deadline,
    ) -> Result<Vec<Values>> {
        let mut all = Vec::with_capacity(devices.len());
        for some in devices.chunks(inventory::QUESTIONS / PROPERTIES.len()) {
            let questions: Vec<Command> = some
                .iter()
                .flat_map(|device| {
                    let path = format!("{}/{}", CONTAINERS[0], device.id);
                    PROPERTIES.map(|name| Command::with("qom-get", &[("path", &path), ("property", name)]))
                })
                .collect();
            let batch = self.ask(questions, deadline).await;
            if let Some(error) = batch.failure {
                return Err(error.with_step("qom-get"));
            }
            let mut replies = batch.replies.into_iter();
            for _ in some {
                let mut values: Values = Default::default();
                for value in &mut values {
                    *value = answered(replies.next().flatten())?;
                }
                all.push(values);
            }
        }
        Ok(all)
    }

    async fn has_node(&mut self, device: &Device, deadline: &Deadline) -> Result<bool> {
        let [nodes] = self.questions([inventory::block_nodes()], deadline).await?;
        Ok(inventory::by_name(&nodes).contains_key(device.backend_name().as_str()))
    }
}

/// A property that is not there has no value; whatever else QEMU refuses says nothing about the device.
fn answered(reply: Option<Reply>) -> Result<Option<Value>> {
    match reply {
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(error)) if is_absence("qom-get", &error) => Ok(None),
        Some(Err(error)) => Err(error.with_step("qom-get")),
        None => Err(Error::no_reply().with_step("qom-get")),
    }
}

fn judge(device: &Device, values: &Values) -> Shown {
    let [mac, netdev, drive, place @ .., kind] = values;
    if kind.is_none() {
        // It has left since it was listed.
        return Shown::Nothing;
    }
    let has_own =
        |value: &Option<Value>| text(value.as_ref()).is_some_and(|name| device.has_backend_named(name));
    let is_same = match &device.spec {
        Spec::Nic(spec) => has_mac(spec, mac.as_ref()),
        Spec::Disk(spec) if spec.is_cd() => {
            // Its medium comes and goes.
            let is_model = text(kind.as_ref()) == Some(spec.model.as_str());
            is_model && (has_own(drive) || text(drive.as_ref()).is_none_or(str::is_empty))
        }
        Spec::Disk(_) => text(drive.as_ref()) == Some(device.backend_name().as_str()),
        Spec::Controller(spec) => text(kind.as_ref()) == Some(spec.model.as_str()),
    };
    if planted::has(Fault::IdIsIdentity) {
        return Shown::Itself;
    }
    if is_same && may_sit(device, place) {
        return Shown::Itself;
    }
    Shown::Another { has_backend: has_own(netdev) || has_own(drive) }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

fn has_mac(spec: &NicSpec, mac: Option<&Value>) -> bool {
    text(mac).and_then(|mac| MacAddr::parse(mac).ok()) == Some(spec.mac)
}

/// A disk in the right place whose image is not its own: there may be another one over it.
fn is_over(device: &Device, values: &Values) -> bool {
    let [_, _, drive, place @ .., _] = values;
    let has_drive = drive.as_ref().and_then(Value::as_str).is_some_and(|drive| !drive.is_empty());
    matches!(device.spec, Spec::Disk(_)) && has_drive && may_sit(device, place)
}

/// Whether the device may sit where the record has it. What QEMU does not say, or in words that are not
/// known, is no difference.
fn may_sit(device: &Device, place: &[Option<Value>]) -> bool {
    let [bus, addr, channel, target, lun] = place else { return true };
    let value = |value: &Option<Value>| value.clone().unwrap_or_default();
    let (bus, addr) = (value(bus), value(addr));
    let found = match &device.address {
        None => return true,
        Some(Address::Scsi(_)) => {
            let values = [bus, value(channel), value(target), value(lun)];
            scsi::qom::address(values.each_ref()).map(Address::Scsi)
        }
        Some(Address::Pci(_)) => {
            let placement = QomAddress::from_qom(Some(device.id.as_str()), device.model(), &bus, &addr);
            placement.and_then(|placement| placement.address()).map(Address::Pci)
        }
    };
    found.is_none() || found == device.address
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::ids::DeviceId;
    use crate::model::Presence;

    /// What QEMU answers about a NIC that leaves after so many of the questions.
    fn values_until(asked: usize) -> Values {
        let all =
            ["52:54:00:00:00:01", "lan", "", "/machine/i440fx/pci.0", "04.0", "", "", "", "virtio-net-pci"];
        let mut values = all.map(|value| Some(Value::from(value)));
        values.iter_mut().skip(asked).for_each(|value| *value = None);
        values
    }

    fn nic(id: &str, mac: &str) -> Device {
        Device {
            id: DeviceId::parse(id).unwrap(),
            generation: 1,
            address: None,
            presence: Presence::Live,
            spec: Spec::Nic(NicSpec::new(MacAddr::parse(mac).unwrap())),
            backend: None,
            properties: Map::new(),
            ganeti: None,
            extra: Map::new(),
        }
    }

    #[test]
    fn one_that_leaves_while_it_is_looked_at_is_no_other_one() {
        let (own, other) = (nic("lan", "52:54:00:00:00:01"), nic("wan", "52:54:00:00:00:02"));
        assert_eq!(judge(&own, &values_until(PROPERTIES.len())), Shown::Itself);
        assert_eq!(judge(&other, &values_until(PROPERTIES.len())), Shown::Another { has_backend: false });
        for asked in 0..PROPERTIES.len() {
            for device in [&own, &other] {
                assert_eq!(judge(device, &values_until(asked)), Shown::Nothing, "{asked}");
            }
        }
    }
}
