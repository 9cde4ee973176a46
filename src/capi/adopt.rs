//! Making a record of a guest that runs.

use std::ffi::{c_char, c_int};
use std::path::PathBuf;

use super::args::{self, Plain, check_flags, optional_str, read_struct, required_path, timeout};
use super::error::kvm_hotplug_error;
use super::give;
use super::guard;
use super::guest::KVM_HOTPLUG_DEFAULT_TIMEOUT_MS;
use super::runtime::{
    KVM_RUNTIME_NEW_RESERVED_SLOTS, KVM_RUNTIME_OPEN_TRUST, give, kvm_runtime, read_command, trust,
};
use crate::adopt::{AdoptRequest, adopt};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::store::RecordFile;

/// Which guest is adopted, and what of it is known. Zero means that it is found out.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_runtime_adopt_options {
    /// Path of the guest's QMP socket, which has no other client. Required.
    pub qmp_path: *const c_char,
    /// The guest's name, for people; NULL for what its command says.
    pub name: *const c_char,
    /// The command that QEMU was started with, program first; NULL for that of its process.
    pub command: *const *const c_char,
    /// Number of strings in command, at most 65536.
    pub command_count: u64,
    /// Directory in which relative paths of the command begin; NULL for that of its process.
    pub directory: *const c_char,
    /// The process; 0 for the one that listens at the socket. It is needed where another process has made the
    /// socket for QEMU.
    pub pid: i32,
    /// Slots of pci.0, counted from 0, that are never chosen, 0 to 32. Without KVM_RUNTIME_NEW_RESERVED_SLOTS
    /// it is 4, or as many as QEMU has given to devices of its own.
    pub reserved_slots: u32,
    /// KVM_RUNTIME_NEW_RESERVED_SLOTS and KVM_RUNTIME_OPEN_TRUST, or 0.
    pub flags: u32,
    /// Milliseconds for all of it; 0 means 5000.
    pub timeout_ms: u32,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_runtime_adopt_options {
    const FIRST: usize = args::end_of!(kvm_runtime_adopt_options, timeout_ms);
}

/// Makes a record of a running guest that any program has started, from the command line of QEMU's process
/// and from what QEMU reports. Nothing in the guest changes.
///
/// These devices are recorded, if they have an id: NICs of PCI over a tap, disks of virtio-blk and scsi-hd
/// over a raw or qcow2 image in a file or on a block device, and controllers of virtio-scsi. They can be
/// removed, verified and booted like those that this library has added. All else stays in the recorded
/// command as it is, with the place that it has now, and is never touched. Options that are about one start
/// (-S, -incoming, -loadvm) are not recorded.
///
/// The library reads /proc of QEMU's process, so the caller must be root or QEMU's user, with CAP_SYS_PTRACE
/// if QEMU has more capabilities than the caller. The monitor is left when the call ends. A disk is recorded
/// only if the file at its path is one that QEMU has open.
///
/// The command is what the process says of itself, and a boot runs it with the caller's rights. If the guest
/// may have taken over QEMU, give the command here, or look at the recorded one before it is booted.
///
/// `ret_runtime`: NULL to get the report only. The record has no file until kvm_runtime_save() gives it one.
/// `ret_report`: a JSON text that lists what is recorded, what is not and why, and what the next start will
/// lack (docs/json.md); it is freed with kvm_hotplug_text_free(). Or NULL.
///
/// Fails like any call to QEMU, and with -ENOENT (QEMU's process has no command to read, and none is given),
/// -EMSGSIZE (too many or too long strings), -EBADMSG (more than 32 slots reserved, or the guest has what no
/// record can hold), -EBUSY (kind MONITOR_BUSY), or the errno of reading /proc.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_adopt(
    options: *const kvm_runtime_adopt_options,
    options_size: usize,
    ret_runtime: *mut *mut kvm_runtime,
    ret_report: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for options_size bytes.
        let options = unsafe { read_struct(options, options_size, "options") }?;
        // SAFETY: the caller vouches for the strings.
        let (monitor, request) =
            unsafe { (required_path(options.qmp_path, "qmp_path")?, request(&options)?) };
        let timeout = timeout(options.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS);
        let adopted = adopt(monitor, &request, &Deadline::after(timeout))?;
        if !ret_report.is_null() {
            let report = serde_json::to_value(&adopted.report)
                .map_err(|error| Error::invalid(format!("the report cannot be written: {error}")))?;
            // SAFETY: the caller vouches for the pointer.
            unsafe { give::give_json(&report, ret_report) }?;
        }
        if ret_runtime.is_null() {
            return Ok(0);
        }
        let file = RecordFile::new(adopted.record).with_trust(trust(options.flags));
        // SAFETY: the caller vouches for the pointer.
        unsafe { give(file, ret_runtime) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// # Safety
/// The strings are NULL or valid.
unsafe fn request(options: &kvm_runtime_adopt_options) -> Result<AdoptRequest> {
    check_flags(options.flags, KVM_RUNTIME_NEW_RESERVED_SLOTS | KVM_RUNTIME_OPEN_TRUST, "options: flags")?;
    if options.pid < 0 {
        return Err(Error::invalid(format!("options: pid {} is no process", options.pid)));
    }
    // SAFETY: the caller vouches for the strings.
    let (name, directory, command) = unsafe {
        (
            optional_str(options.name, "name")?,
            optional_str(options.directory, "directory")?,
            read_command(options.command, options.command_count)?,
        )
    };
    let given = options.flags & KVM_RUNTIME_NEW_RESERVED_SLOTS != 0;
    Ok(AdoptRequest {
        pid: Some(options.pid).filter(|pid| *pid > 0),
        command: Some(command).filter(|command| !command.is_empty()),
        directory: directory.map(PathBuf::from),
        name: name.map(str::to_owned),
        reserved_slots: given.then(|| u8::try_from(options.reserved_slots).unwrap_or(u8::MAX)),
    })
}
