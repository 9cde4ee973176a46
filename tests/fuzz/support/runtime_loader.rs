//! What the loader accepts it writes so that it reads the same again, in either format, and in the other one
//! if that has room for it; and how full its next boot will be can be said or is refused.

use kvm_hotplug::store::{Document, Format, RecordFile};

fn convert(document: &Document) {
    let other = match document.format() {
        Format::Native => Format::Ganeti,
        Format::Ganeti => Format::Native,
    };
    let Ok(converted) = document.convert(other) else { return };
    assert_eq!(converted.format(), other);
    converted.check().unwrap();
    let written = converted.encode().unwrap();
    let read = Document::decode(&written).unwrap();
    assert_eq!(read.encode().unwrap(), written, "{}", String::from_utf8_lossy(&written));
    read.convert(document.format()).expect("the way back");
}

/// What the target does with an input.
pub fn run(data: &[u8]) {
    let Ok(document) = Document::decode(data) else { return };
    document.check().unwrap();
    let written = document.encode().unwrap();
    let read = Document::decode(&written).unwrap();
    let text = String::from_utf8_lossy(&written);
    match document.format() {
        Format::Native => assert_eq!(read, document, "{text}"),
        // What no Ganeti can read is mended on the way.
        Format::Ganeti => assert_eq!(
            (&read.record.name, &read.record.command, &read.record.devices),
            (&document.record.name, &document.record.command, &document.record.devices),
            "{text}"
        ),
    }
    assert_eq!(read.encode().unwrap(), written);
    convert(&document);
    let _ = RecordFile::new(document).boot_plan(2);
}
