//! One open file of an image, and an image that is made of such files.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::chain::{Chain, ChainLayer};
use super::format::{Format, FormatRequest};
use super::identity::{Identity, Kind};
use super::look::Look;
use super::qcow2::{self, Header};
use super::signature;
use super::source::{Mode, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::sys;
use crate::sys::descriptor::Descriptor;

/// First read of a header; the default cluster size of qcow2, so that it is the only one as a rule.
const FIRST_READ: usize = 65536;

/// One open file of an image. Drop it once QEMU has its duplicate: QEMU's locks belong to both.
#[derive(Debug)]
pub struct Layer<Fd = OwnedFd> {
    /// The file, in the mode QEMU will look for in its fdset.
    pub fd: Fd,
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
    /// The guest writes to an image above it.
    pub is_below: bool,
}

/// An image with the chain of its backing images.
#[derive(Debug)]
pub struct Image<Fd = OwnedFd> {
    /// The image itself first, then what is below it; 1 to 16. Of a source that is described, its files, if
    /// it has any; none of a CD drive without a medium.
    pub layers: Vec<Layer<Fd>>,
    /// Size of the disk the guest sees, in bytes; `None` where only QEMU knows.
    pub size: Option<u64>,
    /// Whether the format of a backing image had to be guessed.
    pub probed_backing: bool,
    /// The same layers as they are recorded.
    pub chain: Chain,
}

impl From<Image> for Image<Descriptor> {
    fn from(image: Image) -> Self {
        let Image { layers, size, probed_backing, chain } = image;
        let layer = |Layer { fd, path, format, kind, read_only, direct, identity, is_below }: Layer| Layer {
            fd: Descriptor::from(fd),
            path,
            format,
            kind,
            read_only,
            direct,
            identity,
            is_below,
        };
        Self { layers: layers.into_iter().map(layer).collect(), size, probed_backing, chain }
    }
}

impl<Fd> Image<Fd> {
    /// Of a CD drive without a medium.
    pub(super) fn none() -> Self {
        let chain = Chain { boot: None, layers: Vec::new() };
        Self { layers: Vec::new(), size: None, probed_backing: false, chain }
    }

    /// The layers as they are recorded, if there are any.
    pub fn recorded_chain(&self) -> Option<Box<Chain>> {
        (!self.chain.layers.is_empty()).then(|| Box::new(self.chain.clone()))
    }
}

impl Image {
    pub(super) fn add(&mut self, opened: Opened, look: &Look) -> Option<Header> {
        let Opened { layer, header, .. } = opened;
        self.chain.layers.push(ChainLayer::of(look, &layer.path, layer.format));
        self.layers.push(layer);
        header
    }
}

/// The kernel opens a read-only block device for writing, and writes nothing to it; QEMU says "The device is
/// not writable: Permission denied" (7.2).
pub(super) fn check_writable(top: &Layer) -> Result<()> {
    let is_written = top.kind == Kind::HostDevice && !top.read_only;
    if !is_written || !sys::block::is_read_only(top.fd.as_fd()).unwrap_or(false) {
        return Ok(());
    }
    let text = format!(
        "image {:?}: the kernel has this block device read-only; make it writable with blockdev --setrw, or set read_only if the \
         guest needs no more than to read it",
        top.path
    );
    Err(Error::new(ErrorKind::Host, text).with_errno(libc::EROFS))
}

/// One file, and what it says of itself.
pub(super) struct Opened {
    pub(super) layer: Layer,
    pub(super) length: u64,
    pub(super) header: Option<Header>,
}

impl Opened {
    /// Refuses what only a described source can have.
    pub(super) fn supported(self) -> Result<Self> {
        let checked = self.header.as_ref().map_or(Ok(()), Header::refuse_unsupported);
        checked.map_err(|error| error.context(format!("image {:?}", self.layer.path)))?;
        Ok(self)
    }
}

pub(super) fn open_layer(look: &Look, path: PathBuf, request: FormatRequest, mode: Mode) -> Result<Opened> {
    let opened = Source::open(look, mode).and_then(|source| {
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
        is_below: false,
    };
    Ok(Opened { layer, length: source.length, header })
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
            FormatRequest::Probe => signature::refuse_foreign(source, &head).map(|()| None),
            FormatRequest::Raw => Ok(None),
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
