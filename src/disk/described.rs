//! Opens the files of a disk whose source is described: each in the mode that QEMU will look for, and none
//! but those.

use super::chain::{self, Chain, ChainLayer};
use super::description::{Description, FileNode};
use super::format::{Format, FormatRequest};
use super::identity::Kind;
use super::layer::{Image, Opened, check_writable, open_layer};
use super::look::Look;
use super::qcow2::Header;
use super::source::Mode;
use super::spec::DiskSpec;
use crate::error::{Error, ErrorKind, Result};

/// The files of the description, in its order. `known` is the chain that they have to be.
pub(super) fn open(spec: &DiskSpec, description: &Description, known: Option<&Chain>) -> Result<Image> {
    let mode = Mode { read_only: spec.read_only, direct: spec.cache.direct() };
    let boot = chain::this_boot();
    let chain = Chain { boot, layers: Vec::new() };
    let mut image = Image { layers: Vec::new(), size: None, probed_backing: false, chain };
    let files = description.files(mode);
    let is_sized = ["qcow2", "file", "host_device", "host_cdrom"].contains(&description.driver());
    for (index, file) in files.iter().enumerate() {
        let in_file = |error: Error| error.context(format!("file {:?} of the source", file.path));
        let (look, opened) = open_file(index, file, &image, known).map_err(in_file)?;
        // Of the first, in which a node over a file says how large it is.
        if index == 0 && is_sized && !file.is_below {
            image.size = Some(opened.header.as_ref().map_or(opened.length, |header| header.size));
        }
        image.add(opened, &look);
    }
    Ok(image)
}

fn open_file(
    index: usize,
    file: &FileNode<'_>,
    image: &Image,
    known: Option<&Chain>,
) -> Result<(Look, Opened)> {
    known.map_or(Ok(()), |known| known.check_name(index, file.path))?;
    let look = Look::at(file.path)?;
    check_driver(file, look.kind)?;
    if image.layers.iter().any(|other| other.identity == look.identity) {
        return Err(Error::invalid("it is in the source twice; QEMU does not open it twice"));
    }
    let request = if file.qcow2.is_some() { FormatRequest::Qcow2 } else { FormatRequest::Raw };
    if let Some(known) = known {
        let format = if file.qcow2.is_some() { Format::Qcow2 } else { Format::Raw };
        known.check_layer(index, &ChainLayer::of(&look, file.path, format), image.chain.boot.as_deref())?;
    }
    let mut opened = open_layer(&look, file.path.to_owned(), request, file.mode)?;
    opened.layer.is_below = file.is_below;
    check_writable(&opened.layer)?;
    if let Some(header) = &opened.header {
        check_header(file, header)?;
    }
    Ok((look, opened))
}

fn check_driver(file: &FileNode<'_>, kind: Kind) -> Result<()> {
    let fits = match kind {
        Kind::File => file.driver == "file",
        Kind::HostDevice => file.driver != "file",
    };
    match fits {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "its driver is {}, and what is there takes {}",
            file.driver,
            kind.driver()
        ))),
    }
}

/// What the header names, the caller has to name: QEMU would follow the header otherwise, or, where the
/// caller did not know of it, the guest would see an image without what is below it.
fn check_header(file: &FileNode<'_>, header: &Header) -> Result<()> {
    let Some(said) = file.qcow2 else { return Ok(()) };
    let refuse = |text: String| Err(Error::new(ErrorKind::ImageRefused, text));
    match &header.backing {
        Some(backing) if !said.backing => refuse(format!(
            "its header has the backing file {:?}, and the source says nothing of it; give its node as \"backing\", or null to \
             leave it out",
            backing.name
        )),
        _ if header.data_file && !said.data_file => refuse(
            "its header has a data file, and the source says nothing of it; give its node as \"data-file\""
                .to_owned(),
        ),
        _ => Ok(()),
    }
}
