//! Makes a record of a running guest that any program has started, from the command line of QEMU's process
//! and from what QEMU reports. Nothing in the guest changes.
//!
//! [`ask`] asks QEMU, [`process`] looks at its process and its host, and the rest decides. What is not
//! understood stays in the recorded command as it is, and the report says why.

mod argument;
mod ask;
mod command;
mod config;
mod controller;
mod decide;
mod defaults;
mod disk;
mod disk_options;
mod from_process;
mod nic;
mod process;
mod recognize;
mod report;
mod request;
mod taken;

use std::collections::BTreeMap;
use std::path::Path;

pub use from_process::CommandOfProcess;
pub use recognize::recognize;
pub use report::{Dropped, Left, Pinned, Recorded, Report};
pub use request::{AdoptRequest, Adopted};

use crate::deadline::Deadline;
use crate::error::Result;

/// Adopts the guest whose QEMU has this monitor.
pub fn adopt(monitor: &Path, request: &AdoptRequest, deadline: &Deadline) -> Result<Adopted> {
    let mut client = ask::connect(monitor, deadline)?;
    let process = process::Process::of(&client, request)?;
    let arguments = argument::Argument::list(&process.command);
    let shown = ask::ask(&mut client, &arguments, deadline)?;
    let sight = taken::Sight {
        shown: &shown,
        arguments: &arguments,
        host: &process,
        vhosts: &BTreeMap::new(),
        image: None,
    };
    decide::decide(&sight, &process.command, &process.elsewhere(&arguments), request)
}
