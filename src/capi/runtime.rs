//! `struct kvm_runtime`: the record and its file.

use std::ffi::{c_char, c_int};
use std::sync::{Arc, Mutex, MutexGuard};

use super::args::{self, Plain, check_flags, optional_str, read_struct, required, required_path};
use super::error::kvm_hotplug_error;
use super::guard;
use crate::error::{Error, ErrorKind, Result};
use crate::log::Log;
use crate::model::{DEFAULT_RESERVED, Record};
use crate::mutex::lock;
use crate::store::{RecordFile, Trust};

/// Most arguments a recorded command line may have.
const MAX_COMMAND: usize = 65536;

/// Marks a live handle; cleared when it is freed, so that a stale pointer is usually told.
const MAGIC: u64 = 0x6b76_6d2d_7275_6e31;

/// The record of one guest: its command line without NICs and disks, every NIC and disk with its address, its
/// file, and the lock on that file. Freed with kvm_runtime_free().
#[derive(Debug)]
pub struct kvm_runtime {
    magic: u64,
    record_file: Arc<Mutex<RecordFile>>,
    log: Mutex<Log>,
}

/// Flag of struct kvm_runtime_config and struct kvm_runtime_adopt_options: reserved_slots is given, also when
/// it is 0.
pub const KVM_RUNTIME_NEW_RESERVED_SLOTS: u32 = 1 << 19;

/// Flag of kvm_runtime_open(): as kvm_runtime_load_readonly().
pub const KVM_RUNTIME_OPEN_READ_ONLY: u32 = 1 << 20;

/// Flag of kvm_runtime_open(), struct kvm_runtime_config and struct kvm_runtime_adopt_options: do not check
/// owner and mode of the runtime file, the files beside it and their directory. Users who can write them then
/// control what is done with the caller's rights: which program is started, and which files it is given.
pub const KVM_RUNTIME_OPEN_TRUST: u32 = 1 << 21;

/// What a new record begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_runtime_config {
    /// The guest's name, for people; NULL for none.
    pub name: *const c_char,
    /// QEMU's command line without NICs and disks, program first; or NULL.
    pub command: *const *const c_char,
    /// Number of strings in command, at most 65536.
    pub command_count: u64,
    /// Slots of pci.0, counted from 0, that are never chosen, 0 to 32. Without KVM_RUNTIME_NEW_RESERVED_SLOTS
    /// it is 4.
    pub reserved_slots: u32,
    /// KVM_RUNTIME_NEW_RESERVED_SLOTS and KVM_RUNTIME_OPEN_TRUST, or 0.
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

    /// Returns the one that there was.
    pub(super) fn set_log(&self, log: Log) -> Log {
        std::mem::replace(&mut *lock(&self.log), log)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, RecordFile> {
        lock(&self.record_file)
    }
}

/// Makes a record of a guest without NICs and disks. It has no file until kvm_runtime_save() gives it one.
///
/// `config`: what it begins with; NULL, and 0 as its size, for a record without a command.
///
/// Fails with -EMSGSIZE (too many or too long strings), -EBADMSG (more than 32 slots reserved).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_new(
    config: *const kvm_runtime_config,
    config_size: usize,
    ret_runtime: *mut *mut kvm_runtime,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for the pointers.
        let runtime = unsafe { read_config(config, config_size) }?;
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
    check_flags(config.flags, KVM_RUNTIME_NEW_RESERVED_SLOTS | KVM_RUNTIME_OPEN_TRUST, "config flags")?;
    let reserved = match config.flags & KVM_RUNTIME_NEW_RESERVED_SLOTS {
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
pub(super) fn trust(flags: u32) -> Trust {
    if flags & KVM_RUNTIME_OPEN_TRUST == 0 { Trust::Checked } else { Trust::Given }
}

/// # Safety
/// The strings are NULL or valid.
pub(super) unsafe fn read_command(command: *const *const c_char, count: u64) -> Result<Vec<String>> {
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

/// Loads a runtime file and the journal beside it, in any format of enum kvm_runtime_format. The record owns
/// both until it is freed: a lock file ("<path>.lock", with the pid inside) keeps other handles and processes
/// out.
///
/// The library does what the file says with the caller's rights. So the file, the files beside it and their
/// directory must belong to the caller's user or to root, and nobody else may be able to write to them. But a
/// directory with the sticky bit, such as /tmp, may be writable by all, and a group may have write permission
/// if it is root's or one of the caller's (if the caller is root, only its effective one). Access control
/// lists are not checked. KVM_RUNTIME_OPEN_TRUST turns this check off.
///
/// The library reserves "<path>.lock", "<path>.new", "<path>.journal" and "<path>.kvm-hotplug". Another file
/// of such a name is named in the error and left alone; a record's own name may not end so.
///
/// Fails with -EINVAL (path is empty, ends as reserved, or is no regular file; or a file beside it has a
/// second name), -ENOENT (no such file), -ELOOP (a symbolic link), -EPERM (kind UNTRUSTED: others can write
/// it: the message names whom), -EEXIST (a file beside it is not this library's), -EAGAIN (locked: the
/// message names the holder), -EFBIG (over 4 MiB), -EBADMSG (malformed: the message names the element),
/// -EPROTONOSUPPORT (written by a newer version), or the errno of open, flock, read or write.
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

/// Reads a runtime file without a lock, so also while an agent owns it. Such a record can be listed; saving
/// it or opening a guest with it to change the guest fails with -EROFS.
///
/// Fails like kvm_runtime_load(), but not with -EAGAIN.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_runtime_load_readonly(
    path: *const c_char,
    ret_runtime: *mut *mut kvm_runtime,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    // SAFETY: the caller vouches for the pointers.
    unsafe { guard::call(reterr, || open_record(path, KVM_RUNTIME_OPEN_READ_ONLY, ret_runtime)) }
}

/// Loads a runtime file as kvm_runtime_load() does, with flags.
///
/// Fails like kvm_runtime_load().
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
    check_flags(flags, KVM_RUNTIME_OPEN_READ_ONLY | KVM_RUNTIME_OPEN_TRUST, "flags")?;
    if ret_runtime.is_null() {
        return Err(args::null("ret_runtime"));
    }
    let runtime = match flags & KVM_RUNTIME_OPEN_READ_ONLY {
        0 => RecordFile::load_trusting(path, trust(flags))?,
        _ => RecordFile::peek_trusting(path, trust(flags))?,
    };
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(runtime, ret_runtime) }
}

/// Writes the record to disk: to a temporary file of mode 0600, which is synced and renamed into place; then
/// the directory is synced. Calls that change a guest do this by themselves.
///
/// `path`: for a record without a file, where to put it. The file must not exist; the record owns it from
/// then on. NULL for a record that has a file.
///
/// Fails with -EINVAL (a Ganeti list cannot hold the record: the message names the device and its setting; or
/// path ends as kvm_runtime_load() reserves it), -EBADFD (neither path nor file, or both), -EEXIST (path
/// exists, or a file beside it is not this library's), -EPERM (kind UNTRUSTED: others can write the
/// directory, see kvm_runtime_load()), -EBADMSG (a malformed journal of another record is there), -EAGAIN
/// (locked), -EROFS (from kvm_runtime_load_readonly()), or the errno of open, write, fsync or rename. A
/// failure leaves the old file unchanged.
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

/// Frees a record. Its file is unlocked when the guest opened with it is closed too; the order does not
/// matter. Unsaved changes of a record without a file are lost.
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
