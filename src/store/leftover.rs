//! What this library leaves beside a record when it is killed, told from whatever else may have such a name.
//! Pure.

use serde::de::IgnoredAny;

use super::document::Document;
use super::file_kind::FileKind;
use super::{ganeti, journal_file};

/// What names of this library's own files end in, so that no record can have such a name.
pub(super) const SUFFIXES: [&str; 4] = [".lock", ".new", ".journal", ".kvm-hotplug"];

/// The longest text of a lock file: a pid and a line feed.
pub(super) const MAX_LOCK: usize = 16;

/// The suffix of ours that a name ends in. A name that is nothing else is as good as any.
pub(super) fn suffix_of(name: &[u8]) -> Option<&'static str> {
    let ends = |suffix: &&str| name.len() > suffix.len() && name.ends_with(suffix.as_bytes());
    SUFFIXES.into_iter().find(ends)
}

/// Whether a lock file can have this content: empty, or a pid.
pub(super) fn is_lock(bytes: &[u8]) -> bool {
    let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.len() <= MAX_LOCK && digits.iter().all(u8::is_ascii_digit)
}

/// Whether these bytes are a new version of a part, whole or torn: then the process that wrote it is gone.
pub(super) fn is_new_version(file_kind: FileKind, bytes: &[u8]) -> bool {
    let begins = |beginning: &&[u8]| bytes.starts_with(beginning) || beginning.starts_with(bytes);
    if !beginnings(file_kind).iter().any(begins) {
        return false;
    }
    match serde_json::from_slice::<IgnoredAny>(bytes) {
        Ok(IgnoredAny) => is_whole(file_kind, bytes),
        Err(error) => error.is_eof(),
    }
}

/// How files of a part begin, as they are written.
fn beginnings(file_kind: FileKind) -> &'static [&'static [u8]] {
    match file_kind {
        FileKind::Record => &[b"{\n  \"format\": \"kvm-hotplug-runtime\",", b"[["],
        FileKind::Journal => &[b"{\"format\":\"kvm-hotplug-journal\","],
        FileKind::Sidecar => &[b"{\"format\":\"kvm-hotplug-companion\","],
    }
}

fn is_whole(file_kind: FileKind, bytes: &[u8]) -> bool {
    match file_kind {
        FileKind::Record => Document::decode(bytes).is_ok(),
        FileKind::Journal => journal_file::decode(bytes).is_ok(),
        FileKind::Sidecar => ganeti::Sidecar::decode(bytes).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Journal;

    #[test]
    fn names_of_ours() {
        for (name, suffix) in [
            ("vm.lock", Some(".lock")),
            ("vm.new", Some(".new")),
            ("vm.journal.new", Some(".new")),
            ("vm.kvm-hotplug", Some(".kvm-hotplug")),
            (".lock", None),
            ("vm.locks", None),
            ("lock", None),
            ("vm.lock.json", None),
        ] {
            assert_eq!(suffix_of(name.as_bytes()), suffix, "{name}");
        }
    }

    #[test]
    fn contents_of_locks() {
        for (text, is_one) in [
            ("", true),
            ("12\n", true),
            ("4194304", true),
            ("\n", true),
            ("12\n\n", false),
            ("-1\n", false),
            ("{}", false),
            ("0123456789012345", true),
            ("01234567890123456", false),
        ] {
            assert_eq!(is_lock(text.as_bytes()), is_one, "{text:?}");
        }
    }

    #[test]
    fn every_beginning_is_how_it_is_written() {
        let record = crate::model::Record::new("a", vec!["qemu".into()], 4).unwrap();
        let whole = Document::from(record).encode().unwrap();
        for length in 0..=whole.len() {
            assert!(is_new_version(FileKind::Record, &whole[..length]), "{length}");
        }
        let whole = journal_file::encode(&Journal::default()).unwrap();
        for length in 0..=whole.len() {
            assert!(is_new_version(FileKind::Journal, &whole[..length]), "{length}");
        }
        for (file_kind, text) in [
            (FileKind::Record, "[1"),
            (FileKind::Record, "[[]"),
            (FileKind::Record, "\0\0"),
            (FileKind::Journal, "{\"format\":\"kvm-hotplug-journal\",\"version\":1}"),
            (FileKind::Journal, "{\"format\":\"kvm-hotplug-companion\","),
        ] {
            assert_eq!(is_new_version(file_kind, text.as_bytes()), text == "[[]", "{text:?}");
        }
    }
}
