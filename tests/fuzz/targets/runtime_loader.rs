//! The target of `support/runtime_loader.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_support::runtime_loader::run(data));
