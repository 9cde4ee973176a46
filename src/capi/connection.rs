//! Connections that the caller makes, and one that the caller gets.

use std::ffi::c_int;
use std::os::fd::{AsFd, IntoRawFd};

use super::args::{self, null, timeout};
use super::error::kvm_hotplug_error;
use super::give::zeros;
use super::guard;
use super::guest::{
    KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, KVM_HOTPLUG_OPEN_IN_MEMORY, access, expected, give_guest, kvm_hotplug,
    kvm_hotplug_open_options,
};
use super::runtime::kvm_runtime;
use crate::error::Error;
use crate::guest::Guest;
use crate::sys::descriptor::duplicate;

/// What errors call the descriptor.
const CONNECTION: &str = "the connection to the monitor";

/// Opens a guest as kvm_hotplug_open_with() does, over a connection to its monitor that the caller has made:
/// a Unix, TCP or vsock stream socket, such as one end of a socket pair whose other end QEMU has.
///
/// The library duplicates the descriptor, and the caller can close its own. Nothing may have been read from
/// the connection or written to it: QEMU greets each client once. While both are open, only the library uses
/// it. When the guest is closed and the caller's descriptor is not, QEMU still serves this client.
///
/// The library cannot make such a connection again. If it is lost, every call to QEMU fails with -ENOTCONN
/// (kind MONITOR_LOST), until the caller gives another one with kvm_hotplug_give_connection(), or closes the
/// guest and opens it again. What was begun stays in the journal.
///
/// Over TCP and vsock the limits of kvm_hotplug_open() hold. Who listens is checked if the kernel says it:
/// not for TCP, vsock and the end of a socket pair, of which peer_uid and peer_pid are refused. Over a
/// monitor that QEMU deletes with its client no NIC can be added, see kvm_hotplug_lend_monitor().
///
/// `fd`: the socket, connected to QEMU's monitor.
/// `options`: NULL, or as for kvm_hotplug_open_with().
///
/// Fails like kvm_hotplug_open_with(), and with -EBADF (no descriptor), -ENOTSOCK, -EPROTOTYPE (no stream
/// socket), -EAFNOSUPPORT (of another family), -ENOTCONN (not connected), -EBUSY (kind MONITOR_BUSY: no
/// greeting came, perhaps because another program has read it).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_open_connection(
    runtime: *mut kvm_runtime,
    fd: c_int,
    options: *const kvm_hotplug_open_options,
    options_size: usize,
    ret_guest: *mut *mut kvm_hotplug,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        let options = match options.is_null() {
            true => zeros(),
            // SAFETY: the caller vouches for options_size bytes.
            false => unsafe { args::read_struct(options, options_size, "options") }?,
        };
        let listener = expected(&options)?;
        // SAFETY: the caller vouches for the handle.
        let record = unsafe { kvm_runtime::get(runtime) }?;
        if ret_guest.is_null() {
            return Err(null("ret_guest"));
        }
        let connection = duplicate(fd, CONNECTION)?;
        if options.flags & KVM_HOTPLUG_OPEN_IN_MEMORY != 0 {
            record.lock().keep_in_memory()?;
        }
        let timeout = timeout(options.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS);
        let guest =
            Guest::open_over(record.shared(), connection, listener, access(&options), record.log(), timeout)?;
        // SAFETY: not NULL, and the caller vouches for the rest.
        unsafe { give_guest(guest, ret_guest) };
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Gives a guest that was opened with kvm_hotplug_open_connection() another connection to a monitor of the
/// same QEMU, or of the one that has taken its place. The next call to QEMU uses it when the one of the
/// moment is lost, and no earlier. The library duplicates the descriptor; one that was given before and not
/// used is closed.
///
/// `fd`: the socket, connected to QEMU's monitor.
///
/// Fails with -EBADFD (kind STATE: the guest was opened by the name of its monitor), -EINVAL, and as
/// kvm_hotplug_open_connection() does for the descriptor.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_give_connection(
    guest: *mut kvm_hotplug,
    fd: c_int,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        guest.give_connection(duplicate(fd, CONNECTION)?).map(|()| 0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Has QEMU make another monitor, and gives the caller a connection to it: for a script, a console or a
/// profiler, beside the monitor that the library uses. Needs QEMU 11.1.
///
/// `ret_fd`: a stream socket, close-on-exec, that is the caller's to close. QEMU greets on it as on any
/// monitor. When all of its descriptors are closed, QEMU deletes the monitor. Nothing of it is recorded.
///
/// kvm_hotplug_qmp() refuses some commands. The library does not see what is sent over a lent monitor, so a
/// program that has it controls the guest. A guest can be opened over it with kvm_hotplug_open_connection(),
/// but no NIC can be added there: QEMU 11.1 never closes a descriptor that such a client has passed and not
/// used.
///
/// Fails like any call to QEMU, and with -EOPNOTSUPP (an older QEMU; the guest is open over TCP or vsock),
/// -EROFS (a guest that is only looked at), or the errno of a system call. A failure leaves nothing behind.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_lend_monitor(
    guest: *mut kvm_hotplug,
    timeout_ms: u32,
    ret_fd: *mut c_int,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let guest = unsafe { kvm_hotplug::get(guest) }?;
        if ret_fd.is_null() {
            return Err(null("ret_fd"));
        }
        let lent = guest.lend_monitor(timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        let own = lent.as_fd().try_clone_to_owned();
        let own = own.map_err(|error| Error::host(error, "duplicate the connection to the monitor"))?;
        // SAFETY: not NULL, and the caller vouches for the rest.
        unsafe { ret_fd.write(own.into_raw_fd()) };
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
