//! A file of `-readconfig`: sections with members, such as
//!
//! ```text
//! [device "qemu_scsi"]
//!   driver = "virtio-scsi-pci"
//! ```

use std::collections::BTreeMap;

use crate::sorted;

/// The ids in it, each with the kind of its section.
pub(super) fn ids(text: &str) -> BTreeMap<String, String> {
    sorted::map(text.lines().filter_map(section))
}

fn section(line: &str) -> Option<(String, String)> {
    let inside = line.trim().strip_prefix('[')?.strip_suffix(']')?;
    let (kind, id) = inside.trim().split_once(char::is_whitespace)?;
    let id = id.trim().trim_matches('"');
    (!id.is_empty()).then(|| (id.to_owned(), kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_with_an_id() {
        let text = "# x\n[machine]\n type = \"q35\"\n[device \"qemu_scsi\"]\ndriver = \"x\"\n\
                    [drive \"d\"]\n[odd]]\n[device \"\"]\n";
        let found = ids(text);
        assert_eq!(found.get("qemu_scsi").map(String::as_str), Some("device"));
        assert_eq!(found.get("d").map(String::as_str), Some("drive"));
        assert_eq!(found.len(), 2);
    }
}
