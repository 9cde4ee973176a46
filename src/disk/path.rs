//! Paths that a record can hold.

use std::path::Path;

use crate::error::{Error, Result};

/// Refuses what cannot be the path of an image.
pub(super) fn check(path: &Path) -> Result<()> {
    let bad = |why: &str| Err(Error::invalid(format!("disk path {path:?}: {why}")));
    match path.to_str() {
        None => bad("is not UTF-8"),
        Some(text) if text.contains('\0') => bad("contains a NUL"),
        Some(_) if !path.is_absolute() => bad("must be absolute"),
        Some(text) if text.len() >= libc::PATH_MAX.unsigned_abs() as usize => {
            bad("is longer than the kernel allows")
        }
        Some(_) => Ok(()),
    }
}
