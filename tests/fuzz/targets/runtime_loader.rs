//! What the loader accepts it writes so that it reads the same again, in either format.
#![no_main]

use kvm_hotplug::runtime::Format;
use kvm_hotplug::runtime::format::{decode, encode};
use libfuzzer_sys::fuzz_target;

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
});
