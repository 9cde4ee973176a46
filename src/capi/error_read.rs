//! What C reads in a `struct kvm_hotplug_error`.

use std::ffi::{CString, c_char, c_int};

use super::error::kvm_hotplug_error;
use super::guard;
use crate::error::ErrorKind;

fn pointer(
    error: Option<&kvm_hotplug_error>,
    text: impl FnOnce(&kvm_hotplug_error) -> Option<&CString>,
) -> *const c_char {
    error.and_then(text).map_or(std::ptr::null(), |text| text.as_ptr())
}

/// One of enum kvm_hotplug_error_kind; 0 if error is NULL.
///
/// # Safety
/// `error` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_error_kind(error: *const kvm_hotplug_error) -> c_int {
    // SAFETY: the caller vouches for it.
    guard::quiet(0, || unsafe { error.as_ref() }.map_or(0, |error| kind_number(error.error.kind())))
}

/// The errno, positive, that the failing call returned negated; 0 if error is NULL.
///
/// # Safety
/// `error` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_error_errno(error: *const kvm_hotplug_error) -> c_int {
    // SAFETY: the caller vouches for it.
    guard::quiet(0, || unsafe { error.as_ref() }.map_or(0, |error| error.error.errno()))
}

/// One line for people: the step, what was wrong, where, what to do, and what is left. NULL if error is NULL.
///
/// # Safety
/// `error` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_error_message(error: *const kvm_hotplug_error) -> *const c_char {
    // SAFETY: the caller vouches for it.
    guard::quiet(std::ptr::null(), || pointer(unsafe { error.as_ref() }, |error| Some(&error.message)))
}

/// The step that failed, such as "device_add nic-pci-5", or NULL.
///
/// # Safety
/// `error` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_error_step(error: *const kvm_hotplug_error) -> *const c_char {
    // SAFETY: the caller vouches for it.
    guard::quiet(std::ptr::null(), || pointer(unsafe { error.as_ref() }, |error| error.step.as_ref()))
}

/// The class of QEMU's error, such as "DeviceNotFound", or NULL if QEMU did not refuse a command.
///
/// # Safety
/// `error` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_error_qmp_class(error: *const kvm_hotplug_error) -> *const c_char {
    // SAFETY: the caller vouches for it.
    guard::quiet(std::ptr::null(), || pointer(unsafe { error.as_ref() }, |error| error.qmp_class.as_ref()))
}

/// QEMU's description of its error, or NULL if QEMU did not refuse a command.
///
/// # Safety
/// `error` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_error_qmp_desc(error: *const kvm_hotplug_error) -> *const c_char {
    // SAFETY: the caller vouches for it.
    guard::quiet(std::ptr::null(), || pointer(unsafe { error.as_ref() }, |error| error.qmp_desc.as_ref()))
}

/// One of enum kvm_hotplug_undo; 0 if error is NULL.
///
/// # Safety
/// `error` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_error_undo(error: *const kvm_hotplug_error) -> c_int {
    // SAFETY: the caller vouches for it.
    guard::quiet(0, || unsafe { error.as_ref() }.map_or(0, |error| error.error.undo() as c_int))
}

/// What is left behind, one entry a line, or NULL if nothing is.
///
/// # Safety
/// `error` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_error_residue(error: *const kvm_hotplug_error) -> *const c_char {
    // SAFETY: the caller vouches for it.
    guard::quiet(std::ptr::null(), || pointer(unsafe { error.as_ref() }, |error| error.left.as_ref()))
}

/// Frees an error and its strings.
///
/// # Safety
/// `error` is NULL or comes from this library and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_error_free(error: *mut kvm_hotplug_error) {
    guard::quiet((), || {
        if !error.is_null() {
            // SAFETY: made by Box::into_raw in give(), and the caller gives it up.
            drop(unsafe { Box::from_raw(error) });
        }
    });
}

/// The numbers of the two enums are the same by definition; the test proves it.
fn kind_number(kind: ErrorKind) -> c_int {
    kind as c_int
}
