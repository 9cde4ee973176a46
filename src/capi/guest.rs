//! `struct kvm_hotplug`: the handle of a live guest.

use std::ffi::{c_char, c_int};
use std::sync::Arc;

use super::args::{self, Plain, check_size, required_path, timeout};
use super::device::kvm_hotplug_device;
use super::error::kvm_hotplug_error;
use super::guard;
use super::runtime::kvm_runtime;
use super::show::{code, write_device};
use crate::error::{Error, Result};
use crate::guest::{Access, Guest, Listener, Outcome};

/// Timeout of calls that get 0, in milliseconds, except for removals.
pub const KVM_HOTPLUG_DEFAULT_TIMEOUT_MS: u32 = 5000;

const MAGIC: u64 = 0x6b76_6d2d_686f_7431;

/// A live guest: the connection to its monitor, its slot map, and what is pending. Made by kvm_hotplug_open(), freed by
/// kvm_hotplug_close(). Any thread may use it; different handles are independent. The library makes no threads.
///
/// Several calls of one handle may be under way at once. A call that waits for the guest, which is what a removal does after it
/// has asked, or for an add that another call has begun and not waited for, holds up no other one. What asks QEMU and waits for the
/// answer, as an add does, is done by one call at a time: the others wait for it, in the order in which they came, each no
/// longer than its own timeout. So they do while a call connects to a monitor that says nothing; kvm_hotplug_list(),
/// kvm_hotplug_get_device(), kvm_hotplug_next_event() and kvm_hotplug_forward_qmp_events(), which need no monitor, do not wait for that, and
/// when that call gives up, one that has time left connects anew.
///
/// A second removal of a device joins the first: each call has the same answer, or its own when its timeout comes first. A
/// removal, a change or an add of a device that is being added waits for that add. An add of one that is being removed fails
/// with -EEXIST.
///
/// A monitor serves one client at a time: while a handle is open, no other program can use that QMP socket. Give QEMU a
/// second one if others need it.
#[derive(Debug)]
pub struct kvm_hotplug {
    magic: u64,
    guest: Arc<Guest>,
}

impl kvm_hotplug {
    /// # Safety
    /// `pointer` is NULL or points to readable memory.
    pub(super) unsafe fn get<'a>(pointer: *const Self) -> Result<&'a Guest> {
        // SAFETY: passed on.
        let handle = unsafe { args::required(pointer, "guest handle") }?;
        if handle.magic != MAGIC {
            return Err(Error::invalid("the guest handle is not open").with_errno(libc::EBADF));
        }
        Ok(&handle.guest)
    }
}

/// Checks before the call what could fail after it.
pub(super) fn check_device_out(device: *mut kvm_hotplug_device, size: usize) -> Result<()> {
    if device.is_null() { Ok(()) } else { check_size::<kvm_hotplug_device>(size, "ret_device") }
}

/// Writes what an operation answers.
///
/// # Safety
/// `device` is NULL or valid for writes of `size` bytes.
pub(super) unsafe fn give_answer(outcome: &Outcome, device: *mut kvm_hotplug_device, size: usize) -> c_int {
    // SAFETY: the caller vouches for it.
    unsafe { write_device(outcome, device, size) };
    code(outcome)
}

/// Connects to the QMP socket of a running QEMU, looks at the guest, and finishes or undoes what an agent that died had
/// begun (its journal says what); events tell what was settled. What was begun in another QEMU, which has ended since, is settled
/// by the record, and never carried out on this one: removals are done, adds that are not in the record are dropped. If the commands
/// of that agent went over another monitor of this QEMU, that one has to serve a client first, or to have none.
///
/// `runtime`: the guest's record, which must have a file. One guest may be open with it at a time. It may be freed
/// before the guest is closed.
/// `socket_path`: the QMP socket, at most 107 bytes.
///
/// Returns 0, or fails like any call to QEMU, and with -EINVAL (an empty path), -ENAMETOOLONG (the path),
/// -EBADFD (the record has no file), -EROFS (a record from kvm_runtime_load_readonly()), -EBUSY (kind STATE:
/// the record belongs to an open guest; kind MONITOR_BUSY: also for a monitor that an earlier agent used),
/// -EPERM (the record remembers another user than the one that listens, see kvm_hotplug_open_with()), or the
/// errno of a system call. Nothing is left behind on failure, except that settling may have got half-way,
/// which the next call continues.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_open(
    runtime: *mut kvm_runtime,
    socket_path: *const c_char,
    timeout_ms: u32,
    ret_guest: *mut *mut kvm_hotplug,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for all pointers.
    unsafe {
        guard::call(reterr, || {
            open_of(runtime, socket_path, Listener::default(), Access::Change, timeout_ms, ret_guest)
        })
    }
}

/// Flag of struct kvm_hotplug_open_options: peer_uid is given, also when it is 0.
pub const KVM_HOTPLUG_OPEN_PEER_UID: u32 = 1 << 13;

/// Flag of struct kvm_hotplug_open_options: peer_pid is given.
pub const KVM_HOTPLUG_OPEN_PEER_PID: u32 = 1 << 14;

/// Flag of struct kvm_hotplug_open_options: another user than the remembered one is fine, and is remembered instead.
pub const KVM_HOTPLUG_OPEN_ACCEPT_PEER: u32 = 1 << 15;

/// Flag of struct kvm_hotplug_open_options: the guest is only looked at. QEMU is asked questions and told nothing, and neither
/// record nor journal is written: what an earlier agent left unfinished stays as it is, and its removals are listed as pending.
pub const KVM_HOTPLUG_OPEN_LOOK_ONLY: u32 = 1 << 16;

/// Who has to listen at a monitor's socket, as the kernel noted it when that process began to listen (SO_PEERCRED). If
/// all fields are zero, the user that the record remembers has to listen; if it remembers none, any user may.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_open_options {
    /// The user, with KVM_HOTPLUG_OPEN_PEER_UID. The record remembers it: every later open expects it. It is the one that
    /// QEMU was started as, also if it runs as another one since (-runas); for a socket that somebody else made and QEMU was
    /// given, it is that one's. Seen from another user namespace, all users that this one does not have are one
    /// (65534, "nobody"), which is refused as such there.
    pub peer_uid: u32,
    /// The process, with KVM_HOTPLUG_OPEN_PEER_PID, in the caller's numbers. It is another one with each start of QEMU, so it
    /// is for this handle only. One that cannot be seen, in another pid namespace, is refused.
    pub peer_pid: i32,
    /// KVM_HOTPLUG_OPEN_PEER_UID, KVM_HOTPLUG_OPEN_PEER_PID, KVM_HOTPLUG_OPEN_ACCEPT_PEER, KVM_HOTPLUG_OPEN_LOOK_ONLY, or 0.
    pub flags: u32,
    /// For all of the call; 0 means 5000.
    pub timeout_ms: u32,
}

// SAFETY: repr(C), integers only.
unsafe impl Plain for kvm_hotplug_open_options {
    const FIRST: usize = args::end_of!(kvm_hotplug_open_options, timeout_ms);
}

/// Opens a guest as kvm_hotplug_open() does, if the right one listens at its socket. Whoever listens there is handed
/// descriptors of taps and images, so a socket in a directory that others can write is worth it. Nothing is said to one who
/// is not expected; the same holds whenever the connection is made anew.
///
/// With KVM_HOTPLUG_OPEN_LOOK_ONLY the handle has a copy of the record as it is now, so any record will do: one from
/// kvm_runtime_load_readonly(), which another program owns, as well as one that another handle has open. A monitor serves one client at a
/// time, so while an agent is connected, looking takes a second monitor of the same QEMU. Listing, describing, the slot map,
/// kvm_hotplug_verify(), plans and events work; what the journal has open is not made good, and kvm_runtime_unfinished() lists it.
/// Every call that would change something fails with -EROFS and KVM_HOTPLUG_ERROR_STATE, as does a command of
/// kvm_hotplug_qmp() that is no question. A user accepted or named is not remembered.
///
/// `runtime`: the guest's record, which must have a file.
/// `socket_path`: the QMP socket, at most 107 bytes.
/// `options`, `options_size`: who has to listen, and how to open; sizeof *options.
///
/// Fails like kvm_hotplug_open(), and with -EPERM and KVM_HOTPLUG_ERROR_UNTRUSTED (somebody else listens, or
/// the record remembers another user: the message names both), -EINVAL (a peer_pid below 1).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_open_with(
    runtime: *mut kvm_runtime,
    socket_path: *const c_char,
    options: *const kvm_hotplug_open_options,
    options_size: usize,
    ret_guest: *mut *mut kvm_hotplug,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for options_size bytes.
        let options = unsafe { args::read_struct(options, options_size, "options") }?;
        // SAFETY: the caller vouches for all pointers.
        unsafe {
            let access = access(&options);
            open_of(runtime, socket_path, expected(&options)?, access, options.timeout_ms, ret_guest)
        }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

fn expected(options: &kvm_hotplug_open_options) -> Result<Listener> {
    let who = KVM_HOTPLUG_OPEN_PEER_UID | KVM_HOTPLUG_OPEN_PEER_PID | KVM_HOTPLUG_OPEN_ACCEPT_PEER;
    args::check_flags(options.flags, who | KVM_HOTPLUG_OPEN_LOOK_ONLY, "options: flags")?;
    let has = |flag| options.flags & flag != 0;
    if has(KVM_HOTPLUG_OPEN_PEER_PID) && options.peer_pid < 1 {
        return Err(Error::invalid(format!("options: peer_pid {} is no process", options.peer_pid)));
    }
    Ok(Listener {
        pid: has(KVM_HOTPLUG_OPEN_PEER_PID).then_some(options.peer_pid),
        uid: has(KVM_HOTPLUG_OPEN_PEER_UID).then_some(options.peer_uid),
        accept: has(KVM_HOTPLUG_OPEN_ACCEPT_PEER),
    })
}

fn access(options: &kvm_hotplug_open_options) -> Access {
    match options.flags & KVM_HOTPLUG_OPEN_LOOK_ONLY {
        0 => Access::Change,
        _ => Access::Look,
    }
}

/// # Safety
/// Pointers are NULL or valid as kvm_hotplug_open() describes.
unsafe fn open_of(
    runtime: *mut kvm_runtime,
    socket_path: *const c_char,
    listener: Listener,
    access: Access,
    timeout_ms: u32,
    ret_guest: *mut *mut kvm_hotplug,
) -> Result<c_int> {
    // SAFETY: the caller vouches for handle and string.
    let (record, socket) =
        unsafe { (kvm_runtime::get(runtime)?, required_path(socket_path, "socket_path")?) };
    if ret_guest.is_null() {
        return Err(args::null("ret_guest"));
    }
    let timeout = timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS);
    let guest = Guest::open_of(record.shared(), socket, listener, access, record.log(), timeout)?;
    let handle = Box::new(kvm_hotplug { magic: MAGIC, guest: Arc::new(guest) });
    // SAFETY: not NULL, and the caller vouches for the rest.
    unsafe { ret_guest.write(Box::into_raw(handle)) };
    Ok(0)
}

/// Closes the connection and frees the handle; NULL is fine. The guest and its devices stay as they are, pending
/// removals stay in the journal. No other thread may be using the handle.
///
/// # Safety
/// `guest` is NULL or comes from this library and has not been closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_close(guest: *mut kvm_hotplug) {
    guard::quiet((), || {
        // SAFETY: the caller vouches for the handle.
        if unsafe { kvm_hotplug::get(guest) }.is_ok() {
            // SAFETY: made by Box::into_raw, and the caller gives it up.
            let mut handle = unsafe { Box::from_raw(guest) };
            handle.magic = 0;
        }
    });
}
