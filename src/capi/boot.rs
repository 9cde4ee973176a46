//! The command that starts a guest, with what it inherits.

use std::ffi::{CString, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use super::args::{self, Plain, check_flags, duplicate_fds, optional_str, read_struct};
use super::error::kvm_hotplug_error;
use super::guard;
use super::nic::check_reserved;
use super::runtime::kvm_runtime;
use crate::boot::{BootCommand, BootRequest, FIRST_FD, Incoming};
use crate::error::{Error, Result};
use crate::qmp::Version;
use crate::sys::inherit;

/// Marks a live handle; cleared when it is freed, so that a stale pointer is usually told.
const MAGIC: u64 = 0x6b76_6d2d_626f_6f31;

/// Flag of struct kvm_boot_options: QEMU gets -S, so that the guest does not run until the monitor command "cont". A
/// migration target then also waits for it after the migration.
pub const KVM_BOOT_PAUSED: u32 = 1 << 17;

/// Flag of struct kvm_boot_options: the command is only made to be looked at. Nothing is written, neither record nor journal,
/// and no tap is made; images are opened for reading and closed again. The command names descriptors that it does not have:
/// kvm_boot_fds() has none, and kvm_boot_inherit() fails. Any record will do, also one from kvm_runtime_load_readonly(), and also while
/// the guest runs or is open.
pub const KVM_BOOT_DRY_RUN: u32 = 1 << 18;

/// What a started QEMU waits for before it runs the guest.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_boot_incoming {
    /// Nothing: the guest boots.
    KVM_BOOT_INCOMING_NONE = 0,
    /// The monitor command "migrate-incoming", so that kvm_hotplug_verify() can be called before.
    KVM_BOOT_INCOMING_DEFER = 1,
    /// A migration over TCP. The address is host:port, as in "192.0.2.7:4444", "[2001:db8::7]:4444" or ":4444".
    KVM_BOOT_INCOMING_TCP = 2,
    /// A migration over a Unix socket that QEMU makes. The address is its absolute path, at most 107 bytes.
    KVM_BOOT_INCOMING_UNIX = 3,
    /// A migration over incoming_fd, a connected socket or a pipe.
    KVM_BOOT_INCOMING_FD = 4,
}

/// How a guest is to be started. Zero everywhere is the default: a boot. Strings are borrowed for the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_boot_options {
    /// Where the migration comes in, with KVM_BOOT_INCOMING_TCP and KVM_BOOT_INCOMING_UNIX; NULL otherwise.
    pub incoming_address: *const c_char,
    /// One of enum kvm_boot_incoming.
    pub incoming: u32,
    /// The descriptor that the migration comes in by, with KVM_BOOT_INCOMING_FD; it is duplicated. 0 otherwise.
    pub incoming_fd: i32,
    /// Version of the QEMU that the command is for, such as 7 and 2. With it, options are JSON where that version reads
    /// them (-device since 6.2, -netdev since 7.2; -blockdev always); 0 and 0 for options that every version reads.
    pub qemu_major: u32,
    /// See qemu_major.
    pub qemu_minor: u32,
    /// Number in QEMU of the first descriptor, 3 or more; 0 means 3. The others follow without a gap.
    pub fd_base: u32,
    /// Machine q35, boot only: for how many devices, beyond those that it starts with, the running guest shall have root
    /// ports. Ports that an earlier boot left free count. Machine pc has its slots whatever this says.
    pub spare_ports: u32,
    /// KVM_BOOT_PAUSED and KVM_BOOT_DRY_RUN, or 0.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Path of the monitor's socket, at which the guest would answer if it ran: if somebody listens there, the call fails with
    /// -EBUSY. For a QEMU that gets its monitor otherwise than by the recorded command, whose own sockets are looked at in any
    /// case. NULL for none.
    pub qmp_path: *const c_char,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_boot_options {
    const FIRST: usize = super::args::end_of!(kvm_boot_options, reserved);
}

/// A command that starts a guest, and the descriptors that it inherits. Made by kvm_runtime_boot(), freed by
/// kvm_boot_free(). It does not change, so any number of threads may read it at once.
#[derive(Debug)]
pub struct kvm_boot {
    magic: u64,
    argv: Vec<*const c_char>,
    numbers: Vec<i32>,
    first: i32,
    /// Only to be looked at.
    planned: bool,
    // What the pointers and numbers above are of.
    _texts: Vec<CString>,
    fds: Vec<OwnedFd>,
}

impl kvm_boot {
    fn new(command: BootCommand, planned: bool) -> Result<Self> {
        let text = |argument: String| {
            CString::new(argument).map_err(|_| Error::invalid("an argument of the command contains a NUL"))
        };
        let texts = command.argv.into_iter().map(text).collect::<Result<Vec<_>>>()?;
        let mut argv: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        argv.push(std::ptr::null());
        let numbers = command.fds.iter().map(AsRawFd::as_raw_fd).collect();
        let first = i32::try_from(command.fd_base).map_err(|_| Error::invalid("fd_base is out of range"))?;
        Ok(Self { magic: MAGIC, argv, numbers, first, planned, _texts: texts, fds: command.fds })
    }

    /// # Safety
    /// `pointer` is NULL or points to readable memory.
    unsafe fn get<'a>(pointer: *const Self) -> Option<&'a Self> {
        // SAFETY: passed on.
        unsafe { pointer.as_ref() }.filter(|boot| boot.magic == MAGIC)
    }
}

/// Makes the command that starts the guest of a record: its own command line, and every NIC and disk with exactly the ids,
/// addresses and properties that the hot-plug calls give them. Images are opened, and taps are made, attached and set up,
/// as by those calls, with the caller's rights: QEMU inherits them and opens nothing by itself, so it may be started in a
/// chroot, as another user and under seccomp.
///
/// The command line in the record is taken as it is, and comes first. Devices in it that have no addr= are placed by QEMU:
/// on machine pc, reserved_slots of the record must leave room for them. Nothing in a NIC or disk can add an option to it.
///
/// With KVM_BOOT_INCOMING_NONE, this is the reboot that changes wait for. The guest must not be running, and no handle may
/// be open with the record. A guest that runs is refused, as far as this host shows that it does: the library connects to the
/// Unix sockets at which the recorded command listens, and to qmp_path, and closes the connections at once; it looks whether
/// its pid file is locked, and whether another QEMU has one of the images locked. A guest that none of this shows, or that runs
/// on another host, is not found. Devices that waited for a reboot are in the command, at addresses chosen as by the hot-plug
/// calls; those that were to go are not; a removal that the guest had not granted is done. If an add or change was interrupted, of
/// which the record does not say how it ended, the call is refused, unless the process that it was begun in is seen to have ended:
/// open the guest if it runs, and call kvm_runtime_settle() if it is known to be off. The runtime file says so before
/// the call returns, and it stays true if QEMU is not started after all: the guest is off, and the next call makes the same
/// command. On q35 the command has a root port for every device that needs one, and for spare_ports more; they are in the
/// runtime file too.
///
/// With any other value of incoming, the command is that of a migration target: what the source has at this moment, taken
/// from a copy of its runtime file. Changes that wait for a reboot go on waiting. The names of the new taps go into the
/// record; one from kvm_runtime_load_readonly() will do as well, and then no file is written. kvm_runtime_check() before and
/// kvm_hotplug_verify() after the start say whether the target is what it has to be. NICs of Ganeti's lists of three entries, for
/// which no list says where QEMU has put them, are started in the same order without a place, so that they get the same ones;
/// those are recorded when the target is opened. Images are opened in place, so storage
/// is shared with the source or has been copied.
///
/// `options`, `options_size`: how to start, and sizeof *options; NULL and 0 for a boot with defaults.
/// `ret_boot`: where to put the command; freed with kvm_boot_free(), which closes the descriptors of this process.
///
/// Blocks: on opening images, never on a process that listens at a socket. If a NIC's tap has a fixed name
/// that is taken, also for up to half a second: the kernel needs some milliseconds to remove the tap of a
/// QEMU (since 11) that has just ended, since that polls by io_uring.
///
/// Returns 0, or fails like any change of a record, and with
/// - -EBADF (incoming_fd is not open), -EINVAL (contradicting options; the command has -incoming already, or
///   uses descriptors of the same numbers);
/// - -EBUSY (the guest runs; an image is in use by another QEMU), -EBADFD (the record has no command; a NIC
///   was added over a tap of the caller's, tap_fds, which cannot be given here yet: the message names the NIC
///   and what to do; for a target: a device has no address; or an add or change was interrupted and is not
///   settled);
/// - -EEXIST (the command has an id of a NIC or disk; a tap of that name exists), -EADDRINUSE (two want one
///   slot), -ENOSPC (no slot is left), -EOPNOTSUPP (a model that needs another bus than PCI);
/// - what kvm_hotplug_add_nic() and kvm_hotplug_add_disk() fail with on the host's side: -EPERM or -ELOOP
///   (kind IMAGE_REFUSED: an image is made of other files than recorded, or they may not be opened), -ENOENT
///   (no such image, backing file or bridge), -EACCES, -EPERM, -ENODEV (the NIC has vhost and this host does
///   not), -EBADMSG and others.
///
/// On failure nothing is left of taps and descriptors, and the record is as it was.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_boot(
    runtime: *mut kvm_runtime,
    options: *const kvm_boot_options,
    options_size: usize,
    ret_boot: *mut *mut kvm_boot,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (handle, request) = unsafe { (kvm_runtime::get(runtime)?, read_options(options, options_size)?) };
        if ret_boot.is_null() {
            return Err(args::null("ret_boot"));
        }
        let boot = match request {
            Wanted::Boot(request) => kvm_boot::new(handle.lock().boot_command(request)?, false)?,
            Wanted::Plan(request) => kvm_boot::new(handle.lock().plan_command(request)?, true)?,
        };
        // SAFETY: the caller vouches for the pointer.
        unsafe { ret_boot.write(Box::into_raw(Box::new(boot))) };
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// What a command is for.
enum Wanted {
    /// To be run.
    Boot(BootRequest),
    /// To be looked at.
    Plan(BootRequest),
}

unsafe fn read_options(options: *const kvm_boot_options, size: usize) -> Result<Wanted> {
    if options.is_null() {
        return Ok(Wanted::Boot(BootRequest { fd_base: FIRST_FD, ..BootRequest::default() }));
    }
    // SAFETY: the caller vouches for size bytes.
    let options = unsafe { read_struct(options, size, "boot options") }?;
    check_flags(options.flags, KVM_BOOT_PAUSED | KVM_BOOT_DRY_RUN, "boot flags")?;
    check_reserved(options.reserved, "boot options")?;
    let version = Version { major: options.qemu_major, minor: options.qemu_minor, micro: 0 };
    // SAFETY: the caller vouches for the string.
    let monitor = unsafe { optional_str(options.qmp_path, "qmp_path") }?;
    let request = BootRequest {
        // SAFETY: the caller vouches for the string.
        incoming: unsafe { read_incoming(&options) }?,
        qemu: (version != Version::default()).then_some(version),
        fd_base: if options.fd_base == 0 { FIRST_FD } else { options.fd_base },
        spare_ports: usize::try_from(options.spare_ports).unwrap_or(usize::MAX),
        paused: options.flags & KVM_BOOT_PAUSED != 0,
        monitor: monitor.map(PathBuf::from),
    };
    Ok(if options.flags & KVM_BOOT_DRY_RUN == 0 { Wanted::Boot(request) } else { Wanted::Plan(request) })
}

unsafe fn read_incoming(options: &kvm_boot_options) -> Result<Option<Incoming>> {
    // SAFETY: passed on.
    let address = unsafe { optional_str(options.incoming_address, "incoming_address") }?;
    let needed = || {
        let text = "incoming_address is NULL, where the migration needs an address";
        address.map(str::to_owned).ok_or_else(|| Error::invalid(text))
    };
    if address.is_some() && !matches!(options.incoming, 2 | 3) {
        return Err(Error::invalid("incoming_address is given, but incoming takes none"));
    }
    if options.incoming_fd != 0 && options.incoming != 4 {
        return Err(Error::invalid("incoming_fd is given, but incoming is not KVM_BOOT_INCOMING_FD"));
    }
    match options.incoming {
        0 => Ok(None),
        1 => Ok(Some(Incoming::Defer)),
        2 => needed().map(|address| Some(Incoming::Tcp(address))),
        3 => needed().map(|path| Some(Incoming::Unix(path))),
        4 => {
            // SAFETY: one integer.
            let mut fds = unsafe { duplicate_fds(&raw const options.incoming_fd, 1, 1, "incoming_fd") }?;
            Ok(fds.pop().map(Incoming::Fd))
        }
        other => Err(Error::invalid(format!("incoming {other} does not exist; 0 to 4 do"))),
    }
}

/// The command line: the program first, a NULL behind the last argument, as execv() takes it. It belongs to the command.
///
/// `ret_count`: where to put the number of arguments, without the NULL; or NULL.
///
/// Returns NULL if `boot` is no command.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_boot_argv(boot: *const kvm_boot, ret_count: *mut usize) -> *const *const c_char {
    guard::quiet(std::ptr::null(), || {
        // SAFETY: the caller vouches for the handle.
        let Some(boot) = (unsafe { kvm_boot::get(boot) }) else { return std::ptr::null() };
        // SAFETY: the caller vouches for the counter.
        if let Some(count) = unsafe { ret_count.as_mut() } {
            *count = boot.argv.len().saturating_sub(1);
        }
        boot.argv.as_ptr()
    })
}

/// The descriptors, as they are numbered in this process, close-on-exec. In QEMU, the first of them has to have the number
/// fd_base (3 by default), and the others those that follow: kvm_boot_inherit() in a child sees to it, and so do Go's
/// exec.Cmd.ExtraFiles and Python's posix_spawn file actions. They belong to the command.
///
/// `ret_count`: where to put how many there are; or NULL.
///
/// Returns NULL if `boot` is no command.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_boot_fds(boot: *const kvm_boot, ret_count: *mut usize) -> *const i32 {
    guard::quiet(std::ptr::null(), || {
        // SAFETY: the caller vouches for the handle.
        let Some(boot) = (unsafe { kvm_boot::get(boot) }) else { return std::ptr::null() };
        // SAFETY: the caller vouches for the counter.
        if let Some(count) = unsafe { ret_count.as_mut() } {
            *count = boot.numbers.len();
        }
        boot.numbers.as_ptr()
    })
}

/// Puts every descriptor at the number that the command has for it. For a child process, between fork() and execv(), and
/// async-signal-safe: it allocates nothing and takes no lock. What the child has open at those numbers is closed.
///
///     const char *const *argv = kvm_boot_argv(boot, NULL);
///     pid_t pid = fork();
///     if (pid == 0) {
///         if (kvm_boot_inherit(boot) == 0)
///             execvp(argv[0], (char *const *)argv);
///         _exit(127);
///     }
///
/// Returns 0, or -EBADF (no command), -EBADFD (one with KVM_BOOT_DRY_RUN, only to be looked at), -EMFILE or
/// -EBADF (the numbers are above this process's limit, RLIMIT_NOFILE).
///
/// # Safety
/// `boot` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_boot_inherit(boot: *const kvm_boot) -> c_int {
    guard::quiet(-libc::ENOTRECOVERABLE, || {
        // SAFETY: the caller vouches for the handle.
        let Some(boot) = (unsafe { kvm_boot::get(boot) }) else { return -libc::EBADF };
        if boot.planned {
            return -libc::EBADFD;
        }
        // No descriptor has a number that another one is put at: they have all been moved out of the way.
        for (fd, number) in boot.fds.iter().zip(boot.first..) {
            if let Err(errno) = inherit::place(fd.as_fd(), number) {
                return -(errno as c_int);
            }
        }
        0
    })
}

/// Frees a command and closes its descriptors, which a QEMU that was started with it goes on to have. To be called as soon
/// as QEMU is started: a tap lives as long as anybody has it open.
///
/// # Safety
/// `boot` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_boot_free(boot: *mut kvm_boot) {
    guard::quiet((), || {
        // SAFETY: the caller vouches for the handle.
        if unsafe { kvm_boot::get(boot) }.is_some() {
            // SAFETY: made by Box::into_raw, and the caller gives it up.
            let mut boot = unsafe { Box::from_raw(boot) };
            boot.magic = 0;
        }
    });
}
