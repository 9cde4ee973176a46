//! The C ABI: the only `extern "C"`, and with `sys` the only `unsafe`.
//!
//! Every function is three steps: read the arguments, make one call inward, turn the `Result` into an `int`.
//! The doc comments of public items here are the text of `include/kvm_hotplug.h`, so they are written for C
//! readers; notes for Rust readers are ordinary comments.
//!
//! Rules of the ring:
//! * every function goes through [`guard`], so that no panic crosses the border;
//! * pointers are looked at once, in [`args`], and never again;
//! * outputs are written on success only;
//! * enumerations arrive as integers and are converted, never transmuted.
#![allow(unsafe_code, non_camel_case_types)]

pub mod adopt;
pub mod apply;
mod args;
pub mod backing;
pub mod batch;
pub mod boot;
pub mod boot_plan;
pub mod capabilities;
pub mod check;
pub mod cold;
pub mod connection;
pub mod controller;
pub mod delete;
pub mod describe;
pub mod device;
pub mod disk;
pub mod error;
pub mod error_read;
pub mod event;
pub mod format;
mod give;
pub mod give_secret;
pub mod give_tap;
mod guard;
pub mod guest;
pub mod limits;
pub mod link;
pub mod list;
pub mod log;
pub mod media;
pub mod names;
pub mod nic;
pub mod path;
pub mod plan;
pub mod qmp;
pub mod removal;
pub mod resize;
pub mod runtime;
pub mod secret;
pub mod settle;
mod show;
pub mod slot_rules;
pub mod slots;
pub mod source;
pub mod tap;
pub mod verify;
pub mod version;
pub mod wait;
