//! One device of a guest that has a record already.

use super::decide::take;
use super::process::Process;
use super::taken::{Sight, Taken};
use crate::engine::{ForeignDevice, Recognized};
use crate::error::{Error, ErrorKind, Result};

/// What the device is, or why it cannot be recorded. The command does not count: a device of it is none that
/// came later.
pub fn recognize(foreign: &ForeignDevice) -> Result<Recognized> {
    let process = Process::of_running(foreign.pid);
    let sight = Sight {
        shown: &foreign.shown,
        arguments: &[],
        host: &process,
        vhosts: &foreign.vhosts,
        image: foreign.image.as_deref(),
    };
    let is_it = |id: &String| id == foreign.id.as_str();
    let device = foreign.shown.devices.iter().find(|device| device.id.as_ref().is_some_and(is_it));
    let found = device.ok_or_else(|| "it has left the guest".to_owned());
    let taken = found.and_then(|device| take(&sight, &Default::default(), device));
    let (_, Taken { spec, address, names, properties, .. }) =
        taken.map_err(|why| Error::new(ErrorKind::Conflict, why))?;
    Ok(Recognized { spec, address, backend: names, properties })
}
