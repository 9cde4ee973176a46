//! How much a guest may receive and send: settings of a NIC. The words are libvirt's, as the guest sees it:
//! "inbound" is what it receives, "outbound" what it sends.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest packet that a guest hands over in one piece: 64 KiB and headers. A limit whose burst is less
/// would let none of them pass, ever.
pub(super) const LONGEST_PACKET: u32 = 68 * 1024;

/// Bytes per second. Less than this is no network.
const LEAST_AVERAGE: u64 = 1024;
/// The kernel counts the room of a burst in 64 ns, and has 32 bits for it.
const MOST_AVERAGE: u64 = 1 << 40;
const LONGEST_BURST_SECONDS: u64 = 256;

/// The limit of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Bytes per second in the long run, headers of Ethernet included.
    pub average: u64,
    /// Bytes that may go at once after a while without any.
    pub burst: u32,
}

/// The limits of both directions, as the guest sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of what the guest receives.
    pub inbound: Option<Bandwidth>,
    /// Of what the guest sends.
    pub outbound: Option<Bandwidth>,
}

impl Bandwidth {
    /// A limit as callers ask for it: without a burst it has one of a tenth of a second. No average is no
    /// limit.
    pub fn new(direction: &str, average: u64, burst: u64) -> Result<Option<Self>> {
        if average == 0 && burst == 0 {
            return Ok(None);
        }
        let burst = if burst == 0 { (average / 10).max(LONGEST_PACKET.into()) } else { burst };
        let burst = u32::try_from(burst)
            .map_err(|_| bad(direction, &format!("burst {burst}: the most is {}", u32::MAX)))?;
        let limit = Self { average, burst };
        limit.check(direction).map(|()| Some(limit))
    }

    fn check(self, direction: &str) -> Result<()> {
        let Self { average, burst } = self;
        if !(LEAST_AVERAGE..=MOST_AVERAGE).contains(&average) {
            let range = format!("{LEAST_AVERAGE} to {MOST_AVERAGE} bytes per second are allowed");
            return Err(bad(direction, &format!("average {average}; {range}")));
        }
        if burst < LONGEST_PACKET {
            let why = format!(
                "burst {burst}; the least is {LONGEST_PACKET} bytes, since a guest sends and gets packets of 64 KiB"
            );
            return Err(bad(direction, &why));
        }
        if u64::from(burst) / average >= LONGEST_BURST_SECONDS {
            let why = format!(
                "burst {burst}; the most is what the average allows in {LONGEST_BURST_SECONDS} seconds"
            );
            return Err(bad(direction, &why));
        }
        Ok(())
    }

    /// Whether the kernel has this limit, by what it says: it was told the burst in microseconds.
    fn is(self, found: Self) -> bool {
        let tolerance = u64::from(self.burst) / 1000 + self.average / 500_000 + 1;
        self.average == found.average && u64::from(self.burst.abs_diff(found.burst)) <= tolerance
    }
}

fn bad(direction: &str, why: &str) -> Error {
    Error::invalid(format!("{direction}: {why}"))
}

impl std::fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes/s with bursts of {} bytes", self.average, self.burst)
    }
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what the kernel cannot have.
    pub fn check(&self) -> Result<()> {
        let each = [("inbound", self.inbound), ("outbound", self.outbound)];
        each.iter().try_for_each(|(direction, limit)| limit.map_or(Ok(()), |limit| limit.check(direction)))
    }

    /// The first direction in which the kernel has another limit, with what is recorded and what is found.
    pub fn first_other(&self, found: &Self) -> Option<(String, String)> {
        let is = |wanted: Option<Bandwidth>, found: Option<Bandwidth>| match (wanted, found) {
            (Some(wanted), Some(found)) => wanted.is(found),
            (wanted, found) => wanted == found,
        };
        let text = |direction: &str, limit: Option<Bandwidth>| match limit {
            Some(limit) => format!("{direction} {limit}"),
            None => format!("{direction} without a limit"),
        };
        let each = [("inbound", self.inbound, found.inbound), ("outbound", self.outbound, found.outbound)];
        let other = each.into_iter().find(|(_, wanted, found)| !is(*wanted, *found));
        other.map(|(direction, wanted, found)| (text(direction, wanted), text(direction, found)))
    }
}
