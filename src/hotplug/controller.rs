//! Adding a SCSI controller by itself; one that a disk needs comes with the disk.

use super::add::AddRequest;
use super::add_plan::{OpenedBackend, Placement};
use super::dry_run::Preparation;
use super::outcome::Outcome;
use super::session::Session;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Spec;
use crate::scsi::ControllerSpec;

/// A controller as the caller asks for it.
#[derive(Clone, Debug, Default)]
pub struct ControllerRequest {
    /// Id, address, live or not at all.
    pub placement: Placement,
    /// What is asked for.
    pub spec: ControllerSpec,
}

impl ControllerRequest {
    fn differs(&self, spec: &Spec) -> Option<&'static str> {
        let Spec::Controller(existing) = spec else { return Some("type") };
        self.spec.conflict_with(existing)
    }
}

impl Session {
    /// Adds a controller, or answers that it is there.
    pub(super) fn add_controller(
        &mut self,
        request: &ControllerRequest,
        deadline: &Deadline,
    ) -> Result<Outcome> {
        let added = self.add_all(vec![AddRequest::Controller(request.clone())], deadline)?;
        added.into_iter().next().ok_or_else(|| Error::new(ErrorKind::State, "no controller was added"))
    }

    /// Everything that can be said before QEMU is told anything.
    pub(super) fn prepare_controller(
        &mut self,
        request: &ControllerRequest,
        deadline: &Deadline,
    ) -> Result<Preparation<OpenedBackend>> {
        request.spec.validate()?;
        let spec = Spec::Controller(request.spec.clone());
        request.placement.check(&spec)?;
        self.ready(deadline)?;
        if let Some(device) = self.already(&request.placement, |spec| request.differs(spec))? {
            return self.answer_existing(device, request.placement.live_only).map(Preparation::Answer);
        }
        if let Some(why) = self.defer_reason(&spec, request.placement.bus()) {
            return Ok(Preparation::Later(spec, why));
        }
        self.refuse_while_migrating(deadline)?;
        Ok(Preparation::Now(OpenedBackend { spec, fds: Vec::new(), layers: Vec::new() }))
    }
}
