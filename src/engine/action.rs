//! What is to be done about a device of a wanted list.

use crate::ids::IfName;
use crate::net::bandwidth::Limits;

/// A change of a device that stays in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The link of a NIC goes up or down.
    Link {
        /// Whether it is to be up.
        up: bool,
    },
    /// A NIC goes to another bridge, or out of any.
    Bridge {
        /// Where it is.
        from: Option<IfName>,
        /// Where it is to be.
        to: Option<IfName>,
    },
    /// How much the guest may receive and send changes.
    Limits {
        /// What they are.
        from: Limits,
        /// What they are to be.
        to: Limits,
    },
}

/// What is to be done about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// It is added.
    Add,
    /// It is removed.
    Del,
    /// It is changed, and stays.
    Change(Vec<Change>),
    /// What has its id is removed, and it is added then.
    Replace,
}

impl Action {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Add => "add",
            Self::Del => "del",
            Self::Change(_) => "change",
            Self::Replace => "replace",
        }
    }
}

impl Change {
    /// The change that takes it back.
    pub(super) fn reversed(&self) -> Self {
        match self {
            Self::Link { up } => Self::Link { up: !up },
            Self::Bridge { from, to } => Self::Bridge { from: to.clone(), to: from.clone() },
            Self::Limits { from, to } => Self::Limits { from: *to, to: *from },
        }
    }

    /// What it is a change of.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Link { .. } => "link",
            Self::Bridge { .. } => "bridge",
            Self::Limits { .. } => "limits",
        }
    }
}
