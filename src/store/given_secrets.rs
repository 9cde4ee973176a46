//! Secrets for the next start: the record says which the disks have, and the caller gives them anew for each
//! start. They are kept beside the record, as long as that is open, and in no file.

use crate::disk::{Secret, SourceObjects};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::BackendName;
use crate::model::{Device, Spec};

/// What was given, by the id that the secret has in QEMU.
#[derive(Debug, Default)]
pub struct GivenSecrets(Vec<(BackendName, Secret)>);

impl GivenSecrets {
    /// The secret with this id in QEMU.
    pub fn get(&self, id: &BackendName) -> Option<&Secret> {
        self.0.iter().find(|(given, _)| given == id).map(|(_, secret)| secret)
    }

    /// The secrets of a device that have not been given, by the names that the record has.
    pub fn lacking<'a>(&self, device: &'a Device) -> Vec<&'a str> {
        let lacks = |name: &&str| self.get(&SourceObjects::id_of(&device.id, name)).is_none();
        names(device).filter(lacks).collect()
    }

    pub(super) fn give(&mut self, device: &Device, name: &str, secret: Secret) -> Result<()> {
        if !names(device).any(|own| own == name) {
            let all = names(device).collect::<Vec<_>>();
            let has = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            let text = format!("{} has no secret of that name; it has {has}", device.id);
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        let id: BackendName = SourceObjects::id_of(&device.id, name);
        self.0.retain(|(given, _)| *given != id);
        self.0.push((id, secret));
        Ok(())
    }
}

fn names(device: &Device) -> impl Iterator<Item = &str> {
    let objects = match &device.spec {
        Spec::Disk(spec) => spec.objects.as_deref(),
        Spec::Nic(_) | Spec::Controller(_) => None,
    };
    objects.into_iter().flat_map(SourceObjects::secrets).map(String::as_str)
}
