//! The target of `support/qcow2.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_support::qcow2::run(data));
