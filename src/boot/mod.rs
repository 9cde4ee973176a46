//! The command that starts the guest of a record: its own, and the NICs and disks as the hot-plug calls would
//! make them, over taps and images that are opened here and inherited by QEMU.
//!
//! ```text
//! record ─placement─▶ next record, every device placed ─host─▶ taps, vhost, images
//!     ─options─▶ arguments, descriptors
//! ```
//!
//! A boot and a migration target differ in one thing: a boot is where what waited for a reboot comes true, so
//! it changes the record, while a target is to be what the source is at this moment, and takes the record as
//! it stands.

mod build;
mod clashes;
mod cold_slots;
mod files;
mod host;
mod incoming;
mod issue;
mod monitor;
mod options;
mod placement;
mod preflight;
mod request;
mod room;
mod running;
mod scsi;
mod secret_file;
mod start;
mod started;

pub use incoming::Incoming;
pub use issue::{IssueKind, PreflightIssue};
pub use request::{BootCommand, BootPlan, BootRequest, FIRST_FD};
pub use start::place;

#[cfg(test)]
mod tests;
