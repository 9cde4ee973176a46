//! How a device becomes a `struct kvm_hotplug_device`.

use std::ffi::c_int;

use super::device::{
    kvm_hotplug_address_type, kvm_hotplug_answer, kvm_hotplug_device, kvm_hotplug_reason, kvm_hotplug_state,
};
use super::give::{put_text, show_struct, zeros};
use crate::disk::FormatRequest;
use crate::guest::{DeferReason, DeviceInfo, DeviceState, GuestView, MISSING, Outcome, PendingReason};
use crate::ids::{Address, BusName};
use crate::model::{Device, Intent, Journal, Operation, Presence, Spec};
use crate::sanitize::escaped;

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
        self.generation = device.generation;
        self.device_type = device.kind() as u32;
        self.stand((state, reason, text));
        self.removed_after_reboot = u32::from(device.presence == Presence::RemoveAfterReboot);
        (self.address_type, self.slot) = (address_type, slot);
        (self.channel, self.target, self.lun) = (channel, target, lun);
        self.boot_index = -1;
        self.describe(&device.spec);
    }

    fn stand(&mut self, (state, reason, text): Condition) {
        put_text(&mut self.reason_text, &escaped(&text));
        (self.state, self.reason) = (state as u32, reason as u32);
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
                let path = disk.title();
                // Half a path is another file's.
                if path.len() < self.path.len() {
                    put_text(&mut self.path, &path);
                }
                self.queues = disk.queues.unwrap_or(0).into();
                self.read_only = disk.read_only.into();
                self.boot_index = index_number(disk.boot_index);
                self.format = FormatRequest::from(disk.format) as u32;
                self.cache = disk.cache as u32;
                self.aio = disk.aio as u32;
                self.discard = disk.discard as u32;
                self.detect_zeroes = disk.detect_zeroes as u32;
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
        let mut result = match &device_info.state {
            DeviceState::Pending(why) => Self::new(&device_info.device, pending(*why)),
            DeviceState::Missing => Self::new(&device_info.device, missing()),
            DeviceState::Live => Self::recorded(&device_info.device),
            DeviceState::AddAfterReboot(why) | DeviceState::RemoveAfterReboot(why) => {
                Self::new(&device_info.device, after_reboot(why))
            }
        };
        result.see(&device_info.view);
        result
    }

    fn see(&mut self, view: &GuestView) {
        // Half a path is another device's.
        if view.pci_path.len() < self.pci_path.len() {
            put_text(&mut self.pci_path, &view.pci_path);
        }
        put_text(&mut self.guest_address, &view.address);
        put_text(&mut self.guest_name, &view.name);
        put_text(&mut self.guest_slot_name, &view.slot_name);
    }
}

/// State, reason, and the reason in words.
type Condition = (kvm_hotplug_state, kvm_hotplug_reason, String);

fn plain(state: kvm_hotplug_state) -> Condition {
    (state, kvm_hotplug_reason::KVM_HOTPLUG_REASON_NONE, String::new())
}

/// That of a device without its guest.
fn state_of(device: &Device) -> kvm_hotplug_state {
    match device.presence {
        Presence::Live => kvm_hotplug_state::KVM_HOTPLUG_STATE_LIVE,
        Presence::AddAfterReboot | Presence::RemoveAfterReboot => {
            kvm_hotplug_state::KVM_HOTPLUG_STATE_AFTER_REBOOT
        }
    }
}

/// What the journal says of a device; `otherwise` is its state where that does not depend on it.
fn unfinished(operation: Operation, otherwise: kvm_hotplug_state) -> Condition {
    let (state, reason) = match operation {
        Operation::Add | Operation::RollbackAdd => (
            kvm_hotplug_state::KVM_HOTPLUG_STATE_PENDING,
            kvm_hotplug_reason::KVM_HOTPLUG_REASON_ADD_UNFINISHED,
        ),
        Operation::Remove => (
            kvm_hotplug_state::KVM_HOTPLUG_STATE_PENDING,
            kvm_hotplug_reason::KVM_HOTPLUG_REASON_REMOVAL_UNFINISHED,
        ),
        Operation::RemoveNext
        | Operation::SetLink
        | Operation::Move
        | Operation::SetLimits
        | Operation::ChangeMedium => (otherwise, kvm_hotplug_reason::KVM_HOTPLUG_REASON_CHANGE_UNFINISHED),
    };
    (state, reason, operation.condition())
}

fn pending(why: PendingReason) -> Condition {
    (kvm_hotplug_state::KVM_HOTPLUG_STATE_PENDING, waiting_reason(why), why.to_string())
}

fn missing() -> Condition {
    let (state, reason) =
        (kvm_hotplug_state::KVM_HOTPLUG_STATE_MISSING, kvm_hotplug_reason::KVM_HOTPLUG_REASON_MISSING);
    (state, reason, MISSING.to_owned())
}

fn after_reboot(why: &DeferReason) -> Condition {
    let reason = match why {
        DeferReason::QemuTooOld(_) => kvm_hotplug_reason::KVM_HOTPLUG_REASON_QEMU_TOO_OLD,
        DeferReason::Model(_) => kvm_hotplug_reason::KVM_HOTPLUG_REASON_MODEL,
        DeferReason::Controller(_) => kvm_hotplug_reason::KVM_HOTPLUG_REASON_CONTROLLER,
        DeferReason::NoAddress => kvm_hotplug_reason::KVM_HOTPLUG_REASON_NO_ADDRESS,
        DeferReason::Full(_) => kvm_hotplug_reason::KVM_HOTPLUG_REASON_FULL,
        DeferReason::Recorded => kvm_hotplug_reason::KVM_HOTPLUG_REASON_RECORDED,
    };
    (kvm_hotplug_state::KVM_HOTPLUG_STATE_AFTER_REBOOT, reason, why.to_string())
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
        PendingReason::TrayLocked => kvm_hotplug_reason::KVM_HOTPLUG_REASON_TRAY_LOCKED,
    }
}

/// The integer that a call answers.
pub(super) fn code(outcome: &Outcome) -> c_int {
    let code = match outcome {
        Outcome::Done(_) | Outcome::DoneByPath => kvm_hotplug_answer::KVM_HOTPLUG_ANSWER_DONE,
        Outcome::AfterReboot(..) => kvm_hotplug_answer::KVM_HOTPLUG_ANSWER_AFTER_REBOOT,
        Outcome::Pending(..) | Outcome::PendingByPath(_) => kvm_hotplug_answer::KVM_HOTPLUG_ANSWER_PENDING,
        Outcome::Absent => kvm_hotplug_answer::KVM_HOTPLUG_ANSWER_ABSENT,
    };
    code as c_int
}

/// Writes the device that a call answers; nothing for one that does not exist.
///
/// # Safety
/// `place` is NULL (then nothing is written) or valid for writes of `size` bytes.
pub(super) unsafe fn write_device(outcome: &Outcome, place: *mut kvm_hotplug_device, size: usize) {
    let (device, condition) = match outcome {
        Outcome::Done(device) => (Some(device), plain(kvm_hotplug_state::KVM_HOTPLUG_STATE_LIVE)),
        Outcome::AfterReboot(device, why) => (Some(device), after_reboot(why)),
        Outcome::Pending(device, why) => (Some(device), pending(*why)),
        Outcome::DoneByPath => (None, plain(kvm_hotplug_state::KVM_HOTPLUG_STATE_LIVE)),
        Outcome::PendingByPath(why) => (None, pending(*why)),
        Outcome::Absent => return,
    };
    let show = |result: &mut kvm_hotplug_device| match device {
        Some(device) => result.show(device, condition),
        None => result.stand(condition),
    };
    // SAFETY: passed on.
    unsafe { show_struct(place, size, show) };
}
