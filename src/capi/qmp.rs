//! QMP commands of the caller's own, and everything known as JSON.

use std::ffi::{c_char, c_int};

use super::args::{Plain, check_flags, optional_str, read_struct, required_str, timeout};
use super::error::kvm_hotplug_error;
use super::give::{self};
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, kvm_hotplug};
use crate::error::Result;
use crate::guest::RawCommand;
use crate::sys::descriptor::duplicate;

/// Flag of struct kvm_hotplug_command: send the command even if the record will be wrong after it.
pub const KVM_HOTPLUG_QMP_FORCE: u32 = 1 << 11;
/// Flag of struct kvm_hotplug_command: fd is given, also when it is 0.
pub const KVM_HOTPLUG_QMP_PASS_FD: u32 = 1 << 12;

/// A QMP command.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_command {
    /// Its name, such as "query-status". Required.
    pub execute: *const c_char,
    /// Its arguments as the text of a JSON object, at most 131072 bytes and 127 levels deep; NULL for none.
    /// QEMU takes some 3.5 microseconds to read each byte.
    pub arguments: *const c_char,
    /// Descriptor that QEMU gets with it (getfd, add-fd), with KVM_HOTPLUG_QMP_PASS_FD.
    pub fd: i32,
    /// Milliseconds for all of it; 0 means 5000.
    pub timeout_ms: u32,
    /// KVM_HOTPLUG_QMP_FORCE, KVM_HOTPLUG_QMP_PASS_FD.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_hotplug_command {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_command, reserved);
}

/// Runs a QMP command of the caller's own over the guest's connection, since a monitor serves one client at a
/// time. Commands after which the record would be wrong, such as device_add, or set_link of a recorded NIC,
/// are refused without KVM_HOTPLUG_QMP_FORCE; docs/qmp.md lists them. After a forced one the next call
/// examines the guest anew. The caller is responsible for its effect on a recorded device;
/// kvm_hotplug_verify() may report it. All other commands are sent unchanged: stop, cont, system_reset (which
/// completes pending removals), migrate, quit (calls then fail with -ECONNREFUSED or -ENOENT), and so on.
///
/// `ret_reply`: where to put the result as JSON text, at most 4 MiB, freed with kvm_hotplug_text_free(); or
/// NULL.
///
/// Returns 0, or fails like any call to QEMU, and with -EREMOTEIO (kind QMP: QEMU answered with an error, see
/// kvm_hotplug_error_qmp_class() and kvm_hotplug_error_qmp_desc()), -EPERM (kind STATE: the record would be
/// wrong), -EROFS (it is no query, and the guest was opened with KVM_HOTPLUG_OPEN_LOOK_ONLY), -EBADF (a
/// closed fd), -EINVAL (not a name of a command, arguments are no JSON object), -EMSGSIZE (too long). After
/// -ETIMEDOUT, -ECANCELED, -ECONNRESET and -EPROTO it is unknown whether QEMU executed the command.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_qmp(
    guest: *mut kvm_hotplug,
    command: *const kvm_hotplug_command,
    command_size: usize,
    ret_reply: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (guest, command) =
            unsafe { (kvm_hotplug::get(guest)?, read_struct(command, command_size, "command")?) };
        // SAFETY: the caller vouches for the strings.
        let raw = unsafe { request(&command) }?;
        let reply = guest.qmp(raw, timeout(command.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { give::give_json(&reply, ret_reply) }?;
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// # Safety
/// The strings are NULL or NUL-terminated.
unsafe fn request(command: &kvm_hotplug_command) -> Result<RawCommand> {
    check_flags(command.flags, KVM_HOTPLUG_QMP_FORCE | KVM_HOTPLUG_QMP_PASS_FD, "command flags")?;
    super::nic::check_reserved(command.reserved, "command")?;
    // SAFETY: passed on.
    let (name, arguments) =
        unsafe { (required_str(command.execute, "execute")?, optional_str(command.arguments, "arguments")?) };
    let passes = command.flags & KVM_HOTPLUG_QMP_PASS_FD != 0;
    Ok(RawCommand {
        name: name.to_owned(),
        arguments: arguments.map(RawCommand::read_arguments).transpose()?.unwrap_or_default(),
        fd: passes.then(|| duplicate(command.fd, "fd")).transpose()?.map(Into::into),
        force: command.flags & KVM_HOTPLUG_QMP_FORCE != 0,
    })
}
