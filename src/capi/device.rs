//! `struct kvm_hotplug_device`: what a device is and how it stands.

use std::ffi::{c_char, c_int};

use super::args::{Plain, put_text, show_struct, zeros};
use super::numbers;
use crate::guest::{DeferReason, DeviceInfo, DeviceState, MISSING, Outcome, PendingReason};
use crate::ids::{Address, BusName};
use crate::model::{Device, DeviceKind, Intent, Journal, Operation, Presence, Spec};
use crate::sanitize::escaped;

/// What a call answers when it did not fail. Every such answer is success; negative values are -errno.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_answer {
    /// Done in the running guest: the device is in, or gone, so that its storage or tap may be torn down.
    KVM_HOTPLUG_DONE = 0,
    /// Recorded only: takes effect with the next boot. The device's reason says why.
    KVM_HOTPLUG_AFTER_REBOOT = 1,
    /// A removal was asked for and the guest has not granted it yet: slot, id and backend stay taken. An event will
    /// follow; the device's reason says what the guest is doing. Do not tear anything down yet. Or an add was begun with
    /// KVM_HOTPLUG_NO_WAIT, and an event will say how it went.
    KVM_HOTPLUG_PENDING = 2,
    /// There is no such device, neither in the record nor in the guest.
    KVM_HOTPLUG_ABSENT = 3,
    /// State of a device only: the record has it, and the guest did not have it when it was last asked.
    KVM_HOTPLUG_MISSING = 4,
}

/// What a device is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_device_type {
    /// A network card.
    KVM_HOTPLUG_NIC = 1,
    /// A disk.
    KVM_HOTPLUG_DISK = 2,
    /// A SCSI controller.
    KVM_HOTPLUG_CONTROLLER = 3,
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
    /// anew by hand. kvm_hotplug_mend() takes it out of the record.
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
    /// Disk: serial number, the first 23 characters of a longer one; see whole_serial.
    pub serial: [c_char; 24],
    /// Disk: path of the image or block device, or the URI of one that Ganeti had QEMU open by itself.
    pub path: [c_char; 4096],
    /// The reason in words.
    pub reason_text: [c_char; 160],
    /// Tells this attachment from earlier ones of the same id.
    pub generation: u64,
    /// One of enum kvm_hotplug_device_type.
    pub device_type: u32,
    /// One of enum kvm_hotplug_answer: DONE means in the guest, AFTER_REBOOT recorded for the next boot (to come or to
    /// go), PENDING on its way out, MISSING recorded, but not in the guest when it was last asked.
    pub state: u32,
    /// One of enum kvm_hotplug_reason: why the state is not DONE. From a record without its guest there are only those of its
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
    /// Disk: serial number.
    pub whole_serial: [c_char; 40],
}

// SAFETY: repr(C), integers and arrays of them only.
unsafe impl Plain for kvm_hotplug_device {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_device, wwn);
}

/// The numbers of an address as C has them; all zero for none.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) address_type: u32,
    pub(super) slot: u32,
    pub(super) channel: u32,
    pub(super) target: u32,
    pub(super) lun: u32,
}

impl Numbers {
    pub(super) fn of(address: &Address) -> Self {
        match address {
            Address::Pci(address) => Self {
                address_type: kvm_hotplug_address_type::KVM_HOTPLUG_ADDRESS_PCI as u32,
                slot: address.slot.get().into(),
                ..Self::default()
            },
            Address::Scsi(address) => Self {
                address_type: kvm_hotplug_address_type::KVM_HOTPLUG_ADDRESS_SCSI as u32,
                slot: 0,
                channel: address.channel.get().into(),
                target: address.target.into(),
                lun: address.lun.get().into(),
            },
        }
    }
}

impl kvm_hotplug_device {
    fn new(device: &Device, condition: Condition) -> Self {
        let mut result: Self = zeros();
        result.show(device, condition);
        result
    }

    /// Fills a struct of zeros.
    fn show(&mut self, device: &Device, (state, reason, text): Condition) {
        let numbers = device.address.as_ref().map(Numbers::of);
        let Numbers { address_type, slot, channel, target, lun } = numbers.unwrap_or_default();
        put_text(&mut self.id, device.id.as_str());
        put_text(&mut self.bus, device.bus().map_or("", BusName::as_str));
        put_text(&mut self.mac, &device.mac().map(|mac| mac.to_string()).unwrap_or_default());
        put_text(&mut self.model, device.model());
        put_text(&mut self.reason_text, &escaped(&text));
        self.generation = device.generation;
        self.device_type = type_number(device.kind());
        self.state = state as u32;
        self.reason = reason as u32;
        self.removed_after_reboot = u32::from(device.presence == Presence::RemoveAfterReboot);
        (self.address_type, self.slot) = (address_type, slot);
        (self.channel, self.target, self.lun) = (channel, target, lun);
        self.boot_index = -1;
        self.describe(&device.spec);
    }

    fn describe(&mut self, spec: &Spec) {
        match spec {
            Spec::Nic(nic) => {
                put_text(&mut self.ifname, nic.ifname.as_ref().map_or("", |name| name.as_str()));
                put_text(&mut self.bridge, nic.bridge.as_ref().map_or("", |name| name.as_str()));
                self.queues = nic.queues.into();
                self.vhost = nic.vhost.into();
                self.mtu = nic.mtu.unwrap_or(0).into();
                self.link_down = nic.link_down.into();
                self.boot_index = index_number(nic.boot_index);
            }
            Spec::Disk(disk) => {
                put_text(&mut self.serial, disk.serial.as_deref().unwrap_or(""));
                put_text(&mut self.whole_serial, disk.serial.as_deref().unwrap_or(""));
                let path = disk.uri.as_deref().map_or_else(|| disk.path.to_string_lossy(), Into::into);
                put_text(&mut self.path, &path);
                self.queues = disk.queues.unwrap_or(0).into();
                self.read_only = disk.read_only.into();
                self.boot_index = index_number(disk.boot_index);
                self.format = numbers::format_number(disk.format);
                self.cache = numbers::cache_number(disk.cache);
                self.aio = numbers::aio_number(disk.aio);
                self.discard = numbers::discard_number(disk.discard);
                self.detect_zeroes = numbers::detect_zeroes_number(disk.detect_zeroes);
                self.share_rw = disk.share_rw.into();
                self.logical_block_size = disk.logical_block_size.unwrap_or(0);
                self.physical_block_size = disk.physical_block_size.unwrap_or(0);
                self.wwn = disk.wwn.map_or(0, u64::from);
            }
            Spec::Controller(controller) => self.queues = controller.queues.unwrap_or(0).into(),
        }
    }

    /// A device as the record alone shows it.
    pub(super) fn recorded(device: &Device) -> Self {
        Self::new(device, plain(state_of(device)))
    }

    /// The same with what the journal says of it.
    pub(super) fn recorded_with(device: &Device, journal: &Journal) -> Self {
        match journal.find(device.id.as_str()) {
            Some(intent) if intent.device.generation == device.generation => Self::unfinished(intent, device),
            _ => Self::recorded(device),
        }
    }

    /// A device as the journal alone shows it.
    pub(super) fn intended(intent: &Intent) -> Self {
        Self::unfinished(intent, &intent.device)
    }

    fn unfinished(intent: &Intent, device: &Device) -> Self {
        Self::new(device, unfinished(intent.operation, state_of(device)))
    }

    /// A device as a live guest shows it.
    pub(super) fn device_info(device_info: &DeviceInfo) -> Self {
        match &device_info.state {
            DeviceState::Pending(why) => Self::new(&device_info.device, pending(*why)),
            DeviceState::Missing => Self::new(&device_info.device, missing()),
            DeviceState::Live => Self::recorded(&device_info.device),
            DeviceState::AddAfterReboot(why) | DeviceState::RemoveAfterReboot(why) => {
                Self::new(&device_info.device, after_reboot(why))
            }
        }
    }
}

/// State, reason, and the reason in words.
type Condition = (kvm_hotplug_answer, kvm_hotplug_reason, String);

fn plain(state: kvm_hotplug_answer) -> Condition {
    (state, kvm_hotplug_reason::KVM_HOTPLUG_REASON_NONE, String::new())
}

/// That of a device without its guest.
fn state_of(device: &Device) -> kvm_hotplug_answer {
    match device.presence {
        Presence::Live => kvm_hotplug_answer::KVM_HOTPLUG_DONE,
        Presence::AddAfterReboot | Presence::RemoveAfterReboot => {
            kvm_hotplug_answer::KVM_HOTPLUG_AFTER_REBOOT
        }
    }
}

/// What the journal says of a device; `otherwise` is its state where that does not depend on it.
fn unfinished(operation: Operation, otherwise: kvm_hotplug_answer) -> Condition {
    let (reason, what) = match operation {
        Operation::Add => (kvm_hotplug_reason::KVM_HOTPLUG_REASON_ADD_UNFINISHED, "it was being added"),
        Operation::RollbackAdd => {
            (kvm_hotplug_reason::KVM_HOTPLUG_REASON_ADD_UNFINISHED, "its add failed and was being undone")
        }
        Operation::Remove => {
            (kvm_hotplug_reason::KVM_HOTPLUG_REASON_REMOVAL_UNFINISHED, "it was being removed")
        }
        Operation::SetLink => {
            (kvm_hotplug_reason::KVM_HOTPLUG_REASON_CHANGE_UNFINISHED, "its link was being set")
        }
        Operation::Move => {
            let what = "it was being moved to another bridge";
            (kvm_hotplug_reason::KVM_HOTPLUG_REASON_CHANGE_UNFINISHED, what)
        }
    };
    let state = match operation {
        Operation::Add | Operation::RollbackAdd | Operation::Remove => {
            kvm_hotplug_answer::KVM_HOTPLUG_PENDING
        }
        Operation::SetLink | Operation::Move => otherwise,
    };
    (state, reason, format!("{what}, and how that ended is not written down"))
}

fn pending(why: PendingReason) -> Condition {
    (kvm_hotplug_answer::KVM_HOTPLUG_PENDING, waiting_reason(why), why.to_string())
}

fn missing() -> Condition {
    let (state, reason) =
        (kvm_hotplug_answer::KVM_HOTPLUG_MISSING, kvm_hotplug_reason::KVM_HOTPLUG_REASON_MISSING);
    (state, reason, MISSING.to_owned())
}

fn after_reboot(why: &DeferReason) -> Condition {
    let reason = match why {
        DeferReason::QemuTooOld(_) => kvm_hotplug_reason::KVM_HOTPLUG_REASON_QEMU_TOO_OLD,
        DeferReason::Model(_) => kvm_hotplug_reason::KVM_HOTPLUG_REASON_MODEL,
        DeferReason::Controller(_) => kvm_hotplug_reason::KVM_HOTPLUG_REASON_CONTROLLER,
        DeferReason::NoAddress => kvm_hotplug_reason::KVM_HOTPLUG_REASON_NO_ADDRESS,
        DeferReason::Recorded => kvm_hotplug_reason::KVM_HOTPLUG_REASON_RECORDED,
    };
    (kvm_hotplug_answer::KVM_HOTPLUG_AFTER_REBOOT, reason, why.to_string())
}

fn index_number(index: Option<u32>) -> i32 {
    index.and_then(|index| i32::try_from(index).ok()).unwrap_or(-1)
}

fn waiting_reason(why: PendingReason) -> kvm_hotplug_reason {
    match why {
        PendingReason::Deadline => kvm_hotplug_reason::KVM_HOTPLUG_REASON_DEADLINE,
        PendingReason::NotBooted => kvm_hotplug_reason::KVM_HOTPLUG_REASON_NOT_BOOTED,
        PendingReason::NotStarted => kvm_hotplug_reason::KVM_HOTPLUG_REASON_NOT_STARTED,
        PendingReason::Paused => kvm_hotplug_reason::KVM_HOTPLUG_REASON_PAUSED,
        PendingReason::Asleep => kvm_hotplug_reason::KVM_HOTPLUG_REASON_ASLEEP,
        PendingReason::Stopped => kvm_hotplug_reason::KVM_HOTPLUG_REASON_STOPPED,
        PendingReason::NotAwaited => kvm_hotplug_reason::KVM_HOTPLUG_REASON_NOT_AWAITED,
        PendingReason::Migrating => kvm_hotplug_reason::KVM_HOTPLUG_REASON_MIGRATING,
        PendingReason::InUse(_) => kvm_hotplug_reason::KVM_HOTPLUG_REASON_IN_USE,
    }
}

pub(super) fn type_number(kind: DeviceKind) -> u32 {
    match kind {
        DeviceKind::Nic => kvm_hotplug_device_type::KVM_HOTPLUG_NIC as u32,
        DeviceKind::Disk => kvm_hotplug_device_type::KVM_HOTPLUG_DISK as u32,
        DeviceKind::Controller => kvm_hotplug_device_type::KVM_HOTPLUG_CONTROLLER as u32,
    }
}

/// The integer that a call answers.
pub(super) fn code(outcome: &Outcome) -> c_int {
    let code = match outcome {
        Outcome::Done(_) => kvm_hotplug_answer::KVM_HOTPLUG_DONE,
        Outcome::AfterReboot(..) => kvm_hotplug_answer::KVM_HOTPLUG_AFTER_REBOOT,
        Outcome::Pending(..) => kvm_hotplug_answer::KVM_HOTPLUG_PENDING,
        Outcome::Absent => kvm_hotplug_answer::KVM_HOTPLUG_ABSENT,
    };
    code as c_int
}

/// Writes the device that a call answers; nothing for one that does not exist.
///
/// # Safety
/// `place` is NULL (then nothing is written) or valid for writes of `size` bytes.
pub(super) unsafe fn write_device(outcome: &Outcome, place: *mut kvm_hotplug_device, size: usize) {
    let (device, condition) = match outcome {
        Outcome::Done(device) => (device, plain(kvm_hotplug_answer::KVM_HOTPLUG_DONE)),
        Outcome::AfterReboot(device, why) => (device, after_reboot(why)),
        Outcome::Pending(device, why) => (device, pending(*why)),
        Outcome::Absent => return,
    };
    // SAFETY: passed on.
    unsafe { show_struct(place, size, |result: &mut kvm_hotplug_device| result.show(device, condition)) };
}
