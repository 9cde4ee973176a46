//! Adding devices: places for all of them, then one journal entry, one write to the monitor and one record. One device is
//! many of one.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::add_plan::{Attach, Wish};
use super::add_transaction::Failure;
use super::controller::ControllerRequest;
use super::disk::DiskRequest;
use super::dry_run::Prepared;
use super::nic::NicRequest;
use super::outcome::{AfterReboot, Outcome};
use super::plan;
use super::session::Session;
use super::transaction;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::log::Level;
use crate::net::given;
use crate::runtime::{Device, Record, Spec};

/// How long, and how often, an id is tried again that QEMU has not given free yet.
const LATE_ID_PATIENCE: Duration = Duration::from_secs(2);
const LATE_ID_PAUSE: Duration = Duration::from_millis(20);

/// How often a slot that QEMU refuses is replaced by another one before the refusal is the answer.
const MENDS: usize = 8;

/// A device to add.
#[derive(Debug)]
pub enum Addition {
    /// A NIC.
    Nic(NicRequest),
    /// A disk.
    Disk(Box<DiskRequest>),
    /// A SCSI controller.
    Controller(ControllerRequest),
}

impl Addition {
    fn wish(&self) -> &Wish {
        match self {
            Self::Nic(request) => &request.wish,
            Self::Disk(request) => &request.wish,
            Self::Controller(request) => &request.wish,
        }
    }
}

/// What is to be done about one of them.
#[derive(Debug)]
pub(super) enum Item {
    /// Nothing: it is there already.
    Answered(Outcome),
    /// It is recorded for the next boot.
    Later(Device, AfterReboot),
    /// It is plugged in; this is the device of the last try.
    Plug { attach: Box<Attach>, wish: Wish, device: Option<Device> },
}

/// Everything for one try.
#[derive(Debug)]
pub(super) struct Try {
    /// In the order in which they are plugged in; a SCSI controller that comes with a disk before it.
    pub(super) devices: Vec<Device>,
    pub(super) stages: Vec<plan::Stage>,
    pub(super) next: Record,
}

impl Session {
    /// Adds all of them as one operation, all or nothing; the answers are in the same order.
    pub(super) fn add_all(&mut self, additions: Vec<Addition>, deadline: &Deadline) -> Result<Vec<Outcome>> {
        let no_wait = additions.iter().any(|addition| addition.wish().no_wait);
        let answers = self.open_all(additions, deadline).and_then(|mut items| {
            let is_plug = |item: &&Item| matches!(item, Item::Plug { .. });
            self.learn_buses_for(items.iter().filter(is_plug).filter_map(Item::wish), deadline)?;
            if no_wait && items.iter().any(|item| matches!(item, Item::Plug { .. })) {
                return self.begin_async_add(items, deadline);
            }
            self.attach_all(&mut items, deadline)?;
            Ok(items.into_iter().filter_map(Item::into_answer).collect())
        });
        self.end_add(answers.is_ok());
        answers
    }

    /// Places that were given are taken by devices now, or free again.
    pub(super) fn end_add(&mut self, done: bool) {
        if !done {
            self.expect_nothing();
        }
        self.tap_cache = None;
        self.reserved.clear();
    }

    /// Opens what stands behind each, and gives each a place, so that the next one does not get the same.
    fn open_all(&mut self, additions: Vec<Addition>, deadline: &Deadline) -> Result<Vec<Item>> {
        let count = additions.len();
        let mut items = Vec::with_capacity(count);
        for (number, addition) in (1..).zip(additions) {
            let item = self.open_one(addition, deadline).and_then(|item| {
                if count > 1 {
                    self.reserve(&item)?;
                }
                Ok(item)
            });
            items.push(item.map_err(|error| match count {
                1 => error,
                _ => error.context(format!("device {number} of the list")),
            })?);
        }
        Ok(items)
    }

    fn open_one(&mut self, addition: Addition, deadline: &Deadline) -> Result<Item> {
        let wish = addition.wish().clone();
        let prepared = match addition {
            Addition::Nic(request) => self.open_nic(request.with_real_names(), deadline)?,
            Addition::Disk(request) => self.open_disk(&request, deadline)?,
            Addition::Controller(request) => self.prepare_controller(&request, deadline)?,
        };
        match prepared {
            Prepared::Answer(outcome) => Ok(Item::Answered(outcome)),
            Prepared::Later(spec, why) => {
                let mut next = self.next_record();
                let (device, _) = self.draft_for_reboot(&mut next, spec, &wish, why.clone())?;
                Ok(Item::Later(device, why))
            }
            Prepared::Now(attach) => Ok(Item::Plug { attach: Box::new(attach), wish, device: None }),
        }
    }

    /// Only for the places that it takes: everything is drafted again when all of them are known.
    fn reserve(&mut self, item: &Item) -> Result<()> {
        match item {
            Item::Answered(_) => {}
            Item::Later(device, _) => self.expect(device),
            Item::Plug { attach, wish, .. } => {
                let draft = self.draft(attach, wish, 0)?;
                self.fdsets.release(&draft.device.id);
                draft.devices().for_each(|device| self.expect(device));
            }
        }
        Ok(())
    }

    /// The record with everything that has been given a place so far.
    fn next_record(&self) -> Record {
        let mut next = self.runtime().record().clone();
        self.reserved.iter().for_each(|device| next.add(device.clone()));
        next
    }

    fn expect(&mut self, device: &Device) {
        self.slots.occupy(device);
        self.reserved.push(device.clone());
    }

    /// Places that were given for this call are free again, but for those of devices that are still on their way out.
    fn expect_nothing(&mut self) {
        for device in std::mem::take(&mut self.reserved) {
            if self.known_device(device.id.as_str()).is_some() {
                continue;
            }
            self.slots.release(&device);
            self.fdsets.release(&device.id);
        }
    }

    /// Plugs the devices in. A slot that turns out to be taken, by a device plugged in behind our back, or to be on a
    /// port without hot-plug, which `query-pci` does not tell, means that the picture was wrong: it is mended, and
    /// another slot chosen.
    fn attach_all(&mut self, items: &mut [Item], deadline: &Deadline) -> Result<()> {
        for mends in (0..=MENDS).rev() {
            let Failure { error, device } = match self.attach_once_free(items, deadline) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            self.expect_nothing();
            let misplaced =
                is_misplaced(&error) && device.is_some_and(|device| is_free_to_move(items, &device));
            if !misplaced || mends == 0 || !error.left().is_empty() {
                return Err(self.with_kept_descriptors(error));
            }
            self.log.write(Level::Info, || format!("choosing another slot: {error}"));
            self.resync(deadline)?;
        }
        Err(Error::new(ErrorKind::State, "no slot was tried"))
    }

    /// An old QEMU gives an id free only with the last trace of its old device, some time after that was found missing: a refusal
    /// of such an id is tried again for a while, for those devices whose descriptors have to be handed over once more.
    fn attach_once_free(
        &mut self,
        items: &mut [Item],
        deadline: &Deadline,
    ) -> std::result::Result<(), Failure> {
        let patience = deadline.at_most(LATE_ID_PATIENCE);
        loop {
            let result = self.attach_once(items, deadline);
            let is_late = self.version < transaction::FREES_IDS
                && result.as_ref().is_err_and(|failure| {
                    failure.error.kind() == ErrorKind::Conflict
                        && failure.error.qmp_class().is_some()
                        && failure.error.left().is_empty()
                });
            if !is_late || patience.pause(LATE_ID_PAUSE).is_err() {
                return result;
            }
        }
    }

    fn attach_once(&mut self, items: &mut [Item], deadline: &Deadline) -> std::result::Result<(), Failure> {
        attach_queues(items)?;
        let Try { devices, stages, next } = self.try_places(items)?;
        // From here on the journal has them.
        let reserved = std::mem::take(&mut self.reserved);
        if reserved.is_empty() {
            return Ok(());
        }
        let fds: Vec<&OwnedFd> = items.iter().flat_map(Item::fds).collect();
        let done = self.plug(&devices, &stages, &fds, next, deadline);
        self.attached(done, &devices, reserved)
    }

    /// What has become of a try with these devices.
    pub(super) fn attached(
        &mut self,
        done: std::result::Result<(), Failure>,
        devices: &[Device],
        reserved: Vec<Device>,
    ) -> std::result::Result<(), Failure> {
        if let Err(failure) = done {
            self.reserved = reserved;
            return Err(failure.about(devices));
        }
        Ok(self.record_the_rest(&reserved)?)
    }

    /// The picture of the guest may be a new one, and the record may have been completed from the journal, where those that wait
    /// for a reboot are not.
    fn record_the_rest(&mut self, devices: &[Device]) -> Result<()> {
        devices.iter().for_each(|device| self.slots.occupy(device));
        let lacking = |device: &&Device| self.recorded(device.id.as_str()).is_none();
        let lacking: Vec<&Device> = devices.iter().filter(lacking).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let mut next = self.runtime().record().clone();
        lacking.into_iter().for_each(|device| next.add(device.clone()));
        self.runtime().replace(next)
    }

    /// Places, ids and steps for all of them.
    pub(super) fn try_places(&mut self, items: &mut [Item]) -> Result<Try> {
        self.expect_nothing();
        let mut made = Try { devices: Vec::new(), stages: Vec::new(), next: self.next_record() };
        let mut plans = Vec::new();
        for item in items {
            let generation = made.next.next_generation;
            let devices = match item {
                Item::Answered(_) => continue,
                Item::Later(device, _) => {
                    device.generation = generation;
                    vec![device.clone()]
                }
                Item::Plug { attach, wish, device } => {
                    let draft = self.draft(attach, wish, generation)?;
                    let devices: Vec<Device> = draft.devices().cloned().collect();
                    made.devices.extend(devices.iter().cloned());
                    *device = Some(draft.device);
                    plans.push((draft.stages, attach.fds.len()));
                    devices
                }
            };
            for device in devices {
                self.expect(&device);
                made.next.add(device);
            }
        }
        made.stages = plan::merge(plans);
        Ok(made)
    }
}

impl Item {
    fn wish(&self) -> Option<&Wish> {
        match self {
            Self::Plug { wish, .. } => Some(wish),
            Self::Answered(_) | Self::Later(..) => None,
        }
    }

    fn into_answer(self) -> Option<Outcome> {
        match self {
            Self::Answered(outcome) => Some(outcome),
            Self::Later(device, why) => Some(Outcome::AfterReboot(device, why)),
            Self::Plug { device, .. } => device.map(Outcome::Done),
        }
    }

    pub(super) fn fds(&self) -> &[OwnedFd] {
        match self {
            Self::Plug { attach, .. } => &attach.fds,
            Self::Answered(_) | Self::Later(..) => &[],
        }
    }
}

/// Every queue has to be attached when QEMU gets it: not only those of the caller may be detached, but also those that QEMU has
/// had already, if the NICs are tried again in other slots.
pub(super) fn attach_queues(items: &[Item]) -> Result<()> {
    for item in items {
        let Item::Plug { attach, .. } = item else { continue };
        let Spec::Nic(spec) = &attach.spec else { continue };
        if spec.queues > 1 || spec.given_tap.is_some() {
            attach.fds.get(..usize::from(spec.queues)).map_or(Ok(()), given::attach_queues)?;
        }
    }
    Ok(())
}

/// Whether the picture of the guest was wrong about a place.
pub(super) fn is_misplaced(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::AddressTaken | ErrorKind::NotHotpluggable)
}

/// Whether the caller left open where this device goes. One whose id was not asked for has it from its place.
fn is_free_to_move(items: &[Item], device: &Device) -> bool {
    let pinned = |wish: &Wish| wish.address.is_some() && wish.address == device.address;
    !items.iter().any(|item| matches!(item, Item::Plug { wish, .. } if pinned(wish)))
}
