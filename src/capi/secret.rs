//! Secrets of disks.

use std::ffi::{c_char, c_void};

use super::args::{null, required_str};
use crate::disk::objects::MOST_OBJECTS;
use crate::disk::secrets::MOST_BYTES;
use crate::disk::{Secret, Secrets};
use crate::error::{Error, Result};
use crate::sanitize::readable;

/// A secret of a disk's source. It is copied, and the copy is written over when it is not needed any more. It
/// is in no record, journal, log, error or command line. This struct does not grow.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_secret {
    /// The name that a node of the source has for it: 1 to 31 characters, as of an id.
    pub name: *const c_char,
    /// Its bytes. QEMU takes most secrets as UTF-8 text, without a newline at the end.
    pub data: *const c_void,
    /// Number of bytes, 1 to 16384.
    pub length: usize,
}

/// # Safety
/// The secrets are NULL, or as many as described.
pub(super) unsafe fn read_secrets(secrets: *const kvm_hotplug_secret, count: usize) -> Result<Secrets> {
    let mut read = Secrets::default();
    if count == 0 {
        return Ok(read);
    }
    if secrets.is_null() {
        return Err(null("secrets"));
    }
    if count > MOST_OBJECTS {
        return Err(Error::invalid(format!("secrets: {count} are given, at most {MOST_OBJECTS} are taken")));
    }
    // SAFETY: the caller vouches for count secrets.
    for secret in unsafe { std::slice::from_raw_parts(secrets, count) } {
        // SAFETY: passed on.
        let (name, secret) = unsafe {
            (required_str(secret.name, "name of a secret")?, read_secret(secret.data, secret.length))
        };
        let secret = secret.map_err(|error| error.context(format!("secret {}", readable(name))))?;
        read.add(name.to_owned(), secret)?;
    }
    Ok(read)
}

/// # Safety
/// The data are NULL, or as many bytes as described.
pub(super) unsafe fn read_secret(data: *const c_void, length: usize) -> Result<Secret> {
    if data.is_null() {
        return Err(null("data"));
    }
    if length > MOST_BYTES {
        let text = format!("the secret has {length} bytes, at most {} are allowed", MOST_BYTES);
        return Err(Error::invalid(text).with_errno(libc::E2BIG));
    }
    // SAFETY: the caller vouches for length bytes.
    Secret::new(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) })
}
