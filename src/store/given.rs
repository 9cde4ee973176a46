//! What a caller has given for the next start of a guest.

use super::given_secrets::GivenSecrets;
use super::given_taps::GivenTaps;

/// What the caller has given for the next start.
#[derive(Debug, Default)]
pub struct Given {
    /// Taps of NICs.
    pub taps: GivenTaps,
    /// Secrets of disks.
    pub secrets: GivenSecrets,
}
