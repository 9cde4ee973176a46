//! MAC addresses for NICs whose caller gave none, and for taps.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::MacAddr;
use crate::sys::random::random_bytes;

/// A host that has half of all these addresses needs more tries than this once in 10^19 calls; a predicate
/// that always says yes ends here.
const TRIES: usize = 64;

/// A random address under 52:54:00 that `taken` does not claim.
pub fn generate(taken: impl Fn(&MacAddr) -> bool) -> Result<MacAddr> {
    for _ in 0..TRIES {
        let mac = MacAddr::local(random_bytes()?);
        if !taken(&mac) {
            return Ok(mac);
        }
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("all of {TRIES} random MAC addresses are taken; give the NIC an address"),
    ))
}

/// What the addresses of taps begin with: no interface that a bridge might have beside them has a higher one,
/// and it is no group's.
const OF_TAPS: u8 = 0xfe;

/// The address of the tap of a guest's NIC, as libvirt makes it: the NIC's, beginning with fe. One that does
/// so itself cannot be told from its tap, which keeps the end of `random` then; so does a tap that is for no
/// NIC yet.
pub fn of_tap(guest: Option<MacAddr>, random: impl FnOnce() -> Result<MacAddr>) -> Result<MacAddr> {
    let own = guest.map(|guest| guest.bytes()).filter(|[first, ..]| *first != OF_TAPS);
    let [_, a, b, c, d, e] = own.map_or_else(|| random().map(|random| random.bytes()), Ok)?;
    MacAddr::from_bytes([OF_TAPS, a, b, c, d, e])
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn taken_addresses_are_passed_over() {
        let asked = Cell::new(0);
        let mac = generate(|_| asked.replace(asked.get() + 1) < 5).unwrap();
        assert_eq!(asked.get(), 6);
        assert!(mac.to_string().starts_with("52:54:00:"), "{mac}");
    }

    #[test]
    fn taps_have_high_addresses_and_never_their_guests() {
        let mac = |text: &str| MacAddr::parse(text).unwrap();
        for (guest, tap) in [
            (Some("52:54:00:12:34:56"), "fe:54:00:12:34:56"),
            (Some("00:00:00:00:00:01"), "fe:00:00:00:00:01"),
            (Some("fe:54:00:12:34:56"), "fe:0b:0c:0d:0e:0f"),
            (None, "fe:0b:0c:0d:0e:0f"),
        ] {
            assert_eq!(
                of_tap(guest.map(mac), || Ok(mac("0a:0b:0c:0d:0e:0f"))).unwrap(),
                mac(tap),
                "{guest:?}"
            );
        }
    }

    #[test]
    fn gives_up_when_everything_is_taken() {
        let error = generate(|_| true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
}
