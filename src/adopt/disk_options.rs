//! The options that a disk's image is made of: `-drive`, or `-blockdev` for each node, and `-add-fd`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::argument::{Argument, is_off, is_on};
use super::taken::{Sight, Why};
use crate::disk::{Aio, Discard};
use crate::engine::graph::ImageNodes;

/// What they say that QEMU does not show.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) aio: Aio,
    pub(super) discard: Discard,
    /// What `-drive` says of the write cache, if it does. QEMU shows what the guest's driver made of it.
    pub(super) write_cache: Option<bool>,
    /// Members of `-drive` that are properties of the device.
    pub(super) for_device: Vec<(String, String)>,
    /// Where they stand in the command.
    pub(super) goes: Vec<usize>,
    pub(super) notes: Vec<String>,
}

/// Members, by their last word, that QEMU shows or that are read here.
const KNOWN: &[&str] = &[
    "id",
    "file",
    "format",
    "if",
    "media",
    "direct",
    "no-flush",
    "aio",
    "discard",
    "detect-zeroes",
    "readonly",
    "read-only",
    "auto-read-only",
    "werror",
    "rerror",
    "driver",
    "filename",
    "node-name",
    "backing",
];

/// Those that only the running QEMU has.
const NOT_KEPT: &[&str] = &[
    "locking",
    "cache-size",
    "l2-cache-size",
    "refcount-cache-size",
    "cache-clean-interval",
    "lazy-refcounts",
];

/// Reads those of a disk whose device uses `drive`, and whose images these are.
pub(super) fn read(sight: &Sight<'_>, drive: &str, images: &[ImageNodes]) -> Result<Options, Why> {
    let names: BTreeSet<&str> = images
        .iter()
        .flat_map(|image| std::iter::once(image.format.as_str()).chain(image.file.as_deref()))
        .collect();
    let is_own = |argument: &&Argument| {
        argument.is("drive", drive)
            || (argument.option == "blockdev"
                && argument.member("node-name").is_some_and(|name| names.contains(name)))
    };
    let own: Vec<&Argument> = sight.arguments.iter().filter(is_own).collect();
    refuse_shared(sight, &names, &own)?;
    let mut options = Options::default();
    let top = images.first().map_or("", |image| image.format.as_str());
    let top_file = images.first().and_then(|image| image.file.as_deref()).unwrap_or(top);
    for argument in own {
        let members = members(argument);
        for (name, value) in &members {
            take_member(argument, name, value, &mut options)?;
        }
        // Each node has its own; QEMU gives those of an image to its file.
        let node = argument.member("node-name");
        if argument.option == "drive" || node == Some(top) || node == Some(top_file) {
            take_io(&members, argument.option == "drive" || node == Some(top), &mut options)?;
        }
        options.goes.push(argument.at);
    }
    add_sets(sight, images, &mut options);
    Ok(options)
}

/// A node of two disks stays for the other one.
fn refuse_shared(sight: &Sight<'_>, names: &BTreeSet<&str>, own: &[&Argument]) -> Result<(), Why> {
    let others = sight
        .arguments
        .iter()
        .filter(|argument| argument.option == "blockdev" && !own.iter().any(|own| own.at == argument.at));
    for other in others {
        let uses = |value: &str| names.contains(value);
        let links = members(other).into_iter().filter(|(name, _)| matches!(last(name), "file" | "backing"));
        if let Some((_, node)) = links.into_iter().find(|(_, value)| uses(value)) {
            return Err(format!("its block node {node} is used by another -blockdev"));
        }
    }
    Ok(())
}

/// All members, those of objects within it by names such as `cache.direct`.
fn members(argument: &Argument) -> Vec<(String, String)> {
    match &argument.json {
        Some(json) => flatten("", json),
        None => argument
            .names()
            .map(|name| (name.to_owned(), argument.member(name).unwrap_or_default().to_owned()))
            .collect(),
    }
}

fn flatten(prefix: &str, object: &Map<String, Value>) -> Vec<(String, String)> {
    let mut members = Vec::new();
    for (key, value) in object {
        match value {
            Value::Object(inside) => members.extend(flatten(&format!("{prefix}{key}."), inside)),
            Value::String(text) => members.push((format!("{prefix}{key}"), text.clone())),
            Value::Bool(on) => {
                members.push((format!("{prefix}{key}"), if *on { "on" } else { "off" }.into()))
            }
            other => members.push((format!("{prefix}{key}"), other.to_string())),
        }
    }
    members
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn take_member(argument: &Argument, name: &str, value: &str, options: &mut Options) -> Result<(), Why> {
    let option = &argument.option;
    let no_place = || Err(format!("its -{option} has {name}, which the record has no place for"));
    match last(name) {
        "if" if value != "none" => Err(format!("its -{option} makes a device of its own")),
        "media" if value != "disk" => no_place(),
        "cache" => {
            options.write_cache = Some(!matches!(value, "writethrough" | "directsync"));
            Ok(())
        }
        "writeback" => {
            options.write_cache = Some(!is_off(value));
            Ok(())
        }
        "werror" | "rerror" => {
            options.for_device.push((name.to_owned(), value.to_owned()));
            Ok(())
        }
        "snapshot" if is_off(value) => Ok(()),
        known if KNOWN.contains(&known) => Ok(()),
        known if NOT_KEPT.contains(&known) => {
            options.notes.push(format!("the record does not keep {name}={value} of its -{option}"));
            Ok(())
        }
        _ => no_place(),
    }
}

/// `is_top`: it is the node that the device uses, whose discard counts.
fn take_io(members: &[(String, String)], is_top: bool, options: &mut Options) -> Result<(), Why> {
    for (name, value) in members {
        // Of the images below it nothing is kept.
        if name.split('.').any(|part| part == "backing") {
            continue;
        }
        match last(name) {
            "aio" => {
                options.aio = match value.as_str() {
                    "threads" => Aio::Threads,
                    "native" => Aio::Native,
                    "io_uring" => Aio::IoUring,
                    other => return Err(format!("its aio is {other}, which the record has no place for")),
                }
            }
            "discard" if is_top && (value == "unmap" || is_on(value)) => options.discard = Discard::Unmap,
            _ => {}
        }
    }
    Ok(())
}

/// The sets of descriptors that its files are in.
fn add_sets(sight: &Sight<'_>, images: &[ImageNodes], options: &mut Options) {
    let files = images.iter().map(|image| image.file.as_deref().unwrap_or(&image.format));
    let name = |node: &str| sight.shown.node(node)?.get("file")?.as_str()?.strip_prefix("/dev/fdset/");
    let sets: BTreeSet<&str> = files.filter_map(name).collect();
    let is_own = |argument: &&Argument| {
        argument.option == "add-fd" && argument.member("set").is_some_and(|set| sets.contains(set))
    };
    options.goes.extend(sight.arguments.iter().filter(is_own).map(|argument| argument.at));
}
