//! Adding devices: places for all of them, then one journal entry, one write to the monitor and one record.
//! One device is many of one.

use std::time::Duration;

use super::add_item::{AddItem, AddRequest, is_free_to_move, queues_to_attach};
use super::add_plan::Placement;
use super::add_transaction::PlugError;
use super::dry_run::Preparation;
use super::guest_state::GuestState;
use super::limit::Deadline;
use super::outcome::Outcome;
use super::plan;
use super::tap_source::TapSource;
use super::transaction;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::DeviceId;
use crate::log::Level;
use crate::model::{Device, Record};
use crate::sys::descriptor::Descriptor;

/// How long, and how often, an id is tried again that QEMU has not given free yet.
const ID_REUSE_TIMEOUT: Duration = Duration::from_secs(2);
const ID_REUSE_PAUSE: Duration = Duration::from_millis(20);

/// How often a slot that QEMU refuses is replaced by another one before the refusal is the answer.
const MAX_SLOT_RETRIES: usize = 8;

/// Everything for one try.
#[derive(Debug)]
pub(super) struct Attempt {
    /// In the order in which they are plugged in; a SCSI controller that comes with a disk before it.
    pub(super) devices: Vec<Device>,
    pub(super) stages: Vec<plan::Stage>,
    pub(super) next: Record,
}

impl GuestState {
    /// Adds all of them as one operation, all or nothing; the answers are in the same order.
    pub(super) async fn add_all(
        &mut self,
        requests: Vec<AddRequest>,
        deadline: &Deadline,
    ) -> Result<Vec<Outcome>> {
        let no_wait = requests.iter().any(|request| request.placement().no_wait);
        let answers = match no_wait {
            true => self.add_in_background(requests, deadline).await,
            false => self.add_and_wait(requests, deadline).await,
        };
        self.finish_add(answers.is_ok());
        answers
    }

    pub(super) async fn add_and_wait(
        &mut self,
        requests: Vec<AddRequest>,
        deadline: &Deadline,
    ) -> Result<Vec<Outcome>> {
        let mut items = self.open_all(requests, deadline).await?;
        self.plug_items(&mut items, deadline).await?;
        Ok(items.into_iter().filter_map(AddItem::into_answer).collect())
    }

    /// Places that were given are taken by devices now, or free again.
    pub(super) fn finish_add(&mut self, done: bool) {
        if !done {
            self.release_reservations();
        }
        self.tap_cache = None;
        self.reserved.clear();
    }

    /// Opens the backend of each, and gives each a place, so that the next one does not get the same.
    pub(super) async fn open_all(
        &mut self,
        requests: Vec<AddRequest>,
        deadline: &Deadline,
    ) -> Result<Vec<AddItem>> {
        let named: Vec<DeviceId> =
            requests.iter().filter_map(|request| request.placement().id.clone()).collect();
        self.await_adds(&named.iter().map(DeviceId::as_str).collect::<Vec<_>>(), deadline).await?;
        let count = requests.len();
        let mut items = Vec::with_capacity(count);
        for (number, request) in (1..).zip(requests) {
            let item = self.open_one(request, deadline).await;
            let item = match item {
                Ok(item) if count > 1 => self.reserve_item(&item, deadline).await.map(|()| item),
                item => item,
            };
            items.push(item.map_err(|error| match count {
                1 => error,
                _ => error.context(format!("device {number} of the list")),
            })?);
        }
        let is_plug = |item: &&AddItem| matches!(item, AddItem::Plug { .. });
        let placements: Vec<&Placement> =
            items.iter().filter(is_plug).filter_map(AddItem::placement).collect();
        self.learn_buses_for(&placements, deadline).await?;
        Ok(items)
    }

    async fn open_one(&mut self, mut request: AddRequest, deadline: &Deadline) -> Result<AddItem> {
        self.settle_properties(&mut request, deadline).await?;
        let placement = request.placement().clone();
        self.learn_whether_full(&placement, deadline).await?;
        let prepared = match request {
            AddRequest::Nic(mut request) => {
                // Everybody is told later what the kernel calls it.
                if let TapSource::Open { netns: Some(path), .. } = &mut request.tap {
                    *path = self.resolve_namespace(std::mem::take(path)).await?;
                }
                if let Some(bridge) = request.bridge.take() {
                    request.bridge = Some(self.real_name(request.netns(), bridge).await?);
                }
                self.open_nic(request, deadline).await?
            }
            AddRequest::Disk(request) => self.open_disk(&request, deadline).await?,
            AddRequest::Controller(request) => self.prepare_controller(&request, deadline).await?,
        };
        match prepared {
            Preparation::Answer(outcome) => Ok(AddItem::Answered(outcome)),
            Preparation::Adopt(device) => Ok(AddItem::Adopt(device)),
            Preparation::Later(spec, why) => {
                let mut next = self.next_record();
                let (device, _) = self.plan_for_next_boot(&mut next, spec, &placement, why.clone())?;
                Ok(AddItem::Later(device, why))
            }
            Preparation::Now(opened) => {
                Ok(AddItem::Plug { opened: Box::new(opened), placement, device: None })
            }
        }
    }

    /// Only for the places that it takes: everything is planned again when all of them are known.
    async fn reserve_item(&mut self, item: &AddItem, deadline: &Deadline) -> Result<()> {
        match item {
            AddItem::Answered(_) => {}
            AddItem::Adopt(device) | AddItem::Later(device, _) => self.reserve(device),
            AddItem::Plug { opened, placement, .. } => {
                let add_plan = self.add_plan(opened, placement, 0, deadline).await?;
                self.fdsets.release(&add_plan.device.id);
                add_plan.devices().for_each(|device| self.reserve(device));
            }
        }
        Ok(())
    }

    /// The record with everything that has been given a place so far.
    fn next_record(&self) -> Record {
        let contents = self.contents();
        let mut next = contents.record().clone();
        // Adds that are under way have their numbers already.
        let intents = contents.journal().intents.iter().map(|intent| intent.device.generation);
        let last = intents.max().unwrap_or_default();
        next.next_generation = next.next_generation.max(last.saturating_add(1));
        self.reserved.iter().for_each(|device| next.add(device.clone()));
        next
    }

    fn reserve(&mut self, device: &Device) {
        self.slots.occupy(device);
        self.reserved.push(device.clone());
    }

    /// Places that were given for this call are free again, but for those of devices that are still on their
    /// way out.
    fn release_reservations(&mut self) {
        for device in std::mem::take(&mut self.reserved) {
            // What was to be adopted stays where it is.
            if self.is_known(device.id.as_str()) || self.is_shown(device.id.as_str()) {
                continue;
            }
            self.slots.release(&device);
            self.fdsets.release(&device.id);
        }
    }

    /// Plugs the devices in. A slot that turns out to be taken, by a device plugged in behind our back, or to
    /// be on a port without hot-plug, which `query-pci` does not tell, means that the inventory was wrong: it
    /// is taken anew, and another slot chosen.
    pub(super) async fn plug_items(&mut self, items: &mut [AddItem], deadline: &Deadline) -> Result<()> {
        for retries_left in (0..=MAX_SLOT_RETRIES).rev() {
            let PlugError { error, device } = match self.plug_items_once_ids_free(items, deadline).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            self.release_reservations();
            let misplaced =
                is_misplaced(&error) && device.is_some_and(|device| is_free_to_move(items, &device));
            if !misplaced || retries_left == 0 || !error.left().is_empty() {
                return Err(self.with_retained_fds(error));
            }
            self.log.write(Level::Info, || format!("choosing another slot: {error}"));
            Box::pin(self.resync(deadline)).await?;
        }
        Err(Error::new(ErrorKind::State, "no slot was tried"))
    }

    /// An old QEMU gives an id free only with the last trace of its old device, some time after that was
    /// found missing: a refusal of such an id is tried again for a while, for those devices whose descriptors
    /// have to be handed over once more.
    async fn plug_items_once_ids_free(
        &mut self,
        items: &mut [AddItem],
        deadline: &Deadline,
    ) -> std::result::Result<(), PlugError> {
        let patience = deadline.at_most(self.now(), ID_REUSE_TIMEOUT);
        loop {
            let result = self.plug_items_once(items, deadline).await;
            let is_late = self.version < transaction::FREES_IDS
                && result.as_ref().is_err_and(|failure| {
                    failure.error.kind() == ErrorKind::Conflict
                        && failure.error.is_refusal()
                        && failure.error.left().is_empty()
                });
            if !is_late || self.pause(ID_REUSE_PAUSE, &patience).await.is_err() {
                return result;
            }
        }
    }

    async fn plug_items_once(
        &mut self,
        items: &mut [AddItem],
        deadline: &Deadline,
    ) -> std::result::Result<(), PlugError> {
        self.attach(queues_to_attach(items)).await?;
        let Attempt { devices, stages, next } = self.attempt(items, deadline).await?;
        // From here on the journal has them.
        let reserved = std::mem::take(&mut self.reserved);
        if reserved.is_empty() {
            return Ok(());
        }
        let fds: Vec<Descriptor> = items.iter().flat_map(AddItem::fds).cloned().collect();
        let done = self.plug(&devices, &stages, &fds, next, deadline).await;
        self.finish_plug(done, &devices, reserved).await
    }

    /// What has become of a try with these devices.
    pub(super) async fn finish_plug(
        &mut self,
        done: std::result::Result<(), PlugError>,
        devices: &[Device],
        reserved: Vec<Device>,
    ) -> std::result::Result<(), PlugError> {
        if let Err(failure) = done {
            self.reserved = reserved;
            return Err(failure.about(devices));
        }
        Ok(self.record_the_rest(&reserved).await?)
    }

    /// The inventory of the guest may be a new one, and the record may have been completed from the journal,
    /// where those that wait for a reboot are not.
    async fn record_the_rest(&mut self, devices: &[Device]) -> Result<()> {
        for device in devices {
            self.slots.occupy(device);
            self.fdsets.adopt(&device.id);
        }
        let lacking = |device: &&Device| !self.is_recorded(device.id.as_str());
        let lacking: Vec<&Device> = devices.iter().filter(lacking).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let mut next = self.contents().record().clone();
        lacking.into_iter().for_each(|device| next.add(device.clone()));
        self.replace(next).await
    }

    /// Places, ids and steps for all of them.
    pub(super) async fn attempt(&mut self, items: &mut [AddItem], deadline: &Deadline) -> Result<Attempt> {
        self.release_reservations();
        let mut made = Attempt { devices: Vec::new(), stages: Vec::new(), next: self.next_record() };
        let mut plans = Vec::new();
        for item in items {
            let generation = made.next.next_generation;
            let devices = match item {
                AddItem::Answered(_) => continue,
                AddItem::Adopt(device) | AddItem::Later(device, _) => {
                    device.generation = generation;
                    vec![device.clone()]
                }
                AddItem::Plug { opened, placement, device } => {
                    let add_plan = self.add_plan(opened, placement, generation, deadline).await?;
                    let devices: Vec<Device> = add_plan.devices().cloned().collect();
                    made.devices.extend(devices.iter().cloned());
                    *device = Some(add_plan.device);
                    plans.push((add_plan.stages, opened.fds.len()));
                    devices
                }
            };
            for device in devices {
                self.reserve(&device);
                made.next.add(device);
            }
        }
        made.stages = plan::merge(plans);
        Ok(made)
    }
}

/// Whether the inventory of the guest was wrong about a place.
pub(super) fn is_misplaced(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::AddressTaken | ErrorKind::NotHotpluggable)
}
