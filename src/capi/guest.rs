//! `struct kvm_hotplug`: the handle of a live guest.

use std::ffi::{c_char, c_int};
use std::sync::Arc;

use super::args::{self, Plain, check_size, required_path, required_str, timeout, write_struct};
use super::device::{code, kvm_hotplug_answer, kvm_hotplug_device, write_device};
use super::error::kvm_hotplug_error;
use super::guard;
use super::runtime::{give_list, kvm_runtime};
use crate::error::{Error, Result};
use crate::guest::{Access, Guest, Listener, Outcome, ThreadNumber};

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
/// kvm_hotplug_get_device(), kvm_hotplug_next_event() and kvm_hotplug_watch_qmp(), which need no monitor, do not wait for that, and
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
/// `timeout_ms`: for all of it; 0 means 5000.
/// `ret_guest`: where to put the handle; closed with kvm_hotplug_close().
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: up to the timeout. Threads: any.
///
/// Returns 0, or -EFAULT (a pointer is NULL), -EBADF (runtime is no open handle), -EINVAL (empty or no UTF-8),
/// -ENAMETOOLONG (socket path), -EBADFD (the record has no file), -EROFS (record from kvm_runtime_read()), -EBUSY
/// (the record belongs to an open guest, kind STATE; or the monitor, or one that an earlier agent used, serves another client,
/// kind MONITOR_BUSY),
/// -EPERM (the record remembers another user than the one that listens, see kvm_hotplug_open_of()),
/// -ENOENT or -ECONNREFUSED (nobody listens there), -ETIMEDOUT, -ECONNRESET (QEMU hung up), -EPROTO (not QMP),
/// -EREMOTEIO (QEMU refused a question), or the errno of a failed system call. Nothing is left behind on failure, except
/// that settling may have got half-way, which the next call continues.
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

/// Flag of struct kvm_hotplug_listener: uid is given, also when it is 0.
pub const KVM_HOTPLUG_LISTENER_UID: u32 = 1;

/// Flag of struct kvm_hotplug_listener: pid is given.
pub const KVM_HOTPLUG_LISTENER_PID: u32 = 2;

/// Flag of struct kvm_hotplug_listener: another user than the remembered one is fine, and is remembered instead.
pub const KVM_HOTPLUG_ACCEPT_LISTENER: u32 = 4;

/// Flag of struct kvm_hotplug_listener: the guest is only looked at. QEMU is asked questions and told nothing, and neither
/// record nor journal is written: what an earlier agent left unfinished stays as it is, and its removals are listed as pending.
pub const KVM_HOTPLUG_LOOK_ONLY: u32 = 8;

/// Who has to listen at a monitor's socket, as the kernel noted it when that process began to listen (SO_PEERCRED). If
/// all fields are zero, the user that the record remembers has to listen; if it remembers none, any user may.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_listener {
    /// The user, with KVM_HOTPLUG_LISTENER_UID. The record remembers it: every later open expects it. It is the one that
    /// QEMU was started as, also if it runs as another one since (-runas); for a socket that somebody else made and QEMU was
    /// given, it is that one's. Seen from another user namespace, all users that this one does not have are one
    /// (65534, "nobody"), which is refused as such there.
    pub uid: u32,
    /// The process, with KVM_HOTPLUG_LISTENER_PID, in the caller's numbers. It is another one with each start of QEMU, so it
    /// is for this handle only. One that cannot be seen, in another pid namespace, is refused.
    pub pid: i32,
    /// KVM_HOTPLUG_LISTENER_UID, KVM_HOTPLUG_LISTENER_PID, KVM_HOTPLUG_ACCEPT_LISTENER, KVM_HOTPLUG_LOOK_ONLY, or 0.
    pub flags: u32,
    /// For all of the call; 0 means 5000.
    pub timeout_ms: u32,
}

// SAFETY: repr(C), integers only.
unsafe impl Plain for kvm_hotplug_listener {
    const FIRST: usize = args::end_of!(kvm_hotplug_listener, timeout_ms);
}

/// Opens a guest as kvm_hotplug_open() does, if the right one listens at its socket. Whoever listens there is handed
/// descriptors of taps and images, so a socket in a directory that others can write is worth it. Nothing is said to one who
/// is not expected; the same holds whenever the connection is made anew.
///
/// With KVM_HOTPLUG_LOOK_ONLY the handle has a copy of the record as it is now, so any record will do: one from
/// kvm_runtime_read(), which another program owns, as well as one that another handle has open. A monitor serves one client at a
/// time, so while an agent is connected, looking takes a second monitor of the same QEMU. Listing, describing, the slot map,
/// kvm_hotplug_verify(), plans and events work; what the journal has open is not made good, and kvm_runtime_unfinished() lists it.
/// Every call that would change something fails with -EROFS and KVM_HOTPLUG_ERROR_STATE, as does a command of
/// kvm_hotplug_qmp() that is no question. A user accepted or named is not remembered.
///
/// `runtime`: the guest's record, which must have a file.
/// `socket_path`: the QMP socket, at most 107 bytes.
/// `listener` and `listener_size`: who has to listen, and sizeof *listener.
/// `ret_guest`: where to put the handle; closed with kvm_hotplug_close().
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: up to the timeout. Threads: any.
///
/// Returns 0, or -EPERM with KVM_HOTPLUG_ERROR_UNTRUSTED (somebody else listens, or the record remembers another user: the
/// message names both), -EINVAL (unknown flags, a pid below 1), or what kvm_hotplug_open() returns.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_open_of(
    runtime: *mut kvm_runtime,
    socket_path: *const c_char,
    listener: *const kvm_hotplug_listener,
    listener_size: usize,
    ret_guest: *mut *mut kvm_hotplug,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for listener_size bytes.
        let listener = unsafe { args::read_struct(listener, listener_size, "listener") }?;
        // SAFETY: the caller vouches for all pointers.
        unsafe {
            let access = access(&listener);
            open_of(runtime, socket_path, expected(&listener)?, access, listener.timeout_ms, ret_guest)
        }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

fn expected(listener: &kvm_hotplug_listener) -> Result<Listener> {
    let who = KVM_HOTPLUG_LISTENER_UID | KVM_HOTPLUG_LISTENER_PID | KVM_HOTPLUG_ACCEPT_LISTENER;
    args::check_flags(listener.flags, who | KVM_HOTPLUG_LOOK_ONLY, "listener flags")?;
    let has = |flag| listener.flags & flag != 0;
    if has(KVM_HOTPLUG_LISTENER_PID) && listener.pid < 1 {
        return Err(Error::invalid(format!("listener: pid {} is no process", listener.pid)));
    }
    Ok(Listener {
        pid: has(KVM_HOTPLUG_LISTENER_PID).then_some(listener.pid),
        uid: has(KVM_HOTPLUG_LISTENER_UID).then_some(listener.uid),
        accept: has(KVM_HOTPLUG_ACCEPT_LISTENER),
    })
}

fn access(listener: &kvm_hotplug_listener) -> Access {
    match listener.flags & KVM_HOTPLUG_LOOK_ONLY {
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
/// removals stay in the journal. Does not fail, does not block; no other thread may be using the handle.
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

/// Ends all calls that other threads are in on this handle, as soon as it can, also those that wait for another call; they fail
/// with -ECANCELED, and the error of each says what became of its device. Later calls are not ended, nor adds that were not
/// waited for. Does not wait for those calls itself.
///
/// `guest`: the handle.
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: no. Threads: any, also while other calls are running.
///
/// Returns 1 if a call was running, 0 if not, or -EFAULT, -EBADF (no open handle).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_cancel(
    guest: *const kvm_hotplug,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for the handle.
    let work = || Ok(c_int::from(unsafe { kvm_hotplug::get(guest) }?.cancel()));
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Ends the call that one thread is in on this handle, and no other, as kvm_hotplug_cancel() does. A thread that makes a call
/// that another one is to end asks for its number before: a cancel that comes before the call has begun ends nothing.
///
/// `guest`: the handle.
/// `thread`: what kvm_hotplug_thread() returned there.
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: no. Threads: any, also while other calls are running.
///
/// Returns 1 if that thread was in a call, 0 if not, or -EFAULT, -EBADF (no open handle).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_cancel_thread(
    guest: *const kvm_hotplug,
    thread: u64,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        let thread = usize::try_from(thread).map(ThreadNumber);
        Ok(c_int::from(thread.is_ok_and(|thread| guest.cancel_thread(thread))))
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// The number of the calling thread, for kvm_hotplug_cancel_thread(). No other thread that lives has it; one that begins
/// when this one has ended may get it.
///
/// Blocks: no. Threads: any.
///
/// Returns the number, never 0.
#[unsafe(no_mangle)]
pub extern "C" fn kvm_hotplug_thread() -> u64 {
    guard::quiet(0, || u64::try_from(ThreadNumber::this().0).unwrap_or(0))
}

/// A descriptor for poll, epoll or select: readable when kvm_hotplug_process() has something to do or an event can be
/// fetched. It belongs to the handle, stays the same for its life (also when the monitor is reconnected), and must be
/// neither read nor closed.
///
/// `guest`: the handle.
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: no. Threads: any.
///
/// Returns the descriptor, or -EFAULT, -EBADF (no open handle).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_get_fd(
    guest: *const kvm_hotplug,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for the handle.
    let work = || Ok(unsafe { kvm_hotplug::get(guest) }?.fd());
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Takes in what QEMU has said: finishes adds that were not waited for, and removals that the guest granted late (backend down,
/// record updated), clears up behind devices that the guest gave up by itself, and reconnects if the connection was lost. While
/// QEMU is still at an add, this takes in what is there, and leaves everything else for later. Removals that have been
/// pending for over 10 s are asked for again, since a guest that was booting did not hear it; an agent that waits for one
/// therefore calls this every few seconds as well. It does not wait for news, only for the answers to the commands that
/// this takes.
///
/// `guest`: the handle.
/// `timeout_ms`: for those commands; 0 means 5000.
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: normally under a millisecond, at most up to the timeout. Threads: any.
///
/// Returns the number of events that kvm_hotplug_next_event() can fetch, or -EFAULT, -EBADF (no open handle),
/// -ETIMEDOUT, -ECANCELED, -ECONNRESET, -ENOENT or -ECONNREFUSED (QEMU has gone), -EBUSY (monitor busy), -EPROTO,
/// -EREMOTEIO, -ENOTRECOVERABLE, or the errno of writing the runtime file. What is not finished then is tried again by
/// the next call.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_process(
    guest: *mut kvm_hotplug,
    timeout_ms: u32,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        let count = guest.process(timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        Ok(c_int::try_from(count).unwrap_or(c_int::MAX))
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Lists the devices of a guest: those of the record, and those that are only on their way out.
///
/// `guest`: the handle.
/// `devices`, `size`, `capacity`: an array of capacity structs, and sizeof devices[0]; NULL and capacity 0 to count only.
/// `ret_count`: where to put how many devices there are; those beyond capacity are not written.
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: while another call asks QEMU, but not while it connects; nothing is asked of QEMU. Threads: any.
///
/// Returns 0, or -EFAULT (guest or ret_count is NULL), -EBADF (no open handle), -EINVAL (size 0), -ENOTRECOVERABLE.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_list(
    guest: *const kvm_hotplug,
    devices: *mut kvm_hotplug_device,
    size: usize,
    capacity: usize,
    ret_count: *mut usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        let known = guest.list()?;
        let list = known.iter().map(kvm_hotplug_device::device_info);
        // SAFETY: the caller vouches for the array and the counter.
        unsafe { give_list(list, devices, size, capacity, ret_count) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Looks up one device by its id.
///
/// `guest`: the handle.
/// `id`: the device's id.
/// `ret_device`, `device_size`: where to put the device, and its sizeof; or NULL and 0. Written only when it exists.
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: while another call asks QEMU, but not while it connects; nothing is asked of QEMU. Threads: any.
///
/// Returns the device's state, one of enum kvm_hotplug_answer (KVM_HOTPLUG_ABSENT if there is no such device), or
/// -EFAULT (guest or id is NULL), -EBADF (no open handle), -EINVAL (device_size 0, id not UTF-8), -ENOTRECOVERABLE.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_get_device(
    guest: *const kvm_hotplug,
    id: *const c_char,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (guest, id) = unsafe { (kvm_hotplug::get(guest)?, required_str(id, "id")?) };
        check_device_out(ret_device, device_size)?;
        let Some(device_info) = guest.find(id)? else {
            return Ok(kvm_hotplug_answer::KVM_HOTPLUG_ABSENT as c_int);
        };
        let device = kvm_hotplug_device::device_info(&device_info);
        // SAFETY: the caller vouches for the struct.
        unsafe { write_struct(ret_device, device_size, &device) };
        Ok(c_int::try_from(device.state).unwrap_or(0))
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
