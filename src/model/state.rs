//! All that is known of a guest.

use std::sync::Arc;

use super::journal::Journal;
use super::record::Record;

/// What a guest is, and what is unfinished. A copy shares both until one of them is replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Its record.
    pub record: Arc<Record>,
    /// Its journal.
    pub journal: Arc<Journal>,
}
