//! Formats that are neither raw nor qcow2, told by their signatures. Only where a format is guessed: whoever
//! says "raw" gets the bytes as they are, whatever they look like.

use super::source::Source;
use crate::error::{Error, ErrorKind, Result};

/// Bytes from the end in which they stand: QEMU looks through the last two sectors for that of a dmg.
const TAIL: usize = 1024;

/// Signatures at a fixed place, within the first 64 KiB, which is what is read of a file.
const AT: &[(usize, &[u8], &str)] = &[
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk (of ESX)"),
    (0, b"\xbe\xba\xfe\xca\0\0\0\0", "vmdk (seSparse)"),
    (0, b"# Disk DescriptorFile", "vmdk (a descriptor)"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"<<< ", "vdi"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc (VHD)"),
    (0, b"QED\0", "qed"),
    (0, b"QFI\xfb", "qcow"),
    (0, b"OOOM", "cow"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"SKUL\xba\xbe", "luks"),
    (0x4000, b"SKUL\xba\xbe", "luks (its second header)"),
    (0, b"Bochs Virtual HD Image", "bochs"),
    (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "cloop"),
    (0x8001, b"CD001", "iso9660"),
    (0x8801, b"CD001", "iso9660"),
    (0x8009, b"CDROM", "iso9660 (High Sierra)"),
    (0x8001, b"BEA01", "udf"),
    (0x8801, b"BEA01", "udf"),
    (0x8001, b"NSR0", "udf"),
    (0x8801, b"NSR0", "udf"),
    (0, b"koly", "dmg"),
    (0, b"sprs", "sparseimage"),
    (0, b"shdw", "asif"),
    (0, b"MSWIM\0\0\0", "wim"),
    (0, b"MComprHD", "chd"),
    (0, b"EVF\x09\x0d\x0a\xff\0", "ewf"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"LZIP", "lzip"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (257, b"ustar", "tar (an ova is one)"),
];

/// Signatures anywhere in the last [`TAIL`] bytes.
const AT_END: &[(&[u8], &str)] = &[
    (b"conectix", "vpc (VHD)"),
    // With its version and its length.
    (b"koly\0\0\0\x04\0\0\x02\0", "dmg"),
];

/// Refuses to take the file for raw if it has the signature of another format.
pub(super) fn refuse_foreign(source: &Source, head: &[u8]) -> Result<()> {
    let tail = source.read_tail(TAIL)?;
    match name(head, &tail) {
        None => Ok(()),
        Some(name) => Err(Error::new(
            ErrorKind::NotHotpluggable,
            format!(
                "it has the signature of format {name}, and only raw and qcow2 are supported; convert it with qemu-img convert, \
                 or say raw if the guest is to see these very bytes"
            ),
        )),
    }
}

/// What it is, if it is anything that is known.
pub(super) fn name(head: &[u8], tail: &[u8]) -> Option<&'static str> {
    let starts = |(offset, bytes, name): &(usize, &[u8], &'static str)| {
        head.get(*offset..).is_some_and(|rest| rest.starts_with(bytes)).then_some(*name)
    };
    let holds = |(bytes, name): &(&[u8], &'static str)| {
        tail.windows(bytes.len()).any(|window| window == *bytes).then_some(*name)
    };
    AT.iter()
        .find_map(starts)
        .or_else(|| is_descriptor(head).then_some("vmdk (a descriptor)"))
        .or_else(|| AT_END.iter().find_map(holds))
}

/// How QEMU tells a vmdk that is text: behind comments and empty lines, the first line says the version.
fn is_descriptor(head: &[u8]) -> bool {
    if !head.starts_with(b"#") {
        return false;
    }
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.trim_ascii());
    lines
        .find(|line| !line.is_empty() && !line.starts_with(b"#"))
        .is_some_and(|line| line.starts_with(b"version="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_told() {
        for (offset, bytes, expected) in AT {
            let mut head = vec![0; 1 << 16];
            head[*offset..offset + bytes.len()].copy_from_slice(bytes);
            assert_eq!(name(&head, &[]).map(|name| name.split(' ').next()), Some(expected.split(' ').next()));
            // A file may end right behind it.
            head.truncate(offset + bytes.len());
            assert!(name(&head, &[]).is_some(), "{expected}");
            head.pop();
            assert_eq!(name(&head, &[]), None, "{expected}");
        }
        for (bytes, expected) in AT_END {
            for before in [0, 1, 512] {
                let tail = [&vec![0; before][..], bytes, &[0; 500]].concat();
                assert_eq!(name(&[0; 512], &tail), Some(*expected));
            }
        }
    }

    #[test]
    fn descriptors() {
        assert_eq!(name(b"# made by hand\n\n version=1\nCID=1\n", &[]), Some("vmdk (a descriptor)"));
        assert_eq!(name(b"# Disk DescriptorFile\r\nversion=1\r\n", &[]), Some("vmdk (a descriptor)"));
        assert_eq!(name(b"#!/bin/sh\nversion=1\n", &[]), Some("vmdk (a descriptor)"));
        assert_eq!(name(b"#!/bin/sh\necho\nversion=1\n", &[]), None);
        assert_eq!(name(b"version=1\n", &[]), None);
    }

    #[test]
    fn plain_content() {
        let mut mbr = vec![0; 1 << 16];
        mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
        mbr[512..520].copy_from_slice(b"EFI PART");
        assert_eq!(name(&mbr, &[0; TAIL]), None);
        assert_eq!(name(&[], &[]), None);
        assert_eq!(name(b"koly", b"koly"), Some("dmg"));
        assert_eq!(name(b"", b"koly"), None);
    }
}
