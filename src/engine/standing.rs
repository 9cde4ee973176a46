//! How a wanted device stands to what the guest has.

use super::action::Change;
use super::add_item::AddRequest;
use super::add_plan::Placement;
use super::controller::ControllerRequest;
use super::disk::DiskRequest;
use super::guest_state::GuestState;
use super::inventory::PeripheralIds;
use super::limit::Deadline;
use super::nic::{NicRequest, differs_in_tap};
use super::tap_source::TapSource;
use super::wanted::{Standing, goes_at_boot};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::DeviceId;
use crate::model::properties;
use crate::model::{Device, DeviceKind, Presence, Spec};
use crate::net::spec::NicSpec;

impl GuestState {
    /// How a wanted device stands to what record and guest have under its id. QEMU is not asked.
    pub(super) async fn standing(
        &mut self,
        id: &DeviceId,
        request: &AddRequest,
        deadline: &Deadline,
    ) -> Result<Standing> {
        let Some(device) = self.known_device(id.as_str()) else {
            self.check_not_foreign(id, deadline).await?;
            self.check_wanted(request)?;
            return Ok(Standing::Unknown);
        };
        if self.phases.is_unplugging(&device.id) || !self.is_recorded(id.as_str()) {
            return Ok(Standing::Leaving);
        }
        if self.phases.is_absent(id.as_str()) {
            return Ok(Standing::Missing);
        }
        if goes_at_boot(&device) {
            return Ok(Standing::GoesAtBoot);
        }
        let standing = match request {
            AddRequest::Nic(request) => self.standing_of_nic(request, &device).await?,
            AddRequest::Disk(request) => self.standing_of_disk(request, &device)?,
            AddRequest::Controller(request) => self.standing_of_controller(request, &device)?,
        };
        if properties::first_other(&request.placement().properties, &device.properties).is_some() {
            return Ok(Standing::Differs("properties"));
        }
        Ok(match is_elsewhere(request.placement(), &device) {
            true if !matches!(standing, Standing::Differs(_)) => Standing::Differs("address"),
            _ => standing,
        })
    }

    /// Settings that no guest can have, before anything is done about any device.
    fn check_wanted(&self, request: &AddRequest) -> Result<()> {
        let contents = self.contents();
        let dialect = contents.dialect();
        match request {
            AddRequest::Nic(nic) => {
                nic.settle(dialect)?;
                nic.placement.check(DeviceKind::Nic, &nic.model)
            }
            AddRequest::Disk(disk) => {
                let settled = disk.settled(dialect)?;
                settled.placement.check(DeviceKind::Disk, &settled.spec.model)
            }
            AddRequest::Controller(controller) => controller.spec.validate(),
        }
    }

    /// QOM is asked, since the inventory may be old.
    async fn check_not_foreign(&mut self, id: &DeviceId, deadline: &Deadline) -> Result<()> {
        let on_scsi = self.slots.scsi.occupancy().any(|(_, user)| user.id.as_deref() == Some(id.as_str()));
        let was_there = on_scsi || self.topology.find(id.as_str()).is_some();
        if !was_there || !PeripheralIds::ask(self, deadline).await?.has(id.as_str()) {
            return Ok(());
        }
        let text = format!("{id} is the id of a device that the record does not have; take another id");
        Err(Error::new(ErrorKind::Foreign, text))
    }

    async fn standing_of_nic(&self, request: &NicRequest, device: &Device) -> Result<Standing> {
        let own = request.settle(self.contents().dialect())?;
        let given = self.given_tap(request, &own).await?;
        let Spec::Nic(existing) = &device.spec else { return Ok(Standing::Differs("type")) };
        // What can be changed is looked at by itself.
        let rest = NicSpec {
            bridge: request.bridge.clone(),
            link_down: request.link_down,
            inbound: request.limits.inbound,
            outbound: request.limits.outbound,
            ..existing.clone()
        };
        let differs = request.differs(&Spec::Nic(rest), &own, false);
        if let Some(setting) = differs.or_else(|| differs_in_tap(given.as_ref(), &device.spec)) {
            return Ok(Standing::Differs(setting));
        }
        let mut changes = Vec::new();
        if !matches!(request.tap, TapSource::Given(_)) && !self.is_on_wanted(request, &device.spec).await? {
            if device.presence == Presence::Live && existing.is_over_given_tap() {
                return Ok(Standing::Differs("bridge"));
            }
            changes.push(Change::Bridge { from: existing.bridge.clone(), to: request.bridge.clone() });
        }
        if existing.link_down != request.link_down {
            changes.push(Change::Link { up: !request.link_down });
        }
        if existing.limits() != request.limits {
            changes.push(Change::Limits { from: existing.limits(), to: request.limits });
        }
        Ok(if changes.is_empty() { Standing::Same } else { Standing::Changes(changes) })
    }

    async fn is_on_wanted(&self, request: &NicRequest, existing: &Spec) -> Result<bool> {
        match (request.bridges(existing), existing) {
            (Some((wanted, recorded)), _) => self.is_same_interface(request.netns(), wanted, recorded).await,
            (None, Spec::Nic(existing)) => Ok(existing.bridge == request.bridge),
            (None, _) => Ok(true),
        }
    }

    fn standing_of_disk(&self, request: &DiskRequest, device: &Device) -> Result<Standing> {
        let settled = request.settled(self.contents().dialect())?;
        Ok(settled.differs(&device.spec).map_or(Standing::Same, Standing::Differs))
    }

    fn standing_of_controller(&self, request: &ControllerRequest, device: &Device) -> Result<Standing> {
        request.spec.validate()?;
        Ok(request.differs(&device.spec).map_or(Standing::Same, Standing::Differs))
    }
}

fn is_elsewhere(placement: &Placement, device: &Device) -> bool {
    let on_another_bus = placement.scsi_bus.as_ref().is_some_and(|bus| device.bus() != Some(bus));
    on_another_bus || !placement.accepts(device.address.as_ref())
}
