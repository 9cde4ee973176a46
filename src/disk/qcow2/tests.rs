use proptest::prelude::*;

use super::*;

fn put(head: &mut [u8], offset: usize, bytes: &[u8]) {
    head[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn put32(head: &mut [u8], offset: usize, value: u32) {
    put(head, offset, &value.to_be_bytes());
}

fn put64(head: &mut [u8], offset: usize, value: u64) {
    put(head, offset, &value.to_be_bytes());
}

/// A version 3 header with a feature table extension, then the backing format, then the name, as QEMU lays
/// them out.
fn image(backing: &str, format: Option<&str>) -> Vec<u8> {
    let mut head = vec![0; 65536];
    put(&mut head, 0, &MAGIC);
    put32(&mut head, 4, 3);
    put32(&mut head, 20, 16);
    put64(&mut head, 24, 1 << 30);
    put32(&mut head, 100, 112);
    put32(&mut head, 112, 0x6803_f857);
    put32(&mut head, 116, 45);
    if let Some(format) = format {
        put32(&mut head, 168, EXTENSION_BACKING_FORMAT);
        put32(&mut head, 172, format.len().try_into().unwrap());
        put(&mut head, 176, format.as_bytes());
    }
    if !backing.is_empty() {
        put64(&mut head, 8, 512);
        put32(&mut head, 16, backing.len().try_into().unwrap());
        put(&mut head, 512, backing.as_bytes());
    }
    head
}

fn assert_refused(change: impl FnOnce(&mut Vec<u8>), kind: ErrorKind, says: &str) {
    let mut head = image("base.img", Some("raw"));
    change(&mut head);
    let error = parse(&head).and_then(|header| header.refuse_unsupported()).expect_err(says);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(says), "{error} lacks {says:?}");
}

#[test]
fn backing_file_and_format() {
    let header = parse(&image("base.img", Some("raw"))).unwrap();
    let backing = Backing { name: "base.img".into(), format: Some("raw".into()) };
    let (data_file, crypt_method) = (false, 0);
    let expected = Header { size: 1 << 30, corrupt: false, backing: Some(backing), data_file, crypt_method };
    assert_eq!(header, expected);
    assert_eq!(parse(&image("b", None)).unwrap().backing.unwrap().format, None);
    assert_eq!(parse(&image("", Some("raw"))).unwrap().backing, None);
}

#[test]
fn version_2_has_no_features() {
    let mut head = vec![0; 1024];
    put(&mut head, 0, &MAGIC);
    put32(&mut head, 4, 2);
    put32(&mut head, 20, 9);
    put64(&mut head, 8, 104);
    put32(&mut head, 16, 1);
    head[104] = b'b';
    put32(&mut head, 72, EXTENSION_BACKING_FORMAT);
    put32(&mut head, 76, 5);
    put(&mut head, 80, b"qcow2");
    let backing = Backing { name: "b".into(), format: Some("qcow2".into()) };
    assert_eq!(parse(&head).unwrap().backing, Some(backing));
}

#[test]
fn longest_backing_name() {
    let longest = "x".repeat(MAX_BACKING_NAME);
    assert_eq!(parse(&image(&longest, None)).unwrap().backing.unwrap().name, longest.as_str());
    assert_refused(|h| put32(h, 16, 1024), ErrorKind::Format, "1024 bytes");
    assert_refused(|h| put32(h, 16, u32::MAX), ErrorKind::Format, "4294967295 bytes");
}

#[test]
fn everything_is_bounded() {
    for offset in [65536 - 7, 65536, 1 << 40, u64::MAX] {
        assert_refused(|h| put64(h, 8, offset), ErrorKind::Format, "outside the first cluster");
    }
    assert_refused(|h| h[513] = 0, ErrorKind::Format, "NUL");
    assert_refused(|h| h.truncate(514), ErrorKind::Format, "outside");
    assert_refused(|h| h.truncate(60), ErrorKind::Format, "ends within");
    assert_refused(|h| put32(h, 116, 400), ErrorKind::Format, "0x6803f857");
    assert_refused(|h| put32(h, 116, u32::MAX), ErrorKind::Format, "0x6803f857");
    assert_refused(|h| put32(h, 172, 16), ErrorKind::Format, "backing format name");
    assert_refused(|h| h[176] = 7, ErrorKind::Format, "backing format name");
    for length in [0, 103, 65537, u32::MAX] {
        assert_refused(|h| put32(h, 100, length), ErrorKind::Format, "header length");
    }
    for bits in [0, 8, 22, 63, u32::MAX] {
        assert_refused(|h| put32(h, 20, bits), ErrorKind::Format, "cluster size");
    }
    // The name must lie in the first cluster, not only in what was read.
    assert_refused(|h| put32(h, 20, 9), ErrorKind::Format, "outside the first cluster");
    assert_refused(|h| put32(h, 4, 4), ErrorKind::Format, "version 4");
    assert_refused(|h| h[0] = b'q', ErrorKind::Format, "magic");
}

#[test]
fn what_is_not_supported_is_named() {
    assert_refused(|h| put64(h, 72, 4), ErrorKind::NotHotpluggable, "external data file");
    assert_refused(|h| put32(h, 32, 1), ErrorKind::NotHotpluggable, "AES");
    assert_refused(|h| put32(h, 32, 2), ErrorKind::NotHotpluggable, "LUKS");
    assert_refused(|h| put32(h, 32, 3), ErrorKind::NotHotpluggable, "unknown method");
}

#[test]
fn dirty_is_fine_and_corrupt_is_told() {
    let mut head = image("", None);
    put64(&mut head, 72, 1);
    assert!(!parse(&head).unwrap().corrupt);
    put64(&mut head, 72, 2);
    assert!(parse(&head).unwrap().corrupt);
}

proptest! {
    /// Any bytes behind the magic give an answer, and what is taken from them stays within the stated bounds.
    #[test]
    fn random_headers(mut head in prop::collection::vec(any::<u8>(), 104..2048), version in 1u32..5,
                      bits in 0u32..30, name in 0u64..4096, length in 0u32..2000) {
        put(&mut head, 0, &MAGIC);
        put32(&mut head, 4, version);
        put32(&mut head, 20, bits);
        put64(&mut head, 8, name);
        put32(&mut head, 16, length);
        check_bounds(&head)?;
    }

    /// A good header with a few bytes changed.
    #[test]
    fn damaged_headers(places in prop::collection::vec((0usize..600, any::<u8>()), 1..12), cut in 0usize..1024) {
        let mut head = image("base.img", Some("raw"));
        for (place, byte) in places {
            head[place] = byte;
        }
        head.truncate(head.len() - cut * 64);
        check_bounds(&head)?;
    }
}

fn check_bounds(head: &[u8]) -> std::result::Result<(), TestCaseError> {
    if let Ok(Header { backing: Some(backing), .. }) = parse(head) {
        prop_assert!((1..=MAX_BACKING_NAME).contains(&backing.name.len()));
        prop_assert!(backing.format.is_none_or(|format| format.len() <= MAX_FORMAT_NAME));
    }
    Ok(())
}
