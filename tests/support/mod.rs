//! Shared by the tests that drive the library without a QEMU.

// Each test binary uses its own part of this, and the lints' exceptions for tests stop at functions marked as such.
#![allow(dead_code, unused_imports, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::result_large_err)]

pub mod api;
pub mod c_api;
pub mod counting;
pub mod fixture;
pub mod ganeti;
pub mod host;
pub mod not_run;
pub mod programs;
pub mod rust_api;

pub use fake_qemu as fake;

/// Makes each case a test of every interface the library has. A case takes `&dyn Agent`.
#[macro_export]
macro_rules! through_every_api {
    ($($case:ident),* $(,)?) => {
        mod rust {
            $(#[test] fn $case() { super::$case(&$crate::support::rust_api::RustAgent); })*
        }
        mod c {
            $(#[test] fn $case() { super::$case(&$crate::support::c_api::CAgent); })*
        }
    };
}
