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

/// Flag of kvm_runtime_check(): the guest is to come from another host by migration, and not to be booted.
pub const KVM_RUNTIME_CHECK_INCOMING: u32 = 1 << 22;

/// What stands in the way of a start. Callers treat values they do not know as "something": newer versions may add some.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_runtime_problem_kind {
    /// An image or one of its backing files cannot be opened as the guest needs it; or the guest was seen to write to another image,
    /// such as a snapshot that somebody else made, which has its data and is not in the record.
    KVM_RUNTIME_PROBLEM_IMAGE = 1,
    /// A bridge is missing, or is none.
    KVM_RUNTIME_PROBLEM_BRIDGE = 2,
    /// Taps cannot be made, or there is an interface of the name that a tap is to have; or the NIC was added over a tap of
    /// the caller's (tap_fds), which cannot be given for a start yet.
    KVM_RUNTIME_PROBLEM_TAP = 3,
    /// A NIC has vhost, and this host has none.
    KVM_RUNTIME_PROBLEM_VHOST = 4,
    /// QEMU is older than 5.2.
    KVM_RUNTIME_PROBLEM_QEMU_TOO_OLD = 5,
    /// QEMU does not know the machine type.
    KVM_RUNTIME_PROBLEM_MACHINE = 6,
    /// For a migration: the machine type has no version, and is another one in each version of QEMU. Harmless between hosts
    /// with the same QEMU.
    KVM_RUNTIME_PROBLEM_MACHINE_NOT_PINNED = 7,
    /// QEMU does not know the device model.
    KVM_RUNTIME_PROBLEM_MODEL = 8,
    /// For a migration: a device of the running guest has no address in the record.
    KVM_RUNTIME_PROBLEM_NO_ADDRESS = 9,
    /// The guest cannot be put together: two want one place, or there is none left.
    KVM_RUNTIME_PROBLEM_PLACE = 10,
    /// The guest runs: somebody listens at a Unix socket at which its command would listen (-qmp, -monitor, -chardev and
    /// others), or has its pid file locked. Another QEMU would take the socket away from the one that runs.
    KVM_RUNTIME_PROBLEM_RUNNING = 11,
    /// Another QEMU uses the image, or one of its backing files, in a way that does not go together with this use (for a boot);
    /// or another disk of the record, or of its command, has the same image.
    KVM_RUNTIME_PROBLEM_IMAGE_IN_USE = 12,
    /// The record has no command, or QEMU would not start with it: it has ids or boot indices of the record's devices, or names files or directories that are not there.
    KVM_RUNTIME_PROBLEM_COMMAND = 13,
    /// An add or change of this device is unfinished, and the record does not say how it ends: see kvm_runtime_unfinished().
    KVM_RUNTIME_PROBLEM_UNFINISHED = 14,
}

/// One thing that stands in the way. Strings are UTF-8, end in NUL, and are cut if they are longer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_runtime_problem {
    /// Id of the device that it is about; empty for the guest as a whole.
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

/// Says whether this host can start the guest of a record, before anything is started: images and backing files can be opened
/// in the mode they are needed in, bridges exist, taps can be made, vhost is there, everything has a place. With a monitor
/// also what QEMU knows here: its version, the machine type, the device models. Nothing is changed; images are opened and
/// closed again, and so are connections to the sockets at which the command listens, to see whether the guest runs.
///
/// The monitor is that of any QEMU of the version that is going to be used: the target, once it has been started to wait, or
/// one that was started for this with `-machine none`. The library starts none by itself.
///
/// `runtime`: the record; one from kvm_runtime_load_readonly() will do.
/// `qmp_path`: path of the monitor's socket, nobody else connected; or NULL, to leave QEMU out.
/// `timeout_ms`: for asking QEMU; 0 means 5000.
/// `ret_count`: where to put how many there are, 0 if nothing stands in the way; those beyond capacity are not written.
///
/// Blocks: on opening images as well.
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
