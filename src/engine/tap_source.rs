//! Where the taps of a NIC come from, or what it has in their place.

use crate::error::{Error, Result};
use crate::net::netdev::Netdev;
use crate::sys::descriptor::Descriptor;

/// Where the taps come from.
#[derive(Clone, Debug)]
pub enum TapSource {
    /// Opened here: an exact name, a pattern with one `%d`, or the kernel's choice; owned by a user if given.
    Open {
        /// Name or pattern.
        name: Option<String>,
        /// User id that may reopen the tap.
        owner: Option<u32>,
        /// The path of the network namespace that it is made in.
        netns: Option<String>,
    },
    /// Opened by the caller, one per queue.
    Given(Vec<Descriptor>),
    /// None: this netdev is in their place.
    Netdev(Netdev),
}

impl TapSource {
    /// What a request says of taps: that there are none, those that the caller opened, or how they are to be
    /// opened here.
    pub fn new(
        netdev: Option<Netdev>,
        given: Vec<Descriptor>,
        name: Option<String>,
        owner: Option<u32>,
        netns: Option<String>,
    ) -> Result<Self> {
        if let Some(netdev) = netdev {
            let is_alone = given.is_empty() && name.is_none() && owner.is_none() && netns.is_none();
            netdev.check()?;
            return if is_alone { Ok(Self::Netdev(netdev)) } else { Err(Error::invalid(NO_TAP)) };
        }
        if given.is_empty() {
            return Ok(Self::Open { name, owner, netns });
        }
        if name.is_some() || netns.is_some() || owner.is_some() {
            return Err(Error::invalid(
                "ifname, netns or tap_owner was given together with tap_fds; they are for taps opened here",
            ));
        }
        Ok(Self::Given(given))
    }
}

const NO_TAP: &str = "ifname, netns, tap_owner or tap_fds was given together with netdev, which is in the place of a tap; leave out \
                      one of them";
