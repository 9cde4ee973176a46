//! What verifying compares of a disk's block node beyond what every device has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::difference::{Difference, Mismatch};
use super::guest_state::GuestState;
use super::host_step::Image;
use super::inventory::Nodes;
use crate::disk::{DetectZeroes, DiskSpec, Format, Identity, node};
use crate::error::Result;
use crate::model::Device;
use crate::sanitize::readable;

/// Format, cache and what becomes of zeros, as far as QEMU shows them of the node.
pub(super) fn compare_settings(
    device: &Device,
    spec: &DiskSpec,
    node: &Value,
    differences: &mut Vec<Difference>,
) {
    let mut notify = |recorded: String, found: String| {
        if recorded != found {
            differences.push(Difference::new(Mismatch::Setting, &device.id, recorded, found));
        }
    };
    if let Some(driver) = node.get("drv").and_then(Value::as_str) {
        // A raw image has no format node of its own, but the driver of its file.
        let found = if driver == Format::Qcow2.as_str() { Format::Qcow2 } else { Format::Raw };
        match &spec.source {
            Some(source) => {
                notify(format!("driver {}", source.driver()), format!("driver {}", readable(driver)))
            }
            None => notify(format!("format {}", spec.format.as_str()), format!("format {}", found.as_str())),
        }
    }
    for (name, recorded) in [("direct", spec.cache.direct()), ("no-flush", spec.cache.no_flush())] {
        if let Some(found) = node.pointer(&format!("/cache/{name}")).and_then(Value::as_bool) {
            notify(
                format!("cache {}, {name} {recorded}", spec.cache.as_str()),
                format!("cache {}, {name} {found}", spec.cache.as_str()),
            );
        }
    }
    if let Some(found) = node.get("detect_zeroes").and_then(Value::as_str) {
        let recorded = match spec.detect_zeroes {
            DetectZeroes::Off => "off",
            DetectZeroes::On => "on",
            DetectZeroes::Unmap => "unmap",
        };
        notify(format!("detect-zeroes {recorded}"), format!("detect-zeroes {}", readable(found)));
    }
}

/// The node of a disk's image, below the one that limits the disk if there is one.
pub(super) fn below_throttle<'a>(device: &Device, node: &'a Value, nodes: &Nodes<'a>) -> &'a Value {
    let is_filter = node.get("drv").and_then(Value::as_str) == Some(node::FILTER);
    let below = node::image_node(&device.id).ok().filter(|_| is_filter);
    below.and_then(|below| nodes.get(below.as_str()).copied()).unwrap_or(node)
}

impl GuestState {
    /// The files that QEMU has open for a disk, where they can be seen, are those of its image.
    pub(super) async fn compare_files(
        &mut self,
        device: &Device,
        image: &Image,
        differences: &mut Vec<Difference>,
    ) -> Result<()> {
        let Ok(qemu) = self.qemu_pid() else { return Ok(()) };
        let sets = self.fdsets.behind(device);
        let numbers: Vec<i32> = sets.iter().flat_map(|set| self.fdsets.numbers(*set)).copied().collect();
        if numbers.is_empty() {
            return Ok(());
        }
        let Ok(seen) = self.identify_descriptors(qemu, numbers.clone()).await else { return Ok(()) };
        let is_of_image = |found: &Identity| image.layers.iter().any(|layer| layer.identity == *found);
        let others = numbers.into_iter().filter(|number| seen.get(number).is_some_and(|it| !is_of_image(it)));
        for number in others.collect::<Vec<_>>() {
            let name = self.name_of_descriptor(qemu, number).await?;
            let files: Vec<String> =
                image.layers.iter().map(|layer| layer.path.display().to_string()).collect();
            let recorded = format!("the files now at {}", files.join(", "));
            let found = format!("file {}", readable(&name));
            differences.push(Difference::new(Mismatch::Backend, &device.id, recorded, found));
        }
        Ok(())
    }
}

impl GuestState {
    /// A mirror may have put another raw image under a drive, which has no node of ours. QEMU names the file
    /// of each image that it has opened by itself.
    pub(super) async fn compare_opened_file(
        &mut self,
        device: &Device,
        spec: &DiskSpec,
        node: &Value,
        differences: &mut Vec<Difference>,
    ) -> Result<()> {
        let Ok(qemu) = self.qemu_pid() else { return Ok(()) };
        let Some((name, path)) = file_of(node, Path::new(&format!("/proc/{qemu}/root"))) else {
            return Ok(());
        };
        let files = self.identify_files(vec![path.clone(), spec.path.clone()]).await?;
        if are_different(&files, &path, &spec.path) {
            let recorded = format!("image {}", spec.path.display());
            let found = format!("image {}", readable(name));
            differences.push(Difference::new(Mismatch::Backend, &device.id, recorded, found));
        }
        Ok(())
    }
}

/// The file of a node as QEMU names it, and where it is for us; `root` is where QEMU's paths begin.
fn file_of<'a>(node: &'a Value, root: &Path) -> Option<(&'a str, PathBuf)> {
    let file = node.get("file").and_then(Value::as_str)?;
    let inside = file.strip_prefix('/').filter(|inside| !inside.starts_with("dev/fdset/"))?;
    Some((file, root.join(inside)))
}

/// Whether it is certain that the paths do not lead to one image.
fn are_different(files: &BTreeMap<PathBuf, Identity>, one: &Path, other: &Path) -> bool {
    files.get(one).zip(files.get(other)).is_some_and(|(one, other)| one != other)
}

/// Whether it is called as this library calls the nodes of disks that nobody named.
pub(super) fn is_named_like_ours(name: &str) -> bool {
    ["disk-pci-", "disk-scsi-pci-"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::disk::Cache;
    use crate::ids::DeviceId;
    use crate::model::{Presence, Spec};

    fn told(spec: &DiskSpec, node: &Value) -> Vec<(String, String)> {
        let device = Device {
            id: DeviceId::parse("data").unwrap(),
            generation: 1,
            address: None,
            presence: Presence::Live,
            spec: Spec::Disk(spec.clone()),
            backend: None,
            properties: serde_json::Map::new(),
            ganeti: None,
            extra: serde_json::Map::new(),
        };
        let mut differences = Vec::new();
        compare_settings(&device, spec, node, &mut differences);
        assert!(differences.iter().all(|difference| difference.what == Mismatch::Setting));
        differences.into_iter().map(|difference| (difference.recorded, difference.found)).collect()
    }

    #[test]
    fn a_drive_has_another_file() {
        let (own, same, other) = ("/img/own", "/img/same", "/img/other");
        let files: BTreeMap<PathBuf, Identity> = [(own, 1), (same, 1), (other, 2)]
            .map(|(path, inode)| (PathBuf::from(path), Identity::File { device: 1, inode }))
            .into();
        let found = |file: &str| {
            let drive = json!({ "file": file });
            let (name, path) = file_of(&drive, Path::new("/"))?;
            are_different(&files, &path, Path::new(own)).then(|| name.to_owned())
        };
        assert_eq!(found(other), Some(other.to_owned()));
        for silent in [own, same, "/dev/fdset/1", "nbd://host/x", "json:{}", "/not/there", ""] {
            assert_eq!(found(silent), None, "{silent}");
        }
    }

    #[test]
    fn each_setting_that_qemu_shows_is_compared() {
        let mut spec = DiskSpec::new("/a", Format::Qcow2);
        (spec.cache, spec.detect_zeroes) = (Cache::None, DetectZeroes::Unmap);
        let node = |driver: &str, direct: bool, no_flush: bool, zeroes: &str| json!({ "drv": driver, "cache": { "direct": direct, "no-flush": no_flush }, "detect_zeroes": zeroes });
        assert_eq!(told(&spec, &node("qcow2", true, false, "unmap")), []);
        assert_eq!(told(&spec, &json!({})), [], "what QEMU does not show is no difference");
        for (node, recorded, found) in [
            (node("raw", true, false, "unmap"), "format qcow2", "format raw"),
            (node("file", true, false, "unmap"), "format qcow2", "format raw"),
            (node("qcow2", false, false, "unmap"), "cache none, direct true", "cache none, direct false"),
            (node("qcow2", true, true, "unmap"), "cache none, no-flush false", "cache none, no-flush true"),
            (node("qcow2", true, false, "off"), "detect-zeroes unmap", "detect-zeroes off"),
        ] {
            assert_eq!(told(&spec, &node), [(recorded.to_owned(), found.to_owned())]);
        }
        let raw = DiskSpec::new("/a", Format::Raw);
        assert_eq!(told(&raw, &json!({ "drv": "host_device" })), []);
        assert_eq!(told(&raw, &json!({ "drv": "qcow2" })).len(), 1);
    }
}
