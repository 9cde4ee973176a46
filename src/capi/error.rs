//! `struct kvm_hotplug_error`.

use std::ffi::CString;

use super::give::c_text;
use crate::error::Error;
use crate::sanitize::escaped;

/// Why a call failed. The caller frees it with kvm_hotplug_error_free(). It refers to nothing else, may
/// outlive every handle, and any number of threads may read it at once.
#[derive(Debug)]
pub struct kvm_hotplug_error {
    pub(super) error: Error,
    pub(super) message: CString,
    pub(super) step: Option<CString>,
    pub(super) qmp_class: Option<CString>,
    pub(super) qmp_desc: Option<CString>,
    pub(super) left: Option<CString>,
}

impl kvm_hotplug_error {
    fn new(error: Error) -> Self {
        let left = (!error.left().is_empty())
            .then(|| error.left().iter().map(|thing| escaped(thing)).collect::<Vec<_>>().join("\n"));
        Self {
            message: shown(&error.to_string()),
            step: error.step().map(shown),
            qmp_class: error.qmp_class().map(shown),
            qmp_desc: error.qmp_desc().map(shown),
            left: left.as_deref().map(c_text),
            error,
        }
    }

    /// Puts a new error where the caller wants it.
    ///
    /// # Safety
    /// `reterr` is NULL or points to a writable pointer.
    pub(super) unsafe fn give(error: Error, reterr: *mut *mut Self) {
        if !reterr.is_null() {
            // SAFETY: the caller vouches for it.
            unsafe { reterr.write(Box::into_raw(Box::new(Self::new(error)))) };
        }
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.error.to_string()
    }
}

/// As people see it: a message may quote a path.
fn shown(text: &str) -> CString {
    c_text(&escaped(text))
}
