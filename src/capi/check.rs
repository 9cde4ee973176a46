//! Whether a host can start a guest.

use std::ffi::{c_char, c_int};

use super::args::{Plain, check_flags, optional_str, timeout};
use super::error::kvm_hotplug_error;
use super::give::{fill, give_list};
use super::guard;
use super::guest::KVM_HOTPLUG_DEFAULT_TIMEOUT_MS;
use super::runtime::kvm_runtime;
use crate::boot::PreflightIssue;
use crate::deadline::Deadline;
use crate::sanitize::escaped;

/// Flag of kvm_runtime_check(): the guest will come from another host by migration, not boot.
pub const KVM_RUNTIME_CHECK_INCOMING: u32 = 1 << 22;

/// One thing that prevents a start. Strings that do not fit are cut.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_runtime_problem {
    /// Id of the device; empty for the guest as a whole.
    pub id: [c_char; 64],
    /// What is wrong, in a sentence.
    pub text: [c_char; 512],
    /// One of enum kvm_runtime_problem_kind.
    pub kind: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: repr(C), integers and arrays of them only.
unsafe impl Plain for kvm_runtime_problem {
    const FIRST: usize = super::args::end_of!(kvm_runtime_problem, reserved);
}

impl From<&PreflightIssue> for kvm_runtime_problem {
    fn from(problem: &PreflightIssue) -> Self {
        Self {
            id: fill(&problem.id),
            text: fill(&escaped(&problem.text)),
            kind: problem.kind as u32,
            reserved: 0,
        }
    }
}

/// Checks whether this host can start the guest of a record: images and backing files can be opened as
/// needed, bridges exist, taps can be made, vhost is there, every device has an address, and the guest does
/// not run. With a monitor, also QEMU's version, the machine type and the device models. Nothing is changed:
/// images, and connections to the sockets at which the command listens, are opened and closed again.
///
/// `runtime`: the record; one from kvm_runtime_load_readonly() will do.
/// `qmp_path`: of a monitor without another client, of any QEMU of the version to be used: the waiting
/// target, or one started for this with `-machine none` (the library starts none). NULL to leave QEMU out.
///
/// Returns 0, whatever was found, or fails like any call to QEMU.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_check(
    runtime: *const kvm_runtime,
    flags: u32,
    qmp_path: *const c_char,
    timeout_ms: u32,
    ret_problems: *mut kvm_runtime_problem,
    problem_size: usize,
    capacity: usize,
    ret_count: *mut usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle and the string.
        let (handle, path) = unsafe { (kvm_runtime::get(runtime)?, optional_str(qmp_path, "qmp_path")?) };
        check_flags(flags, KVM_RUNTIME_CHECK_INCOMING, "check flags")?;
        super::args::check_list(ret_problems, problem_size)?;
        let deadline = Deadline::after(timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS));
        let incoming = flags & KVM_RUNTIME_CHECK_INCOMING != 0;
        let found = handle.lock().check_host(incoming, path.map(std::path::Path::new), &deadline)?;
        let list = found.iter().map(kvm_runtime_problem::from);
        // SAFETY: the caller vouches for the array and the counter.
        unsafe { give_list(list, ret_problems, problem_size, capacity, ret_count) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
