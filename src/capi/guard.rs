//! Stands between C and everything else: results become integers, panics become errors.

use std::any::Any;
use std::cell::Cell;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Once, OnceLock};

use super::error::kvm_hotplug_error;
use crate::error::{Error, ErrorKind, Result};

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// The standard library prints panics to stderr from a hook that is one per copy of the standard library; a
/// cdylib has its own copy. This is what was there before, for panics that are not ours.
static PREVIOUS_HOOK: OnceLock<Hook> = OnceLock::new();
static QUIETED: Once = Once::new();

thread_local! {
    /// How deep this thread is inside guarded calls. It has no destructor, so it does not hold up `dlclose`.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs a fallible call. Success is its value, failure the negative errno, with the rest in `*reterr` if
/// wanted.
///
/// # Safety
/// `reterr` is NULL or points to a writable pointer.
pub(super) unsafe fn call(
    reterr: *mut *mut kvm_hotplug_error,
    work: impl FnOnce() -> Result<c_int>,
) -> c_int {
    let error = match contained(work) {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error,
        Err(payload) => panic_error(payload.as_ref()),
    };
    let errno = error.errno();
    // SAFETY: the caller vouches for reterr.
    unsafe { kvm_hotplug_error::give(error, reterr) };
    -errno
}

/// Runs a call that cannot fail; a panic yields `fallback`.
pub(super) fn quiet<T>(fallback: T, work: impl FnOnce() -> T) -> T {
    contained(work).unwrap_or(fallback)
}

fn contained<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    QUIETED.call_once(|| {
        if PREVIOUS_HOOK.set(std::panic::take_hook()).is_ok() {
            std::panic::set_hook(Box::new(hook));
        }
    });
    DEPTH.set(DEPTH.get().saturating_add(1));
    // The state behind a handle is not trusted after a panic: its call lock closes for good.
    let result = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get().saturating_sub(1));
    result
}

fn hook(info: &PanicHookInfo<'_>) {
    if let Some(previous) = PREVIOUS_HOOK.get().filter(|_| DEPTH.get() == 0) {
        previous(info);
    }
}

fn panic_error(payload: &(dyn Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(
        ErrorKind::Panic,
        format!(
            "internal error, please report it: {text}; if this call had a handle, it only closes from here on"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_panic_becomes_an_error() {
        let mut reterr = std::ptr::null_mut();
        // SAFETY: reterr is a local pointer.
        let code = unsafe { call(&raw mut reterr, || panic!("on purpose: {}", 7)) };
        assert_eq!(code, -libc::ENOTRECOVERABLE);
        // SAFETY: call() has filled it.
        let error = unsafe { Box::from_raw(reterr) };
        assert!(error.text().contains("on purpose: 7"), "{}", error.text());
        assert_eq!(error.error.kind(), ErrorKind::Panic);
        assert_eq!(quiet(5, || panic!("again")), 5);
        assert_eq!(DEPTH.get(), 0);
    }

    /// An entry point without the guard would abort the agent on a panic.
    #[test]
    fn every_entry_point_is_guarded() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/capi");
        let mut entries = 0;
        for file in std::fs::read_dir(dir).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for function in text.split("extern \"C\" fn kvm_").skip(1) {
                let body = function.split("\n}\n").next().unwrap();
                entries += 1;
                assert!(
                    body.contains("guard::call(") || body.contains("guard::quiet("),
                    "kvm_{} is not guarded",
                    body.lines().next().unwrap()
                );
            }
        }
        assert!(entries >= 25, "only {entries} entry points found");
    }
}
