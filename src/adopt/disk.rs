//! A disk that runs: of virtio or SCSI, over a raw or qcow2 image in a file or on a block device of the host.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::argument::{Argument, is_on};
use super::disk_options::{self, Options};
use super::taken::{Sight, Taken, Why, backend_name, boot_index, flag, further};
use crate::disk::{Cache, DetectZeroes, DiskSpec, Format, SCSI_CD};
use crate::engine::graph::ImageNodes;
use crate::engine::shown::{OF_DISK, ShownDevice, as_flag};
use crate::ids::Address;
use crate::model::{BackendNames, Spec};
use crate::slots::scsi;

/// What the names of descriptors that QEMU was given begin with.
const FDSET: &str = "/dev/fdset/";

/// The length of a serial up to which QEMU takes it for the id of a SCSI device as well.
const DEVICE_ID: usize = 20;

/// The block size of a disk of which nothing else is said.
const USUAL_SIZE: u64 = 512;

/// Its settings, or why it stays in the command.
pub(super) fn take(sight: &Sight<'_>, device: &ShownDevice) -> Result<Taken, Why> {
    let address = address(sight, device)?;
    let id = device.id.as_deref().unwrap_or_default();
    if device.driver == SCSI_CD && device.text("drive").is_none() {
        return empty_drive(sight, device, address);
    }
    let drive = device.text("drive").ok_or("it has no image")?;
    if sight.arguments.iter().any(|argument| argument.option == "snapshot") {
        return Err("the guest runs with -snapshot: what it writes is not in its image".to_owned());
    }
    let images = sight.shown.graph.images(id, drive);
    let images = images.ok_or("its image is not a plain one: a filter, or a protocol over another one")?;
    let options = disk_options::read(sight, drive, &images)?;
    let (format, files) = files(sight, &images)?;
    let [path, below @ ..] = files.as_slice() else { return Err("it has no image".to_owned()) };
    let mut spec = DiskSpec::new(path, format);
    settings(sight, device, &images, &options, &mut spec)?;
    (spec.aio, spec.discard) = (options.aio, options.discard);
    let argument = sight.argument_of(device);
    if argument.is_none() || asks(argument, "num-queues") {
        spec.queues = device.number("num-queues").and_then(|queues| u16::try_from(queues).ok());
    }
    sight.host.look_at(&mut spec, below)?;
    spec.validate().map_err(|error| error.to_string())?;
    let properties = properties(device, argument, &spec, &options);
    let mut goes: Vec<usize> = options.goes;
    goes.extend(argument.map(|argument| argument.at));
    let mut notes = options.notes;
    if sight.shown.drive(drive).is_none() && goes.is_empty() {
        notes.push("QEMU does not show aio and discard of it: the record has the defaults".to_owned());
    }
    let names = names(sight, id, drive, &images)?;
    Ok(Taken { spec: Spec::Disk(spec), address, names, properties, goes, notes })
}

/// A CD drive without a medium, and without a `-drive` that it would keep its place in.
fn empty_drive(sight: &Sight<'_>, device: &ShownDevice, address: Address) -> Result<Taken, Why> {
    let mut spec = DiskSpec::new("", Format::Raw);
    settings(sight, device, &[], &Options::default(), &mut spec)?;
    spec.read_only = true;
    spec.validate().map_err(|error| error.to_string())?;
    let argument = sight.argument_of(device);
    let properties = properties(device, argument, &spec, &Options::default());
    let goes = argument.map(|argument| argument.at).into_iter().collect();
    Ok(Taken { spec: Spec::Disk(spec), address, names: None, properties, goes, notes: Vec::new() })
}

fn address(sight: &Sight<'_>, device: &ShownDevice) -> Result<Address, Why> {
    if !scsi::qom::is_unit(&device.driver) {
        return device.pci_address(&sight.shown.devices).map(Address::from);
    }
    let values = scsi::qom::PLACE_PROPERTIES.map(|name| device.property(name));
    let found = scsi::qom::address(values).map(Address::from);
    found.ok_or_else(|| "it sits on a SCSI controller without an id, or not on its first bus".to_owned())
}

fn asks(argument: Option<&Argument>, name: &str) -> bool {
    argument.is_some_and(|argument| argument.member(name).is_some())
}

/// The drive, or the nodes that somebody has named: QEMU's own go with the one above them.
fn names(
    sight: &Sight<'_>,
    id: &str,
    drive: &str,
    images: &[ImageNodes],
) -> Result<Option<BackendNames>, Why> {
    if sight.shown.drive(drive).is_some() {
        return backend_name(drive).map(BackendNames::Drive).map(Some);
    }
    let all = images.iter().flat_map(|image| std::iter::once(&image.format).chain(&image.file));
    let named = all.filter(|name| !name.starts_with('#')).map(|name| backend_name(name));
    let nodes = named.collect::<Result<Vec<_>, Why>>()?;
    match nodes.as_slice() {
        [only] if only.as_str() == id => Ok(None),
        _ => Ok(Some(BackendNames::Nodes(nodes))),
    }
}

/// The format of the image, and its files, from the top down.
fn files(sight: &Sight<'_>, images: &[ImageNodes]) -> Result<(Format, Vec<PathBuf>), Why> {
    let mut formats = Vec::new();
    let mut files = Vec::new();
    for image in images {
        let file = image.file.as_deref().unwrap_or(&image.format);
        let format = text_of(sight, &image.format, "drv")?;
        formats.push(match format {
            "qcow2" => Format::Qcow2,
            "raw" | "file" | "host_device" => Format::Raw,
            other => return Err(format!("its image is of format {other}, and the record has raw and qcow2")),
        });
        match text_of(sight, file, "drv")? {
            "file" | "host_device" => files.push(file_of(sight, file)?),
            other => {
                return Err(format!(
                    "QEMU opens its image by {other}, and the record has files and block devices"
                ));
            }
        }
    }
    // It may be recorded under the name that it is asked for by.
    if let (Some(top), Some(image)) = (files.first_mut(), sight.image) {
        if sight.host.is_same_file(top, image) {
            image.clone_into(top);
        }
    }
    let format = formats.first().copied().ok_or("it has no image")?;
    Ok((format, files))
}

fn text_of<'a>(sight: &Sight<'a>, node: &str, key: &str) -> Result<&'a str, Why> {
    let text = sight.shown.node(node).and_then(|node| node.get(key)).and_then(Value::as_str);
    text.ok_or_else(|| format!("QEMU does not show its block node {node}"))
}

fn file_of(sight: &Sight<'_>, node: &str) -> Result<PathBuf, Why> {
    let name = text_of(sight, node, "file")?;
    seen_file(sight, name).or_else(|why| hidden_file(sight, name).ok_or(why))
}

/// The file that a node names, or that a descriptor of its set is of.
fn seen_file(sight: &Sight<'_>, name: &str) -> Result<PathBuf, Why> {
    let Some(set) = name.strip_prefix(FDSET) else {
        return sight.host.absolute(Path::new(name));
    };
    let numbers = set.parse().map(|set| sight.shown.descriptors(set)).unwrap_or_default();
    let found = numbers.into_iter().find_map(|number| sight.host.file_of(number));
    found.ok_or_else(|| format!("which file fdset {set} has cannot be seen"))
}

/// Since 9.1, QEMU shows nothing of a set whose descriptors its owner has removed while a node read from
/// them. The expected image is behind the only such set, if it is behind no other node, and QEMU has it open;
/// the latter is looked at with each image.
fn hidden_file(sight: &Sight<'_>, name: &str) -> Option<PathBuf> {
    let image = sight.image?;
    let is_hidden = |name: &&str| name.starts_with(FDSET) && seen_file(sight, name).is_err();
    let hidden = BTreeSet::from_iter(sight.shown.files().filter(is_hidden));
    let is_it = |name: &str| seen_file(sight, name).is_ok_and(|file| sight.host.is_same_file(&file, image));
    let is_elsewhere = sight.shown.files().any(is_it);
    (hidden.len() == 1 && hidden.contains(name) && !is_elsewhere).then(|| image.to_owned())
}

/// Limits that the record has no place for.
const LIMITS: &[&str] = &["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"];

fn settings(
    sight: &Sight<'_>,
    device: &ShownDevice,
    images: &[ImageNodes],
    options: &Options,
    spec: &mut DiskSpec,
) -> Result<(), Why> {
    let node = images.first().and_then(|image| sight.shown.node(&image.format)).unwrap_or(&Value::Null);
    let drive = device.text("drive").and_then(|name| sight.shown.drive(name)?.get("inserted"));
    let limited =
        |of: &Value| LIMITS.iter().any(|name| of.get(name).and_then(Value::as_u64).is_some_and(|n| n > 0));
    if limited(node) || drive.is_some_and(limited) {
        return Err("its throughput is limited, which the record has no place for".to_owned());
    }
    spec.model.clone_from(&device.driver);
    spec.read_only = node.get("ro").and_then(Value::as_bool).unwrap_or(false);
    let cache =
        |name: &str| node.pointer(&format!("/cache/{name}")).and_then(Value::as_bool).unwrap_or(false);
    // A drive's own cache mode counts where the device says nothing.
    let write_cache = as_flag(device.property("write-cache")).or(options.write_cache).unwrap_or(true);
    spec.cache = match (cache("direct"), cache("no-flush"), write_cache) {
        (false, false, true) => Cache::Writeback,
        (true, false, true) => Cache::None,
        (false, false, false) => Cache::Writethrough,
        (true, false, false) => Cache::Directsync,
        (false, true, true) => Cache::Unsafe,
        (_, true, _) => return Err("its cache mode is none that has a name".to_owned()),
    };
    spec.detect_zeroes = match node.get("detect_zeroes").and_then(Value::as_str) {
        Some("on") => DetectZeroes::On,
        Some("unmap") => DetectZeroes::Unmap,
        _ => DetectZeroes::Off,
    };
    spec.serial = device.text("serial").map(str::to_owned);
    spec.share_rw = flag(device, "share-rw");
    spec.boot_index = boot_index(device);
    let size = |name: &str| device.number(name).filter(|size| *size != USUAL_SIZE && *size != 0);
    let short = |size: u64| u32::try_from(size).ok();
    spec.logical_block_size = size("logical_block_size").and_then(short);
    spec.physical_block_size = size("physical_block_size").and_then(short);
    spec.wwn = device.number("wwn").and_then(NonZeroU64::new);
    Ok(())
}

/// What the record's own places do not say.
fn properties(
    device: &ShownDevice,
    argument: Option<&Argument>,
    spec: &DiskSpec,
    options: &Options,
) -> Map<String, Value> {
    let mut properties = further(device, argument, OF_DISK);
    for (name, value) in &options.for_device {
        properties.entry(name.clone()).or_insert_with(|| value.as_str().into());
    }
    // Without a serial QEMU makes the id of what `-drive` is called, which the guest sees.
    let usual: Option<String> = spec.serial.as_deref().map(|serial| serial.chars().take(DEVICE_ID).collect());
    let device_id = device.text("device_id").filter(|id| usual.as_deref() != Some(*id));
    if let Some(device_id) = device_id.filter(|_| spec.is_scsi()) {
        properties.insert("device_id".to_owned(), device_id.into());
    }
    if asks(argument, "write-cache") && argument.and_then(|a| a.member("write-cache")).is_some_and(is_on) {
        properties.insert("write-cache".to_owned(), "on".into());
    }
    properties
}
