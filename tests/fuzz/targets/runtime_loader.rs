//! What the loader accepts it writes so that it reads the same again, in either format, and in the other one if that has room
//! for it; and how full its next boot will be can be said or is refused.
#![no_main]

use kvm_hotplug::store::format::{decode, encode};
use kvm_hotplug::model::Record;
use kvm_hotplug::store::{Format, RecordFile};
use libfuzzer_sys::fuzz_target;

fn convert(record: &Record) {
    let other = match record.format() {
        Format::Native => Format::Ganeti,
        Format::Ganeti => Format::Native,
    };
    let Ok(converted) = record.convert(other) else { return };
    assert_eq!(converted.format(), other);
    converted.check().unwrap();
    let written = encode(&converted).unwrap();
    let read = decode(&written).unwrap();
    assert_eq!(encode(&read).unwrap(), written, "{}", String::from_utf8_lossy(&written));
    read.convert(record.format()).expect("the way back");
}

fuzz_target!(|data: &[u8]| {
    let Ok(record) = decode(data) else { return };
    record.check().unwrap();
    let written = encode(&record).unwrap();
    let read = decode(&written).unwrap();
    let text = String::from_utf8_lossy(&written);
    match record.format() {
        Format::Native => assert_eq!(read, record, "{text}"),
        // What no Ganeti can read is mended on the way.
        Format::Ganeti => assert_eq!(
            (&read.name, &read.command, &read.devices),
            (&record.name, &record.command, &record.devices),
            "{text}"
        ),
    }
    assert_eq!(encode(&read).unwrap(), written);
    convert(&record);
    let _ = RecordFile::new(record).boot_plan(2);
});
