//! The file of a record, and the journal beside it.

pub mod contents;
mod delete;
mod dialect;
pub mod dir;
pub mod document;
pub mod file_kind;
pub mod ganeti;
mod give;
mod given;
mod given_secrets;
mod given_taps;
pub mod images;
pub mod journal_file;
mod leftover;
pub mod lock;
pub mod native;
pub mod peer;
mod record_file;
mod slot_rules;
pub mod staged;
pub mod trust;
mod unfinished;
pub(crate) mod versioned;
mod write;

pub use contents::Contents;
pub use delete::delete;
pub use dialect::{Dialect, Format};
pub use document::Document;
pub use given::Given;
pub use record_file::RecordFile;
pub use trust::Trust;
pub use write::{Committed, Staged, StagedRecord};
