//! What the guest calls a device: its address on PCI, and the names that udev of systemd gives.
//!
//! The names follow `udev-builtin-net_id.c`, `udev-builtin-path_id.c` and `60-persistent-storage.rules`.

use crate::disk::NVME;
use crate::ids::ScsiAddress;
use crate::model::Spec;
use crate::slots::pci::GuestPath;

/// What the guest calls a device. Each text is empty where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestView {
    /// Slot and function of each bridge from the root bus on, and of the device.
    pub pci_path: String,
    /// Domain, bus, slot and function, as `lspci -D` shows them.
    pub address: String,
    /// `enp1s0` of a NIC, `/dev/disk/by-path/...` of a disk.
    pub name: String,
    /// `ens5` of a NIC on a bus whose slots ACPI numbers.
    pub slot_name: String,
}

/// What a NIC's name begins with.
const ETHERNET: &str = "en";

/// Longest name of a NIC in Linux.
const LONGEST_NAME: usize = 15;

/// From this one on, Linux shows the bits of the addressing method with the number of a SCSI unit.
const FIRST_LARGE_UNIT: u16 = 256;

/// Those bits.
const FLAT_SPACE: u16 = 0x4000;

const BY_PATH: &str = "/dev/disk/by-path/";

impl GuestView {
    pub(super) fn on_pci(path: &GuestPath, spec: &Spec) -> Self {
        let view = Self::of(path);
        match spec {
            Spec::Nic(_) => {
                let slot = if path.on_acpi_bus && path.slot > 0 { name_of_slot(path) } else { String::new() };
                Self { name: name_of_path(path), slot_name: slot, ..view }
            }
            Spec::Disk(disk) if !view.address.is_empty() => {
                // Its first namespace, which is the only one.
                let namespace = if disk.model == NVME { "-nvme-1" } else { "" };
                Self { name: format!("{BY_PATH}pci-{}{namespace}", view.address), ..view }
            }
            Spec::Disk(_) | Spec::Controller(_) => view,
        }
    }

    pub(super) fn on_scsi(controller: &GuestPath, address: &ScsiAddress) -> Self {
        let view = Self::of(controller);
        if view.address.is_empty() {
            return view;
        }
        let (channel, target) = (address.channel.get(), address.target);
        let lun = match address.lun.get() {
            lun if lun < FIRST_LARGE_UNIT => lun,
            lun => lun | FLAT_SPACE,
        };
        Self { name: format!("{BY_PATH}pci-{}-scsi-0:{channel}:{target}:{lun}", view.address), ..view }
    }

    fn of(path: &GuestPath) -> Self {
        let address = |bus| format!("0000:{bus:02x}:{:02x}.{}", path.slot, path.function);
        Self {
            pci_path: path.way.clone(),
            address: path.bus.map(address).unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// `enp1s0`, by the number of the bus.
fn name_of_path(path: &GuestPath) -> String {
    path.bus.map(|bus| named(format!("p{bus}s{}", path.slot), path)).unwrap_or_default()
}

/// `ens5`: the number that ACPI has for the slot (_SUN) is that of the slot itself.
fn name_of_slot(path: &GuestPath) -> String {
    named(format!("s{}", path.slot), path)
}

fn named(rest: String, path: &GuestPath) -> String {
    let mut name = format!("{ETHERNET}{rest}");
    if path.function > 0 || path.shared {
        name += &format!("f{}", path.function);
    }
    if name.len() > LONGEST_NAME { String::new() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DiskSpec, Format};
    use crate::ids::{BusName, Lun, MacAddr};
    use crate::net::spec::NicSpec;
    use crate::slots::scsi::spec::ControllerSpec;

    fn path(bus: Option<u8>, slot: u8, function: u8) -> GuestPath {
        GuestPath { way: "w".to_owned(), bus, slot, function, shared: false, on_acpi_bus: bus == Some(0) }
    }

    fn nic() -> Spec {
        Spec::Nic(NicSpec::new(MacAddr::parse("52:54:00:12:34:56").unwrap()))
    }

    fn disk() -> Spec {
        Spec::Disk(DiskSpec::new("/a", Format::Raw))
    }

    /// After systemd.net-naming-scheme(7): bus and slot are decimal, and a device with several functions has
    /// the function's number in its name, be it 0.
    #[test]
    fn nics_are_named_as_udev_does() {
        let shared = GuestPath { shared: true, ..path(Some(0), 5, 0) };
        let table = [
            (path(Some(0), 5, 0), "0000:00:05.0", "enp0s5", "ens5"),
            (path(Some(0), 31, 0), "0000:00:1f.0", "enp0s31", "ens31"),
            (path(Some(0), 0, 0), "0000:00:00.0", "enp0s0", ""),
            (path(Some(0), 5, 3), "0000:00:05.3", "enp0s5f3", "ens5f3"),
            (shared, "0000:00:05.0", "enp0s5f0", "ens5f0"),
            (path(Some(1), 0, 0), "0000:01:00.0", "enp1s0", ""),
            (path(Some(26), 17, 0), "0000:1a:11.0", "enp26s17", ""),
            (path(None, 0, 0), "", "", ""),
        ];
        for (path, address, name, slot_name) in table {
            let view = GuestView::on_pci(&path, &nic());
            assert_eq!((view.address.as_str(), view.name.as_str()), (address, name), "{path:?}");
            assert_eq!((view.slot_name.as_str(), view.pci_path.as_str()), (slot_name, "w"), "{path:?}");
        }
    }

    #[test]
    fn disks_are_named_as_udev_does() {
        let view = |bus| GuestView::on_pci(&path(bus, 5, 0), &disk()).name;
        assert_eq!(view(Some(0)), "/dev/disk/by-path/pci-0000:00:05.0");
        assert_eq!(view(Some(255)), "/dev/disk/by-path/pci-0000:ff:05.0");
        assert_eq!(view(None), "");
        let address = ScsiAddress {
            lun: Lun::new(7).unwrap(),
            ..ScsiAddress::of_target(BusName::parse("hba.0").unwrap(), 1)
        };
        let scsi = |bus| GuestView::on_scsi(&path(bus, 6, 0), &address).name;
        assert_eq!(scsi(Some(0)), "/dev/disk/by-path/pci-0000:00:06.0-scsi-0:0:1:7");
        assert_eq!(scsi(None), "");
        let large = ScsiAddress { lun: Lun::new(300).unwrap(), ..address.clone() };
        let name = GuestView::on_scsi(&path(Some(0), 6, 0), &large).name;
        assert_eq!(name, "/dev/disk/by-path/pci-0000:00:06.0-scsi-0:0:1:16684");
    }

    #[test]
    fn a_controller_has_an_address_and_no_name() {
        let spec = Spec::Controller(ControllerSpec::default());
        let view = GuestView::on_pci(&path(Some(0), 6, 0), &spec);
        assert_eq!((view.address.as_str(), view.name.as_str()), ("0000:00:06.0", ""));
    }
}
