//! What has become of the devices of a list, or would.

use serde_json::{Value, json};

use super::action::Action;
use super::outcome::{DeferReason, Outcome};
use crate::error::Error;
use crate::ids::Address;
use crate::model::{Device, DeviceKind};

/// What has become of a device.
#[derive(Clone, Debug)]
pub enum DeviceAnswer {
    /// It is as it is to be: in the guest, or gone.
    Done(Option<Device>),
    /// It comes or goes with the next boot.
    AfterReboot(Device, DeferReason),
    /// The guest has not let go of a device yet: of this one, or of one that is in its way; why.
    Pending(Option<Device>, String),
    /// It cannot be as the list has it; why.
    Refused(String),
    /// It failed.
    Failed(Error),
    /// It has not been begun; why.
    Left(String),
}

/// One device with what was to be done about it.
#[derive(Clone, Debug)]
pub struct DeviceStep {
    /// Its id, if it has one.
    pub id: Option<String>,
    /// What it is.
    pub kind: DeviceKind,
    /// What is to be done.
    pub action: Action,
    /// Why that is to be done, in words.
    pub why: String,
    /// What has become of it.
    pub answer: DeviceAnswer,
}

/// What has become of a list of devices.
#[derive(Debug)]
pub struct Applied {
    /// The devices of the list in its order, then those that were to go.
    pub steps: Vec<DeviceStep>,
    /// What the call fails with; the steps say what is done and what is left.
    pub error: Option<Error>,
}

impl DeviceAnswer {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::AfterReboot(..) => "after-reboot",
            Self::Pending(..) => "pending",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Left(_) => "left",
        }
    }

    /// Why it is not done, in words.
    pub fn reason(&self) -> String {
        match self {
            Self::Done(_) => String::new(),
            Self::AfterReboot(_, why) => why.to_string(),
            Self::Failed(error) => error.to_string(),
            Self::Pending(_, why) | Self::Refused(why) | Self::Left(why) => why.clone(),
        }
    }

    /// The device, as far as it is known.
    pub fn device(&self) -> Option<&Device> {
        match self {
            Self::Done(device) | Self::Pending(device, _) => device.as_ref(),
            Self::AfterReboot(device, _) => Some(device),
            Self::Refused(_) | Self::Failed(_) | Self::Left(_) => None,
        }
    }
}

impl From<Outcome> for DeviceAnswer {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done(device) => Self::Done(Some(device)),
            Outcome::AfterReboot(device, why) => Self::AfterReboot(device, why),
            Outcome::Pending(device, why) => Self::Pending(Some(device), why.to_string()),
            Outcome::PendingByPath(why) => Self::Pending(None, why.to_string()),
            Outcome::DoneByPath | Outcome::Absent => Self::Done(None),
        }
    }
}

impl DeviceStep {
    /// What has become of a device that was to be added.
    pub fn added(kind: DeviceKind, outcome: Outcome) -> Self {
        let answer = DeviceAnswer::from(outcome);
        let id = answer.device().map(|device| device.id.to_string());
        Self { id, kind, action: Action::Add, why: String::new(), answer }
    }

    fn to_json(&self) -> Value {
        let device = self.answer.device();
        let address = device.and_then(|device| device.address.as_ref());
        let scsi = address.and_then(Address::scsi);
        json!({
            "id": self.id,
            "type": self.kind.name(),
            "action": self.action.word(),
            "why": self.why,
            "answer": self.answer.word(),
            "reason": self.answer.reason(),
            "generation": device.map(|device| device.generation),
            "bus": address.map(|address| address.bus().as_str()),
            "slot": address.and_then(Address::pci).map(|address| address.slot),
            "channel": scsi.map(|address| address.channel),
            "target": scsi.map(|address| address.target),
            "lun": scsi.map(|address| address.lun),
        })
    }
}

impl Applied {
    /// What became of devices that were to be added; those that were there already count as well.
    pub fn of_adds(kinds: &[DeviceKind], outcomes: Vec<Outcome>) -> Self {
        let steps = kinds.iter().zip(outcomes).map(|(kind, outcome)| DeviceStep::added(*kind, outcome));
        Self { steps: steps.collect(), error: None }
    }

    /// How many devices something was to be done about.
    pub fn changes(&self) -> usize {
        self.steps.iter().filter(|step| step.action != Action::None).count()
    }

    /// Whether the guest has not let go of a device yet.
    pub fn is_pending(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.answer, DeviceAnswer::Pending(..)))
    }

    /// Whether a device waits for the next boot.
    pub fn waits_for_boot(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.answer, DeviceAnswer::AfterReboot(..)))
    }

    /// As JSON, for machines.
    pub fn to_json(&self) -> Value {
        let devices: Vec<Value> = self.steps.iter().map(DeviceStep::to_json).collect();
        json!({ "changes": self.changes(), "devices": devices })
    }
}
