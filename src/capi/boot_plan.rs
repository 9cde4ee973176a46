//! What the next boot comes to.

use std::ffi::c_int;

use super::args::{self, Plain};
use super::error::kvm_hotplug_error;
use super::give::write_struct;
use super::guard;
use super::runtime::kvm_runtime;
use crate::error::{Error, ErrorKind};
use crate::model::Machine;

/// What kind of machine a command line starts.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_boot_machine {
    /// Devices sit in slots of pci.0, as on pc.
    KVM_BOOT_MACHINE_PC = 1,
    /// Every device that can be unplugged needs a root port, as on q35.
    KVM_BOOT_MACHINE_Q35 = 2,
    /// The library chooses no addresses: requests must give them.
    KVM_BOOT_MACHINE_OTHER = 3,
}

/// How full the next boot will be.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_boot_plan {
    /// One of enum kvm_boot_machine.
    pub machine: u32,
    /// NICs and disks it starts with.
    pub devices: u32,
    /// Devices that it then has room for: free slots of pci.0 or free root ports.
    pub free: u32,
    /// Root ports that the command makes.
    pub ports: u32,
    /// How many of those the last boot did not have.
    pub new_ports: u32,
    /// Must be 0.
    pub reserved: u32,
    /// PCI bridges that the command makes, on pc.
    pub bridges: u32,
    /// How many of those the last boot did not have.
    pub new_bridges: u32,
}

// SAFETY: repr(C), integers only.
unsafe impl Plain for kvm_boot_plan {
    const FIRST: usize = super::args::end_of!(kvm_boot_plan, reserved);
}

/// Says what the next boot results in, without opening or changing anything: whether every device has an
/// address, how many root ports or PCI bridges it takes, and how many devices can be plugged in afterwards.
/// To plan for more devices, give their number as spare_ports and compare it with free.
///
/// `spare_ports`: as in struct kvm_boot_options.
/// `ret_plan`: where to put the plan.
///
/// Fails with -EADDRINUSE (two devices want one slot), -ENOSPC (no slot is left), -EOPNOTSUPP (a model that
/// needs another bus than PCI).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_plan_boot(
    runtime: *const kvm_runtime,
    spare_ports: u32,
    ret_plan: *mut kvm_boot_plan,
    plan_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        if ret_plan.is_null() {
            return Err(args::null("ret_plan"));
        }
        args::check_size::<kvm_boot_plan>(plan_size, "plan")?;
        let spare = usize::try_from(spare_ports).unwrap_or(usize::MAX);
        let plan = handle.lock().boot_plan(spare)?;
        let machine = match plan.machine {
            Machine::Conventional => kvm_boot_machine::KVM_BOOT_MACHINE_PC,
            Machine::Express => kvm_boot_machine::KVM_BOOT_MACHINE_Q35,
            Machine::Other => kvm_boot_machine::KVM_BOOT_MACHINE_OTHER,
        };
        let number = |count: usize| {
            u32::try_from(count).map_err(|_| Error::new(ErrorKind::Limit, "more than a number can say"))
        };
        let plan = kvm_boot_plan {
            machine: machine as u32,
            devices: number(plan.devices)?,
            free: number(plan.free)?,
            ports: number(plan.ports)?,
            new_ports: number(plan.new_ports)?,
            reserved: 0,
            bridges: number(plan.bridges)?,
            new_bridges: number(plan.new_bridges)?,
        };
        // SAFETY: the caller vouches for the struct.
        unsafe { write_struct(ret_plan, plan_size, &plan) };
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
