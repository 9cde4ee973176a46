//! `kvm_hotplug_add_controller`.

use std::ffi::{c_char, c_int};

use super::args::{Plain, check_flags, optional_str, read_struct, timeout};
use super::device::kvm_hotplug_device;
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, check_device_out, give_answer, kvm_hotplug};
use super::nic::{KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, narrow, placement};
use crate::error::Result;
use crate::guest::ControllerRequest;
use crate::slots::scsi::ControllerSpec;

/// A SCSI controller to add. Zero everywhere is the default: a virtio-scsi-pci in the first free slot. Strings are borrowed
/// for the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_controller {
    /// Id: a letter, then up to 30 letters, digits, '-', '.' or '_'. NULL for "scsi-pci-<slot>", or "scsi-pci-<bus>" on a
    /// root port. The bus for its disks is called "<id>.0".
    pub id: *const c_char,
    /// QEMU device model; NULL for "virtio-scsi-pci". One that is not of that family is recorded for the next boot.
    pub model: *const c_char,
    /// PCI bus to sit on; NULL for the first free slot. With it, slot counts.
    pub bus: *const c_char,
    /// Request queues, 1 to 1021; 0 for QEMU's default.
    pub queues: u32,
    /// Slot on bus, 0 to 31; 0 means any that is free there, where the bus has others.
    pub slot: u32,
    /// Milliseconds for all of it; 0 means 5000.
    pub timeout_ms: u32,
    /// KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT.
    pub flags: u32,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_hotplug_controller {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_controller, flags);
}

/// Plugs a SCSI controller into the guest and records it. Seldom needed: kvm_hotplug_add_disk() brings one along for the first
/// SCSI disk. It is for a controller with settings of its own, or a second one.
///
/// The call may be repeated: with an id that exists and the same settings it succeeds and does nothing.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE (in the guest), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded; the device's
/// reason says why), KVM_HOTPLUG_ANSWER_PENDING (with KVM_HOTPLUG_NO_WAIT), or fails like any change of a
/// guest, and with -ENOENT (no such bus), -EOPNOTSUPP (the pinned bus takes no devices;
/// KVM_HOTPLUG_LIVE_ONLY), -EEXIST (the id exists with other settings: the message names the field), -ENOSPC
/// (no free slot: counts per bus), -EADDRINUSE (the pinned one is taken).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_add_controller(
    guest: *mut kvm_hotplug,
    controller: *const kvm_hotplug_controller,
    controller_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (guest, controller) =
            unsafe { (kvm_hotplug::get(guest)?, read_struct(controller, controller_size, "controller")?) };
        check_device_out(ret_device, device_size)?;
        // SAFETY: the caller vouches for the strings.
        let request = unsafe { request(&controller) }?;
        let patience = timeout(controller.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS);
        let outcome = guest.add_controller(&request, patience)?;
        // SAFETY: the caller vouches for the struct.
        Ok(unsafe { give_answer(&outcome, ret_device, device_size) })
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// The request inside the struct.
///
/// # Safety
/// Its strings are NULL or valid as described.
pub(super) unsafe fn request(controller: &kvm_hotplug_controller) -> Result<ControllerRequest> {
    let kvm_hotplug_controller { id, model, bus, queues, slot, flags, .. } = *controller;
    check_flags(flags, KVM_HOTPLUG_LIVE_ONLY | KVM_HOTPLUG_NO_WAIT, "controller flags")?;
    // SAFETY: passed on.
    let (placement, model) = unsafe { (placement(id, bus, slot, flags)?, optional_str(model, "model")?) };
    let mut spec = ControllerSpec::default();
    if let Some(model) = model {
        spec.model = model.to_owned();
    }
    spec.queues = (queues != 0).then(|| narrow(queues, "queues")).transpose()?;
    Ok(ControllerRequest { placement, spec })
}
