//! `struct kvm_hotplug`: the handle of a live guest.

use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::args::{self, Plain, check_size, required_path, timeout};
use super::device::kvm_hotplug_device;
use super::error::kvm_hotplug_error;
use super::give::{check_out, give_json};
use super::guard;
use super::runtime::kvm_runtime;
use super::show::{code, write_device};
use crate::error::{Error, Result};
use crate::guest::{Access, Guest, Listener, Outcome};

/// Timeout of calls that get 0, in milliseconds, except for removals.
pub const KVM_HOTPLUG_DEFAULT_TIMEOUT_MS: u32 = 5000;

const MAGIC: u64 = 0x6b76_6d2d_686f_7431;

/// A live guest: the connection to its monitor, its slot map, and its pending operations. Freed with
/// kvm_hotplug_close().
///
/// Calls that ask QEMU and wait for its reply, such as adds, run one at a time. They take turns in the order
/// in which they came, and each waits no longer than its own timeout. A call that waits for the guest, such
/// as a removal after its request, holds up no other call. Neither does waiting for an add that another call
/// began with KVM_HOTPLUG_NO_WAIT. While a call connects to a monitor that does not reply, the others wait
/// too, except kvm_hotplug_list(), kvm_hotplug_get_device(), kvm_hotplug_next_event() and
/// kvm_hotplug_forward_qmp_events(), which need no monitor. When that call gives up, one that has time left
/// connects anew.
///
/// A second removal of a device joins the first: both give the same answer, unless a timeout ends one
/// earlier. A removal, change or add of a device that is being added waits for that add. An add of a device
/// that is being removed fails with -EEXIST.
///
/// A monitor serves one client at a time: while a handle is open, no other program can use that QMP socket.
/// Give QEMU a second one if others need it.
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

/// Asks a guest for what is JSON, and gives it to the caller.
///
/// # Safety
/// The handle is NULL or one of ours, `ret_json` is NULL or valid for writes.
pub(super) unsafe fn give_json_of(
    guest: *const kvm_hotplug,
    timeout_ms: u32,
    ret_json: *mut *mut c_char,
    ask: fn(&Guest, Duration) -> Result<Value>,
) -> Result<c_int> {
    // SAFETY: passed on.
    let guest = unsafe { kvm_hotplug::get(guest) }?;
    check_out(ret_json, "ret_json")?;
    let answer = ask(guest, timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give_json(&answer, ret_json) }.map(|()| 0)
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

/// Connects to the QMP socket of a running QEMU, examines the guest, and finishes or undoes what an earlier
/// agent left unfinished in the journal; events report the results. What was begun in a QEMU that has ended
/// since is settled by the record and never carried out on this one: removals are done, adds that are not in
/// the record are dropped. If the earlier agent used another monitor of this QEMU, that monitor must first
/// accept a connection, or have no client.
///
/// `runtime`: the guest's record, which must have a file. One guest may be open with it at a time. It may be
/// freed before the guest is closed.
/// `socket_path`: the monitor's Unix socket. The path may be longer than a socket's address, as long as its
/// last part has at most 85 bytes. "@name" is an abstract name, as of QEMU's "path=name,abstract=on", which
/// only a process in the same network namespace reaches; a file of that name is "./@name". If no file has
/// the name, "host:port" and "[address]:port" are a TCP port and "vsock:CID:PORT" is a vsock port; a path is
/// also what has a slash in it. A host's name is looked up as the system does it, which the timeout does not
/// bound; an address is not looked up.
///
/// Over TCP and vsock no descriptors can be passed: an add of a NIC or a disk fails with -EOPNOTSUPP before
/// anything is done. Everything else works. The kernel does not say who listens there, so the recorded user
/// is not checked, and anybody who can reach such a port can control the guest.
///
/// Fails like any call to QEMU, and with -EINVAL (an empty path), -ENAMETOOLONG (its last part), -ENOENT
/// (also: no host has the name), -EBADFD (the
/// record has no file), -EROFS (a record from kvm_runtime_load_readonly()), -EBUSY (kind STATE: the record
/// belongs to an open guest; kind MONITOR_BUSY: also for a monitor that an earlier agent used), -EPERM
/// (another user than the recorded one listens, see kvm_hotplug_open_with()), or the errno of a system call.
/// A failure leaves nothing behind, except that settling may be half done, which the next call continues.
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

/// Flag of struct kvm_hotplug_open_options: accept another user than the recorded one, and record it.
pub const KVM_HOTPLUG_OPEN_ACCEPT_PEER: u32 = 1 << 15;

/// Flag of struct kvm_hotplug_open_options: only look. QEMU is queried, nothing else; record and journal are
/// not written. What an earlier agent left unfinished stays so; its removals are listed as pending.
pub const KVM_HOTPLUG_OPEN_LOOK_ONLY: u32 = 1 << 16;

/// Flag of struct kvm_hotplug_open_options: the record needs no file, as long as it has none. What is
/// recorded and what is unfinished is remembered by the record alone: if this process ends in between, nobody
/// finishes what it has begun.
pub const KVM_HOTPLUG_OPEN_IN_MEMORY: u32 = 1 << 23;

/// Flag of struct kvm_hotplug_open_options: QEMU is being started, so wait until it listens and replies.
/// Without it, a call fails at once with -ENOENT or -ECONNREFUSED if QEMU does not listen yet.
pub const KVM_HOTPLUG_OPEN_STARTING: u32 = 1 << 28;

/// Which process must listen at a monitor's socket, as the kernel noted it when it began to listen
/// (SO_PEERCRED). If all fields are zero, the recorded user must, or any user if none is recorded.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_open_options {
    /// The user, with KVM_HOTPLUG_OPEN_PEER_UID; recorded, and expected by every later open. It is the user
    /// that QEMU was started as, also after -runas; for a socket that another process made and QEMU was
    /// given, that process's user. In another user namespace, users that it does not have all appear as 65534
    /// ("nobody"), which is refused there.
    pub peer_uid: u32,
    /// The process, with KVM_HOTPLUG_OPEN_PEER_PID, as the caller numbers it, for this handle only: it
    /// changes with each start of QEMU. One that is invisible, in another pid namespace, is refused.
    pub peer_pid: i32,
    /// KVM_HOTPLUG_OPEN_PEER_UID, KVM_HOTPLUG_OPEN_PEER_PID, KVM_HOTPLUG_OPEN_ACCEPT_PEER,
    /// KVM_HOTPLUG_OPEN_LOOK_ONLY, KVM_HOTPLUG_OPEN_IN_MEMORY, KVM_HOTPLUG_OPEN_STARTING, or 0.
    pub flags: u32,
    /// Milliseconds for all of it; 0 means 5000.
    pub timeout_ms: u32,
}

// SAFETY: repr(C), integers only.
unsafe impl Plain for kvm_hotplug_open_options {
    const FIRST: usize = args::end_of!(kvm_hotplug_open_options, timeout_ms);
}

/// Opens a guest as kvm_hotplug_open() does, if the expected process listens at its socket. The listener is
/// handed descriptors of taps and images, so use this for a socket in a directory that others can write.
/// Nothing is sent to another process; each reconnect checks again.
///
/// With KVM_HOTPLUG_OPEN_LOOK_ONLY the handle has a copy of the record, so any record will do: one from
/// kvm_runtime_load_readonly(), also of a file that another program owns, or one that another handle has
/// open. While an agent is connected, it takes a second monitor of the same QEMU. Listing, describing, the
/// slot map, kvm_hotplug_verify(), plans and events work. Unfinished operations are not settled;
/// kvm_runtime_unfinished() lists them. Every call that would change something fails with -EROFS (kind
/// STATE), as does kvm_hotplug_qmp() with a command that is no query. An accepted or given user is not
/// recorded.
///
/// With KVM_HOTPLUG_OPEN_IN_MEMORY a record from kvm_runtime_new() or kvm_runtime_adopt() will do that has no
/// file yet. kvm_runtime_save() can give it one later, when the guest is closed.
///
/// With KVM_HOTPLUG_OPEN_STARTING the call connects again and again until QEMU listens at the socket and has
/// sent its greeting, or until the timeout. A later reconnect does not wait for a start.
///
/// `runtime`: the guest's record, which must have a file, but for that.
///
/// Fails like kvm_hotplug_open(), and with -ETIMEDOUT (KVM_HOTPLUG_OPEN_STARTING, and QEMU does not listen in
/// time), -EBADFD (KVM_HOTPLUG_OPEN_IN_MEMORY, and the record has a file), -EPERM (kind UNTRUSTED: another
/// process or user listens, or another user is recorded: the message names both), -EINVAL (a peer_pid below
/// 1).
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
            if options.flags & KVM_HOTPLUG_OPEN_IN_MEMORY != 0 {
                expected(&options)?;
                kvm_runtime::get(runtime)?.lock().keep_in_memory()?;
            }
            open_of(runtime, socket_path, expected(&options)?, access, options.timeout_ms, ret_guest)
        }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

pub(super) fn expected(options: &kvm_hotplug_open_options) -> Result<Listener> {
    let who = KVM_HOTPLUG_OPEN_PEER_UID | KVM_HOTPLUG_OPEN_PEER_PID | KVM_HOTPLUG_OPEN_ACCEPT_PEER;
    args::check_flags(
        options.flags,
        who | KVM_HOTPLUG_OPEN_LOOK_ONLY | KVM_HOTPLUG_OPEN_IN_MEMORY | KVM_HOTPLUG_OPEN_STARTING,
        "options: flags",
    )?;
    let has = |flag| options.flags & flag != 0;
    if has(KVM_HOTPLUG_OPEN_PEER_PID) && options.peer_pid < 1 {
        return Err(Error::invalid(format!("options: peer_pid {} is no process", options.peer_pid)));
    }
    Ok(Listener {
        pid: has(KVM_HOTPLUG_OPEN_PEER_PID).then_some(options.peer_pid),
        uid: has(KVM_HOTPLUG_OPEN_PEER_UID).then_some(options.peer_uid),
        accept: has(KVM_HOTPLUG_OPEN_ACCEPT_PEER),
        starts: has(KVM_HOTPLUG_OPEN_STARTING),
    })
}

pub(super) fn access(options: &kvm_hotplug_open_options) -> Access {
    match options.flags & KVM_HOTPLUG_OPEN_LOOK_ONLY {
        0 => Access::Change,
        _ => Access::Look,
    }
}

/// Hands the handle of an open guest to the caller.
///
/// # Safety
/// `ret_guest` is valid for writes.
pub(super) unsafe fn give_guest(guest: Guest, ret_guest: *mut *mut kvm_hotplug) {
    let handle = Box::new(kvm_hotplug { magic: MAGIC, guest: Arc::new(guest) });
    // SAFETY: the caller vouches for it.
    unsafe { ret_guest.write(Box::into_raw(handle)) };
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
    // SAFETY: not NULL, and the caller vouches for the rest.
    unsafe { give_guest(guest, ret_guest) };
    Ok(0)
}

/// Closes the connection and frees the handle. Guest and devices stay as they are, and pending removals stay
/// in the journal.
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
