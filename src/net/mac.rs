//! MAC addresses for NICs whose caller gave none.

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
    fn gives_up_when_everything_is_taken() {
        let error = generate(|_| true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
}
