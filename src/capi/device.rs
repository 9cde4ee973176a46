//! `struct kvm_hotplug_device`: what a device is and how it stands.

use std::ffi::c_char;

use super::args::Plain;

/// What a call answers when it did not fail. Every such answer is success; negative values are -errno.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_answer {
    /// Done in the running guest: the device is in, or gone, so that its storage or tap may be torn down.
    KVM_HOTPLUG_ANSWER_DONE = 0,
    /// Recorded only: takes effect with the next boot. The device's reason says why.
    KVM_HOTPLUG_ANSWER_AFTER_REBOOT = 1,
    /// A removal was asked for and the guest has not granted it yet: slot, id and backend stay taken. An event will
    /// follow; the device's reason says what the guest is doing. Do not tear anything down yet. Or an add was begun with
    /// KVM_HOTPLUG_NO_WAIT, and an event will say how it went.
    KVM_HOTPLUG_ANSWER_PENDING = 2,
    /// There is no such device, neither in the record nor in the guest.
    KVM_HOTPLUG_ANSWER_ABSENT = 3,
}

/// How a device stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_state {
    /// In the guest.
    KVM_HOTPLUG_STATE_LIVE = 0,
    /// Recorded for the next boot, with which it comes or goes.
    KVM_HOTPLUG_STATE_AFTER_REBOOT = 1,
    /// On its way out of the guest, or in with KVM_HOTPLUG_NO_WAIT, as with KVM_HOTPLUG_ANSWER_PENDING.
    KVM_HOTPLUG_STATE_PENDING = 2,
    /// There is no such device, neither in the record nor in the guest.
    KVM_HOTPLUG_STATE_ABSENT = 3,
    /// The record has it, and the guest did not have it when it was last asked.
    KVM_HOTPLUG_STATE_MISSING = 4,
}

/// What a device is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_device_type {
    /// A network card.
    KVM_HOTPLUG_DEVICE_NIC = 1,
    /// A disk.
    KVM_HOTPLUG_DEVICE_DISK = 2,
    /// A SCSI controller.
    KVM_HOTPLUG_DEVICE_CONTROLLER = 3,
}

/// What kind of place a device has.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_address_type {
    /// None yet.
    KVM_HOTPLUG_ADDRESS_NONE = 0,
    /// On a PCI bus: bus and slot.
    KVM_HOTPLUG_ADDRESS_PCI = 1,
    /// On the bus of a SCSI controller: bus, channel, target and lun.
    KVM_HOTPLUG_ADDRESS_SCSI = 2,
}

/// Why a device is not (or not yet) what was asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_reason {
    /// Nothing to explain.
    KVM_HOTPLUG_REASON_NONE = 0,
    /// After reboot: QEMU is older than 5.2, the oldest that devices are plugged into.
    KVM_HOTPLUG_REASON_QEMU_TOO_OLD = 1,
    /// After reboot: the model is not a paravirtual one.
    KVM_HOTPLUG_REASON_MODEL = 2,
    /// After reboot: the record does not say where the device sits.
    KVM_HOTPLUG_REASON_NO_ADDRESS = 3,
    /// After reboot: the SCSI controller comes with the next boot itself, or is of a model that does not tell a running guest
    /// of new disks.
    KVM_HOTPLUG_REASON_CONTROLLER = 4,
    /// After reboot: nothing is in its way any more. It was recorded for the next boot when the guest did not run, or with an older
    /// QEMU; to have a new device now, remove it and add it again.
    KVM_HOTPLUG_REASON_RECORDED = 5,
    /// Pending: the guest runs and has not answered yet.
    KVM_HOTPLUG_REASON_DEADLINE = 16,
    /// Pending: the guest runs but has never set the device up; it has not booted, or does not support hotplug.
    KVM_HOTPLUG_REASON_NOT_BOOTED = 17,
    /// Pending: the guest has not been started, or was reset while it was stopped; it is asked once it runs.
    KVM_HOTPLUG_REASON_NOT_STARTED = 18,
    /// Pending: the guest is paused.
    KVM_HOTPLUG_REASON_PAUSED = 19,
    /// Pending: the guest is asleep (ACPI S3).
    KVM_HOTPLUG_REASON_ASLEEP = 20,
    /// Pending: the guest has crashed or was stopped by an error.
    KVM_HOTPLUG_REASON_STOPPED = 21,
    /// Pending: the caller did not wait.
    KVM_HOTPLUG_REASON_NOT_AWAITED = 22,
    /// Pending: the guest is being migrated; it will be asked again where it runs afterwards.
    KVM_HOTPLUG_REASON_MIGRATING = 23,
    /// Pending: the guest has let go of the disk, but QEMU still uses its image: for an export, a block job, or an image above it,
    /// which the words name. The removal is finished when that ends.
    KVM_HOTPLUG_REASON_IN_USE = 24,
    /// Missing: the record has the device, and the guest did not have it when it was last asked, for instance since QEMU was started
    /// anew by hand. kvm_hotplug_repair() takes it out of the record.
    KVM_HOTPLUG_REASON_MISSING = 25,
    /// Pending, from a record without its guest: a removal was begun, and its end is not written down.
    KVM_HOTPLUG_REASON_REMOVAL_UNFINISHED = 32,
    /// Pending, from a record without its guest: an add was begun, and its end is not written down. The guest may have the
    /// device, or have had it.
    KVM_HOTPLUG_REASON_ADD_UNFINISHED = 33,
    /// From a record without its guest: a change of the device was begun, and its end is not written down. The state is
    /// that of the device.
    KVM_HOTPLUG_REASON_CHANGE_UNFINISHED = 34,
}

/// A device of a record or guest. Strings are UTF-8, end in NUL, and are empty where they do not apply.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_device {
    /// Id in QEMU, and that of the netdev or block node behind it, if there is one: at most 31 characters.
    pub id: [c_char; 32],
    /// Bus it sits on, PCI or SCSI as address_type says; empty if it has no place yet. That of a SCSI controller with the id
    /// "scsi-pci-7" is "scsi-pci-7.0".
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
    /// Disk: path of the image or block device, or the URI of one that Ganeti had QEMU open by itself. Empty if it is longer
    /// than 255 bytes: kvm_hotplug_get_path() and kvm_runtime_get_path() say it whole.
    pub path: [c_char; 256],
    /// The reason in words.
    pub reason_text: [c_char; 160],
    /// Tells this attachment from earlier ones of the same id.
    pub generation: u64,
    /// One of enum kvm_hotplug_device_type.
    pub device_type: u32,
    /// One of enum kvm_hotplug_state.
    pub state: u32,
    /// One of enum kvm_hotplug_reason: why the state is not LIVE. From a record without its guest there are only those of its
    /// journal, because the others depend on the guest.
    pub reason: u32,
    /// Slot on the PCI bus, 0 to 31; counts only with KVM_HOTPLUG_ADDRESS_PCI.
    pub slot: u32,
    /// NIC: queue pairs. Disk: virtqueues, SCSI controller: request queues, 0 for QEMU's default.
    pub queues: u32,
    /// NIC: 1 if vhost-net moves the packets.
    pub vhost: u32,
    /// NIC: MTU announced to the guest, 0 for none.
    pub mtu: u32,
    /// Disk: 1 if the guest cannot write to it.
    pub read_only: u32,
    /// 1 if the device is to go with the next boot.
    pub removed_after_reboot: u32,
    /// Always 0.
    pub reserved: u32,
    /// One of enum kvm_hotplug_address_type: which of slot or channel, target and lun counts.
    pub address_type: u32,
    /// Channel of the SCSI bus: 0. Like target and lun it counts only with KVM_HOTPLUG_ADDRESS_SCSI.
    pub channel: u32,
    /// Target on the channel, 0 to 255 (QEMU's scsi-id).
    pub target: u32,
    /// Unit of the target, 0 to 16383.
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
}

// SAFETY: repr(C), integers and arrays of them only.
unsafe impl Plain for kvm_hotplug_device {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_device, wwn);
}
