//! QEMU's models of PCI NICs.

/// Those of virtio.
pub const VIRTIO: &[&str] =
    &["virtio-net-pci", "virtio-net-pci-non-transitional", "virtio-net-pci-transitional"];

/// Emulated ones that a Linux guest was seen to take while it runs, and to give back, with QEMU 5.2 to 11.1
/// (`igb` from 8.0 on).
pub const EMULATED: &[&str] =
    &["e1000", "e1000-82544gc", "e1000-82545em", "e1000e", "igb", "pcnet", "rtl8139", "vmxnet3"];

/// Emulated ones that the library does not plug into a running guest.
const COLD: &[&str] = &[
    "i82550", "i82551", "i82557a", "i82557b", "i82557c", "i82558a", "i82558b", "i82559a", "i82559b",
    "i82559c", "i82559er", "i82562", "i82801", "ne2k_pci", "tulip",
];

/// Whether a NIC of this model can be plugged into a running guest.
pub fn is_live(model: &str) -> bool {
    VIRTIO.contains(&model) || EMULATED.contains(&model)
}

/// Whether it is a NIC.
pub fn is_nic(model: &str) -> bool {
    is_live(model) || COLD.contains(&model)
}
