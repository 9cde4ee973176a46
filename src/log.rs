//! Where a handle's log lines go: to its owner's callback, or nowhere. Nothing here is process-wide.

use std::fmt;
use std::sync::Arc;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something is left behind or lost.
    Error = 1,
    /// Something unexpected was dealt with.
    Warning = 2,
    /// What changed in a guest.
    Info = 3,
    /// Every call and every command sent.
    Debug = 4,
}

/// Receives log lines.
pub trait Sink: Send + Sync {
    /// Takes one line, without a final newline. Called in the middle of an operation, by the thread that does
    /// it.
    fn line(&self, level: Level, text: &str);
}

/// A sink and the level it wants.
#[derive(Clone, Default)]
pub struct Log(Option<(Level, Arc<dyn Sink>)>);

impl Log {
    /// Passes lines up to `level` on to `sink`.
    pub fn new(level: Level, sink: Arc<dyn Sink>) -> Self {
        Self(Some((level, sink)))
    }

    /// Writes one line, which is only put together if somebody wants it.
    pub fn write(&self, level: Level, text: impl FnOnce() -> String) {
        if let Some((_, sink)) = self.0.as_ref().filter(|(wanted, _)| level <= *wanted) {
            sink.line(level, &text());
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.0.as_ref().map(|(level, _)| level)).finish()
    }
}
