//! An image and everything below it, opened.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::backing::{self, Named};
use super::chain::{self, Chain, ChainLayer, MAX_LAYERS, Vouched};
use super::described;
use super::format::{Format, FormatRequest};
use super::identity::Kind;
use super::layer::{Image, Layer, Opened, check_writable, open_layer};
use super::look::Look;
use super::qcow2::Header;
use super::rule::BackingRule;
use super::source::Mode;
use super::spec::{DiskSpec, SCSI_PASSTHROUGH};
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// Opens the image of a disk that belongs to no record.
pub fn open(spec: &DiskSpec) -> Result<Image> {
    open_under(spec, &spec.backing.clone().unwrap_or_default())
}

/// Opens the image of a disk whose format is settled: the chain that was recorded, if one was, and what
/// `rule` allows.
pub fn open_under(spec: &DiskSpec, rule: &BackingRule) -> Result<Image> {
    let known = spec.chain.as_deref();
    Opener { spec, rule, known, probe_backing: spec.probe_backing, boot: chain::this_boot() }
        .open(spec.format.into())
}

/// Opens the image of a disk that is asked for now, and writes into `spec` what was found out on the way, so
/// that [`open`] does the same with the recorded disk later on.
pub fn resolve(spec: &mut DiskSpec, request: FormatRequest, rule: &BackingRule) -> Result<Image> {
    let probe_backing = spec.probe_backing || request == FormatRequest::Probe;
    let image = Opener { spec, rule, known: None, probe_backing, boot: chain::this_boot() }.open(request)?;
    if let Some(top) = image.layers.first().filter(|_| spec.source.is_none()) {
        spec.format = top.format;
    }
    spec.probe_backing = image.probed_backing;
    spec.chain = image.recorded_chain();
    Ok(image)
}

struct Opener<'a> {
    spec: &'a DiskSpec,
    rule: &'a BackingRule,
    /// The chain that it has to be.
    known: Option<&'a Chain>,
    probe_backing: bool,
    boot: Option<String>,
}

/// A layer that is to be opened next.
struct Next {
    path: PathBuf,
    request: FormatRequest,
}

impl Opener<'_> {
    fn open(&self, request: FormatRequest) -> Result<Image> {
        self.spec.validate()?;
        if let Some(description) = &self.spec.source {
            return described::open(self.spec, description, self.known);
        }
        if let Some(uri) = &self.spec.uri {
            let text = format!("disk {uri:?} is opened by QEMU itself, which this library does not do");
            return Err(Error::new(ErrorKind::NotHotpluggable, text));
        }
        if !self.spec.has_medium() {
            return Ok(Image::none());
        }
        let mode = Mode { read_only: self.spec.read_only, direct: self.spec.cache.direct() };
        let in_top = |error: Error| error.context(format!("image {:?}", self.spec.path));
        let path = self.spec.path.clone();
        let look = self.look(0, &path).map_err(in_top)?;
        self.check(0, &look, &path, request).map_err(in_top)?;
        let mut image = Image {
            layers: Vec::new(),
            size: None,
            probed_backing: false,
            chain: Chain { boot: self.boot.clone(), layers: Vec::new() },
        };
        let opened = open_layer(&look, path, request, mode).and_then(Opened::supported)?;
        image.size = Some(opened.header.as_ref().map_or(opened.length, |header| header.size));
        let mut header = image.add(opened, &look);
        if let Some(top) = image.layers.first().filter(|_| self.spec.model == SCSI_PASSTHROUGH) {
            check_passthrough(top)?;
        }
        image.layers.first().map_or(Ok(()), check_writable)?;
        while let Some(next) = self.below(&image, header)? {
            header = self
                .open_backing(&mut image, &look, next, Mode { read_only: true, ..mode })
                .map_err(|error| error.context(format!("backing chain of {:?}", self.spec.path)))?;
        }
        self.known.map_or(Ok(()), |known| known.check_end(image.layers.len())).map_err(in_top)?;
        self.rule.check_end(image.layers.len()).map_err(in_top)?;
        Ok(image)
    }

    fn open_backing(&self, image: &mut Image, top: &Look, next: Next, mode: Mode) -> Result<Option<Header>> {
        let Next { path, request } = next;
        let index = image.layers.len();
        let in_layer = |error: Error| error.context(format!("image {path:?}"));
        let look = self.look(index, &path).map_err(in_layer)?;
        check_loop(&image.layers, &look, &path)?;
        let vouched = self.check(index, &look, &path, request).map_err(in_layer)?;
        self.rule.check_layer(index, top, &look, vouched).map_err(in_layer)?;
        let mut opened = open_layer(&look, path, request, mode).and_then(Opened::supported)?;
        opened.layer.is_below = true;
        image.probed_backing |= request == FormatRequest::Probe;
        Ok(image.add(opened, &look))
    }

    /// Finds a layer without opening it, unless its name alone says that it is not to be.
    fn look(&self, index: usize, path: &Path) -> Result<Look> {
        self.known.map_or(Ok(()), |known| known.check_name(index, path))?;
        Look::at(path)
    }

    /// Whether what was found is what was recorded, if anything was.
    fn check(&self, index: usize, look: &Look, path: &Path, request: FormatRequest) -> Result<Vouched> {
        let Some(known) = self.known else { return Ok(Vouched::ByNobody) };
        let format = if request == FormatRequest::Raw { Format::Raw } else { Format::Qcow2 };
        known.check_layer(index, &ChainLayer::of(look, path, format), self.boot.as_deref())
    }

    /// The image below the last one so far.
    fn below(&self, image: &Image, header: Option<Header>) -> Result<Option<Next>> {
        let Some(backing) = header.and_then(|header| header.backing) else { return Ok(None) };
        if image.layers.len() >= MAX_LAYERS {
            let message = format!(
                "image {:?}: more than {MAX_LAYERS} layers; shorten the chain with qemu-img commit or rebase",
                self.spec.path
            );
            return Err(Error::new(ErrorKind::Limit, message));
        }
        let referring = image.layers.last().map_or(self.spec.path.as_path(), |layer| &layer.path);
        let resolved = backing::resolve(referring, &backing).and_then(|Named { path, format }| {
            self.rule.check_name(image.layers.len(), &path)?;
            let request = self.backing_format(image.layers.len(), format)?;
            Ok(Next { path, request })
        });
        resolved.map(Some).map_err(|error| {
            error.context(format!("image {referring:?} has the backing file {:?}", backing.name))
        })
    }

    /// What is recorded is not guessed again.
    fn backing_format(&self, index: usize, named: Option<Format>) -> Result<FormatRequest> {
        let recorded = || self.known.and_then(|known| known.layers.get(index)).map(|layer| layer.format);
        match named.or_else(recorded) {
            Some(format) => Ok(format.into()),
            None if self.probe_backing => Ok(FormatRequest::Probe),
            None => Err(Error::invalid(
                "its format is not recorded and guessing is unsafe; record it with qemu-img rebase -u -b FILE -F FORMAT, \
                 or ask for the format to be probed",
            )),
        }
    }
}

fn check_loop(above: &[Layer], look: &Look, path: &Path) -> Result<()> {
    match above.iter().find(|other| other.identity == look.identity) {
        None => Ok(()),
        Some(other) => Err(Error::invalid(format!(
            "image {:?}: its backing chain comes back to itself by {path:?}",
            other.path
        ))),
    }
}

/// QEMU hands only a block device through that takes SCSI commands; it says "cannot get SG_IO version number"
/// of any other (7.2, where 3.0 is the oldest version it takes).
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

#[cfg(test)]
mod tests;
