//! The log callback of C, as a sink.

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use super::error::kvm_hotplug_error;
use super::give::c_text;
use super::guard;
use super::runtime::kvm_runtime;
use crate::error::{Error, Result};
use crate::log::{Level, Log, Sink};
use crate::sanitize::escaped;

/// How important a log line is. A level includes those above it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kvm_hotplug_log_level {
    /// Nothing is logged; the callback is dropped.
    KVM_HOTPLUG_LOG_OFF = 0,
    /// Something is left behind or lost.
    KVM_HOTPLUG_LOG_ERROR = 1,
    /// Something unexpected was handled.
    KVM_HOTPLUG_LOG_WARNING = 2,
    /// What changed in a guest.
    KVM_HOTPLUG_LOG_INFO = 3,
    /// Every call and what was sent.
    KVM_HOTPLUG_LOG_DEBUG = 4,
}

/// Takes one log line: without a final newline, valid during the callback only. The thread that is in a call
/// of this library calls it. What happens to an add that no call waits for is logged by the call that goes on
/// with it. Lines of one handle come one at a time. The callback must not call into the handle (that call
/// fails with EDEADLK), nor leave by longjmp or an exception.
pub type kvm_hotplug_log_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, level: c_int, message: *const c_char)>;

/// Releases the userdata of a log callback. Called once, when nothing can log through it any more.
pub type kvm_hotplug_free_fn = Option<unsafe extern "C" fn(userdata: *mut c_void)>;

struct Callback {
    line: unsafe extern "C" fn(*mut c_void, c_int, *const c_char),
    userdata: *mut c_void,
    free: kvm_hotplug_free_fn,
}

// SAFETY: the header says that the callback is called by whatever thread makes a call, one call of a handle
// at a time, so its userdata has to bear that; nothing here looks at it.
unsafe impl Send for Callback {}
// SAFETY: as above: handles that share a record may log at the same time, which the header says.
unsafe impl Sync for Callback {}

impl Sink for Callback {
    fn line(&self, level: Level, text: &str) {
        let text = c_text(&escaped(text));
        // SAFETY: function and userdata belong together; the string lives through the call.
        unsafe { (self.line)(self.userdata, level as c_int, text.as_ptr()) };
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: function and userdata belong together, and this is the last use.
            unsafe { free(self.userdata) };
        }
    }
}

/// A log for the callback; `free` runs in any case, also when this fails.
pub(super) fn log_to(
    level: c_int,
    line: kvm_hotplug_log_fn,
    userdata: *mut c_void,
    free: kvm_hotplug_free_fn,
) -> Result<Log> {
    let callback = line.map(|line| Callback { line, userdata, free });
    if let Some(free) = free.filter(|_| callback.is_none()) {
        // SAFETY: function and userdata belong together, and there will be no other use.
        unsafe { free(userdata) };
    }
    let level = match level {
        0 => return Ok(Log::default()),
        1 => Level::Error,
        2 => Level::Warning,
        3 => Level::Info,
        4 => Level::Debug,
        other => return Err(Error::invalid(format!("log level {other}: 0 to 4 exist"))),
    };
    match callback {
        Some(callback) => Ok(Log::new(level, Arc::new(callback))),
        None => {
            Err(Error::invalid("log callback is NULL; use level 0 to log nothing").with_errno(libc::EFAULT))
        }
    }
}

/// Sets the callback for log lines of guests opened with this record from now on. Without it nothing is
/// logged.
///
/// `level`: one of enum kvm_hotplug_log_level; 0 stops logging.
/// `callback`: takes the lines; may be NULL with level 0.
/// `userdata`: passed to the callback. Guests opened with one record may log from several threads at once.
/// `free`: called once with userdata when nothing logs through it any more: another callback was set or the
/// record freed, and all guests that were opened with it are closed. Called at once if this call fails. NULL
/// if there is nothing to free.
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
        // The callback of the old one may be freed by this.
        drop(handle.set_log(log?));
        Ok(0)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}
