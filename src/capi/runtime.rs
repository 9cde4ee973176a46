//! `struct kvm_runtime`: the record and its file.

use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard};

use super::args::{self, Plain, check_flags, optional_str, read_struct, required, required_path};
use super::device::kvm_hotplug_device;
use super::error::kvm_hotplug_error;
use super::guard;
use super::log::{kvm_hotplug_free_fn, kvm_hotplug_log_fn, log_to};
use crate::error::{Error, ErrorKind, Result};
use crate::log::Log;
use crate::model::{DEFAULT_RESERVED, Record};
use crate::mutex::lock;
use crate::store::{RecordFile, Trust};

/// Most arguments a recorded command line may have.
const MAX_COMMAND: usize = 65536;

/// Marks a live handle; cleared when it is freed, so that a stale pointer is usually told.
const MAGIC: u64 = 0x6b76_6d2d_7275_6e31;

/// The record of one guest: its command line without NICs and disks, and every NIC and disk with its address; with it
/// its file and the lock on that. Made by kvm_runtime_new(), kvm_runtime_load() or kvm_runtime_read(), freed by
/// kvm_runtime_free(). Any thread may use it; calls on one record take turns.
#[derive(Debug)]
pub struct kvm_runtime {
    magic: u64,
    record_file: Arc<Mutex<RecordFile>>,
    log: Mutex<Log>,
}

/// Flag of struct kvm_runtime_config: reserved_slots is given, also when it is 0.
pub const KVM_RUNTIME_RESERVED_SLOTS: u32 = 1;

/// Flag of kvm_runtime_open(): for looking only.
pub const KVM_RUNTIME_READ_ONLY: u32 = 2;

/// Flag of kvm_runtime_open() and struct kvm_runtime_config: owner and mode of the runtime file, of what lies beside it and of
/// their directory are not looked at. Whoever can write them then decides what is done with the caller's rights: which program
/// is started and which files it is given.
pub const KVM_RUNTIME_TRUST: u32 = 4;

/// What a new record begins with. Zero everywhere is the default.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_runtime_config {
    /// The guest's name, for people; NULL for none. Borrowed for the call.
    pub name: *const c_char,
    /// QEMU's command line without NICs and disks: command_count strings, the first of which is the program. NULL for
    /// none. Borrowed for the call.
    pub command: *const *const c_char,
    /// Number of strings in command, at most 65536.
    pub command_count: u64,
    /// Slots of pci.0, counted from 0, that are never chosen, 0 to 32. Counts only with KVM_RUNTIME_RESERVED_SLOTS;
    /// otherwise it is 4.
    pub reserved_slots: u32,
    /// KVM_RUNTIME_RESERVED_SLOTS and KVM_RUNTIME_TRUST, or 0.
    pub flags: u32,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_runtime_config {
    const FIRST: usize = super::args::end_of!(kvm_runtime_config, flags);
}

impl kvm_runtime {
    fn into_raw(record_file: RecordFile) -> *mut Self {
        let record_file = Arc::new(Mutex::new(record_file));
        Box::into_raw(Box::new(Self { magic: MAGIC, record_file, log: Mutex::new(Log::default()) }))
    }

    /// # Safety
    /// `pointer` is NULL or points to readable memory.
    pub(super) unsafe fn get<'a>(pointer: *const Self) -> Result<&'a Self> {
        // SAFETY: passed on.
        let handle = unsafe { required(pointer, "runtime") }?;
        if handle.magic != MAGIC {
            return Err(Error::invalid("runtime is no open runtime handle").with_errno(libc::EBADF));
        }
        Ok(handle)
    }

    pub(super) fn shared(&self) -> Arc<Mutex<RecordFile>> {
        self.record_file.clone()
    }

    pub(super) fn log(&self) -> Log {
        lock(&self.log).clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, RecordFile> {
        lock(&self.record_file)
    }
}

/// Makes a record of a guest without NICs and disks. It has no file until kvm_runtime_save() gives it one.
///
/// `config` and `size`: what it begins with, and sizeof *config; config may be NULL for a record without a command.
/// `ret_runtime`: where to put the new record; freed with kvm_runtime_free().
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: no. Threads: any.
///
/// Returns 0, or -EFAULT (ret_runtime, or a string of command, is NULL), -EINVAL (not UTF-8, unknown flags, size 0),
/// -E2BIG (a field is set that this version does not have), -EMSGSIZE (too many or too long strings), -EBADMSG
/// (more than 32 slots reserved).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_new(
    config: *const kvm_runtime_config,
    size: usize,
    ret_runtime: *mut *mut kvm_runtime,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the pointers.
        let runtime = unsafe { read_config(config, size) }?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { give(runtime, ret_runtime) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

unsafe fn read_config(config: *const kvm_runtime_config, size: usize) -> Result<RecordFile> {
    if config.is_null() {
        return Record::new("", Vec::new(), DEFAULT_RESERVED).map(RecordFile::new);
    }
    // SAFETY: the caller vouches for size bytes.
    let config = unsafe { read_struct(config, size, "config") }?;
    check_flags(config.flags, KVM_RUNTIME_RESERVED_SLOTS | KVM_RUNTIME_TRUST, "config flags")?;
    let reserved = match config.flags & KVM_RUNTIME_RESERVED_SLOTS {
        0 => DEFAULT_RESERVED,
        _ => u8::try_from(config.reserved_slots).unwrap_or(u8::MAX),
    };
    // SAFETY: the caller vouches for the strings.
    let (name, command) =
        unsafe { (optional_str(config.name, "name")?, read_command(config.command, config.command_count)?) };
    let record = Record::new(name.unwrap_or_default(), command, reserved)?;
    Ok(RecordFile::new(record).with_trust(trust(config.flags)))
}

/// What the flags say of a record's file.
fn trust(flags: u32) -> Trust {
    if flags & KVM_RUNTIME_TRUST == 0 { Trust::Checked } else { Trust::Given }
}

unsafe fn read_command(command: *const *const c_char, count: u64) -> Result<Vec<String>> {
    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_COMMAND);
    let count = count.ok_or_else(|| {
        Error::new(ErrorKind::Limit, format!("command has more than {MAX_COMMAND} arguments"))
    })?;
    if count > 0 && command.is_null() {
        return Err(args::null("command"));
    }
    let argument = |index| {
        // SAFETY: index is below the count that the caller vouches for.
        let text = unsafe { args::required_str(*command.add(index), &format!("command[{index}]")) };
        text.map(str::to_owned)
    };
    (0..count).map(argument).collect()
}

/// # Safety
/// `place` is NULL or points to a writable pointer.
pub(super) unsafe fn give(runtime: RecordFile, place: *mut *mut kvm_runtime) -> Result<c_int> {
    if place.is_null() {
        return Err(args::null("ret_runtime"));
    }
    // SAFETY: the caller vouches for it.
    unsafe { place.write(kvm_runtime::into_raw(runtime)) };
    Ok(0)
}

/// Loads a runtime file, and the journal beside it, and owns both until the record is freed: a lock file beside it
/// ("<path>.lock", with the pid inside) keeps other handles and processes out. Its format is recognised, see enum
/// kvm_runtime_format.
///
/// What the file says is done with the caller's rights. So it, what lies beside it and their directory must belong to the
/// caller's user or to root, and be writable by nobody else: not by everybody (a directory with the sticky bit, such as /tmp,
/// is fine), nor by a group that is neither root's nor one of the caller's (of root's, only the effective one counts). Access
/// control lists are not looked at. kvm_runtime_open() can do without.
///
/// "<path>.lock", "<path>.new", "<path>.journal" and "<path>.kvm-hotplug" are this library's. Whatever else has one of these
/// names is named in the error and stays as it is; so no record can have a name that ends so.
///
/// `path`: the runtime file; symbolic links are not followed in its last component.
/// `ret_runtime`: where to put the record; freed with kvm_runtime_free().
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: on disk I/O only. Threads: any. Nothing is changed on failure.
///
/// Returns 0, or -EFAULT (a pointer is NULL), -EINVAL (path is empty, no UTF-8, ends like a file beside a record, or is no
/// regular file; or a file beside it has a second name), -ENOENT (no such file), -ELOOP (a symbolic link), -EPERM with
/// KVM_HOTPLUG_ERROR_UNTRUSTED (others can write it: the message names whom), -EEXIST (what lies beside it is not this
/// library's), -EAGAIN (locked: the message names the holder), -EFBIG (over 4 MiB), -EBADMSG (malformed: the message names the
/// element), -EPROTONOSUPPORT (written by a newer version), or the errno of open, flock, read or write.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_load(
    path: *const c_char,
    ret_runtime: *mut *mut kvm_runtime,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for the pointers.
    unsafe { guard::call(reterr, || open_record(path, 0, ret_runtime)) }
}

/// Reads a runtime file for looking only: no lock is taken, so it works while an agent owns the file. Such a record can
/// be listed; saving it or opening a guest with it fails with -EROFS.
///
/// Parameters, blocking, threads and errors are those of kvm_runtime_load(), without -EAGAIN.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_read(
    path: *const c_char,
    ret_runtime: *mut *mut kvm_runtime,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for the pointers.
    unsafe { guard::call(reterr, || open_record(path, KVM_RUNTIME_READ_ONLY, ret_runtime)) }
}

/// Loads or reads a runtime file, with a say in what is looked at. Without flags it is kvm_runtime_load(), with
/// KVM_RUNTIME_READ_ONLY it is kvm_runtime_read().
///
/// `path`: the runtime file; symbolic links are not followed in its last component.
/// `flags`: KVM_RUNTIME_READ_ONLY and KVM_RUNTIME_TRUST, or 0.
/// `ret_runtime`: where to put the record; freed with kvm_runtime_free().
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: on disk I/O only. Threads: any. Nothing is changed on failure.
///
/// Returns 0, or -EINVAL (unknown flags), or what kvm_runtime_load() returns.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_open(
    path: *const c_char,
    flags: u32,
    ret_runtime: *mut *mut kvm_runtime,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for the pointers.
    unsafe { guard::call(reterr, || open_record(path, flags, ret_runtime)) }
}

/// # Safety
/// `path` is NULL or a string, `ret_runtime` NULL or valid.
unsafe fn open_record(path: *const c_char, flags: u32, ret_runtime: *mut *mut kvm_runtime) -> Result<c_int> {
    // SAFETY: the caller vouches for the string.
    let path = unsafe { required_path(path, "path") }?;
    check_flags(flags, KVM_RUNTIME_READ_ONLY | KVM_RUNTIME_TRUST, "flags")?;
    if ret_runtime.is_null() {
        return Err(args::null("ret_runtime"));
    }
    let runtime = match flags & KVM_RUNTIME_READ_ONLY {
        0 => RecordFile::load_trusting(path, trust(flags))?,
        _ => RecordFile::peek_trusting(path, trust(flags))?,
    };
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(runtime, ret_runtime) }
}

/// Writes the record to disk: a temporary file, synced, renamed into place, mode 0600, the directory synced. Calls on a
/// live guest do this by themselves.
///
/// `runtime`: the record.
/// `path`: for a record without a file, where to put it, which must not exist yet; the record owns that file from then
/// on. NULL for a record that has one.
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: on disk I/O. Threads: any. On failure the old file is as it was.
///
/// Returns 0, or -EFAULT (runtime is NULL), -EBADF (no open handle), -EINVAL (a Ganeti list cannot hold it: the message names
/// the device and its setting; or path ends like a file beside a record, as kvm_runtime_load() says), -EBADFD (no path for a record without a file, or a path for one that has a file), -EEXIST
/// (path exists, or what lies beside it is not this library's), -EPERM with KVM_HOTPLUG_ERROR_UNTRUSTED (others can write the
/// directory, see kvm_runtime_load()), -EBADMSG (a journal of another record is there, and malformed), -EAGAIN (locked), -EROFS (from kvm_runtime_read()), or the errno of open, write, fsync or rename.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_save(
    runtime: *mut kvm_runtime,
    path: *const c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        if path.is_null() {
            handle.lock().save()?;
        } else {
            // SAFETY: the caller vouches for the string.
            let path = unsafe { required_path(path, "path") }?;
            handle.lock().save_new(path)?;
        }
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Lists the devices of a record. Where the journal beside it has an operation on a device that was begun, and whose end is
/// not written down, the device's reason says so; see kvm_runtime_unfinished().
///
/// `runtime`: the record.
/// `devices`, `size`, `capacity`: an array of capacity structs, and sizeof devices[0]; NULL and capacity 0 to count only.
/// `ret_count`: where to put how many devices there are; those beyond capacity are not written.
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: no. Threads: any.
///
/// Returns 0, or -EFAULT (runtime or ret_count is NULL), -EBADF (no open handle), -EINVAL (size 0).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_list(
    runtime: *const kvm_runtime,
    devices: *mut kvm_hotplug_device,
    size: usize,
    capacity: usize,
    ret_count: *mut usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        let runtime = handle.lock();
        let (record, journal) = (runtime.record(), runtime.journal());
        let list = record.devices.iter().map(|device| kvm_hotplug_device::recorded_with(device, journal));
        // SAFETY: the caller vouches for the array and the counter.
        unsafe { give_list(list, devices, size, capacity, ret_count) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Lists the devices that the journal beside a record is about: an operation on each was begun, and its end is not written
/// down. Their reasons say which operation. One that was being added is not in the record yet. The next kvm_hotplug_open() of
/// the guest settles them, as kvm_hotplug_settle() does; kvm_runtime_settle() does it for a guest that is known to be off. Whoever
/// copies the runtime file, or reads it by other means, to migrate the guest for instance, sees to it before that nothing but removals
/// is unfinished. A record from kvm_runtime_read() will do, so this works without the lock; while an agent is at work, what it does at
/// the moment is in the list.
///
/// `runtime`: the record.
/// `devices`, `size`, `capacity`: an array of capacity structs, and sizeof devices[0]; NULL and capacity 0 to count only.
/// `ret_count`: where to put how many devices there are; those beyond capacity are not written.
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: no. Threads: any.
///
/// Returns 0, or -EFAULT (runtime or ret_count is NULL), -EBADF (no open handle), -EINVAL (size 0).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_unfinished(
    runtime: *const kvm_runtime,
    devices: *mut kvm_hotplug_device,
    size: usize,
    capacity: usize,
    ret_count: *mut usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        let runtime = handle.lock();
        let list = runtime.journal().intents.iter().map(kvm_hotplug_device::intended);
        // SAFETY: the caller vouches for the array and the counter.
        unsafe { give_list(list, devices, size, capacity, ret_count) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Hands out a list: what fits, and how many there are. Each is made where the caller wants it, so that a long list needs no
/// memory of its own.
///
/// # Safety
/// `array` is NULL or has `capacity` structs of `size` bytes, `ret_count` is NULL or writable.
pub(super) unsafe fn give_list<T: Plain>(
    list: impl ExactSizeIterator<Item = T>,
    array: *mut T,
    size: usize,
    capacity: usize,
    ret_count: *mut usize,
) -> Result<c_int> {
    if ret_count.is_null() {
        return Err(args::null("ret_count"));
    }
    args::check_list(array, size)?;
    // SAFETY: the caller vouches for both.
    unsafe {
        ret_count.write(list.len());
        args::write_list(array, size, capacity, list);
    }
    Ok(0)
}

/// Sets where log lines go, for guests opened with this record from now on. Without this call nothing is logged; nothing
/// ever goes to stdout or stderr.
///
/// `runtime`: the record.
/// `level`: one of enum kvm_hotplug_log_level; 0 stops logging.
/// `callback`: takes the lines; may be NULL with level 0.
/// `userdata`: passed to the callback. Guests opened with one record may log from several threads at once.
/// `free`: called once with userdata when nothing logs through it any more: after it was replaced, and the record and all
/// guests that were opened with it are gone; at once if this call fails. NULL if there is nothing to free.
/// `reterr`: where to put the error, or NULL.
///
/// Blocks: no. Threads: any.
///
/// Returns 0, or -EFAULT (runtime is NULL, or callback is with a level above 0), -EBADF (no open handle), -EINVAL (no such
/// level).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_set_log(
    runtime: *mut kvm_runtime,
    level: c_int,
    callback: kvm_hotplug_log_fn,
    userdata: *mut c_void,
    free: kvm_hotplug_free_fn,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // First, because free has to run whatever happens.
        let log = log_to(level, callback, userdata, free);
        // SAFETY: the caller vouches for the handle.
        let handle = unsafe { kvm_runtime::get(runtime) }?;
        let old = std::mem::replace(&mut *lock(&handle.log), log?);
        drop(old);
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Frees a record; NULL is fine. Its file is unlocked when also the guest opened with it is closed; the order does not
/// matter. Unsaved changes of a record without a file are lost. Does not fail, does not block; no
/// other thread may be using it.
///
/// # Safety
/// `runtime` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_free(runtime: *mut kvm_runtime) {
    guard::quiet((), || {
        // SAFETY: the caller vouches for the handle.
        if unsafe { kvm_runtime::get(runtime) }.is_ok() {
            // SAFETY: made by Box::into_raw, and the caller gives it up.
            let mut handle = unsafe { Box::from_raw(runtime) };
            handle.magic = 0;
        }
    });
}
