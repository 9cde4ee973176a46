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

/// Flag of struct kvm_boot_options: start QEMU with -S, so that the guest does not run until the monitor
/// command "cont". A migration target then also waits for it after the migration.
pub const KVM_BOOT_PAUSED: u32 = 1 << 17;

/// Flag of struct kvm_boot_options: make the command only to look at it. Nothing is written and no tap is
/// made; images are opened for reading and closed again. kvm_boot_fds() has no descriptors, and
/// kvm_boot_inherit() fails. Any record will do, also one from kvm_runtime_load_readonly(), and also while
/// the guest runs or is open.
pub const KVM_BOOT_DRY_RUN: u32 = 1 << 18;

/// Flag of struct kvm_boot_options: QEMU is to listen at qmp_path this time. The first QMP monitor of the
/// recorded command that listens at a Unix socket listens there instead. If the command has none, "-qmp
/// unix:PATH,server=on,wait=off" is added. The recorded command stays as it is. So a migration target can be
/// started on the host of its source.
pub const KVM_BOOT_SET_MONITOR: u32 = 1 << 27;

/// What a started QEMU waits for before it runs the guest.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_boot_incoming {
    /// Nothing: the guest boots.
    KVM_BOOT_INCOMING_NONE = 0,
    /// The command "migrate-incoming"; kvm_hotplug_verify() works before.
    KVM_BOOT_INCOMING_DEFER = 1,
    /// A migration over TCP. The address is host:port, as in "192.0.2.7:4444", "[2001:db8::7]:4444" or
    /// ":4444".
    KVM_BOOT_INCOMING_TCP = 2,
    /// A migration over a Unix socket that QEMU makes: its absolute path, at most 107 bytes.
    KVM_BOOT_INCOMING_UNIX = 3,
    /// A migration over incoming_fd, a connected socket or a pipe.
    KVM_BOOT_INCOMING_FD = 4,
}

/// How to start a guest. The default is a boot.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_boot_options {
    /// For KVM_BOOT_INCOMING_TCP and KVM_BOOT_INCOMING_UNIX; else NULL.
    pub incoming_address: *const c_char,
    /// One of enum kvm_boot_incoming.
    pub incoming: u32,
    /// For KVM_BOOT_INCOMING_FD, duplicated; else 0.
    pub incoming_fd: i32,
    /// Version of the QEMU that will be started, such as 7 and 2. Options are then JSON where it reads them
    /// (-device since 6.2, -netdev since 7.2; -blockdev always). 0 and 0 for options that every version
    /// reads.
    pub qemu_major: u32,
    /// See qemu_major.
    pub qemu_minor: u32,
    /// Number in QEMU of the first descriptor, 3 or more; 0 means 3. The others follow.
    pub fd_base: u32,
    /// Machine q35, boot only: for how many devices, beyond those it starts with, the guest shall have root
    /// ports. Ports that an earlier boot left free count. Machine pc ignores it, unless
    /// kvm_runtime_set_when_full() lets devices wait: then it gets PCI bridges, as many as pci.0 has slots
    /// for.
    pub spare_ports: u32,
    /// KVM_BOOT_PAUSED, KVM_BOOT_DRY_RUN and KVM_BOOT_SET_MONITOR, or 0.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Path of the monitor's socket if the recorded command, whose sockets are checked anyway, does not have
    /// it; NULL for none. If a process listens there, the call fails with -EBUSY. With KVM_BOOT_SET_MONITOR
    /// it is where QEMU will listen: an absolute path of at most 107 bytes.
    pub qmp_path: *const c_char,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_boot_options {
    const FIRST: usize = super::args::end_of!(kvm_boot_options, reserved);
}

/// A command that starts a guest, and the descriptors that it inherits. Made by kvm_runtime_boot(), freed
/// with kvm_boot_free(). It does not change, so any number of threads may read it at once.
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

/// Makes the command that starts the guest of a record: its own command line, and every NIC and disk with
/// exactly the ids, addresses and properties that the hot-plug calls give them. Images are opened, and taps
/// made and set up, as by those calls, with the caller's rights. QEMU inherits them and opens nothing itself,
/// so it may be started in a chroot, as another user and under seccomp. The recorded command line comes first
/// and is not changed. QEMU places its devices that have no addr=: on machine pc, reserved_slots of the
/// record must leave room for them. No NIC or disk can add an option to it.
///
/// With KVM_BOOT_INCOMING_NONE this is the reboot that changes wait for. Devices for the next boot are in the
/// command, at addresses chosen as by the hot-plug calls; devices to remove are not, and pending removals are
/// done. On q35 the command has a root port for every device that needs one, and for spare_ports more; on pc,
/// the PCI bridges that kvm_runtime_set_when_full() is about. All this is in the runtime file before the call
/// returns. It stays true if QEMU is not started after all: the guest is off, and the next call makes the
/// same command.
///
/// The guest must not run, and no handle may be open with the record. A guest that is seen to run on this
/// host is refused: the library connects to the Unix sockets at which the recorded command listens and to
/// qmp_path, closes the connections at once, and checks whether the guest's pid file is locked, or an image
/// by another QEMU. An interrupted add or change with no recorded end is refused too, unless its QEMU is seen
/// to have ended: open the guest if it runs, or call kvm_runtime_settle() if it is known to be off.
///
/// With any other value of incoming, the command is that of a migration target: what the source has now, from
/// a copy of its runtime file. Changes that wait for a reboot go on waiting. The names of the new taps are
/// recorded; with a record from kvm_runtime_load_readonly() no file is written. Call kvm_runtime_check()
/// before and kvm_hotplug_verify() after the start. Images are opened in place, so storage must be shared
/// with the source or have been copied. NICs of Ganeti's lists of three entries, which have no addresses, are
/// started in the same order, so that QEMU gives them the same ones; those are recorded when the target is
/// opened.
///
/// `options`: how to start; NULL, and 0 as its size, for a boot with defaults.
/// `ret_boot`: where to put the command; freed with kvm_boot_free(), which closes this process's descriptors.
///
/// Blocks: on opening images, never on a process that listens at a socket. If the fixed name of a tap is
/// taken, also for up to half a second: the kernel needs some milliseconds to remove the tap of a QEMU that
/// has just ended (since 11, which polls by io_uring).
///
/// Returns 0, or fails like any change of a record, like any call that opens an image, and with
/// - -EBADF (incoming_fd is not open), -EINVAL (contradicting options; the command has -incoming already, or
///   uses descriptors of the same numbers);
/// - -EBUSY (the guest runs; another QEMU uses an image), -EBADFD (the record has no command; a NIC was added
///   with tap_fds and no tap was given for it, see kvm_runtime_give_tap(); a device of a migration target has
///   no address; an add or change is not settled);
/// - -EEXIST (the command has an id of a NIC or disk; a tap of that name exists), -EADDRINUSE (two devices
///   want one slot), -ENOSPC (no slot is left), -EOPNOTSUPP (a model that needs another bus than PCI);
/// - -ENOENT (no such bridge), -ENODEV (the NIC has vhost and this host does not), or the errno of making
///   taps (-EPERM without CAP_NET_ADMIN). A failure leaves no taps and descriptors, and the record unchanged.
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
    let known = KVM_BOOT_PAUSED | KVM_BOOT_DRY_RUN | KVM_BOOT_SET_MONITOR;
    check_flags(options.flags, known, "boot flags")?;
    check_reserved(options.reserved, "boot options")?;
    let version = Version { major: options.qemu_major, minor: options.qemu_minor, micro: 0 };
    // SAFETY: the caller vouches for the string.
    let monitor = unsafe { optional_str(options.qmp_path, "qmp_path") }?;
    let monitor = monitor.map(PathBuf::from);
    let sets = options.flags & KVM_BOOT_SET_MONITOR != 0;
    if sets && monitor.is_none() {
        return Err(Error::invalid("qmp_path is NULL, where KVM_BOOT_SET_MONITOR needs a path"));
    }
    let request = BootRequest {
        // SAFETY: the caller vouches for the string.
        incoming: unsafe { read_incoming(&options) }?,
        qemu: (version != Version::default()).then_some(version),
        fd_base: if options.fd_base == 0 { FIRST_FD } else { options.fd_base },
        spare_ports: usize::try_from(options.spare_ports).unwrap_or(usize::MAX),
        paused: options.flags & KVM_BOOT_PAUSED != 0,
        listen_at: monitor.clone().filter(|_| sets),
        monitor,
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

/// The command line as execv() takes it: the program first, a NULL behind the last argument. It belongs to
/// the command.
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

/// The descriptors, as this process numbers them, close-on-exec. They belong to the command. In QEMU they
/// must have the numbers from fd_base on: kvm_boot_inherit() in a child does that, and so do Go's
/// exec.Cmd.ExtraFiles and Python's posix_spawn file actions.
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

/// Gives every descriptor the number that the command has for it. For a child process, between fork() and
/// execv(). Async-signal-safe: it allocates nothing and takes no lock. What the child has open at those
/// numbers is closed.
///
///     const char *const *argv = kvm_boot_argv(boot, NULL);
///     pid_t pid = fork();
///     if (pid == 0) {
///         if (kvm_boot_inherit(boot) == 0)
///             execvp(argv[0], (char *const *)argv);
///         _exit(127);
///     }
///
/// Returns 0, or -EBADF (no command), -EBADFD (made with KVM_BOOT_DRY_RUN), -EMFILE or -EBADF (the numbers
/// are above this process's limit, RLIMIT_NOFILE).
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

/// Frees a command and closes this process's descriptors. Call it as soon as QEMU is started: a tap lives as
/// long as any process has it open.
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
