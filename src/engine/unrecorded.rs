//! NICs, disks and SCSI controllers that the guest has and the record has not, such as those of `-nic` and
//! `-drive if=virtio`, which have no id. They are shown, with their path in QOM.

use serde_json::{Value, json};

use super::guest_state::GuestState;
use super::inventory;
use super::limit::Deadline;
use crate::error::Result;
use crate::model::DeviceKind;
use crate::net::models;
use crate::qmp::Command;
use crate::sanitize::readable;
use crate::slots::pci::{CONTAINERS, QomAddress, QomChild};
use crate::slots::scsi;

/// Where QEMU keeps what its machine and `-nic` have made.
pub(super) const UNATTACHED: &str = "/machine/unattached";

const DISKS: &[&str] = &["ide-cd", "ide-hd", "nvme", "scsi-block", "scsi-cd", "scsi-hd", "usb-storage"];

const PROPERTIES: [&str; 8] =
    ["parent_bus", "addr", "hotpluggable", "mac", "drive", "channel", "scsi-id", "lun"];

/// What kind of device it is, if it is one of those that a record can have.
pub(super) fn kind_of(driver: &str) -> Option<DeviceKind> {
    // Its other half has the same name with `-device` at its end.
    if driver.starts_with("virtio-") && driver.ends_with("-device") {
        return None;
    }
    match () {
        () if models::is_nic(driver) => Some(DeviceKind::Nic),
        () if driver.starts_with("virtio-blk") || DISKS.contains(&driver) => Some(DeviceKind::Disk),
        () if scsi::spec::is_controller_model(driver) => Some(DeviceKind::Controller),
        () => None,
    }
}

impl GuestState {
    /// All of them, as JSON.
    pub(super) async fn describe_unrecorded(&mut self, deadline: &Deadline) -> Result<Value> {
        self.ready(deadline).await?;
        let places = [CONTAINERS[0], CONTAINERS[1], UNATTACHED];
        let lists =
            self.questions(places.map(|path| Command::with("qom-list", &[("path", path)])), deadline).await?;
        let mut children = Vec::new();
        for (place, list) in places.iter().zip(&lists) {
            let is_other = |child: &QomChild| *place != CONTAINERS[0] || !self.is_known(&child.name);
            let all = QomChild::list(list)?.into_iter().filter(|child| kind_of(&child.driver).is_some());
            children.extend(all.filter(is_other).map(|child| (*place, child)));
        }
        let wanted: Vec<(&str, &QomChild)> = children.iter().map(|(place, child)| (*place, child)).collect();
        let mut described = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(inventory::QUESTIONS / PROPERTIES.len()) {
            let answers = inventory::properties(self, some, PROPERTIES, deadline).await?;
            described
                .extend(some.iter().zip(&answers).map(|(child, values)| self.unrecorded(*child, values)));
        }
        Ok(described.into())
    }

    fn unrecorded(&self, (container, child): (&str, &QomChild), values: &[Value; 8]) -> Value {
        let [parent_bus, addr, hotpluggable, mac, drive, channel, target, lun] = values;
        let id = (container == CONTAINERS[0]).then_some(child.name.as_str());
        let address = QomAddress::from_qom(id, &child.driver, parent_bus, addr);
        let bus = parent_bus.as_str().and_then(|path| path.rsplit('/').next()).map(readable);
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(readable);
        let on_scsi = scsi::qom::is_unit(&child.driver);
        let why =
            if id.is_some() { "the record does not have it" } else { "it has no id, which the record needs" };
        json!({
            "id": id,
            "path": format!("{container}/{}", child.name),
            "type": kind_of(&child.driver).map(DeviceKind::name),
            "model": child.driver,
            "bus": bus,
            "slot": address.as_ref().map(|address| address.devfn >> 3),
            "function": address.as_ref().map(|address| address.devfn & 7),
            "channel": on_scsi.then(|| channel.as_u64()).flatten(),
            "target": on_scsi.then(|| target.as_u64()).flatten(),
            "lun": on_scsi.then(|| lun.as_u64()).flatten(),
            "mac": text(mac),
            "drive": text(drive),
            "why": why,
            "stays": self.why_it_stays(address.as_ref(), hotpluggable),
        })
    }

    /// Why QEMU does not take the device out while the guest runs, if it does not.
    pub(super) fn why_it_stays(
        &self,
        address: Option<&QomAddress>,
        hotpluggable: &Value,
    ) -> Option<&'static str> {
        let on_bus = address.and_then(|address| self.why_it_stays_on_bus(address));
        let by_qemu =
            (*hotpluggable == Value::Bool(false)).then_some("QEMU says that it cannot be taken out");
        on_bus.or(by_qemu)
    }

    fn why_it_stays_on_bus(&self, address: &QomAddress) -> Option<&'static str> {
        let place = address.address()?;
        let bus = self.topology.bus(place.bus.as_str())?;
        let function = address.devfn & 7;
        if !bus.is_hotpluggable() {
            return Some("its bus lets nothing go while the guest runs");
        }
        let is_shared = function != 0 || bus.in_slot(place.slot).any(|(other, _)| other != function);
        is_shared.then_some("it shares its slot with other functions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_told_apart() {
        for (driver, kind) in [
            ("virtio-net-pci", Some(DeviceKind::Nic)),
            ("virtio-net-pci-non-transitional", Some(DeviceKind::Nic)),
            ("virtio-net-device", None),
            ("igb", Some(DeviceKind::Nic)),
            ("igbvf", None),
            ("e1000-82544gc", Some(DeviceKind::Nic)),
            ("virtio-blk-pci", Some(DeviceKind::Disk)),
            ("ide-cd", Some(DeviceKind::Disk)),
            ("virtio-scsi-pci", Some(DeviceKind::Controller)),
            ("virtio-rng-pci", None),
            ("pcie-root-port", None),
        ] {
            assert_eq!(kind_of(driver), kind, "{driver}");
        }
    }
}
