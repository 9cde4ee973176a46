//! Devices without an id that are not ours: in the guest, but neither in the recorded command nor in the
//! record.

use serde_json::Value;

use super::difference::{Difference, Mismatch};
use super::foreign::place_of;
use super::guest_state::GuestState;
use super::inventory;
use super::limit::Deadline;
use crate::error::Result;
use crate::ids::MacAddr;
use crate::sanitize::readable;
use crate::slots::pci::{BusKind, CONTAINERS, QomAddress, QomChild};

use crate::model::DeviceKind;

/// A device without an id, where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    driver: String,
    place: String,
    mac: Option<MacAddr>,
}

impl GuestState {
    /// PCI and SCSI devices without an id that nobody has said anything of. Bridges and ports are the
    /// machine's.
    pub(super) async fn find_devices_without_id(
        &mut self,
        differences: &mut Vec<Difference>,
        deadline: &Deadline,
    ) -> Result<()> {
        let children = self.devices_without_id.clone();
        let is_bridge = |child: &QomChild| BusKind::of_driver(&child.driver).is_some();
        let wanted: Vec<(&str, &QomChild)> =
            children.iter().filter(|child| !is_bridge(child)).map(|child| (CONTAINERS[1], child)).collect();
        let mut found = Vec::new();
        let names = ["parent_bus", "addr", "mac"];
        for some in wanted.chunks(inventory::QUESTIONS / names.len()) {
            let answers = inventory::properties(self, some, names, deadline).await?;
            found.extend(some.iter().zip(answers).filter_map(|((_, child), values)| on_pci(child, &values)));
        }
        let devices_without_id = self.slots.scsi.occupancy().filter(|(_, user)| user.id.is_none());
        found.extend(devices_without_id.map(|(place, user)| Found {
            driver: user.description.clone(),
            place: place.to_string(),
            mac: None,
        }));
        let (expected, macs) = {
            let contents = self.contents();
            let unplaced =
                |device: &&crate::model::Device| device.kind() == DeviceKind::Nic && device.address.is_none();
            let macs = contents.record().devices.iter().filter(unplaced).filter_map(|device| device.mac());
            (contents.record().command_devices_without_id(), macs.collect::<Vec<_>>())
        };
        for Found { driver, place, .. } in unexplained(found, expected, &macs) {
            let place = format!("{place} ({})", readable(&driver));
            differences.push(Difference::new(Mismatch::Foreign, "", "", place));
        }
        Ok(())
    }
}

/// `None` for what is no PCI device.
fn on_pci(child: &QomChild, [bus, addr, mac]: &[Value; 3]) -> Option<Found> {
    let address = QomAddress::from_qom(None, &child.driver, bus, addr)?;
    let place = place_of(&address);
    let mac = mac.as_str().and_then(|text| MacAddr::parse(text).ok());
    Some(Found { driver: child.driver.clone(), place, mac })
}

/// What is left of those found without the NICs of the record that have no place, and without one for each of
/// the drivers in the command. Those have other names there now and then: `virtio-balloon` is a
/// `virtio-balloon-pci`.
fn unexplained(found: Vec<Found>, mut expected: Vec<String>, macs: &[MacAddr]) -> Vec<Found> {
    let is_recorded = |found: &Found| found.mac.is_some_and(|mac| macs.contains(&mac));
    let mut left: Vec<Found> = found.into_iter().filter(|found| !is_recorded(found)).collect();
    let same = |driver: &str, name: &str| driver == name;
    let begins = |driver: &str, name: &str| !name.is_empty() && driver.starts_with(name);
    for fits in [same as fn(&str, &str) -> bool, begins] {
        left.retain(|found| {
            let explained = expected.iter().position(|name| fits(&found.driver, name));
            explained.map(|index| expected.remove(index)).is_none()
        });
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_for_each_that_is_named() {
        let found = |driver: &str, mac: Option<MacAddr>| Found {
            driver: driver.to_owned(),
            place: String::new(),
            mac,
        };
        let mac = MacAddr::local([1, 2, 3]);
        let all = || {
            vec![
                found("virtio-net-pci", Some(mac)),
                found("virtio-balloon-pci", None),
                found("virtio-blk-pci", None),
                found("virtio-blk-pci", None),
            ]
        };
        let left = |expected: &[&str], macs: &[MacAddr]| {
            let expected = expected.iter().map(|name| (*name).to_owned()).collect();
            unexplained(all(), expected, macs).into_iter().map(|found| found.driver).collect::<Vec<_>>()
        };
        assert_eq!(left(&["virtio-balloon", "virtio-blk-pci"], &[mac]), ["virtio-blk-pci"]);
        assert_eq!(left(&["virtio-blk", "virtio-blk-pci", "virtio-net"], &[]), ["virtio-balloon-pci"]);
        assert_eq!(left(&["", "usb-tablet"], &[]).len(), 4);
        assert_eq!(left(&[], &[]).len(), 4);
    }
}
