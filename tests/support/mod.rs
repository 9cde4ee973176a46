//! Shared by the tests that drive the library without a QEMU.

// Each test binary uses its own part of this, and the lints' exceptions for tests stop at functions marked as
// such.
#![allow(dead_code, unused_imports, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::result_large_err)]

pub mod adopted;
pub mod api;
pub mod c_api;
pub mod clock;
pub mod counting;
pub mod fixture;
pub mod ganeti;
pub mod host;
pub mod not_run;
pub mod programs;
pub mod rust_api;

pub use fake_qemu as fake;

/// Makes each case a test of every interface the library has. A case takes `&dyn Agent`. With `clock:
/// of_its_own;` before them the cases go by clocks of their own, see [`clock`].
#[macro_export]
macro_rules! through_every_api {
    ($($case:ident),* $(,)?) => {
        $crate::through_every_api! { clock: the_real_one; $($case),* }
    };
    (clock: $clock:ident; $($case:ident),* $(,)?) => {
        mod rust {
            use $crate::support::{clock, rust_api::RustAgent};
            $(#[test] fn $case() { clock::$clock(|| super::$case(&RustAgent)); })*
        }
        mod c {
            use $crate::support::{c_api::CAgent, clock};
            $(#[test] fn $case() { clock::$clock(|| super::$case(&CAgent)); })*
        }
    };
}
