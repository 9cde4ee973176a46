//! What a machine has of its own.

use super::Dev;

/// A machine type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// `pc`: 32 slots on `pci.0`.
    Pc,
    /// `q35` with this many root ports, `rp0` and up.
    Q35(u8),
}

/// What `query-pci` shows of a device besides its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Built {
    /// Vendor and device number.
    pub id: (u16, u16),
    /// Class, and QEMU's name for it if it has one.
    pub class: (u16, &'static str),
    /// The interrupt pin.
    pub pin: u8,
    /// Of the subsystem, unless the device is a bridge.
    pub subsystem: Option<(u16, u16)>,
    /// Its regions.
    pub regions: &'static [Region],
}

/// A region of a PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// Its number.
    pub bar: u8,
    /// In bytes.
    pub size: u64,
    /// For memory whether it is prefetchable and has an address of 64 bits.
    pub memory: Option<(bool, bool)>,
}

const fn memory(bar: u8, size: u64, prefetch: bool, wide: bool) -> Region {
    Region { bar, size, memory: Some((prefetch, wide)) }
}

const fn io(bar: u8, size: u64) -> Region {
    Region { bar, size, memory: None }
}

const QEMU: Option<(u16, u16)> = Some((0x1af4, 0x1100));
const NIC: &[Region] = &[
    io(0, 32),
    memory(1, 4096, false, false),
    memory(4, 16384, true, true),
    memory(6, 1 << 18, false, false),
];
const QUEUES_NIC: &[Region] = &[
    io(0, 64),
    memory(1, 4096, false, false),
    memory(4, 16384, true, true),
    memory(6, 1 << 18, false, false),
];
const DISK: &[Region] = &[io(0, 128), memory(1, 4096, false, false), memory(4, 16384, true, true)];
const CONTROLLER: &[Region] = &[io(0, 64), memory(1, 4096, false, false), memory(4, 16384, true, true)];
const VGA: &[Region] =
    &[memory(0, 16 << 20, true, false), memory(2, 4096, false, false), memory(6, 65536, false, false)];

impl Built {
    const fn new(id: (u16, u16), class: (u16, &'static str), pin: u8, regions: &'static [Region]) -> Self {
        Self { id, class, pin, subsystem: QEMU, regions }
    }

    /// The same with a NIC's registers for several queues.
    pub(super) fn with_queues(self) -> Self {
        Self { regions: QUEUES_NIC, ..self }
    }

    /// The same behind a root port: a device of virtio 1.0, without what is there for old drivers.
    pub(super) fn behind_port(self) -> Self {
        let modern = |old: u16| match old {
            0x1000 => 0x1041,
            0x1001 => 0x1042,
            0x1004 => 0x1048,
            other => other,
        };
        let regions = match self.regions {
            [Region { memory: None, .. }, rest @ ..] => rest,
            all => all,
        };
        Self { id: (self.id.0, modern(self.id.1)), subsystem: QEMU, regions, ..self }
    }

    /// As QEMU builds a device of this model. Of models that the library does not plug in, only that they are
    /// virtio devices.
    pub fn of_driver(driver: &str) -> Self {
        match driver {
            "virtio-blk-pci" => {
                let own = Self::new((0x1af4, 0x1001), (0x0100, "SCSI controller"), 1, DISK);
                Self { subsystem: Some((0x1af4, 2)), ..own }
            }
            "virtio-scsi-pci" => {
                let own = Self::new((0x1af4, 0x1004), (0x0100, "SCSI controller"), 1, CONTROLLER);
                Self { subsystem: Some((0x1af4, 8)), ..own }
            }
            "pcie-root-port" => {
                const PORT: &[Region] = &[memory(0, 4096, false, false)];
                Self { subsystem: None, ..Self::new((0x1b36, 0x000c), (0x0604, "PCI bridge"), 1, PORT) }
            }
            _ => {
                let own = Self::new((0x1af4, 0x1000), (0x0200, "Ethernet controller"), 1, NIC);
                Self { subsystem: Some((0x1af4, 1)), ..own }
            }
        }
    }
}

impl Machine {
    /// The name of the root bus.
    pub fn root(self) -> &'static str {
        match self {
            Self::Pc => "pci.0",
            Self::Q35(_) => "pcie.0",
        }
    }

    /// Where the root bus is in QOM.
    pub(super) fn root_path(self) -> &'static str {
        match self {
            Self::Pc => "/machine/i440fx/pci.0",
            Self::Q35(_) => "/machine/q35/pcie.0",
        }
    }

    /// The devices that it comes with, a VGA adapter included.
    pub(super) fn devices(self) -> Vec<Dev> {
        let own = |slot, function, driver: &str, built| Dev {
            pci: built,
            ..Dev::new(None, driver, self.root(), slot, function)
        };
        let vga =
            |slot| own(slot, 0, "VGA", Built::new((0x1234, 0x1111), (0x0300, "VGA controller"), 0, VGA));
        let host = |id, driver| own(0, 0, driver, Built::new((0x8086, id), (0x0600, "Host bridge"), 0, &[]));
        match self {
            Self::Pc => vec![
                host(0x1237, "i440FX"),
                own(1, 0, "PIIX3", Built::new((0x8086, 0x7000), (0x0601, "ISA bridge"), 0, &[])),
                own(1, 1, "piix3-ide", Built::new((0x8086, 0x7010), (0x0101, "IDE controller"), 0, IDE)),
                own(1, 3, "PIIX4_PM", Built::new((0x8086, 0x7113), (0x0680, "Bridge"), 1, &[])),
                vga(2),
            ],
            Self::Q35(ports) => {
                let mut devices = vec![host(0x29c0, "mch"), vga(1)];
                devices.extend((0..ports).map(|port| {
                    Dev::new(
                        Some(&format!("rp{port}")),
                        "pcie-root-port",
                        self.root(),
                        3 + port / 8,
                        port % 8,
                    )
                }));
                devices.extend([
                    own(31, 0, "ICH9-LPC", Built::new((0x8086, 0x2918), (0x0601, "ISA bridge"), 0, &[])),
                    own(
                        31,
                        2,
                        "ich9-ahci",
                        Built::new((0x8086, 0x2922), (0x0106, "SATA controller"), 1, AHCI),
                    ),
                    own(31, 3, "ICH9-SMB", Built::new((0x8086, 0x2930), (0x0c05, "SMBus"), 1, SMBUS)),
                ]);
                devices
            }
        }
    }
}

const IDE: &[Region] = &[io(4, 16)];
const SMBUS: &[Region] = &[io(4, 64)];
const AHCI: &[Region] = &[io(4, 32), memory(5, 4096, false, false)];
