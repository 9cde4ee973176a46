//! `struct kvm_hotplug_device`: what a device is and how it stands.

use std::ffi::c_char;

use super::args::Plain;

/// What a call answers when it did not fail.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_answer {
    /// Done in the running guest. The storage or tap of a removed device may be torn down.
    KVM_HOTPLUG_ANSWER_DONE = 0,
    /// Recorded for the next boot. The device's reason says why.
    KVM_HOTPLUG_ANSWER_AFTER_REBOOT = 1,
    /// The guest was asked for a removal and has not granted it yet. Slot, id and backend stay taken: do not
    /// tear anything down. The device's reason says what the guest is doing, and an event will follow. Or an
    /// add was begun with KVM_HOTPLUG_NO_WAIT, and an event will report its result.
    KVM_HOTPLUG_ANSWER_PENDING = 2,
    /// No such device, neither in the record nor in the guest.
    KVM_HOTPLUG_ANSWER_ABSENT = 3,
}

/// The state of a device.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_state {
    /// In the guest.
    KVM_HOTPLUG_STATE_LIVE = 0,
    /// Recorded: the next boot adds or removes it.
    KVM_HOTPLUG_STATE_AFTER_REBOOT = 1,
    /// Being removed, or being added with KVM_HOTPLUG_NO_WAIT.
    KVM_HOTPLUG_STATE_PENDING = 2,
    /// No such device, neither in the record nor in the guest.
    KVM_HOTPLUG_STATE_ABSENT = 3,
    /// Recorded, but not in the guest when it was last asked.
    KVM_HOTPLUG_STATE_MISSING = 4,
}

/// The type of a device's address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_address_type {
    /// None yet.
    KVM_HOTPLUG_ADDRESS_NONE = 0,
    /// On a PCI bus: bus and slot.
    KVM_HOTPLUG_ADDRESS_PCI = 1,
    /// On a controller's SCSI bus: bus, channel, target and lun.
    KVM_HOTPLUG_ADDRESS_SCSI = 2,
}

/// Why a device is not (or not yet) what was asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_reason {
    /// Nothing to explain.
    KVM_HOTPLUG_REASON_NONE = 0,
    /// After reboot: hot-plug needs QEMU 5.2 or later.
    KVM_HOTPLUG_REASON_QEMU_TOO_OLD = 1,
    /// After reboot: the library plugs no device of this model into a running guest, or the record is
    /// Ganeti's and the model is not paravirtual.
    KVM_HOTPLUG_REASON_MODEL = 2,
    /// After reboot: the record does not have its address.
    KVM_HOTPLUG_REASON_NO_ADDRESS = 3,
    /// After reboot: the SCSI controller comes with the next boot itself, or its model does not report new
    /// disks to a running guest.
    KVM_HOTPLUG_REASON_CONTROLLER = 4,
    /// After reboot: recorded when the guest did not run, or with an older QEMU. Nothing prevents a plug now:
    /// remove the device and add it again.
    KVM_HOTPLUG_REASON_RECORDED = 5,
    /// No slot is free that a device gets unasked, and the record says that it waits for the next boot then.
    KVM_HOTPLUG_REASON_FULL = 6,
    /// Pending: the guest runs and has not answered yet.
    KVM_HOTPLUG_REASON_DEADLINE = 16,
    /// Pending: the guest has never set the device up: it has not booted, or does not support hotplug.
    KVM_HOTPLUG_REASON_NOT_BOOTED = 17,
    /// Pending: the guest was not started, or was reset while stopped; it is asked once it runs.
    KVM_HOTPLUG_REASON_NOT_STARTED = 18,
    /// Pending: the guest is paused.
    KVM_HOTPLUG_REASON_PAUSED = 19,
    /// Pending: the guest is asleep (ACPI S3).
    KVM_HOTPLUG_REASON_ASLEEP = 20,
    /// Pending: the guest has crashed or was stopped by an error.
    KVM_HOTPLUG_REASON_STOPPED = 21,
    /// Pending: the caller did not wait.
    KVM_HOTPLUG_REASON_NOT_AWAITED = 22,
    /// Pending: the guest migrates; asked again where it runs then.
    KVM_HOTPLUG_REASON_MIGRATING = 23,
    /// Pending: the guest has released the disk, but an export, a block job or an image above it, which
    /// reason_text names, still uses its image. The removal finishes when that ends.
    KVM_HOTPLUG_REASON_IN_USE = 24,
    /// Missing: recorded, but not in the guest when it was last asked, for instance after a restart of QEMU
    /// by hand. kvm_hotplug_repair() removes it from the record.
    KVM_HOTPLUG_REASON_MISSING = 25,
    /// Pending, of kvm_hotplug_change_media() alone: the guest has locked the tray of the drive.
    KVM_HOTPLUG_REASON_TRAY_LOCKED = 26,
    /// Pending, from a record without its guest: a removal was begun, and its end is not recorded.
    KVM_HOTPLUG_REASON_REMOVAL_UNFINISHED = 32,
    /// Pending, from a record without its guest: an add was begun, and its end is not recorded. The guest may
    /// have the device, or have had it.
    KVM_HOTPLUG_REASON_ADD_UNFINISHED = 33,
    /// From a record without its guest: a change was begun, and its end is not recorded. The state is the
    /// device's.
    KVM_HOTPLUG_REASON_CHANGE_UNFINISHED = 34,
}

/// A device of a record or guest. Strings are empty where they do not apply.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_device {
    /// Id in QEMU, also of its netdev or block node, if any; at most 31 characters.
    pub id: [c_char; 32],
    /// PCI or SCSI bus, as address_type says; empty without an address.
    pub bus: [c_char; 64],
    /// NIC: MAC address, as in "52:54:00:12:34:56".
    pub mac: [c_char; 24],
    /// NIC: tap on the host when it was added.
    pub ifname: [c_char; 16],
    /// NIC: bridge on the host.
    pub bridge: [c_char; 16],
    /// QEMU device model.
    pub model: [c_char; 64],
    /// Disk: serial number.
    pub serial: [c_char; 40],
    /// Disk: path of the image or block device, or Ganeti's URI for one that QEMU opens. Empty if it is
    /// longer than 255 bytes: see kvm_hotplug_get_path() and kvm_runtime_get_path().
    pub path: [c_char; 256],
    /// The reason in words.
    pub reason_text: [c_char; 160],
    /// Tells this attachment from earlier ones of the same id.
    pub generation: u64,
    /// One of enum kvm_hotplug_device_type.
    pub device_type: u32,
    /// One of enum kvm_hotplug_state.
    pub state: u32,
    /// One of enum kvm_hotplug_reason: why the state is not LIVE. A record without its guest has only the
    /// reasons of its journal.
    pub reason: u32,
    /// PCI: slot on the bus, 0 to 31.
    pub slot: u32,
    /// Queue pairs (NIC), virtqueues (disk), request queues; 0: QEMU's default.
    pub queues: u32,
    /// NIC: 1 if vhost-net moves the packets.
    pub vhost: u32,
    /// NIC: MTU announced to the guest, 0 for none.
    pub mtu: u32,
    /// Disk: 1 if the guest cannot write to it.
    pub read_only: u32,
    /// 1 if the next boot removes the device.
    pub removed_after_reboot: u32,
    /// Always 0.
    pub reserved: u32,
    /// One of enum kvm_hotplug_address_type: which fields count.
    pub address_type: u32,
    /// SCSI: channel of the bus, 0.
    pub channel: u32,
    /// SCSI: target on the channel, 0 to 255 (QEMU's scsi-id).
    pub target: u32,
    /// SCSI: unit of the target, 0 to 16383.
    pub lun: u32,
    /// NIC: 1 if its link is recorded as down.
    pub link_down: u32,
    /// Place in the firmware's boot order, -1 for none.
    pub boot_index: i32,
    /// Disk: one of enum kvm_hotplug_format, RAW or QCOW2.
    pub format: u32,
    /// Disk: one of enum kvm_hotplug_cache.
    pub cache: u32,
    /// Disk: one of enum kvm_hotplug_aio.
    pub aio: u32,
    /// Disk: one of enum kvm_hotplug_discard.
    pub discard: u32,
    /// Disk: one of enum kvm_hotplug_detect_zeroes.
    pub detect_zeroes: u32,
    /// Disk: 1 if others may write to the image at the same time.
    pub share_rw: u32,
    /// Disk: smallest unit of I/O in bytes, 0 for QEMU's default.
    pub logical_block_size: u32,
    /// Disk: unit the guest should align to in bytes, 0 for the same.
    pub physical_block_size: u32,
    /// Disk: world wide name, 0 for none.
    pub wwn: u64,
    /// In the guest: slot and function of each bridge from the root bus on, and of the device, hexadecimal,
    /// as in "05.0" or "10.0/00.0"; of a SCSI disk, those of its controller. No guest can change it. Behind
    /// another root bus than 0, the number of that bus is in front, as in "80:00.0/01.0". This and the next
    /// three are empty where they are not known: for devices that the guest does not have, from a record
    /// alone, and in the answer of the call that adds the device.
    pub pci_path: [c_char; 64],
    /// Domain, bus, slot and function as the guest sees them, as in "0000:01:00.0"; of a SCSI disk, those of
    /// its controller. The number of a bus behind a bridge is the guest's, as QEMU last showed it: empty
    /// until the firmware has run, and a reboot may change it.
    pub guest_address: [c_char; 16],
    /// What Linux with udev of systemd calls the device by that address. NIC: "enp1s0", the property
    /// ID_NET_NAME_PATH. Disk: its link "/dev/disk/by-path/pci-0000:00:05.0" or, for SCSI,
    /// "/dev/disk/by-path/pci-0000:00:06.0-scsi-0:0:1:0"; systemd makes "virtio-pci-0000:00:05.0" there as
    /// well for virtio-blk. Other systems, and guests with rules of their own, give other names.
    pub guest_name: [c_char; 80],
    /// NIC on pci.0 of machine pc: "ens5", the property ID_NET_NAME_SLOT by the number that ACPI has for the
    /// slot. Linux with systemd prefers it to guest_name, which is then an alternative name of the NIC.
    pub guest_slot_name: [c_char; 16],
}

// SAFETY: repr(C), integers and arrays of them only.
unsafe impl Plain for kvm_hotplug_device {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_device, wwn);
}
