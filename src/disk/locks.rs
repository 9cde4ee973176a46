//! What other QEMUs have locked of an image: asked of the kernel, and nothing is locked here.
//!
//! QEMU locks single bytes of the files it has open (block/file-posix.c): one for everything that it does
//! with the file, and one for everything that it does not let others do beside it.

use super::layer::Image;
use super::spec::DiskSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// Of what is done: QEMU's RAW_LOCK_PERM_BASE.
const DOES: i64 = 100;

/// Of what nobody else may do: QEMU's RAW_LOCK_SHARED_BASE.
const FORBIDS: i64 = 200;

/// QEMU's numbers for reading and writing.
const READ: i64 = 0;
const WRITE: i64 = 1;

/// Refuses an image that another QEMU uses in such a way that this disk could not be used beside it. Whatever
/// was opened for it does not count as another.
pub fn check(image: &Image, spec: &DiskSpec) -> Result<()> {
    for layer in &image.layers {
        let taken = |byte: i64| {
            sys::lock::is_taken(&layer.fd, byte, 1)
                .map_err(|errno| Error::host(errno, format!("look who uses {}", layer.path.display())))
        };
        let why = if taken(FORBIDS + READ)? {
            "lets nobody else read it"
        } else if !layer.read_only && taken(FORBIDS + WRITE)? {
            "lets nobody else write to it"
        } else if !spec.share_rw && taken(DOES + WRITE)? {
            "writes to it"
        } else {
            continue;
        };
        let text = format!(
            "image {:?} is in use by another QEMU, which {why}; end that one, or take the disk out of it",
            layer.path
        );
        return Err(Error::new(ErrorKind::ImageLocked, text));
    }
    Ok(())
}
