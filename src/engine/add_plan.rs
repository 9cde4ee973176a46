//! What adding a NIC and adding a disk have in common: place, journal, transaction, record.

use serde_json::{Map, Value};

use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::{DeferReason, Outcome};
use super::plan::{self, Stage, UndoStep};
use crate::disk::{self, Format, Kind, LayerRef, Secrets};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Address, BusName, DeviceId, ScsiAddress};
use crate::model::properties;
use crate::model::{Device, DeviceKind, GanetiEntry, Presence, Record, Spec, misplaced};
use crate::slots::pci::Want;
use crate::slots::scsi::{self, ControllerSpec};
use crate::sys::descriptor::Descriptor;

/// What the caller leaves open or pins, whatever kind of device it is.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// The id; `<type>-pci-<slot>` if not given.
    pub id: Option<DeviceId>,
    /// The address; the first free one if not given.
    pub address: Option<Address>,
    /// For a SCSI disk without an address: the bus of the controller that it is to have a target on.
    pub scsi_bus: Option<BusName>,
    /// Live or not at all: what would wait for a reboot is an error.
    pub live_only: bool,
    /// Leave QEMU's answers for later; an event says how it went.
    pub no_wait: bool,
    /// Of a disk that is there already: its image may be made of other files than recorded, which are
    /// recorded from then on.
    pub accept_chain: bool,
    /// Record what the guest has under the id, if that is what is asked for.
    pub adopt: bool,
    /// What Ganeti has of the device, if the caller has handed it over.
    pub ganeti: Option<Box<GanetiEntry>>,
    /// Further properties of the device in QEMU.
    pub properties: Map<String, Value>,
}

/// A device with everything on the host opened, ready to go into the guest.
#[derive(Debug)]
pub(super) struct OpenedBackend {
    pub(super) spec: Spec,
    pub(super) fds: Vec<Descriptor>,
    /// Format and kind of each image layer, top first; none for a NIC.
    pub(super) layers: Vec<(Format, Kind)>,
    /// The secrets of a disk's source. A plan has none: what is shown of it is for everybody.
    pub(super) secrets: Secrets,
}

/// A device with its place, and the steps that put it there.
pub(super) struct AddPlan {
    pub(super) device: Device,
    /// The SCSI controller that is plugged in with it.
    pub(super) controller: Option<Device>,
    pub(super) stages: Vec<Stage>,
}

impl AddPlan {
    /// In the order in which they are plugged in.
    pub(super) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.controller.iter().chain([&self.device])
    }
}

impl Placement {
    /// Takes in what Ganeti has of the device: the id that Ganeti looks for, unless another one is asked for.
    pub(super) fn take_entry(&mut self, kind: DeviceKind, entry: GanetiEntry) -> Result<()> {
        entry.check()?;
        let own = entry.device_id(kind.word())?;
        self.id = self.id.take().or(own);
        self.ganeti = Some(Box::new(entry));
        Ok(())
    }

    /// The device with what is kept of the request besides its place and settings.
    fn complete(&self, device: Device) -> Device {
        Device { ganeti: self.ganeti.clone(), properties: self.properties.clone(), ..device }
    }

    /// The bus that is asked for.
    pub(super) fn bus(&self) -> Option<&BusName> {
        self.address.as_ref().map(Address::bus).or(self.scsi_bus.as_ref())
    }

    /// Whether a device at this address is where it is requested. Slot 0 stands for any of the bus, where it
    /// has others.
    pub(crate) fn accepts(&self, address: Option<&Address>) -> bool {
        let any_of_bus = |requested: &Address| {
            let slot = requested.pci().map(|address| address.slot.get());
            slot == Some(0) && address.is_some_and(|address| address.bus() == requested.bus())
        };
        self.address.as_ref().is_none_or(|requested| Some(requested) == address || any_of_bus(requested))
    }

    /// Refuses a device that has the requested id and another setting, which is named, or another address.
    pub(crate) fn check_existing(&self, device: &Device, differs: Option<&'static str>) -> Result<()> {
        if let Some(name) = properties::first_other(&self.properties, &device.properties) {
            let text = format!(
                "exists with another value of the property {name}; remove it first, or take another id"
            );
            return conflict(device, &text);
        }
        if let Some(setting) = differs {
            let text = format!("exists with another {setting}; remove it first, or take another id");
            return conflict(device, &text);
        }
        let elsewhere = self.scsi_bus.as_ref().is_some_and(|bus| device.bus() != Some(bus));
        if elsewhere || !self.accepts(device.address.as_ref()) {
            return conflict(device, "exists at another address; remove it first, or take another id");
        }
        Ok(())
    }

    /// Refuses a place of the wrong kind.
    pub(crate) fn check(&self, kind: DeviceKind, model: &str) -> Result<()> {
        let scsi = kind == DeviceKind::Disk && disk::is_scsi(model);
        let (pci_requested, scsi_requested) = match &self.address {
            Some(Address::Pci(_)) => (true, false),
            Some(Address::Scsi(_)) => (false, true),
            None => (false, self.scsi_bus.is_some()),
        };
        match scsi {
            true if pci_requested => Err(misplaced(model, "SCSI")),
            false if scsi_requested => Err(misplaced(model, "PCI")),
            _ => Ok(()),
        }
    }
}

impl GuestState {
    /// The device that is there already under the requested id, if its settings are the requested ones.
    /// `differs` names the first setting that is not.
    pub(super) fn already(
        &self,
        placement: &Placement,
        differs: impl FnOnce(&Spec) -> Option<&'static str>,
    ) -> Result<Option<Device>> {
        let Some(device) = self.existing(placement)? else { return Ok(None) };
        placement.check_existing(&device, differs(&device.spec))?;
        Ok(Some(device))
    }

    /// The device that is there already under the requested id, whatever its settings are.
    pub(super) fn existing(&self, placement: &Placement) -> Result<Option<Device>> {
        let Some(device) = placement.id.as_ref().and_then(|id| self.known_device(id.as_str())) else {
            return Ok(None);
        };
        if self.reserved.iter().any(|other| other.id == device.id) {
            return conflict(&device, "is asked for twice in one call");
        }
        if self.phases.is_unplugging(&device.id) {
            return conflict(&device, "is being removed; wait until it is gone, or take another id");
        }
        if !self.is_recorded(device.id.as_str()) {
            let text = "has left the guest, but QEMU has not removed its backend yet; take another id";
            return conflict(&device, text);
        }
        if self.phases.is_absent(device.id.as_str()) {
            let text = "is recorded, but the guest does not have it; remove it first, or mend the record";
            return conflict(&device, text);
        }
        if device.presence == Presence::RemoveAfterReboot {
            return conflict(&device, "is to be removed with the next boot; take another id");
        }
        Ok(Some(device))
    }

    /// The answer for a device that is there already.
    pub(super) fn answer_existing(&self, device: Device, live_only: bool) -> Result<Outcome> {
        match device.presence {
            Presence::AddAfterReboot => {
                self.deferred(device.clone(), self.recorded_defer_reason(&device), live_only)
            }
            Presence::Live | Presence::RemoveAfterReboot => Ok(Outcome::Done(device)),
        }
    }

    fn deferred(&self, device: Device, why: DeferReason, live_only: bool) -> Result<Outcome> {
        if live_only {
            let text = format!("{} cannot be changed in the running guest: {why}", device.kind().title());
            return Err(Error::new(ErrorKind::NotHotpluggable, text));
        }
        Ok(Outcome::AfterReboot(device, why))
    }

    /// Puts a device into `next` for the next boot, and says so; nothing is done.
    pub(super) fn plan_for_next_boot(
        &self,
        next: &mut Record,
        spec: Spec,
        placement: &Placement,
        why: DeferReason,
    ) -> Result<(Device, Outcome)> {
        if let DeferReason::Full(room) = why {
            self.check_room_at_boot(next, room)?;
        }
        let generation = next.next_generation;
        let kind = spec.kind();
        let id = match &placement.id {
            Some(id) => id.clone(),
            None => self.contents().dialect().new_id(next, kind, None)?,
        };
        let address = match &placement.address {
            Some(Address::Pci(pinned)) => {
                let want = Want::Place(pinned.clone());
                Some(self.slots.pci.choose_for(&want, &spec.new_device())?.into())
            }
            _ => self.slots.scsi.choose_cold(&scsi_want(placement))?.map(Address::Scsi),
        };
        let device = new_device(id, generation, address, Presence::AddAfterReboot, spec);
        let device = placement.complete(device);
        let answer = self.deferred(device.clone(), why, placement.live_only)?;
        next.add(device.clone());
        Ok((device, answer))
    }

    /// Place, id and steps, without doing anything but taking fdset numbers.
    pub(super) async fn add_plan(
        &mut self,
        opened: &OpenedBackend,
        placement: &Placement,
        generation: u64,
        deadline: &Deadline,
    ) -> Result<AddPlan> {
        let (address, controller) = match &opened.spec {
            Spec::Disk(spec) if spec.is_scsi() => self.choose_target(placement, generation)?,
            spec => (self.slots.pci.choose_for(&want(placement), &spec.new_device())?.into(), None),
        };
        let id = match &placement.id {
            Some(id) => id.clone(),
            None => self.contents().new_id(opened.spec.kind(), Some(&address))?,
        };
        self.check_unknown(&id, &address)?;
        self.check_backend(&id, opened.spec.kind())?;
        self.check_chardev(&id, &opened.spec, deadline).await?;
        let generation = match &controller {
            Some(controller) => controller.generation.saturating_add(1),
            None => generation,
        };
        // Before the stages take numbers of fdsets, which a question that fails would leave taken.
        let helpers = self.helpers_to_make(&id, &opened.spec, deadline).await?;
        let mut stages = self.stages(&id, generation, &address, opened).await?;
        plan::with_properties(&mut stages, &placement.properties);
        plan::with_helpers(&mut stages, helpers);
        plan::with_secrets(&mut stages, &id, &opened.secrets);
        if let Some(controller) = &controller {
            plan::with_controller(&mut stages, controller);
        }
        let device = new_device(id, generation, Some(address), Presence::Live, opened.spec.clone());
        let device = placement.complete(device);
        Ok(AddPlan { device, controller, stages })
    }

    fn check_unknown(&self, id: &DeviceId, address: &Address) -> Result<()> {
        if !self.is_known(id.as_str()) {
            return Ok(());
        }
        let text = format!("{id}, the id for {address}, belongs to another device; give the new one an id");
        Err(Error::new(ErrorKind::Conflict, text))
    }

    /// A new device whose backend has the name of another one's would take that down as it leaves.
    fn check_backend(&self, id: &DeviceId, kind: DeviceKind) -> Result<()> {
        let Some(owner) = self.owner_of_backend(kind, id.as_str()) else { return Ok(()) };
        let text = format!("{id} is the name of the backend of {owner}; give the new device another id");
        Err(Error::new(ErrorKind::Conflict, text))
    }

    /// The place of a SCSI disk, and the controller that has to be plugged in with it if the guest has none.
    fn choose_target(&self, placement: &Placement, generation: u64) -> Result<(Address, Option<Device>)> {
        let want = scsi_want(placement);
        if let Some(address) = self.slots.scsi.choose(&want, |controller| self.why_closed(controller))? {
            return Ok((address.into(), None));
        }
        let missing =
            |error: Error| error.context("the guest has no SCSI controller, and one cannot be added");
        let spec = Spec::Controller(ControllerSpec::default());
        let slot = self.slots.pci.choose_for(&Want::Auto, &spec.new_device()).map_err(missing)?.into();
        let id = self.contents().new_id(DeviceKind::Controller, Some(&slot))?;
        let bus = scsi::spec::bus_of(id.as_str())?;
        self.check_unknown(&id, &slot).map_err(missing)?;
        let controller = new_device(id, generation, Some(slot), Presence::Live, spec);
        Ok((ScsiAddress::of_target(bus, 0).into(), Some(controller)))
    }

    /// An fdset for each layer; and those among them that have the layer's descriptor already.
    async fn take_sets(&mut self, id: &DeviceId, opened: &OpenedBackend) -> (Vec<u32>, Vec<u32>) {
        let mut retained_sets = Vec::new();
        let mut sets = Vec::with_capacity(opened.layers.len());
        for fd in &opened.fds {
            let retained_set = self.retained_set(id, fd, &retained_sets).await;
            retained_sets.extend(retained_set);
            sets.push(retained_set);
        }
        // A plan has none open.
        sets.resize(opened.layers.len(), None);
        let missing = sets.iter().filter(|set| set.is_none()).count();
        let mut new = self.fdsets.take(missing, id).into_iter();
        (sets.into_iter().filter_map(|set| set.or_else(|| new.next())).collect(), retained_sets)
    }

    async fn stages(
        &mut self,
        id: &DeviceId,
        generation: u64,
        address: &Address,
        opened: &OpenedBackend,
    ) -> Result<Vec<Stage>> {
        match (&opened.spec, address) {
            (Spec::Nic(spec), Address::Pci(address)) => {
                Ok(plan::nic(id, generation, address, spec, self.version))
            }
            (Spec::Controller(spec), Address::Pci(address)) => Ok(plan::controller(id, address, spec)),
            (Spec::Nic(_) | Spec::Controller(_), Address::Scsi(_)) => {
                Err(misplaced(opened.spec.model(), "PCI"))
            }
            (Spec::Disk(spec), _) => {
                let (fdsets, retained_sets) = self.take_sets(id, opened).await;
                let layer = |(set, (format, kind)): (&u32, &(Format, Kind))| LayerRef {
                    filename: format!("/dev/fdset/{set}"),
                    format: *format,
                    kind: *kind,
                };
                let layers: Vec<LayerRef> = fdsets.iter().zip(&opened.layers).map(layer).collect();
                let mut stages = plan::disk(id, address, spec, &layers, &fdsets)?;
                let is_there = |step: &plan::Step| matches!(&step.undo_step, UndoStep::RemoveFd(set) if retained_sets.contains(set));
                stages.iter_mut().for_each(|steps| steps.retain(|step| !is_there(step)));
                Ok(stages)
            }
        }
    }
}

fn conflict<T>(device: &Device, what: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Conflict, format!("{} {what}", device.id)))
}

fn new_device(
    id: DeviceId,
    generation: u64,
    address: Option<Address>,
    presence: Presence,
    spec: Spec,
) -> Device {
    Device {
        id,
        generation,
        address,
        presence,
        spec,
        backend: None,
        properties: Map::new(),
        ganeti: None,
        extra: Map::new(),
    }
}

fn scsi_want(placement: &Placement) -> scsi::Want {
    match (&placement.address, &placement.scsi_bus) {
        (Some(Address::Scsi(address)), _) => scsi::Want::Pinned(address.clone()),
        (_, Some(bus)) => scsi::Want::OnBus(bus.clone()),
        _ => scsi::Want::Auto,
    }
}

/// The place that a request asks for.
pub(super) fn want(placement: &Placement) -> Want {
    placement.address.as_ref().and_then(Address::pci).cloned().map_or(Want::Auto, Want::Place)
}
