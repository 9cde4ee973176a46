//! How a command ends.

use kvm_hotplug::{Error, ErrorKind};

/// Exit statuses, so that scripts can tell "not yet" from "no"; the help has the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Status {
    Done = 0,
    Failed = 1,
    Usage = 2,
    /// Recorded; the running guest is as it was.
    AfterReboot = 3,
    /// The guest has been asked to let a device go, and has not yet.
    Pending = 4,
    /// Record and guest disagree, or something stands in the way of a start.
    Different = 5,
}

/// Why a command has failed, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) advice: Option<&'static str>,
    pub(crate) status: Status,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, advice: None, status: Status::Failed }
    }
}

impl Failure {
    pub(crate) fn advised(error: Error, advice: &'static str) -> Self {
        Self { advice: Some(advice), ..Self::from(error) }
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(complaint: String) -> Self {
        Self { status: Status::Usage, ..Self::from(Error::new(ErrorKind::Invalid, complaint)) }
    }

    /// For people, in one line.
    pub(crate) fn message(&self) -> String {
        match self.advice {
            None => self.error.to_string(),
            Some(advice) => format!("{}; {advice}", self.error),
        }
    }
}
