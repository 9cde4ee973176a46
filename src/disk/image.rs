//! An image and everything below it, opened.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::qcow2::{self, Backing, Header};
use super::source::{Identity, Kind, Mode, Source};
use super::spec::{DiskSpec, Format, FormatRequest, SCSI_PASSTHROUGH};
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// Most layers one image may have, itself included.
pub const MAX_LAYERS: usize = 16;

/// First read of a header; the default cluster size of qcow2, so that it is the only one as a rule.
const FIRST_READ: usize = 65536;

/// One open file of an image. Drop it once QEMU has its duplicate: QEMU's locks belong to both.
#[derive(Debug)]
pub struct Layer {
    /// The file, in the mode QEMU will look for in its fdset.
    pub fd: OwnedFd,
    /// The path it was opened by.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Regular file or block device.
    pub kind: Kind,
    /// O_RDONLY; every layer but the first is.
    pub read_only: bool,
    /// O_DIRECT.
    pub direct: bool,
    /// What it is, whatever path led to it.
    pub identity: Identity,
}

/// An image with the chain of its backing images.
#[derive(Debug)]
pub struct Image {
    /// The image itself first, then what is below it; 1 to 16.
    pub layers: Vec<Layer>,
    /// Size of the disk the guest sees, in bytes.
    pub size: u64,
    /// Whether the format of a backing image had to be guessed.
    pub probed_backing: bool,
}

/// Opens the image of a disk whose format is settled.
pub fn open(spec: &DiskSpec) -> Result<Image> {
    Chain { spec, probe_backing: spec.probe_backing }.open(spec.format.into())
}

/// Opens the image of a disk that is asked for now, and writes into `spec` what was found out on the way, so that
/// [`open`] does the same with the recorded disk later on.
pub fn resolve(spec: &mut DiskSpec, request: FormatRequest) -> Result<Image> {
    let probe_backing = spec.probe_backing || request == FormatRequest::Probe;
    let image = Chain { spec, probe_backing }.open(request)?;
    if let Some(top) = image.layers.first() {
        spec.format = top.format;
    }
    spec.probe_backing = image.probed_backing;
    Ok(image)
}

struct Chain<'a> {
    spec: &'a DiskSpec,
    probe_backing: bool,
}

impl Chain<'_> {
    fn open(&self, request: FormatRequest) -> Result<Image> {
        self.spec.validate()?;
        if let Some(uri) = &self.spec.uri {
            let text = format!("disk {uri:?} is opened by QEMU itself, which this library does not do");
            return Err(Error::new(ErrorKind::NotHotpluggable, text));
        }
        let mode = Mode { read_only: self.spec.read_only, direct: self.spec.cache.direct() };
        let (top, header) = open_layer(self.spec.path.clone(), request, mode)?;
        if self.spec.model == SCSI_PASSTHROUGH {
            check_passthrough(&top.layer)?;
        }
        let size = header.as_ref().map_or(top.length, |header| header.size);
        let mut image = Image { layers: vec![top.layer], size, probed_backing: false };
        let mut next = self.below(&image, header)?;
        while let Some((path, request)) = next {
            let (below, header) = open_layer(path, request, Mode { read_only: true, ..mode })
                .map_err(|error| error.context(format!("backing chain of {:?}", self.spec.path)))?;
            check_loop(&image.layers, &below.layer)?;
            image.probed_backing |= request == FormatRequest::Probe;
            image.layers.push(below.layer);
            next = self.below(&image, header)?;
        }
        Ok(image)
    }

    /// Path and format of the image below the last one so far.
    fn below(&self, image: &Image, header: Option<Header>) -> Result<Option<(PathBuf, FormatRequest)>> {
        let Some(backing) = header.and_then(|header| header.backing) else { return Ok(None) };
        if image.layers.len() >= MAX_LAYERS {
            let message = format!(
                "image {:?}: more than {MAX_LAYERS} layers; shorten the chain with qemu-img commit or rebase",
                self.spec.path
            );
            return Err(Error::new(ErrorKind::Limit, message));
        }
        let referring = image.layers.last().map_or(self.spec.path.as_path(), |layer| &layer.path);
        let resolved =
            backing_path(referring, &backing).and_then(|path| Ok((path, self.backing_format(&backing)?)));
        resolved.map(Some).map_err(|error| {
            error.context(format!("image {referring:?} has the backing file {:?}", backing.name))
        })
    }

    fn backing_format(&self, backing: &Backing) -> Result<FormatRequest> {
        match backing.format.as_deref() {
            Some("raw") => Ok(FormatRequest::Raw),
            Some("qcow2") => Ok(FormatRequest::Qcow2),
            Some(other) => Err(Error::new(
                ErrorKind::NotHotpluggable,
                format!("its format {other:?} is not supported, only raw and qcow2 are"),
            )),
            None if self.probe_backing => Ok(FormatRequest::Probe),
            None => Err(Error::invalid(
                "its format is not recorded and guessing is unsafe; record it with qemu-img rebase -u -b FILE -F FORMAT, \
                 or ask for the format to be probed",
            )),
        }
    }
}

/// Resolves the name as QEMU does: relative to the directory of the image that has it.
fn backing_path(referring: &Path, backing: &Backing) -> Result<PathBuf> {
    let name = Path::new(&backing.name);
    let bytes = backing.name.as_encoded_bytes();
    let first_odd = bytes.iter().find(|byte| matches!(byte, b':' | b'/'));
    if first_odd == Some(&b':') {
        return Err(Error::new(
            ErrorKind::NotHotpluggable,
            "it goes through a QEMU protocol, only plain files and block devices are supported; \
             for a file with a colon in its name write ./ before it",
        ));
    }
    Ok(referring.parent().unwrap_or(Path::new("/")).join(name))
}

fn check_loop(above: &[Layer], layer: &Layer) -> Result<()> {
    match above.iter().find(|other| other.identity == layer.identity) {
        None => Ok(()),
        Some(other) => Err(Error::invalid(format!(
            "image {:?}: its backing chain comes back to itself by {:?}",
            other.path, layer.path
        ))),
    }
}

/// QEMU hands only a block device through that takes SCSI commands; it says "cannot get SG_IO version number" of any other
/// (7.2, where 3.0 is the oldest version it takes).
fn check_passthrough(top: &Layer) -> Result<()> {
    const OLDEST: i32 = 30000;
    let refuse = |why: String| {
        Err(Error::invalid(format!(
            "image {:?}: {why}; scsi-block needs a SCSI device of the host, scsi-hd takes anything",
            top.path
        )))
    };
    if top.format != Format::Raw {
        return refuse("it is a qcow2 image".to_owned());
    }
    if top.kind != Kind::HostDevice {
        return refuse("it is a regular file".to_owned());
    }
    match sys::scsi::generic_version(top.fd.as_fd()) {
        Ok(version) if version >= OLDEST => Ok(()),
        Ok(version) => {
            refuse(format!("its SG_IO interface has the version {version}, at least {OLDEST} is needed"))
        }
        Err(errno) => refuse(format!("it does not take SCSI commands (SG_IO: {})", errno.desc())),
    }
}

struct Opened {
    layer: Layer,
    length: u64,
}

fn open_layer(path: PathBuf, request: FormatRequest, mode: Mode) -> Result<(Opened, Option<Header>)> {
    let opened = Source::open(&path, mode).and_then(|source| {
        let header = read_header(&source, request, mode)?;
        Ok((source, header))
    });
    let (source, header) = opened.map_err(|error| error.context(format!("image {path:?}")))?;
    let layer = Layer {
        fd: source.file.into(),
        path,
        format: if header.is_some() { Format::Qcow2 } else { Format::Raw },
        kind: source.kind,
        read_only: mode.read_only,
        direct: mode.direct,
        identity: source.identity,
    };
    Ok((Opened { layer, length: source.length }, header))
}

/// The header of a qcow2 image, none for a raw one. Declared raw means that nothing is read at all.
fn read_header(source: &Source, request: FormatRequest, mode: Mode) -> Result<Option<Header>> {
    if request == FormatRequest::Raw {
        return Ok(None);
    }
    let mut head = source.read_head(FIRST_READ)?;
    if !qcow2::has_magic(&head) {
        return match request {
            FormatRequest::Qcow2 => Err(Error::new(
                ErrorKind::Format,
                "declared as qcow2 but does not start with its magic; if it is raw, say so",
            )),
            FormatRequest::Raw | FormatRequest::Probe => Ok(None),
        };
    }
    let cluster = qcow2::cluster_size(&head)?;
    if cluster > FIRST_READ {
        head = source.read_head(cluster)?;
    }
    let header = qcow2::parse(&head)?;
    if header.corrupt && !mode.read_only {
        return Err(Error::new(
            ErrorKind::Format,
            "QEMU has marked it as corrupt and will not write to it; repair it with qemu-img check -r all, or set read_only",
        ));
    }
    Ok(Some(header))
}

#[cfg(test)]
mod tests;
