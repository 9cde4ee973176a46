//! One bus of a guest: what kind it is, what it accepts, and what sits on it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use crate::ids::{BusName, SLOTS, Slot};

/// What a bus hangs off, which decides its slots and whether it takes devices while the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BusKind {
    /// `pci.0` of machine `pc`: 32 slots, hot-pluggable.
    ConventionalRoot,
    /// `pcie.0` of `q35` and others: QEMU refuses hot-plug there ("does not support hotplugging", 7.2).
    PcieRoot,
    /// A further root (`pxb`, `pxb-pcie`), or bus 0 behind a host bridge this library does not know.
    OtherRoot,
    /// `pcie-root-port` or `ioh3420`: slot 0 only.
    RootPort,
    /// `xio3130-downstream`, a port of a switch: slot 0 only.
    DownstreamPort,
    /// `x3130-upstream`, the inside of a switch: holds downstream ports, which cannot be hot-added
    /// (QEMU docs/pcie.txt).
    UpstreamPort,
    /// `pci-bridge` or `pci-bridge-seat`: slots 1 to 31. Slot 0 belongs to the standard hot-plug controller
    /// (QEMU hw/pci/shpc.c); ACPI hot-plug would accept it (7.2), but a guest may end up with either.
    PciBridge,
    /// `pcie-pci-bridge`: slots 1 to 31.
    PciePciBridge,
    /// `i82801b11-bridge`: has no hot-plug controller of its own.
    DmiBridge,
    /// A bridge this library does not know.
    OtherBridge,
    /// A bus that only the own record names; the live guest does not show it.
    Unseen,
}

impl BusKind {
    /// The bus behind the bridge with these PCI ids.
    pub(super) fn of_bridge(vendor: u16, device: u16) -> Self {
        match (vendor, device) {
            (0x1b36, 0x000c) | (0x8086, 0x3420) => Self::RootPort,
            (0x104c, 0x8233) => Self::DownstreamPort,
            (0x104c, 0x8232) => Self::UpstreamPort,
            (0x1b36, 0x0001 | 0x000a) => Self::PciBridge,
            (0x1b36, 0x000e) => Self::PciePciBridge,
            (0x8086, 0x244e) => Self::DmiBridge,
            _ => Self::OtherBridge,
        }
    }

    /// The bus behind a device of this QOM type, if the type is a bridge.
    pub fn of_driver(driver: &str) -> Option<Self> {
        Some(match driver {
            "pcie-root-port" | "ioh3420" => Self::RootPort,
            "xio3130-downstream" => Self::DownstreamPort,
            "x3130-upstream" => Self::UpstreamPort,
            "pci-bridge" | "pci-bridge-seat" => Self::PciBridge,
            "pcie-pci-bridge" => Self::PciePciBridge,
            "i82801b11-bridge" => Self::DmiBridge,
            _ => return None,
        })
    }

    /// The name and kind of bus 0 behind the host bridge with these PCI ids: 440FX, Q35 (MCH) or GPEX.
    pub(super) fn of_host_bridge(vendor: u16, device: u16) -> Option<(Self, &'static str)> {
        match (vendor, device) {
            (0x8086, 0x1237) => Some((Self::ConventionalRoot, "pci.0")),
            (0x8086, 0x29c0) | (0x1b36, 0x0008) => Some((Self::PcieRoot, "pcie.0")),
            _ => None,
        }
    }

    /// The slots a device may be given, unless the bus takes none at all.
    pub fn slots(self) -> RangeInclusive<u8> {
        match self {
            Self::RootPort | Self::DownstreamPort => 0..=0,
            Self::PciBridge | Self::PciePciBridge => 1..=SLOTS - 1,
            _ => 0..=SLOTS - 1,
        }
    }

    /// Whether a bus of this kind normally takes devices while the guest runs.
    pub fn takes_hotplug(self) -> bool {
        self == Self::ConventionalRoot
            || self.is_port()
            || matches!(self, Self::PciBridge | Self::PciePciBridge)
    }

    /// A bus with the single slot 0.
    pub fn is_port(self) -> bool {
        matches!(self, Self::RootPort | Self::DownstreamPort)
    }

    /// A bus that hangs off no bridge.
    pub fn is_root(self) -> bool {
        matches!(self, Self::ConventionalRoot | Self::PcieRoot | Self::OtherRoot)
    }

    /// The order in which free slots are handed out; what a guest handles best comes first.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::ConventionalRoot => 0,
            Self::RootPort | Self::DownstreamPort => 1,
            Self::PciBridge => 2,
            Self::PciePciBridge => 3,
            _ => 4,
        }
    }
}

impl fmt::Display for BusKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConventionalRoot => "conventional PCI root bus",
            Self::PcieRoot => "PCI Express root complex",
            Self::OtherRoot => "unknown root bus",
            Self::RootPort => "root port",
            Self::DownstreamPort => "switch downstream port",
            Self::UpstreamPort => "switch upstream port",
            Self::PciBridge => "PCI bridge",
            Self::PciePciBridge => "PCIe-to-PCI bridge",
            Self::DmiBridge => "DMI-to-PCI bridge",
            Self::OtherBridge => "unknown bridge",
            Self::Unseen => "not shown by the guest",
        })
    }
}

/// One function that sits on a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// The id it was started or plugged with; built-in devices have none.
    pub id: Option<String>,
    /// QEMU's class text ("Ethernet controller") or the QOM type ("virtio-net-pci"); printable, at most 64
    /// characters.
    pub description: String,
    /// PCI vendor and device number, when `query-pci` showed the device.
    pub pci_id: Option<(u16, u16)>,
    /// The guest has mapped at least one BAR, or there is none to map. Until then nothing in the guest drives
    /// the device, and nothing will answer an unplug request.
    pub configured: bool,
    /// QOM names this address too. Bus numbers are the guest's to write and can show a device where it is
    /// not.
    pub(super) confirmed: bool,
}

/// One bus and what sits on it.
#[derive(Clone, Debug)]
pub struct Bus {
    pub(super) name: Option<BusName>,
    pub(super) kind: BusKind,
    /// What the guest has called it.
    pub(super) number: Option<u8>,
    pub(super) confirmed: bool,
    pub(super) hotplug: bool,
    /// Root bus number, then the devfn of every bridge on the way: a position that no guest can change.
    pub(super) path: Vec<u8>,
    pub(super) functions: BTreeMap<(Slot, u8), Occupant>,
}

impl Bus {
    pub(super) fn root(number: u8, kind: BusKind, name: Option<BusName>) -> Self {
        Self {
            name,
            kind,
            number: Some(number),
            confirmed: false,
            hotplug: kind.takes_hotplug(),
            path: vec![number],
            functions: BTreeMap::new(),
        }
    }

    /// The bus behind the bridge that sits on `self` at `slot` and `function`.
    pub(super) fn child(&self, kind: BusKind, name: Option<BusName>, slot: Slot, function: u8) -> Self {
        let mut path = self.path.clone();
        path.push((slot.get() << 3) | (function & 7));
        // The bridge inside a pxb is made without a hot-plug controller (QEMU pci_expander_bridge.c; 7.2
        // refuses).
        let inside_expander = self.kind == BusKind::OtherRoot && kind == BusKind::PciBridge;
        Self {
            name,
            kind,
            number: None,
            confirmed: false,
            hotplug: kind.takes_hotplug() && !inside_expander,
            path,
            functions: BTreeMap::new(),
        }
    }

    /// The name that `bus=` takes. `None` for a bus that cannot be addressed: its bridge has no id (QEMU then
    /// makes up one that another bus may have too, even `pcie.0`), or the name is somebody else's.
    pub fn name(&self) -> Option<&BusName> {
        self.name.as_ref()
    }

    /// What the bus hangs off.
    pub fn kind(&self) -> BusKind {
        self.kind
    }

    /// The guest has given the bus a number of its own, so `query-pci` shows what is on it.
    pub fn is_numbered(&self) -> bool {
        self.number.is_some()
    }

    /// That number.
    pub fn number(&self) -> Option<u8> {
        self.number
    }

    /// What is on the bus is known: it is numbered, or QOM was asked.
    pub fn is_known(&self) -> bool {
        self.is_numbered() || self.confirmed
    }

    /// Devices can be plugged here while the guest runs.
    pub fn is_hotpluggable(&self) -> bool {
        self.hotplug
    }

    /// Everything on the bus, by slot and function (0 to 7).
    pub fn functions(&self) -> impl Iterator<Item = (Slot, u8, &Occupant)> {
        self.functions.iter().map(|((slot, function), occupant)| (*slot, *function, occupant))
    }

    /// The functions in one slot.
    pub fn in_slot(&self, slot: Slot) -> impl Iterator<Item = (u8, &Occupant)> {
        self.functions
            .range((slot, 0)..=(slot, u8::MAX))
            .map(|((_, function), occupant)| (*function, occupant))
    }
}
