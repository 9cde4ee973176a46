//! What is asked of a CD drive, whether it can be done, and whether it is so already.

use std::path::PathBuf;

use super::disk::{check_unshared, files_to_compare};
use super::guest_state::GuestState;
use super::host_step::Image;
use super::medium_plan::{Lock, nodes_of, with_nodes};
use super::trays::Tray;
use crate::disk::{BackingRule, DiskSpec, FormatRequest};
use crate::error::{Error, ErrorKind, Result, errno};
use crate::ids::BackendName;
use crate::model::{BackendNames, Device, DeviceKind, Spec};

/// A change of medium as a caller asks for it.
#[derive(Clone, Debug, Default)]
pub struct NewMedium {
    /// The medium to insert; `None` takes out the one that is there.
    pub image: Option<MediumImage>,
    /// What becomes of a tray that the guest has locked.
    pub lock: Lock,
}

/// The image of a medium.
#[derive(Clone, Debug)]
pub struct MediumImage {
    /// Absolute path.
    pub path: PathBuf,
    /// The format, or leave to look.
    pub format: FormatRequest,
    /// Where its backing files may be; none for what the record says of all disks.
    pub backing: Option<BackingRule>,
}

/// The new medium, opened.
pub(super) struct Opened {
    pub(super) spec: DiskSpec,
    pub(super) image: Option<Image>,
}

impl GuestState {
    /// The CD drive with this id, if its medium can be changed.
    pub(super) fn drive(&self, id: &str) -> Result<Device> {
        let device = self.changeable(id, DeviceKind::Disk)?;
        if !matches!(&device.spec, Spec::Disk(spec) if spec.is_cd()) {
            let text =
                format!("{id} is a {}, and only a CD drive (scsi-cd) has a medium to change", device.model());
            return Err(Error::invalid(text));
        }
        if matches!(device.backend, Some(BackendNames::Drive(_))) {
            let text = format!(
                "the guest was started with the medium of {id} as -drive: QEMU would forget it, and it could not be put back; \
                 start the guest with kvm_runtime_boot() once, or use -blockdev"
            );
            return Err(Error::new(ErrorKind::NotHotpluggable, text));
        }
        Ok(device)
    }

    /// A change that is not settled has left a node that only the journal knows, which another change would
    /// write over.
    pub(super) fn refuse_unsettled(&self, drive: &Device) -> Result<()> {
        if self.contents().journal().find(drive.id.as_str()).is_none() {
            return Ok(());
        }
        let text = "QEMU still has the image of an earlier medium, and does not let go of it; end what uses that, and try again";
        Err(Error::new(ErrorKind::State, text).with_errno(errno::EBUSY))
    }

    pub(super) async fn open_medium(&self, before: &Device, wanted: &NewMedium) -> Result<Opened> {
        let Spec::Disk(spec) = &before.spec else { return Err(Error::invalid("not a disk")) };
        let mut spec = spec.clone();
        spec.take_medium_out();
        let Some(MediumImage { path, format, backing }) = &wanted.image else {
            return Ok(Opened { spec, image: None });
        };
        if path.as_os_str().is_empty() {
            return Err(Error::invalid("path is empty"));
        }
        (spec.path, spec.backing) = (path.clone(), backing.clone());
        let (spec, image) = self.resolve_image(spec, *format).await?;
        let contents = self.contents();
        let others = || contents.record().devices.iter().filter(|device| device.id != before.id);
        let files = self.identify_files(files_to_compare(others(), &spec, &image)).await?;
        check_unshared(others(), &spec, &image, &files)?;
        Ok(Opened { spec, image: Some(image) })
    }
}

/// The drive with another medium.
pub(super) fn with_medium(before: &Device, opened: &Opened, nodes: Vec<BackendName>) -> Device {
    let after = Device { spec: Spec::Disk(opened.spec.clone()), ..before.clone() };
    with_nodes(&after, nodes)
}

/// Somebody else's medium is not taken out: it could not be put back.
pub(super) fn check_own(device: &Device, tray: &Tray) -> Result<()> {
    let own = nodes_of(device);
    match &tray.node {
        Some(node) if !own.iter().any(|own| own.as_str() == node) => {
            let text = format!(
                "{} has a medium in it that is not in the record (block node {node}); take it out with the program that put it in",
                device.id
            );
            Err(Error::new(ErrorKind::Conflict, text).with_errno(errno::EBUSY))
        }
        _ => Ok(()),
    }
}

/// Whether the drive has this medium already, and is closed.
pub(super) fn is_there(device: &Device, opened: &Opened, tray: &Tray) -> bool {
    let Spec::Disk(now) = &device.spec else { return false };
    let top = nodes_of(device).into_iter().next();
    let is_shown = tray.node.as_deref() == top.as_ref().map(BackendName::as_str);
    let wanted = &opened.spec;
    let is_same = now.path == wanted.path && now.source == wanted.source;
    let is_same = is_same && now.format == wanted.format && now.chain == wanted.chain;
    is_shown && is_same && !tray.open
}
