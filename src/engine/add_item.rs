//! A device to add: as it is asked for, and as it is at hand once its backend is open.

use super::add_plan::{OpenedBackend, Placement};
use super::controller::ControllerRequest;
use super::disk::DiskRequest;
use super::nic::NicRequest;
use super::outcome::{DeferReason, Outcome};
use crate::model::{Device, DeviceKind, Spec};
use crate::sys::descriptor::Descriptor;

/// A device to add.
#[derive(Clone, Debug)]
pub enum AddRequest {
    /// A NIC.
    Nic(NicRequest),
    /// A disk.
    Disk(Box<DiskRequest>),
    /// A SCSI controller.
    Controller(ControllerRequest),
}

impl AddRequest {
    /// What it is.
    pub fn kind(&self) -> DeviceKind {
        match self {
            Self::Nic(_) => DeviceKind::Nic,
            Self::Disk(_) => DeviceKind::Disk,
            Self::Controller(_) => DeviceKind::Controller,
        }
    }

    /// Where it is to be, to be changed.
    pub fn placement_mut(&mut self) -> &mut Placement {
        match self {
            Self::Nic(request) => &mut request.placement,
            Self::Disk(request) => &mut request.placement,
            Self::Controller(request) => &mut request.placement,
        }
    }

    /// The QEMU driver.
    pub(super) fn model(&self) -> &str {
        match self {
            Self::Nic(request) => &request.model,
            Self::Disk(request) => &request.spec.model,
            Self::Controller(request) => &request.spec.model,
        }
    }

    pub(super) fn placement(&self) -> &Placement {
        match self {
            Self::Nic(request) => &request.placement,
            Self::Disk(request) => &request.placement,
            Self::Controller(request) => &request.placement,
        }
    }
}

/// What is to be done about one of them.
#[derive(Debug)]
pub(super) enum AddItem {
    /// Nothing: it is there already.
    Answered(Outcome),
    /// It is recorded: the guest has it.
    Adopt(Device),
    /// It is recorded for the next boot.
    Later(Device, DeferReason),
    /// It is plugged in; this is the device of the last try.
    Plug { opened: Box<OpenedBackend>, placement: Placement, device: Option<Device> },
}

impl AddItem {
    pub(super) fn placement(&self) -> Option<&Placement> {
        match self {
            Self::Plug { placement, .. } => Some(placement),
            Self::Answered(_) | Self::Adopt(_) | Self::Later(..) => None,
        }
    }

    pub(super) fn into_answer(self) -> Option<Outcome> {
        match self {
            Self::Answered(outcome) => Some(outcome),
            Self::Adopt(device) => Some(Outcome::Done(device)),
            Self::Later(device, why) => Some(Outcome::AfterReboot(device, why)),
            Self::Plug { device, .. } => device.map(Outcome::Done),
        }
    }

    pub(super) fn fds(&self) -> &[Descriptor] {
        match self {
            Self::Plug { opened, .. } => &opened.fds,
            Self::Answered(_) | Self::Adopt(_) | Self::Later(..) => &[],
        }
    }
}

/// Every queue has to be attached when QEMU gets it: not only those of the caller may be detached, but also
/// those that QEMU has had already, if the NICs are tried again in other slots.
pub(super) fn queues_to_attach(items: &[AddItem]) -> Vec<Descriptor> {
    let queues = |item: &AddItem| {
        let AddItem::Plug { opened, .. } = item else { return Vec::new() };
        let Spec::Nic(spec) = &opened.spec else { return Vec::new() };
        match spec.queues > 1 || spec.given_tap.is_some() {
            true => opened.fds.iter().take(spec.queues.into()).cloned().collect(),
            false => Vec::new(),
        }
    };
    items.iter().flat_map(queues).collect()
}

/// Whether the caller left open where this device goes. One whose id was not asked for has it from its place.
pub(super) fn is_free_to_move(items: &[AddItem], device: &Device) -> bool {
    let pinned = |placement: &Placement| placement.address.is_some() && placement.address == device.address;
    !items.iter().any(|item| matches!(item, AddItem::Plug { placement, .. } if pinned(placement)))
}
