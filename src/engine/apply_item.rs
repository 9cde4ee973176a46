//! One device of a wanted list under way.

use super::action::Action;
use super::add_item::AddRequest;
use super::applied::{DeviceAnswer, DeviceStep};
use super::outcome::Outcome;
use super::unplug::RemovalAction;
use super::wanted::Decided;
use crate::error::{Error, Result};
use crate::ids::DeviceId;
use crate::model::{Device, DeviceKind};

/// A decided step under way.
pub(super) struct ApplyItem {
    pub(super) decided: Decided,
    /// What is to be added.
    pub(super) request: Option<AddRequest>,
    /// How it is removed, until that is done.
    pub(super) removal: Option<RemovalAction>,
    pub(super) answer: Option<DeviceAnswer>,
}

impl ApplyItem {
    pub(super) fn id(&self) -> &DeviceId {
        &self.decided.id
    }

    fn is_add(&self) -> bool {
        matches!(self.decided.action, Action::Add | Action::Replace)
    }

    pub(super) fn into_step(self, otherwise: &str) -> DeviceStep {
        let Decided { id, kind, action, why, .. } = self.decided;
        let answer = self.answer.unwrap_or_else(|| DeviceAnswer::Left(otherwise.to_owned()));
        DeviceStep { id: Some(id.to_string()), kind, action, why, answer }
    }

    pub(super) fn take_removal(&mut self, outcome: Result<Outcome>, first_error: &mut Option<Error>) {
        let answer = match outcome {
            Ok(outcome) => DeviceAnswer::from(outcome),
            Err(error) => {
                first_error.get_or_insert_with(|| error.clone());
                DeviceAnswer::Failed(error)
            }
        };
        self.answer = Some(answer);
    }

    /// Whether it is to be added, and is not yet.
    pub(super) fn is_to_be_added(&self) -> bool {
        self.is_add() && self.request.is_some()
    }

    /// Whether a controller is added, which others may be put on.
    pub(super) fn is_controller(&self) -> bool {
        self.decided.kind == DeviceKind::Controller
    }

    /// The device that the guest is to be asked for.
    pub(super) fn asked(&self) -> Option<Device> {
        match &self.removal {
            Some(RemovalAction::Ask(device)) => Some(device.clone()),
            _ => None,
        }
    }
}
