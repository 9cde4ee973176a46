//! What adding a NIC and adding a disk have in common: place, journal, transaction, record.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::outcome::{AfterReboot, Outcome};
use super::plan::{self, Stage};
use super::session::Session;
use super::transaction::{self, Verdict};
use super::{LIVE_CONTROLLER_MODELS, LIVE_DISK_MODELS, LIVE_NIC_MODELS, OLDEST_QEMU};
use crate::deadline::Deadline;
use crate::disk::{Format, Kind, LayerRef};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, DeviceId, PciAddress};
use crate::log::Level;
use crate::pci::Want;
use crate::runtime::store::Staged;
use crate::runtime::{Device, Presence, Record, Runtime, Spec, Verb};

/// How long a cancelled call may go on to find out and say what became of the device.
const GRACE: Duration = Duration::from_secs(1);

/// How long, and how often, an id is tried again that QEMU has not given free yet.
const GHOST_PATIENCE: Duration = Duration::from_secs(2);
const GHOST_PAUSE: Duration = Duration::from_millis(20);

/// How often a slot that QEMU refuses is replaced by another one before the refusal is the answer.
const MENDS: usize = 8;

/// What the caller leaves open or pins, whatever kind of device it is.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The id; `<type>-pci-<slot>` if not given.
    pub id: Option<DeviceId>,
    /// The address; the first free one if not given.
    pub address: Option<Address>,
    /// Live or not at all: what would wait for a reboot is an error.
    pub live_only: bool,
}

/// A device with everything on the host opened, ready to go into the guest.
#[derive(Debug)]
pub(super) struct Attach {
    pub(super) spec: Spec,
    pub(super) fds: Vec<OwnedFd>,
    /// Format and kind of each image layer, top first; none for a NIC.
    pub(super) layers: Vec<(Format, Kind)>,
}

/// A device with its place, and the steps that put it there.
pub(super) struct Draft {
    pub(super) device: Device,
    address: Address,
    pub(super) stages: Vec<Stage>,
}

impl Session {
    /// The device that is there already under the wished id, if its settings are the wished ones. `differs` names the
    /// first setting that is not.
    pub(super) fn already(
        &mut self,
        wish: &Wish,
        differs: impl FnOnce(&Spec) -> Option<&'static str>,
    ) -> Result<Option<Device>> {
        let Some(device) = wish.id.as_ref().and_then(|id| self.known_device(id.as_str())) else {
            return Ok(None);
        };
        let conflict = |what: String| Err(Error::new(ErrorKind::Conflict, format!("{} {what}", device.id)));
        if self.pending.contains_key(&device.id) {
            return conflict("is being removed; wait until it is gone, or take another id".into());
        }
        if self.recorded(device.id.as_str()).is_none() {
            return conflict(
                "is gone, but what stood behind it could not be taken down yet; take another id".into(),
            );
        }
        if self.missing.contains(&device.id) {
            return conflict(
                "is recorded, but the guest does not have it; remove it first, or mend the record".into(),
            );
        }
        if device.presence == Presence::RemoveAfterReboot {
            return conflict("is to be removed with the next boot; take another id".into());
        }
        if let Some(setting) = differs(&device.spec) {
            return conflict(format!("exists with another {setting}; remove it first, or take another id"));
        }
        if wish.address.is_some() && wish.address != device.address {
            return conflict("exists at another address; remove it first, or take another id".into());
        }
        Ok(Some(device))
    }

    /// The answer for a device that is there already.
    pub(super) fn answer_existing(&self, device: Device, live_only: bool) -> Result<Outcome> {
        match device.presence {
            Presence::AddAfterReboot => {
                self.after_reboot(device.clone(), self.obstacle(&device.spec), live_only)
            }
            Presence::Live | Presence::RemoveAfterReboot => Ok(Outcome::Done(device)),
        }
    }

    /// Why such a device cannot be plugged into this guest now.
    pub(super) fn obstacle(&self, spec: &Spec) -> Option<AfterReboot> {
        if self.version < OLDEST_QEMU {
            return Some(AfterReboot::QemuTooOld(self.version.to_string()));
        }
        let (model, live) = match spec {
            Spec::Nic(spec) => (&spec.model, LIVE_NIC_MODELS),
            Spec::Disk(spec) => (&spec.model, LIVE_DISK_MODELS),
            Spec::Controller(spec) => (&spec.model, LIVE_CONTROLLER_MODELS),
        };
        (!live.contains(&model.as_str())).then(|| AfterReboot::Model(model.clone()))
    }

    fn after_reboot(&self, device: Device, why: Option<AfterReboot>, live_only: bool) -> Result<Outcome> {
        let why = why.unwrap_or(AfterReboot::NoAddress);
        if live_only {
            let text = format!("{} cannot be changed in the running guest: {why}", device.kind().title());
            return Err(Error::new(ErrorKind::NotHotpluggable, text));
        }
        Ok(Outcome::AfterReboot(device, why))
    }

    /// Records a device for the next boot; the running guest is not touched.
    pub(super) fn record_for_reboot(&mut self, spec: Spec, wish: &Wish, why: AfterReboot) -> Result<Outcome> {
        let (next, device, answer) = self.draft_for_reboot(spec, wish, why)?;
        self.runtime().replace(next)?;
        if let Some(address) = &device.address {
            self.places.occupy(address, &device.id);
        }
        Ok(answer)
    }

    /// The record with the device in it, and the answer, without doing anything.
    pub(super) fn draft_for_reboot(
        &self,
        spec: Spec,
        wish: &Wish,
        why: AfterReboot,
    ) -> Result<(Record, Device, Outcome)> {
        let mut next = self.runtime().record().clone();
        let generation = next.next_generation;
        let kind = spec.kind();
        let id = match &wish.id {
            Some(id) => id.clone(),
            None => next.new_id(kind, None)?,
        };
        let address = wish.address.clone();
        if let Some(Address::Pci(pinned)) = &address {
            self.places.pci.choose(&Want::Pinned(pinned.clone()))?;
        }
        let device = new_device(id, generation, address, Presence::AddAfterReboot, spec);
        let answer = self.after_reboot(device.clone(), Some(why), wish.live_only)?;
        next.add(device.clone());
        Ok((next, device, answer))
    }

    /// Plugs the device in. A slot that turns out to be taken, by a device plugged in behind our back, or to be on a
    /// port without hot-plug, which `query-pci` does not tell, means that the picture was wrong: it is mended, and
    /// another slot chosen.
    pub(super) fn attach(&mut self, attach: Attach, wish: &Wish, deadline: &Deadline) -> Result<Outcome> {
        for _ in 0..MENDS {
            let error = match self.attach_once_free(&attach, wish, deadline) {
                Err(error) if wish.address.is_none() && error.left().is_empty() => error,
                result => return result,
            };
            if !matches!(error.kind(), ErrorKind::AddressTaken | ErrorKind::NotHotpluggable) {
                return Err(error);
            }
            self.log.write(Level::Info, || format!("choosing another slot: {error}"));
            self.resync(deadline)?;
        }
        self.attach_once_free(&attach, wish, deadline)
    }

    /// QEMU gives an id free only with the last trace of its old device, some time after that was found missing: a refusal
    /// of such an id is tried again for a while.
    fn attach_once_free(&mut self, attach: &Attach, wish: &Wish, deadline: &Deadline) -> Result<Outcome> {
        let patience = deadline.at_most(GHOST_PATIENCE);
        loop {
            let result = self.attach_once(attach, wish, deadline);
            let haunted = !self.ghosts.is_empty()
                && result.as_ref().is_err_and(|error| {
                    error.kind() == ErrorKind::Conflict
                        && error.qmp_class().is_some()
                        && error.left().is_empty()
                });
            if !haunted || patience.pause(GHOST_PAUSE).is_err() {
                return result;
            }
        }
    }

    fn attach_once(&mut self, attach: &Attach, wish: &Wish, deadline: &Deadline) -> Result<Outcome> {
        let Draft { device, address, stages } = self.draft(attach, wish)?;
        match self.plug(&device, &stages, &attach.fds, deadline) {
            Ok(()) => {
                self.places.occupy(&address, &device.id);
                Ok(Outcome::Done(device))
            }
            Err(error) => {
                Err(error.context(format!("add {} {} at {address}", device.kind().title(), device.id)))
            }
        }
    }

    /// Slot, id and steps, without doing anything but taking fdset numbers.
    pub(super) fn draft(&mut self, attach: &Attach, wish: &Wish) -> Result<Draft> {
        let address = self.places.pci.choose(&super::want(wish))?;
        let kind = attach.spec.kind();
        let id = match &wish.id {
            Some(id) => id.clone(),
            None => self.runtime().record().new_id(kind, Some(&address.clone().into()))?,
        };
        if self.known_device(id.as_str()).is_some() {
            let text =
                format!("{id}, the id for {address}, belongs to another device; give the new one an id");
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        let generation = self.runtime().record().next_generation;
        let stages = self.stages(&id, &address, attach)?;
        let address = Address::Pci(address);
        let device = new_device(id, generation, Some(address.clone()), Presence::Live, attach.spec.clone());
        Ok(Draft { device, address, stages })
    }

    fn stages(&mut self, id: &DeviceId, address: &PciAddress, attach: &Attach) -> Result<Vec<Stage>> {
        match &attach.spec {
            Spec::Nic(spec) => Ok(plan::nic(id, address, spec)),
            Spec::Controller(spec) => Ok(plan::controller(id, address, spec)),
            Spec::Disk(spec) => {
                let fdsets = self.fdsets.take(attach.layers.len(), id);
                let layer = |(set, (format, kind)): (&u32, &(Format, Kind))| LayerRef {
                    filename: format!("/dev/fdset/{set}"),
                    format: *format,
                    kind: *kind,
                };
                let layers: Vec<LayerRef> = fdsets.iter().zip(&attach.layers).map(layer).collect();
                plan::disk(id, &address.clone().into(), spec, &layers, &fdsets)
            }
        }
    }

    /// Journal, commands, record: all of it or nothing.
    fn plug(
        &mut self,
        device: &Device,
        stages: &[Stage],
        fds: &[OwnedFd],
        deadline: &Deadline,
    ) -> Result<()> {
        let mut next = self.runtime().record().clone();
        next.add(device.clone());
        // Written and synced before the first command: of all that may fail afterwards, a full disk is the likeliest.
        let prepared = self.prepare(&next, device);
        let staged = prepared.inspect_err(|_| self.fdsets.release(&device.id))?;
        let verdict = transaction::run(self.monitor()?, stages, fds, deadline);
        self.log.write(Level::Debug, || format!("{}: {verdict:?}", device.id));
        match verdict {
            Verdict::Done => self
                .commit(device, staged, next)
                .map_err(|error| self.undo_live(device, error.with_step("save the runtime file"), deadline)),
            // A device that is in the guest is asked to leave, and nothing behind it touched before it has.
            Verdict::Refused(error, inverses)
                if inverses.iter().any(|inverse| matches!(inverse, plan::Inverse::Unplug(_))) =>
            {
                Err(self.undo_live(device, error, deadline))
            }
            Verdict::Refused(error, inverses) => {
                if let (ErrorKind::NotHotpluggable, Some(address)) = (error.kind(), &device.address) {
                    self.closed.insert(address.bus().clone());
                }
                Err(self.undo_steps(device, error, &inverses, deadline))
            }
            Verdict::Unknown(error) => {
                drop(staged);
                self.find_out(device, error, deadline)
            }
        }
    }

    fn commit(&self, device: &Device, staged: Staged, next: Record) -> Result<()> {
        let mut runtime = self.runtime();
        runtime.commit(staged, next)?;
        self.strike_finished(&mut runtime, device);
        Ok(())
    }

    /// Puts the new record and the intent on disk, in that order.
    fn prepare(&self, next: &Record, device: &Device) -> Result<Staged> {
        let mut runtime = self.runtime();
        let staged = runtime.stage(next)?;
        runtime.write_journal(|journal| journal.note(Verb::Add, device))?;
        Ok(staged)
    }

    /// The operation is complete: a journal entry that cannot be struck now is settled by the next call.
    fn strike_finished(&self, runtime: &mut Runtime, device: &Device) {
        if let Err(error) = runtime.write_journal(|journal| journal.strike(device.id.as_str())) {
            self.log.write(Level::Warning, || error.to_string());
        }
    }

    /// QEMU refused a step: the steps before it are taken back. The first error is the one that is returned.
    fn undo_steps(
        &mut self,
        device: &Device,
        error: Error,
        inverses: &[plan::Inverse],
        deadline: &Deadline,
    ) -> Error {
        let left: Vec<String> = match self.take_down(inverses.to_vec(), deadline) {
            Ok(leftovers) => leftovers.iter().map(ToString::to_string).collect(),
            Err(cause) => {
                inverses.iter().map(|inverse| format!("{} ({cause})", inverse.leftover())).collect()
            }
        };
        if left.is_empty() {
            match self.forget(device) {
                Ok(()) => error.with_undo(left),
                Err(cause) => error.with_undo(vec![format!("journal entry of {} ({cause})", device.id)]),
            }
        } else {
            self.plan_undo(device);
            error.with_undo(left)
        }
    }

    /// The device is in the guest, but could not be recorded: it is asked to leave again.
    fn undo_live(&mut self, device: &Device, error: Error, deadline: &Deadline) -> Error {
        self.plan_undo(device);
        match self.ask_and_wait(device, true, &deadline.uncancelable()) {
            Ok(Outcome::Done(_)) => error.with_undo(Vec::new()),
            Ok(_) => error.with_undo(vec![format!("device {}: its removal is pending", device.id)]),
            Err(cause) => error.with_undo(vec![format!("device {} ({cause})", device.id)]),
        }
    }

    /// A lost reply is a question: the guest is asked what is there, if there is time.
    fn find_out(&mut self, device: &Device, error: Error, deadline: &Deadline) -> Result<()> {
        let asked = match error.kind() {
            ErrorKind::Timeout => Err(()),
            ErrorKind::Canceled => {
                self.plan_undo(device);
                self.ready(&deadline.uncancelable().at_most(GRACE)).map_err(drop)
            }
            _ => self.ready(deadline).map_err(drop),
        };
        if asked.is_err() {
            self.plan_undo(device);
            let unknown = format!("device {} and its backend: unknown, settled by the next call", device.id);
            return Err(error.with_undo(vec![unknown]));
        }
        if self.recorded(device.id.as_str()).is_some() {
            return Ok(());
        }
        let left = match self.pending.contains_key(&device.id) {
            true => vec![format!("device {}: its removal is pending", device.id)],
            false => Vec::new(),
        };
        Err(error.with_undo(left))
    }

    /// The caller is told of a failure: whatever is found of the device later is to go.
    fn plan_undo(&mut self, device: &Device) {
        let noted = self.runtime().write_journal(|journal| journal.note(Verb::UndoAdd, device));
        if let Err(error) = noted {
            self.log.write(Level::Error, || error.to_string());
        }
        self.stale = true;
    }
}

fn new_device(
    id: DeviceId,
    generation: u64,
    address: Option<Address>,
    presence: Presence,
    spec: Spec,
) -> Device {
    Device { id, generation, address, presence, spec, extra: serde_json::Map::new() }
}
