//! Plans without doing: what an add or a removal would do now.

use serde_json::{Map, Value};

use super::add_item::AddRequest;
use super::add_plan::{OpenedBackend, Placement};
use super::controller::ControllerRequest;
use super::disk::DiskRequest;
use super::dry_run::{DryRun, Preparation};
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::medium_plan::emptying;
use super::nic::NicRequest;
use super::outcome::Outcome;
use super::plan::{self, Stage, UndoStep};
use super::removal::Removal;
use super::removal_by_path::is_path;
use super::tap_source::TapSource;
use super::unplug::RemovalAction;
use crate::disk::{Layer, Secrets};
use crate::error::Result;
use crate::model::Spec;
use crate::net::vhost;
use crate::qmp::Command;
use crate::sys::descriptor::Descriptor;

impl GuestState {
    /// What adding this device would do.
    pub(super) async fn dry_run_add(
        &mut self,
        mut request: AddRequest,
        deadline: &Deadline,
    ) -> Result<DryRun> {
        self.settle_properties(&mut request, deadline).await?;
        self.learn_whether_full(request.placement(), deadline).await?;
        match &request {
            AddRequest::Nic(request) => self.dry_run_nic(request, deadline).await,
            AddRequest::Disk(request) => self.dry_run_disk(request, deadline).await,
            AddRequest::Controller(request) => self.dry_run_controller(request, deadline).await,
        }
    }

    async fn dry_run_nic(&mut self, request: &NicRequest, deadline: &Deadline) -> Result<DryRun> {
        let (spec, vhost_fds) = match self.prepare_nic(request, deadline).await? {
            Preparation::Answer(outcome) => return Ok(DryRun::nothing(outcome)),
            Preparation::Adopt(device) => return Ok(DryRun::nothing(Outcome::Done(device))),
            Preparation::Later(spec, why) => return self.dry_run_deferred(spec, &request.placement, why),
            Preparation::Now(now) => now,
        };
        let mut host = Vec::new();
        if let TapSource::Open { name, .. } = &request.tap {
            let name = name.as_deref().unwrap_or("tap%d");
            host.push(format!("open tap {name} with {} queue(s) and set it up", spec.queues));
            host.extend(request.bridge.iter().map(|bridge| format!("attach it to bridge {bridge}")));
            host.extend(request.mtu.iter().map(|mtu| format!("set its MTU to {mtu}")));
        }
        if !vhost_fds.is_empty() {
            host.push(format!("open {} {} time(s)", vhost::DEVICE, vhost_fds.len()));
        }
        self.dry_run_opened(
            &OpenedBackend {
                spec: Spec::Nic(spec),
                fds: Vec::new(),
                layers: Vec::new(),
                secrets: Secrets::default(),
            },
            &request.placement,
            host,
            deadline,
        )
        .await
    }

    async fn dry_run_disk(&mut self, request: &DiskRequest, deadline: &Deadline) -> Result<DryRun> {
        let (spec, image) = match self.prepare_disk(request, deadline).await? {
            Preparation::Answer(outcome) => return Ok(DryRun::nothing(outcome)),
            Preparation::Adopt(device) => return Ok(DryRun::nothing(Outcome::Done(device))),
            Preparation::Later(spec, why) => return self.dry_run_deferred(spec, &request.placement, why),
            Preparation::Now(now) => now,
        };
        let mode = |read_only| if read_only { "read-only" } else { "for writing" };
        let open =
            |layer: &Layer<Descriptor>| format!("open {} {}", layer.path.display(), mode(layer.read_only));
        let host = image.layers.iter().map(open).collect();
        let layers = image.layers.iter().map(|layer| (layer.format, layer.kind)).collect();
        self.dry_run_opened(
            &OpenedBackend { spec: Spec::Disk(spec), fds: Vec::new(), layers, secrets: Secrets::default() },
            &request.placement,
            host,
            deadline,
        )
        .await
    }

    async fn dry_run_controller(
        &mut self,
        request: &ControllerRequest,
        deadline: &Deadline,
    ) -> Result<DryRun> {
        match self.prepare_controller(request, deadline).await? {
            Preparation::Answer(outcome) => Ok(DryRun::nothing(outcome)),
            Preparation::Adopt(device) => Ok(DryRun::nothing(Outcome::Done(device))),
            Preparation::Later(spec, why) => self.dry_run_deferred(spec, &request.placement, why),
            Preparation::Now(opened) => {
                self.dry_run_opened(&opened, &request.placement, Vec::new(), deadline).await
            }
        }
    }

    async fn dry_run_opened(
        &mut self,
        opened: &OpenedBackend,
        placement: &Placement,
        host: Vec<String>,
        deadline: &Deadline,
    ) -> Result<DryRun> {
        self.learn_buses(deadline).await?;
        let generation = self.contents().record().next_generation;
        let add_plan = self.add_plan(opened, placement, generation, deadline).await?;
        // Numbers that were only drafted stay free.
        self.fdsets.release(&add_plan.device.id);
        let mut slots = self.slots.clone();
        add_plan.devices().for_each(|device| slots.occupy(device));
        let slots_left = Some(slots.pci.left_for(&add_plan.device.spec.new_device()));
        Ok(DryRun {
            outcome: Outcome::Done(add_plan.device),
            commands: commands_of(&add_plan.stages),
            host,
            slots_left,
        })
    }

    fn dry_run_deferred(
        &mut self,
        spec: Spec,
        placement: &Placement,
        why: super::outcome::DeferReason,
    ) -> Result<DryRun> {
        let mut next = self.contents().record().clone();
        let slots_left = Some(self.slots.pci.left_for(&spec.new_device()));
        let (_, outcome) = self.plan_for_next_boot(&mut next, spec, placement, why)?;
        Ok(DryRun { slots_left, ..DryRun::nothing(outcome) })
    }

    /// What this removal would do, if the guest lets go.
    pub(super) async fn dry_run_removal(&mut self, removal: &Removal, deadline: &Deadline) -> Result<DryRun> {
        if is_path(&removal.id) {
            return self.dry_run_by_path(removal, deadline).await;
        }
        let device = match self.removal_action(removal, deadline).await? {
            RemovalAction::Answer(outcome) => return Ok(DryRun::nothing(outcome)),
            RemovalAction::DropFromRecord(device) => return Ok(DryRun::nothing(Outcome::Done(device))),
            RemovalAction::AfterReboot(device, why) => {
                return Ok(DryRun::nothing(Outcome::AfterReboot(device, why)));
            }
            RemovalAction::Ask(device) => device,
        };
        if !self.phases.is_unplugging(&device.id) {
            self.refuse_while_migrating(deadline).await?;
        }
        let mut undo_steps = vec![UndoStep::Unplug(device.id.clone())];
        undo_steps.extend(plan::backend(&device, &self.fdsets.behind(&device)));
        self.keep_needed_helpers(&mut undo_steps, &[&device]);
        let shown = |Command { name, arguments, .. }: Command| {
            (name.into_owned(), arguments.as_deref().cloned().unwrap_or_default())
        };
        let commands = emptying(&device).into_iter().chain(undo_steps.iter().map(UndoStep::command));
        let commands = commands.map(shown).collect();
        Ok(DryRun { commands, ..DryRun::nothing(Outcome::Done(device)) })
    }
}

fn commands_of(stages: &[Stage]) -> Vec<(String, Map<String, Value>)> {
    stages.iter().flatten().map(|step| (step.command.to_owned(), Map::clone(&step.arguments))).collect()
}
