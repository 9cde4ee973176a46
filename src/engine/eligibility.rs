//! Why a change has to wait for the next boot: said when it is asked for, and whenever the device is shown
//! until then.

use super::guest_state::GuestState;
use super::outcome::DeferReason;
use crate::disk::models::LIVE_DISK_MODELS;
use crate::ids::BusName;
use crate::model::{Device, DeviceKind, Presence};
use crate::net::models;
use crate::qmp::OLDEST_QEMU;
use crate::slots::scsi;
use crate::store::Format;

impl GuestState {
    /// Why such a device cannot be plugged into this guest now, on `bus` if that is known.
    pub(super) fn defer_reason(
        &self,
        kind: DeviceKind,
        model: &str,
        bus: Option<&BusName>,
    ) -> Option<DeferReason> {
        let bus = || match bus {
            Some(bus) => self.bus_defer_reason(bus),
            None => self.full_defer_reason(kind, model),
        };
        self.too_old().or_else(|| self.model_defer_reason(kind, model)).or_else(bus)
    }

    /// Why such a device cannot be taken out of this guest now.
    pub(super) fn removal_defer_reason(&self, device: &Device) -> Option<DeferReason> {
        self.too_old().or_else(|| device.address.is_none().then_some(DeferReason::NoAddress))
    }

    /// Why this device, which waits for the next boot to come or to go, does so.
    pub(super) fn recorded_defer_reason(&self, device: &Device) -> DeferReason {
        let why = match device.presence {
            Presence::RemoveAfterReboot => self.removal_defer_reason(device),
            Presence::AddAfterReboot | Presence::Live => {
                self.defer_reason(device.kind(), device.model(), device.bus())
            }
        };
        why.unwrap_or(DeferReason::Recorded)
    }

    fn too_old(&self) -> Option<DeferReason> {
        (self.version < OLDEST_QEMU).then(|| DeferReason::QemuTooOld(self.version.to_string()))
    }

    /// The controller of this SCSI bus comes with the next boot, or is one that QEMU plugs disks into without
    /// the guest hearing of it.
    fn bus_defer_reason(&self, bus: &BusName) -> Option<DeferReason> {
        let model = self.slots.scsi.model_on(bus)?;
        if !scsi::spec::is_live_model(model) {
            return Some(DeferReason::Controller(format!("{bus} belongs to a {model}")));
        }
        let waits = |device: Device| device.presence == Presence::AddAfterReboot;
        let id = bus.as_str().strip_suffix(".0")?;
        self.known_device(id)
            .is_some_and(waits)
            .then(|| DeferReason::Controller(format!("{bus} comes with the next boot")))
    }

    /// Ganeti plugs no emulated NIC into a running guest, so a guest with its record gets one at its next
    /// boot.
    fn model_defer_reason(&self, kind: DeviceKind, model: &str) -> Option<DeferReason> {
        let is_live = match kind {
            DeviceKind::Nic => models::is_live(model),
            DeviceKind::Disk => LIVE_DISK_MODELS.contains(&model),
            DeviceKind::Controller => scsi::spec::is_live_model(model),
        };
        if !is_live {
            return Some(DeferReason::Model(format!("the library plugs no {model} into a running guest")));
        }
        let is_ganeti = self.contents().dialect().format() == Format::Ganeti;
        let is_emulated = kind == DeviceKind::Nic && !models::VIRTIO.contains(&model);
        (is_ganeti && is_emulated).then(|| {
            DeferReason::Model(format!("model {model} is not paravirtual, and the record is Ganeti's"))
        })
    }
}
