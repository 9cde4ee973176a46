//! A device that QEMU has under the id of an add, and the record has not: an agent was killed in the middle
//! of it, or another program has plugged it in. If it is what is asked for, the record gets it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Map;

use super::add_plan::Placement;
use super::disk::{DiskRequest, for_looking};
use super::foreign_device::{ForeignDevice, Recognized};
use super::guest_state::GuestState;
use super::inventory::{PeripheralIds, QUESTIONS};
use super::limit::Deadline;
use super::nic::{NicRequest, check_mac, check_unused};
use super::shown::{self, Shown};
use super::tap_source::TapSource;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::DeviceId;
use crate::model::properties::agrees;
use crate::model::{BackendNames, Device, NicSettings, Presence, Spec};
use crate::net::given::Given;
use crate::qmp::Command;
use crate::slots::pci::CONTAINERS;
use crate::store::Format;

impl GuestState {
    /// Whether QEMU has a device under the id that is asked for which the record does not have. Unless it may
    /// be recorded, that is an error; QOM is asked only about what the inventory shows, since QEMU refuses
    /// the same id anyway.
    async fn foreign_device(&self, placement: &Placement, deadline: &Deadline) -> Result<Option<DeviceId>> {
        let Some(id) = &placement.id else {
            return match placement.adopt {
                true => Err(Error::invalid("a device can be adopted by its id only; give it")),
                false => Ok(None),
            };
        };
        let may_be_there = placement.adopt || self.is_shown(id.as_str());
        if !may_be_there
            || !self.is_foreign(id.as_str())
            || !PeripheralIds::ask(self, deadline).await?.has(id.as_str())
        {
            return Ok(None);
        }
        if !placement.adopt {
            return Err(conflict(id, "and is not told to be recorded (KVM_HOTPLUG_ADOPT)"));
        }
        Ok(Some(id.clone()))
    }

    /// The NIC that is there, as it is to be recorded; `None` if there is none.
    pub(super) async fn recognize_nic(
        &mut self,
        request: &NicRequest,
        own: &NicSettings,
        given: Option<&Given>,
        deadline: &Deadline,
    ) -> Result<Option<Device>> {
        let placement = &request.placement;
        let Some(id) = self.foreign_device(placement, deadline).await? else { return Ok(None) };
        if request.mac.is_none() {
            let text = "mac is needed to adopt a NIC: an id alone does not say which one it is";
            return Err(Error::invalid(text).context(&id));
        }
        if matches!(request.tap, TapSource::Netdev(_)) {
            return Err(conflict(
                &id,
                "and cannot be recorded: QEMU does not show a netdev as it was described",
            ));
        }
        let recognized = self.recognize(&id, None, deadline).await?;
        let mut device = self.device_of(id, recognized, placement);
        let mut own = *own;
        if let Spec::Nic(found) = &mut device.spec {
            // A request has no word for the ROM, and QEMU does not show who may reopen the tap.
            own.rom = found.rom;
            if matches!(request.tap, TapSource::Open { .. }) {
                found.tap_owner = request.spec(found.mac, &own).tap_owner;
            }
        }
        let differs = self.difference_of_nic(request, &device.spec, &own, given).await?;
        check_same(placement, &device, differs)?;
        self.take_properties(&mut device, placement, deadline).await?;
        if let Some(mac) = device.mac() {
            check_mac(&self.contents(), &self.reserved, mac, |_| true)?;
        }
        check_unused(&self.contents(), &self.reserved, request, given)?;
        Ok(Some(device))
    }

    /// The disk that is there, as it is to be recorded; `None` if there is none. `request` has its settings
    /// from the record.
    pub(super) async fn recognize_disk(
        &mut self,
        request: &DiskRequest,
        deadline: &Deadline,
    ) -> Result<Option<Device>> {
        let placement = &request.placement;
        let Some(id) = self.foreign_device(placement, deadline).await? else { return Ok(None) };
        if request.spec.source.is_some() {
            return Err(conflict(
                &id,
                "and cannot be recorded: QEMU does not show a source as it was described",
            ));
        }
        let recognized = self.recognize(&id, Some(request.spec.path.clone()), deadline).await?;
        let mut device = self.device_of(id, recognized, placement);
        if let Spec::Disk(found) = &mut device.spec {
            // QEMU does not show these, and of its queues not who has chosen their number.
            (found.aio, found.discard) = (request.spec.aio, request.spec.discard);
            found.queues = request.spec.queues.and(found.queues);
            found.backing.clone_from(&request.spec.backing);
        }
        check_same(placement, &device, request.differs(&device.spec))?;
        self.take_properties(&mut device, placement, deadline).await?;
        if let (Some(looking), Spec::Disk(found)) = (for_looking(&device), &device.spec) {
            let image = self.open_image(&looking).await.map_err(|error| error.context(&device.id))?;
            self.contents().dialect().check_disk(found, placement.ganeti.as_deref())?;
            self.check_unshared(found, &image).await?;
        }
        Ok(Some(device))
    }

    /// The further properties that are asked for, if the device has them so.
    async fn take_properties(
        &self,
        device: &mut Device,
        placement: &Placement,
        deadline: &Deadline,
    ) -> Result<()> {
        let path = format!("{}/{}", CONTAINERS[0], device.id);
        let questions: Vec<Command> = placement
            .properties
            .keys()
            .map(|name| Command::with("qom-get", &[("path", &path), ("property", name)]))
            .collect();
        let batch = self.ask(questions, deadline).await;
        if let Some(error) = batch.failure {
            return Err(error.with_step("qom-get"));
        }
        for ((name, wanted), reply) in placement.properties.iter().zip(batch.replies) {
            let found = reply.and_then(Result::ok).unwrap_or_default();
            if !agrees(wanted, &found) {
                let text = format!("and has another value of the property {name} than asked for");
                return Err(conflict(&device.id, &text));
            }
            device.properties.insert(name.clone(), wanted.clone());
        }
        Ok(())
    }

    fn device_of(&self, id: DeviceId, recognized: Recognized, placement: &Placement) -> Device {
        let Recognized { spec, address, backend, properties } = recognized;
        let is_of_id =
            |name: &BackendNames| matches!(name, BackendNames::Drive(name) if name.as_str() == id.as_str());
        // A Ganeti list has no other names, and its drives have those.
        let is_ganeti = self.contents().dialect().format() == Format::Ganeti;
        let backend = backend.filter(|names| !(is_ganeti && is_of_id(names)));
        Device {
            id,
            generation: 0,
            address: Some(address),
            presence: Presence::Live,
            spec,
            backend,
            properties,
            ganeti: placement.ganeti.clone(),
            extra: Map::new(),
        }
    }

    async fn recognize(
        &self,
        id: &DeviceId,
        image: Option<PathBuf>,
        deadline: &Deadline,
    ) -> Result<Recognized> {
        let pid = self.qemu_pid()?;
        let batch = self.ask(shown::questions().to_vec(), deadline).await;
        if let Some(error) = batch.failure {
            return Err(error.with_step("ask QEMU what it has"));
        }
        let mut shown = Shown::read(batch.replies)?;
        let path = format!("{}/{id}", CONTAINERS[0]);
        let properties = |(index, device): (usize, &shown::ShownDevice)| {
            let own = if device.path == path { device.own_properties() } else { &[] };
            let names: Vec<&str> = device.place_properties().iter().chain(own).copied().collect();
            names.into_iter().map(move |name| (index, name.to_owned()))
        };
        let wanted: Vec<(usize, String)> = shown.devices.iter().enumerate().flat_map(properties).collect();
        for some in wanted.chunks(QUESTIONS) {
            let questions: Vec<Command> = some.iter().map(|wanted| shown.question(wanted)).collect();
            let batch = self.ask(questions, deadline).await;
            if let Some(error) = batch.failure {
                return Err(error.with_step("qom-get"));
            }
            shown.set_properties(some.iter(), batch.replies);
        }
        let vhosts = self.vhosts();
        self.find_behind(ForeignDevice { id: id.clone(), pid, shown, vhosts, image })
            .await
            .map_err(|error| conflict(id, &format!("and cannot be recorded: {}", error.message())))
    }

    fn vhosts(&self) -> BTreeMap<String, bool> {
        let contents = self.contents();
        let nics = contents.record().devices.iter().filter_map(|device| Some((device, device.nic()?)));
        nics.map(|(device, spec)| (device.backend_name().as_str().to_owned(), spec.vhost)).collect()
    }

    /// Whether the inventory has a device with this id.
    pub(super) fn is_shown(&self, id: &str) -> bool {
        let on_scsi = || self.slots.scsi.occupancy().any(|(_, user)| user.id.as_deref() == Some(id));
        self.topology.find(id).is_some() || on_scsi()
    }
}

/// Refuses a device that is not the one that is asked for.
fn check_same(placement: &Placement, device: &Device, differs: Option<&'static str>) -> Result<()> {
    let elsewhere = placement.scsi_bus.as_ref().is_some_and(|bus| device.bus() != Some(bus));
    let is_elsewhere = elsewhere || !placement.accepts(device.address.as_ref());
    match differs.or(is_elsewhere.then_some("address")) {
        None => Ok(()),
        Some(setting) => Err(conflict(&device.id, &format!("and has another {setting} than asked for"))),
    }
}

fn conflict(id: &DeviceId, what: &str) -> Error {
    let text = format!(
        "{id} is in the guest, but not in the record, {what}; take another id, or remove it by its path \
         {}/{id}",
        CONTAINERS[0]
    );
    Error::new(ErrorKind::Conflict, text)
}
