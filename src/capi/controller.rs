//! `kvm_hotplug_add_controller`.

use std::ffi::{c_char, c_int};

use super::args::{Plain, check_flags, optional_str, read_struct, timeout};
use super::device::kvm_hotplug_device;
use super::disk::{KVM_HOTPLUG_MAKE_IOTHREAD, iothread};
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, check_device_out, give_answer, kvm_hotplug};
use super::nic::{KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, narrow, placement, properties};
use crate::error::Result;
use crate::guest::ControllerRequest;
use crate::slots::scsi::ControllerSpec;

/// A SCSI controller to add. The default is a virtio-scsi-pci in the first free slot.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_controller {
    /// Id, of the same form as a NIC's. NULL for "scsi-pci-<slot>", or "scsi-pci-<bus>" on a root port. The
    /// bus for its disks is "<id>.0".
    pub id: *const c_char,
    /// QEMU device model; NULL for "virtio-scsi-pci". Models outside of that family are recorded for the next
    /// boot.
    pub model: *const c_char,
    /// PCI bus; NULL for the first free slot of any. With it, slot counts.
    pub bus: *const c_char,
    /// Request queues, 1 to 1021; 0 for QEMU's default.
    pub queues: u32,
    /// Slot on bus, 0 to 31; 0 means any free one, where the bus has others.
    pub slot: u32,
    /// Milliseconds for all of it; 0 means 5000.
    pub timeout_ms: u32,
    /// KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_MAKE_IOTHREAD.
    pub flags: u32,
    /// Further properties of the device in QEMU, as in struct kvm_hotplug_nic.
    pub properties: *const c_char,
    /// The iothread that does the I/O of its disks, as in struct kvm_hotplug_disk.
    pub iothread: *const c_char,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_hotplug_controller {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_controller, flags);
}

/// Plugs a SCSI controller into the guest and records it. kvm_hotplug_add_disk() does this by itself for the
/// first SCSI disk; call this for a controller with settings of its own, or a second one.
///
/// Returns one of enum kvm_hotplug_answer, or fails like any add of a device.
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
    let known = KVM_HOTPLUG_LIVE_ONLY | KVM_HOTPLUG_NO_WAIT | KVM_HOTPLUG_MAKE_IOTHREAD;
    check_flags(flags, known, "controller flags")?;
    // SAFETY: passed on.
    let (mut placement, model) = unsafe { (placement(id, bus, slot, flags)?, optional_str(model, "model")?) };
    // SAFETY: passed on.
    placement.properties = unsafe { properties(controller.properties) }?;
    let mut spec = ControllerSpec::default();
    if let Some(model) = model {
        spec.model = model.to_owned();
    }
    // SAFETY: passed on.
    spec.iothread = unsafe { iothread(controller.iothread, flags) }?;
    spec.queues = (queues != 0).then(|| narrow(queues, "queues")).transpose()?;
    Ok(ControllerRequest { placement, spec })
}
