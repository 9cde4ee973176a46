//! Reads as much of a qcow2 header as it takes to open an image and everything below it. The file is not
//! trusted: a guest or a stranger may have written it. Layout after QEMU's `docs/interop/qcow2.txt`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::error::{Error, ErrorKind, Result};

/// The first four bytes of every qcow2 image.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Longest backing file name the format allows, in bytes.
pub const MAX_BACKING_NAME: usize = 1023;

/// Longest format name QEMU keeps, in bytes (`BlockDriverState.backing_format`).
const MAX_FORMAT_NAME: usize = 15;

const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;

const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;

/// What an image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Size of the disk the guest sees, in bytes.
    pub size: u64,
    /// Set by QEMU when it found the image damaged; it then refuses to write to it.
    pub corrupt: bool,
    /// The image below this one.
    pub backing: Option<Backing>,
    /// Its data is in another file.
    pub data_file: bool,
    /// How it is encrypted; 0 if it is not.
    crypt_method: u32,
}

/// Reference to a backing image, as written in the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    /// File name or URL; whatever bytes are there, but no NUL, 1 to 1023 of them.
    pub name: OsString,
    /// Name of its format, when recorded.
    pub format: Option<String>,
}

/// Whether `head`, the first bytes of a file, starts like a qcow2 image.
pub fn has_magic(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

/// Length in bytes of the first cluster, which holds everything [`parse`] looks at: 512 to 2 MiB.
pub fn cluster_size(head: &[u8]) -> Result<usize> {
    // In format qcow, other fields stand there.
    version(head)?;
    match u32_at(head, 20)? {
        // QEMU opens no image with clusters over 2 MiB.
        bits @ 9..=21 => Ok(1 << bits),
        bits => Err(malformed(format!("cluster size of 2^{bits} bytes"))),
    }
}

/// Reads the header from `head`, the first cluster of the image or as much of it as the file has.
pub fn parse(head: &[u8]) -> Result<Header> {
    if !has_magic(head) {
        return Err(malformed("it does not start with the qcow2 magic"));
    }
    let head = head.get(..cluster_size(head)?).unwrap_or(head);
    let (incompatible, header_length) = match version(head)? {
        2 => (0, 72),
        _ => (u64_at(head, 72)?, usize_at(head, 100)?),
    };
    if header_length < 72 || (header_length > 72 && header_length < 104) || header_length > head.len() {
        return Err(malformed(format!("header length {header_length}")));
    }
    Ok(Header {
        size: u64_at(head, 24)?,
        corrupt: incompatible & INCOMPATIBLE_CORRUPT != 0,
        backing: backing(head, header_length)?,
        data_file: incompatible & INCOMPATIBLE_DATA_FILE != 0,
        crypt_method: u32_at(head, 32)?,
    })
}

impl Header {
    /// Refuses an image that needs more than its file and those below it.
    pub fn refuse_unsupported(&self) -> Result<()> {
        let refuse = |what: &str| {
            let instead = "which is not supported of a path; describe the disk's source, or convert it with \
                           qemu-img convert";
            Err(Error::new(ErrorKind::NotHotpluggable, format!("qcow2 image {what}, {instead}")))
        };
        match self.crypt_method {
            _ if self.data_file => refuse("keeps its data in an external data file"),
            0 => Ok(()),
            1 => refuse("is encrypted (AES)"),
            2 => refuse("is encrypted (LUKS)"),
            _ => refuse("is encrypted by an unknown method"),
        }
    }
}

/// 2 or 3.
fn version(head: &[u8]) -> Result<u32> {
    match u32_at(head, 4)? {
        version @ (2 | 3) => Ok(version),
        1 => Err(Error::new(
            ErrorKind::NotHotpluggable,
            "it is of format qcow (version 1), and only raw and qcow2 are supported; convert it with qemu-img convert",
        )),
        version => Err(malformed(format!("version {version}, only 2 and 3 are known"))),
    }
}

fn backing(head: &[u8], header_length: usize) -> Result<Option<Backing>> {
    let offset = match u64_at(head, 8)? {
        0 => return Ok(None),
        offset => {
            usize::try_from(offset).map_err(|_| malformed("backing file name outside the first cluster"))?
        }
    };
    let length = usize_at(head, 16)?;
    if length == 0 {
        return Ok(None);
    }
    if length > MAX_BACKING_NAME {
        return Err(malformed(format!(
            "backing file name of {length} bytes, at most {MAX_BACKING_NAME} are allowed"
        )));
    }
    let name = bytes_at(head, offset, length)
        .map_err(|_| malformed("backing file name outside the first cluster or the file"))?;
    if name.contains(&0) {
        return Err(malformed("backing file name with a NUL in it"));
    }
    // The name follows the extensions, as in QEMU's own reader.
    let extensions = head.get(header_length..offset).unwrap_or_default();
    Ok(Some(Backing { name: OsString::from_vec(name.to_vec()), format: backing_format(extensions)? }))
}

/// Finds the backing format among the header extensions. Each round consumes at least eight bytes, so it
/// ends.
fn backing_format(mut rest: &[u8]) -> Result<Option<String>> {
    while rest.len() >= 8 {
        let (kind, length) = (u32_at(rest, 0)?, usize_at(rest, 4)?);
        if kind == EXTENSION_END {
            break;
        }
        let outside =
            |_| malformed(format!("header extension {kind:#x} of {length} bytes outside the header"));
        let data = bytes_at(rest, 8, length).map_err(outside)?;
        if kind == EXTENSION_BACKING_FORMAT {
            return format_name(data).map(Some);
        }
        // Padding after the last extension may be cut off.
        rest = rest.get(8 + length.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(None)
}

fn format_name(data: &[u8]) -> Result<String> {
    match std::str::from_utf8(data) {
        Ok(name) if data.len() <= MAX_FORMAT_NAME && name.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(name.to_owned())
        }
        _ => Err(malformed("backing format name that is none")),
    }
}

fn bytes_at(head: &[u8], offset: usize, length: usize) -> Result<&[u8]> {
    let end = offset.checked_add(length);
    end.and_then(|end| head.get(offset..end)).ok_or_else(|| malformed("it ends within its header"))
}

fn u32_at(head: &[u8], offset: usize) -> Result<u32> {
    bytes_at(head, offset, 4)?
        .try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| malformed("it ends within its header"))
}

fn u64_at(head: &[u8], offset: usize) -> Result<u64> {
    Ok((u64::from(u32_at(head, offset)?) << 32) | u64::from(u32_at(head, offset + 4)?))
}

/// A 32-bit length; the lengths in a header are all far below what an address space holds.
fn usize_at(head: &[u8], offset: usize) -> Result<usize> {
    usize::try_from(u32_at(head, offset)?).map_err(|_| malformed("a length beyond the address space"))
}

fn malformed(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Format, format!("qcow2 header: {what}"))
}

#[cfg(test)]
mod tests;
