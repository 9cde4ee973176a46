//! Where the guest has a device, by what it was last seen to have.

use super::guest_state::GuestState;
use super::guest_view::GuestView;
use super::phase::Phase;
use crate::ids::{Address, PciAddress};
use crate::model::Device;

impl GuestState {
    /// Of a device that the guest has; nothing of another.
    pub(super) fn guest_view(&self, device: &Device) -> GuestView {
        match self.phases.of(device) {
            Phase::Plugging | Phase::Deferred | Phase::AbsentInGuest | Phase::Detached(_) => {
                GuestView::default()
            }
            Phase::Plugged { .. } | Phase::Unplugging(_) => self.view_in_guest(device).unwrap_or_default(),
        }
    }

    fn view_in_guest(&self, device: &Device) -> Option<GuestView> {
        match device.address.as_ref()? {
            Address::Pci(address) => {
                let path = self.topology.guest_path(device.id.as_str(), address)?;
                Some(GuestView::on_pci(&path, &device.spec))
            }
            Address::Scsi(address) => {
                let controller = address.controller()?;
                let path = self.topology.guest_path(controller, &self.address_of(controller)?)?;
                Some(GuestView::on_scsi(&path, address))
            }
        }
    }

    /// One of the record may have come after the guest was asked; others are found in the guest.
    fn address_of(&self, controller: &str) -> Option<PciAddress> {
        let contents = self.contents();
        let recorded = contents.record().find(controller).and_then(|device| device.address.as_ref());
        match recorded {
            Some(address) => address.pci().cloned(),
            None => self.topology.find(controller)?.address(),
        }
    }
}
