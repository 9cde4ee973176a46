//! Plans without doing: what an add or a removal would do now.

use serde_json::{Map, Value, json};

use super::add_plan::{Attach, Wish};
use super::controller::ControllerRequest;
use super::disk::DiskRequest;
use super::nic::{NicRequest, TapSource};
use super::outcome::Outcome;
use super::plan::{self, Inverse, Stage};
use super::session::Session;
use super::unplug::{Judged, Removal};
use crate::deadline::Deadline;
use crate::error::Result;
use crate::ids::Address;
use crate::net::vhost;
use crate::qmp::Command;
use crate::runtime::Spec;

/// What would happen.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// The answer that the call would give if all went well.
    pub outcome: Outcome,
    /// The commands QEMU would get, in order; none if nothing is to be done in the guest.
    pub commands: Vec<(String, Map<String, Value>)>,
    /// What would be opened or changed on the host, for people.
    pub host: Vec<String>,
}

/// What an add comes to before anything is opened or changed.
// Clippy of Rust 1.85 takes T for nothing, and the rest for large beside it.
#[allow(clippy::large_enum_variant)]
pub(super) enum Prepared<T> {
    /// It is there already.
    Answer(Outcome),
    /// It has to wait for the next boot.
    Later(Spec, super::outcome::AfterReboot),
    /// It can be done, with this.
    Now(T),
}

impl Preview {
    fn nothing(outcome: Outcome) -> Self {
        Self { outcome, commands: Vec::new(), host: Vec::new() }
    }

    /// As JSON, for machines.
    pub fn to_json(&self) -> Value {
        let (answer, device, reason) = match &self.outcome {
            Outcome::Done(device) => ("done", Some(device), String::new()),
            Outcome::AfterReboot(device, why) => ("after-reboot", Some(device), why.to_string()),
            Outcome::Pending(device, why) => ("pending", Some(device), why.to_string()),
            Outcome::Absent => ("absent", None, String::new()),
        };
        let address = device.and_then(|device| device.address.as_ref());
        let scsi = address.and_then(Address::scsi);
        let commands: Vec<Value> =
            self.commands.iter().map(|(name, args)| json!({ "execute": name, "arguments": args })).collect();
        json!({
            "answer": answer,
            "reason": reason,
            "id": device.map(|device| device.id.as_str()),
            "bus": address.map(|address| address.bus().as_str()),
            "slot": address.and_then(Address::pci).map(|address| address.slot),
            "channel": scsi.map(|address| address.channel),
            "target": scsi.map(|address| address.target),
            "lun": scsi.map(|address| address.lun),
            "commands": commands,
            "host": self.host,
        })
    }
}

impl Session {
    /// What adding this NIC would do.
    pub(super) fn preview_nic(&mut self, request: &NicRequest, deadline: &Deadline) -> Result<Preview> {
        let (spec, vhost_fds) = match self.prepare_nic(request, deadline)? {
            Prepared::Answer(outcome) => return Ok(Preview::nothing(outcome)),
            Prepared::Later(spec, why) => return self.preview_later(spec, &request.wish, why),
            Prepared::Now(now) => now,
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
        self.preview_attach(
            &Attach { spec: Spec::Nic(spec), fds: Vec::new(), layers: Vec::new() },
            &request.wish,
            host,
            deadline,
        )
    }

    /// What adding this disk would do.
    pub(super) fn preview_disk(&mut self, request: &DiskRequest, deadline: &Deadline) -> Result<Preview> {
        let (spec, image) = match self.prepare_disk(request, deadline)? {
            Prepared::Answer(outcome) => return Ok(Preview::nothing(outcome)),
            Prepared::Later(spec, why) => return self.preview_later(spec, &request.wish, why),
            Prepared::Now(now) => now,
        };
        let mode = |read_only| if read_only { "read-only" } else { "for writing" };
        let open =
            |layer: &crate::disk::Layer| format!("open {} {}", layer.path.display(), mode(layer.read_only));
        let host = image.layers.iter().map(open).collect();
        let layers = image.layers.iter().map(|layer| (layer.format, layer.kind)).collect();
        self.preview_attach(
            &Attach { spec: Spec::Disk(spec), fds: Vec::new(), layers },
            &request.wish,
            host,
            deadline,
        )
    }

    /// What adding this SCSI controller would do.
    pub(super) fn preview_controller(
        &mut self,
        request: &ControllerRequest,
        deadline: &Deadline,
    ) -> Result<Preview> {
        match self.prepare_controller(request, deadline)? {
            Prepared::Answer(outcome) => Ok(Preview::nothing(outcome)),
            Prepared::Later(spec, why) => self.preview_later(spec, &request.wish, why),
            Prepared::Now(attach) => self.preview_attach(&attach, &request.wish, Vec::new(), deadline),
        }
    }

    fn preview_attach(
        &mut self,
        attach: &Attach,
        wish: &Wish,
        host: Vec<String>,
        deadline: &Deadline,
    ) -> Result<Preview> {
        self.learn_buses(deadline)?;
        let generation = self.runtime().record().next_generation;
        let draft = self.draft(attach, wish, generation)?;
        // Numbers that were only drafted stay free.
        self.fdsets.release(&draft.device.id);
        Ok(Preview { outcome: Outcome::Done(draft.device), commands: commands_of(&draft.stages), host })
    }

    fn preview_later(
        &mut self,
        spec: Spec,
        wish: &Wish,
        why: super::outcome::AfterReboot,
    ) -> Result<Preview> {
        let mut next = self.runtime().record().clone();
        self.draft_for_reboot(&mut next, spec, wish, why).map(|(_, outcome)| Preview::nothing(outcome))
    }

    /// What this removal would do, if the guest lets go.
    pub(super) fn preview_removal(&mut self, removal: &Removal, deadline: &Deadline) -> Result<Preview> {
        let device = match self.judge(removal, deadline)? {
            Judged::Answer(outcome) => return Ok(Preview::nothing(outcome)),
            Judged::DropFromRecord(device) => return Ok(Preview::nothing(Outcome::Done(device))),
            Judged::AfterReboot(device, why) => {
                return Ok(Preview::nothing(Outcome::AfterReboot(device, why)));
            }
            Judged::Ask(device) => device,
        };
        if !self.unplugging.contains_key(&device.id) {
            self.refuse_while_migrating(deadline)?;
        }
        let mut inverses = vec![Inverse::Unplug(device.id.clone())];
        inverses.extend(plan::backend(&device, &self.fdsets.of(&device.id)));
        let command = |inverse: &Inverse| {
            let Command { name, arguments, .. } = inverse.command();
            (name.into_owned(), arguments.into_owned())
        };
        let commands = inverses.iter().map(command).collect();
        Ok(Preview { outcome: Outcome::Done(device), commands, host: Vec::new() })
    }
}

fn commands_of(stages: &[Stage]) -> Vec<(String, Map<String, Value>)> {
    stages.iter().flatten().map(|step| (step.command.to_owned(), step.arguments.clone())).collect()
}
