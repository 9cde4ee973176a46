//! The target of `support/monitor_reader.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_support::monitor_reader::run(data));
