//! What the loader accepts it writes so that it reads the same again.
#![no_main]

use kvm_hotplug::runtime::native::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(record) = decode(data) else { return };
    record.check().unwrap();
    let written = encode(&record).unwrap();
    assert_eq!(decode(&written).unwrap(), record, "{}", String::from_utf8_lossy(&written));
    assert_eq!(encode(&decode(&written).unwrap()).unwrap(), written);
});
