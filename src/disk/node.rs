//! The one place that writes a disk's QMP arguments. The boot command takes the same objects as JSON text
//! after `-blockdev` and `-device`, so a hot-plugged and a booted disk cannot differ.
//!
//! QEMU reads its monitor one byte at a time, so nothing is sent that is a default or is inherited. A child
//! node inherits `cache` and `read-only` from the node above it, and a backing node is read-only anyway
//! (`bdrv_inherited_options` in QEMU's block.c; `tests/disk_image.rs` checks what comes of it).

use serde_json::{Map, Value, json};

use super::format::Format;
use super::identity::Kind;
use super::spec::{Aio, DetectZeroes, Discard, DiskSpec};
use crate::error::{Error, Result};
use crate::ids::{Address, DeviceId, MAX_ID};

/// The most characters of a SCSI disk's `device_id`, which its serial stands in for.
const DEVICE_ID: usize = 20;

/// How the ids of disks begin that follow from their slot.
const SLOT_DISK: &str = "disk-pci-";
/// How the name of an image's node ends, if that of the disk is the filter above it.
const IMAGE: &str = "-image";
const TAG_PREFIX: &str = "kh:";

/// One layer of an image as QEMU will find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerRef {
    /// What QEMU opens, such as `/dev/fdset/7`.
    pub filename: String,
    /// Format of the layer.
    pub format: Format,
    /// Regular file or block device.
    pub kind: Kind,
}

/// Arguments of `blockdev-add` for a disk whose node is called `name`; `layers` has the image itself first.
///
/// A raw image becomes a single node. qcow2 says where its data and its backing image are, or that it has
/// none, so that QEMU never follows a name out of the image. A source that is described is taken as it is,
/// over the files in `layers`.
pub fn block_node(name: &DeviceId, spec: &DiskSpec, layers: &[LayerRef]) -> Result<Map<String, Value>> {
    let mut node = match (&spec.source, layers.split_first()) {
        (Some(source), _) => {
            let aio = (spec.aio != Aio::default()).then(|| spec.aio.as_str());
            let mut node = source.filled(layers.iter().map(|layer| layer.filename.as_str()), aio).into();
            spec.objects.iter().for_each(|objects| objects.rename_in(name, &mut node));
            match node {
                Value::Object(node) => node,
                _ => Map::new(),
            }
        }
        (None, None) => return Err(Error::invalid(format!("disk {name}: an image has at least one layer"))),
        (None, Some((top, below))) => match top.format {
            Format::Raw => file_node(top, spec.aio),
            Format::Qcow2 => qcow2_node(top, spec.aio, backing_nodes(below, spec.aio)),
        },
    };
    if spec.read_only {
        node.insert("read-only".into(), true.into());
    }
    match (spec.cache.direct(), spec.cache.no_flush()) {
        (true, _) => node.insert("cache".into(), json!({"direct": true})),
        (false, true) => node.insert("cache".into(), json!({"no-flush": true})),
        (false, false) => None,
    };
    if spec.discard == Discard::Unmap {
        node.insert("discard".into(), "unmap".into());
    }
    match spec.detect_zeroes {
        DetectZeroes::Off => None,
        DetectZeroes::On => node.insert("detect-zeroes".into(), "on".into()),
        DetectZeroes::Unmap => node.insert("detect-zeroes".into(), "unmap".into()),
    };
    let Some(limits) = &spec.limits else {
        node.insert("node-name".into(), name.as_str().into());
        return Ok(node);
    };
    let mut filter = Map::new();
    filter.insert("driver".into(), FILTER.into());
    filter.insert("node-name".into(), name.as_str().into());
    filter.insert("throttle-group".into(), limits.group_id(name).as_str().into());
    // Each node looks at its own.
    for setting in ["read-only", "cache", "discard"] {
        filter.extend(node.get(setting).map(|value| (setting.to_owned(), value.clone())));
    }
    node.insert("node-name".into(), image_node(name)?.into());
    filter.insert("file".into(), node.into());
    Ok(filter)
}

/// The driver of the node that limits a disk. It stands above the image, and has the disk's id.
pub const FILTER: &str = "throttle";

/// The name of the image's node below one that limits the disk.
pub fn image_node(name: &DeviceId) -> Result<String> {
    let image = format!("{name}{IMAGE}");
    if image.len() <= MAX_ID {
        return Ok(image);
    }
    let most = MAX_ID - IMAGE.len();
    let text = format!(
        "disk {name}: the id of a disk with limits has at most {most} characters, since QEMU's names for nodes have {MAX_ID}"
    );
    Err(Error::invalid(text))
}

/// The nodes below the top, built from the bottom up.
fn backing_nodes(layers: &[LayerRef], aio: Aio) -> Value {
    layers.iter().rev().fold(Value::Null, |below, layer| match layer.format {
        // Without a "file" member QEMU takes the file name from the header above instead
        // (`bdrv_open_backing_file` looks for "file.filename") and fails, so a raw backing image needs its
        // two nodes.
        Format::Raw => json!({"driver": "raw", "file": file_node(layer, aio)}),
        Format::Qcow2 => qcow2_node(layer, aio, below).into(),
    })
}

fn qcow2_node(layer: &LayerRef, aio: Aio, backing: Value) -> Map<String, Value> {
    let mut node = Map::new();
    node.insert("driver".into(), Format::Qcow2.as_str().into());
    node.insert("file".into(), file_node(layer, aio).into());
    node.insert("backing".into(), backing);
    node
}

fn file_node(layer: &LayerRef, aio: Aio) -> Map<String, Value> {
    let mut node = Map::new();
    node.insert("driver".into(), layer.kind.driver().into());
    node.insert("filename".into(), layer.filename.as_str().into());
    if aio != Aio::default() {
        node.insert("aio".into(), aio.as_str().into());
    }
    node
}

/// The name of the node that limits a disk, if this is that of its image below.
pub fn filter_above(image: &str) -> Option<&str> {
    image.strip_suffix(IMAGE)
}

/// Arguments of `device_add` for a disk `id` whose node has the same name; a CD drive without a medium has
/// none.
pub fn device_args(id: &DeviceId, address: &Address, spec: &DiskSpec) -> Map<String, Value> {
    let mut args = Map::new();
    let mut set = |name: &str, value: Value| drop(args.insert(name.into(), value));
    set("driver", spec.model.as_str().into());
    set("id", id.as_str().into());
    set("bus", address.bus().as_str().into());
    match address {
        Address::Pci(address) => set("addr", address.addr_text().into()),
        Address::Scsi(address) => {
            set("channel", address.channel.get().into());
            set("scsi-id", address.target.into());
            set("lun", address.lun.get().into());
        }
    }
    if spec.has_medium() {
        set("drive", id.as_str().into());
    }
    if let Some(serial) = &spec.serial {
        set("serial", serial.as_str().into());
        // Newer ones (11.1) refuse what older ones (7.2) cut off by themselves: the serial is the device's id
        // as well, which has 20.
        if spec.is_scsi() && serial.len() > DEVICE_ID {
            set("device_id", serial.chars().take(DEVICE_ID).collect::<String>().into());
        }
    }
    if !spec.cache.write_cache() {
        set("write-cache", "off".into());
    }
    if spec.share_rw {
        set("share-rw", true.into());
    }
    if let Some(index) = spec.boot_index {
        set("bootindex", index.into());
    }
    if let Some(size) = spec.logical_block_size {
        set("logical_block_size", size.into());
    }
    if let Some(size) = spec.effective_physical_size() {
        set("physical_block_size", size.into());
    }
    if let Some(queues) = spec.queues {
        set("num-queues", queues.into());
    }
    if let Some(wwn) = spec.wwn {
        set("wwn", wwn.get().into());
    }
    if let Some(iothread) = &spec.iothread {
        let (name, value) = iothread.property(id);
        set(name, value);
    }
    args
}

/// The `opaque` text of the fdsets of disk `id`, which tells whose they are after a crash of the agent. Of
/// most disks it is the slot alone, since every byte costs.
pub fn fdset_tag(id: &DeviceId) -> String {
    let slot = id.as_str().strip_prefix(SLOT_DISK).filter(|slot| begins_with_digit(slot));
    format!("{TAG_PREFIX}{}", slot.unwrap_or(id.as_str()))
}

/// The `opaque` text that is added to an fdset of ours when QEMU may have lost the descriptor in it: whatever
/// else it carries, it is not to be touched any more.
pub const UNCERTAIN_TAG: &str = "kh-lost";

/// Whose fdset it is; `None` for the fdsets of others.
pub fn fdset_tag_owner(tag: &str) -> Option<DeviceId> {
    let owner = tag.strip_prefix(TAG_PREFIX)?;
    // No id begins with a digit.
    match begins_with_digit(owner) {
        true => DeviceId::parse(&format!("{SLOT_DISK}{owner}")).ok(),
        false => DeviceId::parse(owner).ok(),
    }
}

fn begins_with_digit(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::super::spec::Cache;
    use super::*;
    use crate::ids::{BusName, PciAddress, ScsiAddress, Slot};

    fn id() -> DeviceId {
        DeviceId::parse("disk-pci-14").unwrap()
    }

    fn layer(set: u32, format: Format, kind: Kind) -> LayerRef {
        LayerRef { filename: format!("/dev/fdset/{set}"), format, kind }
    }

    fn spec(format: Format) -> DiskSpec {
        DiskSpec::new("/a", format)
    }

    fn node(spec: &DiskSpec, layers: &[LayerRef]) -> Value {
        block_node(&id(), spec, layers).unwrap().into()
    }

    #[test]
    fn raw_is_one_node() {
        let spec = spec(Format::Raw);
        let file = json!({"driver": "file", "filename": "/dev/fdset/7", "node-name": "disk-pci-14"});
        assert_eq!(node(&spec, &[layer(7, Format::Raw, Kind::File)]), file);
        let device = json!({"driver": "host_device", "filename": "/dev/fdset/7", "node-name": "disk-pci-14"});
        assert_eq!(node(&spec, &[layer(7, Format::Raw, Kind::HostDevice)]), device);
        assert!(block_node(&id(), &spec, &[]).is_err());
    }

    #[test]
    fn qcow2_names_every_layer() {
        let mut spec = spec(Format::Qcow2);
        (spec.cache, spec.aio, spec.discard) = (Cache::None, Aio::Native, Discard::Unmap);
        let file = |set| json!({"driver": "file", "filename": format!("/dev/fdset/{set}"), "aio": "native"});
        let mut layers = vec![layer(1, Format::Qcow2, Kind::File)];
        let mut expected = json!({
            "driver": "qcow2", "node-name": "disk-pci-14", "file": file(1), "backing": null,
            "cache": {"direct": true}, "discard": "unmap",
        });
        assert_eq!(node(&spec, &layers), expected);
        layers.push(layer(2, Format::Qcow2, Kind::File));
        layers.push(layer(3, Format::Raw, Kind::File));
        let bottom = json!({"driver": "raw", "file": file(3)});
        expected["backing"] = json!({"driver": "qcow2", "file": file(2), "backing": bottom});
        assert_eq!(node(&spec, &layers), expected);
    }

    #[test]
    fn settings_of_the_node() {
        let mut spec = spec(Format::Raw);
        (spec.read_only, spec.cache, spec.aio) = (true, Cache::Unsafe, Aio::IoUring);
        (spec.discard, spec.detect_zeroes) = (Discard::Unmap, DetectZeroes::Unmap);
        let expected = json!({
            "driver": "file", "filename": "/dev/fdset/7", "node-name": "disk-pci-14", "read-only": true,
            "cache": {"no-flush": true}, "aio": "io_uring", "discard": "unmap", "detect-zeroes": "unmap",
        });
        assert_eq!(node(&spec, &[layer(7, Format::Raw, Kind::File)]), expected);
    }

    #[test]
    fn limits_are_a_node_above_the_image() {
        let mut spec = spec(Format::Qcow2);
        (spec.discard, spec.detect_zeroes, spec.read_only) = (Discard::Unmap, DetectZeroes::On, true);
        let layers = [layer(1, Format::Qcow2, Kind::File)];
        let mut image = node(&spec, &layers);
        image["node-name"] = "disk-pci-14-image".into();
        for (text, group) in [("{}", "disk-pci-14-limits"), (r#"{"group": "tenant"}"#, "tenant")] {
            spec.limits = Some(Limits::parse(text).unwrap());
            let expected = json!({
                "driver": "throttle", "node-name": "disk-pci-14", "throttle-group": group, "read-only": true,
                "discard": "unmap", "file": image,
            });
            assert_eq!(node(&spec, &layers), expected);
        }
        let long = DeviceId::parse(&"x".repeat(26)).unwrap();
        let error = block_node(&long, &spec, &layers).unwrap_err();
        assert!(error.message().contains("at most 25 characters"), "{error}");
    }

    #[test]
    fn device_has_only_what_differs() {
        let address =
            PciAddress { bus: BusName::parse("pci.0").unwrap(), slot: Slot::new(14).unwrap() }.into();
        let mut spec = spec(Format::Raw);
        let mut expected = json!({
            "driver": "virtio-blk-pci", "id": "disk-pci-14", "bus": "pci.0", "addr": "e", "drive": "disk-pci-14",
        });
        assert_eq!(Value::from(device_args(&id(), &address, &spec)), expected);
        spec.logical_block_size = Some(4096);
        expected["logical_block_size"] = 4096.into();
        expected["physical_block_size"] = 4096.into();
        assert_eq!(Value::from(device_args(&id(), &address, &spec)), expected);
        (spec.serial, spec.cache, spec.share_rw) = (Some("s 1".into()), Cache::Writethrough, true);
        (spec.boot_index, spec.queues, spec.physical_block_size) = (Some(0), Some(2), Some(8192));
        let more = json!({
            "serial": "s 1", "write-cache": "off", "share-rw": true, "bootindex": 0, "num-queues": 2,
            "physical_block_size": 8192,
        });
        expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(Value::from(device_args(&id(), &address, &spec)), expected);
    }

    #[test]
    fn a_scsi_disk_has_channel_target_and_lun() {
        let address = ScsiAddress::of_target(BusName::parse("scsi-pci-7.0").unwrap(), 3).into();
        let mut spec = spec(Format::Raw);
        (spec.model, spec.wwn) = ("scsi-hd".into(), 0x5000_c500_15ea_71ac_u64.try_into().ok());
        let expected = json!({
            "driver": "scsi-hd", "id": "disk-pci-14", "bus": "scsi-pci-7.0", "channel": 0, "scsi-id": 3, "lun": 0,
            "drive": "disk-pci-14", "wwn": 0x5000_c500_15ea_71ac_u64,
        });
        assert_eq!(Value::from(device_args(&id(), &address, &spec)), expected);
    }

    #[test]
    fn a_cd_drive_without_a_medium_has_no_node() {
        let address = ScsiAddress::of_target(BusName::parse("scsi-pci-7.0").unwrap(), 3).into();
        let mut cd = DiskSpec { model: "scsi-cd".into(), read_only: true, ..spec(Format::Raw) };
        assert_eq!(device_args(&id(), &address, &cd).get("drive"), Some(&"disk-pci-14".into()));
        cd.path = "".into();
        assert_eq!(device_args(&id(), &address, &cd).get("drive"), None);
    }

    #[test]
    fn tags_lead_back_to_their_disk() {
        for (id, tag) in [
            ("disk-pci-14", "kh:14"),
            ("disk-pci-5x", "kh:5x"),
            ("disk-pci-rp0", "kh:disk-pci-rp0"),
            ("disk-pci-", "kh:disk-pci-"),
            ("data", "kh:data"),
        ] {
            let id = DeviceId::parse(id).unwrap();
            assert_eq!(fdset_tag(&id), tag);
            assert_eq!(fdset_tag_owner(tag), Some(id));
        }
        assert_eq!(fdset_tag_owner("kh:disk-pci-14"), Some(id()));
        for foreign in ["", "disk-pci-14", "kh:", "kh:5/", "other:disk-pci-14"] {
            assert_eq!(fdset_tag_owner(foreign), None, "{foreign}");
        }
    }
}
