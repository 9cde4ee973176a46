//! Adding a disk: images opened here, fdsets and a block node in QEMU, a device in the guest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::add_plan::{OpenedBackend, Placement};
use super::dry_run::Preparation;
use super::guest_state::GuestState;
use super::host_step::Image;
use super::limit::Deadline;
use crate::disk::spec::MAX_SERIAL;
use crate::disk::{self, DiskSpec, FormatRequest, Secrets};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Device, DeviceKind, GanetiEntry, Spec};
use crate::sorted;
use crate::store::{Contents, Dialect};
use crate::sys::descriptor::Descriptor;

/// A disk as the caller asks for it.
#[derive(Clone, Debug)]
pub struct DiskRequest {
    /// Id, address, live or not at all.
    pub placement: Placement,
    /// What is asked for; its format counts for nothing, `format` does.
    pub spec: DiskSpec,
    /// The format, or leave to look.
    pub format: FormatRequest,
    /// What the secrets are that the settings name.
    pub secrets: Secrets,
}

impl DiskRequest {
    pub(crate) fn differs(&self, spec: &Spec) -> Option<&'static str> {
        let Spec::Disk(existing) = spec else { return Some("type") };
        let wanted = DiskSpec { format: existing.format, ..self.spec.clone() };
        let format = (!self.format.accepts(existing.format)).then_some("format");
        let other_rule =
            !self.placement.accept_chain && wanted.backing.is_some() && wanted.backing != existing.backing;
        wanted.conflict_with(existing).or(format).or(other_rule.then_some("rule for its backing files"))
    }

    /// Whoever asks again for a disk that is there is told if its image is made of other files by now:
    /// `opened` says how opening it [for looking](for_looking) went.
    pub(crate) fn check_chain<T>(&self, device: &Device, opened: Result<T>) -> Result<()> {
        match opened {
            Err(error) if error.kind() == ErrorKind::ImageRefused && !self.placement.accept_chain => {
                Err(error.context(&device.id))
            }
            // Whatever else is wrong is no matter of a disk that the guest has already.
            _ => Ok(()),
        }
    }

    /// With what Ganeti has of the disk.
    pub fn with_ganeti(mut self, entry: GanetiEntry) -> Result<Self> {
        entry.text("dev_type")?;
        self.placement.take_entry(DeviceKind::Disk, entry)?;
        Ok(self)
    }

    /// The request, with what it leaves open filled in by the record.
    pub(crate) fn settled(&self, dialect: &Dialect) -> Result<Self> {
        let mut settled = self.clone();
        dialect.settle_disk(&mut settled.spec, self.placement.ganeti.as_deref())?;
        settled.spec.validate()?;
        if settled.spec.source.is_some() && self.format != FormatRequest::Raw {
            return Err(Error::invalid(
                "format with a source: the drivers of its nodes say it; leave it out",
            ));
        }
        Ok(settled)
    }
}

impl GuestState {
    /// Opens the backend of a disk.
    pub(super) async fn open_disk(
        &mut self,
        request: &DiskRequest,
        deadline: &Deadline,
    ) -> Result<Preparation<OpenedBackend>> {
        let (spec, image) = match self.prepare_disk(request, deadline).await? {
            Preparation::Answer(outcome) => {
                self.accept_chain(request).await?;
                return Ok(Preparation::Answer(outcome));
            }
            Preparation::Adopt(device) => return Ok(Preparation::Adopt(device)),
            Preparation::Later(spec, why) => return Ok(Preparation::Later(spec, why)),
            Preparation::Now(now) => now,
        };
        let (layers, fds): (Vec<_>, Vec<Descriptor>) =
            image.layers.into_iter().map(|layer| ((layer.format, layer.kind), layer.fd)).unzip();
        Ok(Preparation::Now(OpenedBackend {
            spec: Spec::Disk(spec),
            fds,
            layers,
            secrets: request.secrets.clone(),
        }))
    }

    /// Everything that can be said before QEMU is told anything; the image is open by then.
    pub(super) async fn prepare_disk(
        &mut self,
        request: &DiskRequest,
        deadline: &Deadline,
    ) -> Result<Preparation<(DiskSpec, Image)>> {
        request.spec.validate()?;
        let settled = request.settled(self.contents().dialect())?;
        settled.placement.check(DeviceKind::Disk, &settled.spec.model)?;
        self.ready(deadline).await?;
        if let Some(device) = self.already(&request.placement, |spec| settled.differs(spec))? {
            if let Some(spec) = for_looking(&device) {
                request.check_chain(&device, self.open_image(&spec).await)?;
            }
            return self.answer_existing(device, request.placement.live_only).map(Preparation::Answer);
        }
        if let Some(device) = self.recognize_disk(&settled, deadline).await? {
            return Ok(Preparation::Adopt(device));
        }
        let (spec, image) = self.resolve_image(settled.spec, request.format).await?;
        self.contents().dialect().check_disk(&spec, request.placement.ganeti.as_deref())?;
        self.check_unshared(&spec, &image).await?;
        self.check_model(DeviceKind::Disk, &spec.model, deadline).await?;
        self.check_drivers(&spec, deadline).await?;
        self.check_disk_settings(&spec, deadline).await?;
        self.check_mapping(&spec.model, spec.iothread.as_ref(), deadline).await?;
        if let Some(why) = self.defer_reason(DeviceKind::Disk, &spec.model, request.placement.bus()) {
            return Ok(Preparation::Later(Spec::Disk(spec), why));
        }
        self.check_helpers(&Spec::Disk(spec.clone()), deadline).await?;
        if !image.layers.is_empty() {
            self.check_passes_descriptors("the image of a disk")?;
        }
        self.refuse_while_migrating(deadline).await?;
        Ok(Preparation::Now((spec, image)))
    }
}

impl GuestState {
    async fn accept_chain(&mut self, request: &DiskRequest) -> Result<()> {
        let Some(id) = request.placement.id.as_ref().filter(|_| request.placement.accept_chain) else {
            return Ok(());
        };
        let spec = self.contents().disk_under(id.as_str(), request.spec.backing.clone())?;
        let format = spec.format.into();
        let (spec, _) = self.resolve_image(spec, format).await.map_err(|error| error.context(id))?;
        let next = self.contents().with_disk(id.as_str(), spec);
        self.replace(next).await
    }

    pub(super) async fn check_unshared(&self, spec: &DiskSpec, image: &Image) -> Result<()> {
        let paths = files_to_compare(self.present_or_coming(&self.contents()), spec, image);
        let files = self.identify_files(paths).await?;
        check_unshared(self.present_or_coming(&self.contents()), spec, image, &files)
    }

    /// Also what other operations are adding.
    fn present_or_coming<'a>(&'a self, contents: &'a Contents) -> impl Iterator<Item = &'a Device> {
        let intents = contents.journal().intents.iter().map(|intent| &intent.device);
        let added = intents.filter(|device| self.phases.is_plugging(&device.id));
        contents.record().devices.iter().chain(added).chain(&self.reserved)
    }
}

/// The disk as its image is opened to look at it only: a block device that was open for writing is looked
/// through by udev afterwards.
pub(crate) fn for_looking(device: &Device) -> Option<DiskSpec> {
    let (_, spec) = as_disk(device)?;
    Some(DiskSpec { read_only: true, ..spec.clone() })
}

/// The paths of other disks of the guest that matter to [`check_unshared`].
pub(crate) fn files_to_compare<'a, Fd>(
    devices: impl Iterator<Item = &'a Device>,
    spec: &DiskSpec,
    image: &disk::Image<Fd>,
) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for (_, other) in devices.filter_map(as_disk) {
        if !may_share(spec, other) || (image.layers.iter().any(|layer| layer.is_below) && !other.read_only) {
            paths.extend(other.own_files().into_iter().map(Path::to_owned));
        }
        if !spec.read_only {
            paths.extend(other.files_below().into_iter().map(Path::to_owned));
        }
    }
    sorted::set(paths).into_iter().collect()
}

/// The same image, serial or world wide name twice among the devices of a guest is a mistake, unless, for an
/// image, both sides say that they share. So is an image that is written to while another disk has it below
/// its own.
///
/// `files` has what the [paths](files_to_compare) of the others lead to, so that links and second names do
/// not hide it.
pub(crate) fn check_unshared<'a, Fd>(
    devices: impl Iterator<Item = &'a Device>,
    spec: &DiskSpec,
    image: &disk::Image<Fd>,
    files: &BTreeMap<PathBuf, disk::Identity>,
) -> Result<()> {
    let is_at = |layer: &disk::Layer<Fd>, path: &Path| files.get(path) == Some(&layer.identity);
    let (bases, own): (Vec<_>, Vec<_>) = image.layers.iter().partition(|layer| layer.is_below);
    let own_at = |path: &Path| own.iter().find(|layer| is_at(layer, path));
    let conflict = |text: String| Err(Error::new(ErrorKind::Conflict, text));
    for (device, other) in devices.filter_map(as_disk) {
        if let Some(same) = same_serial(spec, other) {
            return conflict(format!(
                "serial {same:?} is used by {} of this guest; take another one",
                device.id
            ));
        }
        if let Some(wwn) = spec.wwn.filter(|wwn| other.wwn == Some(*wwn)) {
            let text = "which makes both one disk for a guest with multipath; take another one";
            return conflict(format!("wwn {wwn:#x} is used by {} of this guest, {text}", device.id));
        }
        let mut shared =
            other.own_files().into_iter().filter_map(own_at).map(|layer| layer.path.display().to_string());
        let is_same_source = spec.source.is_some() && spec.source == other.source;
        let shared = shared.next().or_else(|| is_same_source.then(|| spec.title().into_owned()));
        if let Some(shared) = shared.filter(|_| !may_share(spec, other)) {
            return conflict(format!(
                "{shared} is used by {} of this guest; set share_rw or read_only on both to attach it twice",
                device.id
            ));
        }
        let is_written = |layer: &&&disk::Layer<Fd>| {
            !other.read_only && other.own_files().into_iter().any(|path| is_at(layer, path))
        };
        if let Some(base) = bases.iter().find(is_written) {
            return conflict(format!(
                "{} is a backing file of {}, and {} of this guest writes to it, which destroys what is above it; make that disk \
                 read_only, or take another image",
                base.path.display(),
                spec.title(),
                device.id
            ));
        }
        let mut written = other.files_below().into_iter().filter_map(own_at).filter(|_| !spec.read_only);
        if let Some(written) = written.next() {
            return conflict(format!(
                "{} is a backing file of {}, which {} of this guest uses, and which is destroyed by writing to it; set read_only, or \
                 take another image",
                written.path.display(),
                other.title(),
                device.id
            ));
        }
    }
    Ok(())
}

/// The serial that both have, as far as the guest can tell them apart: QEMU makes the id of a SCSI disk of
/// the first 20 characters (7.2).
fn same_serial<'a>(spec: &'a DiskSpec, other: &DiskSpec) -> Option<&'a str> {
    let (own, others) = (spec.serial.as_deref()?, other.serial.as_deref()?);
    let seen = |serial: &'_ str| serial.chars().take(MAX_SERIAL).collect::<String>();
    let both_scsi = spec.is_scsi() && other.is_scsi();
    (own == others || (both_scsi && seen(own) == seen(others))).then_some(own)
}

fn may_share(spec: &DiskSpec, other: &DiskSpec) -> bool {
    (spec.share_rw && other.share_rw) || (spec.read_only && other.read_only)
}

fn as_disk(device: &Device) -> Option<(&Device, &DiskSpec)> {
    match &device.spec {
        Spec::Disk(spec) => Some((device, spec)),
        Spec::Nic(_) | Spec::Controller(_) => None,
    }
}
