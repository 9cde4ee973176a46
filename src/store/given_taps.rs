//! Taps of the caller's for the next start: the record says which NICs are over such a tap, and the caller
//! opens them anew for each start. They are kept beside the record, as long as that is open, and in no file.

use std::os::fd::OwnedFd;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::DeviceId;
use crate::model::Device;
use crate::net::given::Given;

/// The taps of NICs, one of each.
#[derive(Debug, Default)]
pub struct GivenTaps(Vec<GivenTo>);

#[derive(Debug)]
struct GivenTo {
    nic: DeviceId,
    tap: Given,
    queues: Vec<OwnedFd>,
}

impl GivenTaps {
    /// Whether this NIC has been given one.
    pub fn has(&self, nic: &DeviceId) -> bool {
        self.0.iter().any(|given| given.nic == *nic)
    }

    /// The tap of this NIC, and a duplicate of each of its queues.
    pub fn queues_of(&self, nic: &DeviceId) -> Result<Option<(Given, Vec<OwnedFd>)>> {
        let Some(given) = self.0.iter().find(|given| given.nic == *nic) else { return Ok(None) };
        let queues = given.queues.iter().map(OwnedFd::try_clone).collect::<std::io::Result<_>>();
        let queues = queues.map_err(|error| Error::host(error, format!("duplicate the tap of {nic}")))?;
        Ok(Some((given.tap.clone(), queues)))
    }

    /// This NIC gets these queues, in place of those that it may have been given before.
    pub(super) fn give(&mut self, device: &Device, queues: Vec<OwnedFd>) -> Result<()> {
        let id = &device.id;
        let spec = device.nic().ok_or_else(|| Error::invalid(format!("{id} is no NIC")))?;
        if !spec.is_over_given_tap() {
            let text = format!("{id} is over a tap that each start makes; it takes none of the caller's");
            return Err(Error::new(ErrorKind::State, text));
        }
        if queues.len() != usize::from(spec.queues) {
            return Err(Error::invalid(format!(
                "{} tap fds were given for {} queues of {id}; one per queue is needed",
                queues.len(),
                spec.queues
            )));
        }
        let tap = Given::check(&queues).map_err(|error| error.context(id))?;
        if let Some(other) = self.0.iter().find(|other| other.nic != *id && other.tap == tap) {
            let text = format!("tap {} has been given to {} already", tap.name, other.nic);
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        self.0.retain(|other| other.nic != *id);
        self.0.push(GivenTo { nic: id.clone(), tap, queues });
        Ok(())
    }
}
