//! All that is known of a guest.

use super::journal::Journal;
use super::record::Record;

/// What a guest is, and what is unfinished.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Its record.
    pub record: Record,
    /// Its journal.
    pub journal: Journal,
}
