//! The target of `support/query_pci.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_support::query_pci::run(data));
