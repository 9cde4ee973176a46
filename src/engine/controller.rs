//! Adding a SCSI controller by itself; one that a disk needs comes with the disk.

use super::add_plan::{OpenedBackend, Placement};
use super::dry_run::Preparation;
use super::guest_state::GuestState;
use super::limit::Deadline;
use crate::disk::Secrets;
use crate::error::Result;
use crate::model::{DeviceKind, Spec};
use crate::slots::scsi::ControllerSpec;

/// A controller as the caller asks for it.
#[derive(Clone, Debug, Default)]
pub struct ControllerRequest {
    /// Id, address, live or not at all.
    pub placement: Placement,
    /// What is asked for.
    pub spec: ControllerSpec,
}

impl ControllerRequest {
    pub(super) fn differs(&self, spec: &Spec) -> Option<&'static str> {
        let Spec::Controller(existing) = spec else { return Some("type") };
        self.spec.conflict_with(existing)
    }
}

impl GuestState {
    /// Everything that can be said before QEMU is told anything.
    pub(super) async fn prepare_controller(
        &mut self,
        request: &ControllerRequest,
        deadline: &Deadline,
    ) -> Result<Preparation<OpenedBackend>> {
        request.spec.validate()?;
        let spec = Spec::Controller(request.spec.clone());
        request.placement.check(DeviceKind::Controller, &request.spec.model)?;
        self.ready(deadline).await?;
        if let Some(device) = self.already(&request.placement, |spec| request.differs(spec))? {
            return self.answer_existing(device, request.placement.live_only).map(Preparation::Answer);
        }
        self.check_mapping(&request.spec.model, request.spec.iothread.as_ref(), deadline).await?;
        if let Some(why) =
            self.defer_reason(DeviceKind::Controller, &request.spec.model, request.placement.bus())
        {
            return Ok(Preparation::Later(spec, why));
        }
        self.check_helpers(&spec, deadline).await?;
        self.refuse_while_migrating(deadline).await?;
        Ok(Preparation::Now(OpenedBackend {
            spec,
            fds: Vec::new(),
            layers: Vec::new(),
            secrets: Secrets::default(),
        }))
    }
}
