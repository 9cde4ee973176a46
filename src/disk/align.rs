//! What QEMU refuses about an image although it can be opened: with O_DIRECT it writes in units that the file
//! system decides, and a raw file has to be a multiple of them, since its last unit would make it longer.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use super::format::Format;
use super::identity::Kind;
use super::layer::{Image, Layer};
use super::spec::DiskSpec;
use crate::error::{Error, Result};
use crate::sys;

/// QEMU counts whole sectors.
const SECTOR: u64 = 512;

/// The largest unit that QEMU looks for, and the one that it takes where it cannot be found out.
const LARGEST: usize = 4096;

/// Refuses an image that QEMU does not write to with the disk's cache mode.
pub fn check(image: &Image, spec: &DiskSpec) -> Result<()> {
    let Some(top) = image.layers.first() else { return Ok(()) };
    if top.read_only || !top.direct || top.format != Format::Raw || top.kind != Kind::File {
        return Ok(());
    }
    let unit =
        unit(top).map_err(|error| Error::host(error, format!("image {:?}: find out its unit", top.path)))?;
    check_size(image.size.unwrap_or_default(), unit).map_err(|why| {
        Error::invalid(format!("image {:?}, cache {}: {why}", spec.title(), spec.cache.as_str()))
    })
}

fn check_size(size: u64, unit: u64) -> std::result::Result<(), String> {
    if size.next_multiple_of(SECTOR) % unit == 0 {
        return Ok(());
    }
    Err(format!(
        "its size, {size} bytes, is no multiple of {unit}, in which it is written there with O_DIRECT; make it {} bytes (truncate -s), \
         or use cache writeback, writethrough or unsafe",
        size.next_multiple_of(unit)
    ))
}

/// In bytes, found as QEMU does (`raw_probe_alignment()` in its block/file-posix.c): reads that are too small
/// for O_DIRECT fail.
fn unit(layer: &Layer) -> io::Result<u64> {
    if let Ok(unit) = sys::block::xfs_direct_unit(layer.fd.as_fd()) {
        return Ok(u64::from(unit).max(1));
    }
    let file = File::from(layer.fd.try_clone()?);
    let mut buffer = vec![0; 2 * LARGEST];
    let start = buffer.as_ptr().align_offset(LARGEST);
    for unit in [1, 512, 1024, 2048, LARGEST] {
        let window = buffer.get_mut(start..start + unit).ok_or(io::ErrorKind::OutOfMemory)?;
        match file.read_at(window, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            // Where nothing has been written yet, any size will do.
            _ if unit == 1 => break,
            _ => return Ok(u64::try_from(unit).unwrap_or(SECTOR)),
        }
    }
    Ok(u64::try_from(LARGEST).unwrap_or(SECTOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_against_units() {
        for (size, unit) in [(0, 4096), (4096, 4096), (512, 512), (511, 512), (1000, 512), (8192, 4096)] {
            assert_eq!(check_size(size, unit), Ok(()), "{size} in units of {unit}");
        }
        for (size, unit) in [(512, 4096), (5000, 4096), (4097, 1024)] {
            let why = check_size(size, unit).unwrap_err();
            assert!(why.contains(&format!("make it {} bytes", size.div_ceil(unit) * unit)), "{why}");
        }
    }
}
