//! System calls: the only place besides `capi` where `unsafe` is allowed.
#![allow(unsafe_code)]

pub mod block;
pub mod descriptor;
pub mod inherit;
pub mod kcmp;
pub mod lock;
pub mod namespace;
pub mod pidfd;
pub mod proc;
pub mod random;
pub mod rename;
pub mod scsi;
#[cfg(feature = "program")]
pub mod standard_files;
pub mod tun;
