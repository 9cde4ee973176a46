//! Which device models the QEMU of the guest knows: it is asked, and not guessed from its version.

use super::add_item::AddRequest;
use super::guest_state::GuestState;
use super::limit::Deadline;
use crate::disk::models::LIVE_DISK_MODELS;
use crate::error::{Error, ErrorKind, Result};
use crate::model::DeviceKind;
use crate::net::models;
use crate::qmp::properties;
use crate::sanitize::readable;
use crate::store::Format;

impl GuestState {
    /// Refuses a model that this QEMU does not know, or that is no NIC or disk. Recorded for the next boot,
    /// it would keep the guest from starting. Asked once on each connection; each QEMU from 5.2 on has the
    /// models of virtio and SCSI.
    pub(super) async fn check_model(
        &mut self,
        kind: DeviceKind,
        model: &str,
        deadline: &Deadline,
    ) -> Result<()> {
        let always = [models::VIRTIO, LIVE_DISK_MODELS].iter().any(|all| all.contains(&model));
        if always || self.known_models.contains(model) {
            return Ok(());
        }
        let known = match properties::read(self.ask_one(properties::question(model), deadline).await) {
            Ok(Some(known)) => known,
            Ok(None) => return Err(self.unknown_model(model)),
            Err(error) if error.kind() == ErrorKind::Qmp => {
                let text = format!("{} is no device model of QEMU {}", readable(model), self.version);
                return Err(Error::invalid(format!("{text}: {}", error.message())));
            }
            Err(error) => return Err(error),
        };
        let needed = match kind {
            DeviceKind::Nic => "netdev",
            DeviceKind::Disk => "drive",
            DeviceKind::Controller => return Ok(()),
        };
        if !known.contains(needed) {
            let (model, kind) = (readable(model), kind.title());
            return Err(Error::invalid(format!("model {model} is no {kind}: QEMU gives it no {needed}")));
        }
        self.known_models.insert(model.to_owned());
        Ok(())
    }

    /// Gives the further properties of a request the types that this QEMU has them in, and refuses those that
    /// it does not know: device_add would refuse them later, and in words that do not help.
    pub(super) async fn settle_properties(
        &mut self,
        request: &mut AddRequest,
        deadline: &Deadline,
    ) -> Result<()> {
        if request.placement().properties.is_empty() {
            return Ok(());
        }
        if self.contents().dialect().format() == Format::Ganeti {
            return Err(Error::invalid("properties have no place in a Ganeti list"));
        }
        self.ready(deadline).await?;
        let model = request.model().to_owned();
        let reply = self.ask_one(properties::question(&model), deadline).await;
        let Some(types) = properties::types(reply)? else { return Err(self.unknown_model(&model)) };
        for (name, value) in &mut request.placement_mut().properties {
            let refuse = |why: &str| Err(Error::invalid(format!("properties: {name}: {why}")));
            *value = match types.get(name).map(|of| properties::typed(value, of)) {
                Some(Ok(value)) => value,
                Some(Err(why)) => return refuse(&format!("{why} for that of {}", readable(&model))),
                None => {
                    let text =
                        format!("a {} of QEMU {} has no such property", readable(&model), self.version);
                    return refuse(&text);
                }
            };
        }
        Ok(())
    }

    fn unknown_model(&self, model: &str) -> Error {
        let text = format!("QEMU {} does not know the device model {}", self.version, readable(model));
        Error::new(ErrorKind::NotHotpluggable, format!("{text}; take another one, or another QEMU"))
    }
}
