//! What is asked for, and what is answered.

use std::path::PathBuf;

use super::report::Report;
use crate::model::Record;

/// What the caller says of the guest; what is left out is found out.
#[derive(Clone, Debug, Default)]
pub struct AdoptRequest {
    /// The process, if it is not the one that listens at the monitor.
    pub pid: Option<i32>,
    /// The command that it was started with.
    pub command: Option<Vec<String>>,
    /// The directory that relative paths in it begin at.
    pub directory: Option<PathBuf>,
    /// The guest's name, for people.
    pub name: Option<String>,
    /// Slots of `pci.0` that are never chosen.
    pub reserved_slots: Option<u8>,
}

/// A record, and what it was made of.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// It has no file yet.
    pub record: Record,
    /// What it has, and what it has not.
    pub report: Report,
}
