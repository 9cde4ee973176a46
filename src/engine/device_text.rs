//! Devices to add as JSON text: the schema of `kvm_hotplug_add_json()`, of a wanted list, and of kvmctl's
//! files. It is strict: what it does not know is refused by name. Ranges are those of the C structs.

use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::add_item::AddRequest;
use super::add_plan::Placement;
use super::controller::ControllerRequest;
use super::disk::DiskRequest;
use super::nic::NicRequest;
use super::place_request::PlaceRequest;
use super::tap_source::TapSource;
use crate::disk::{
    Aio, BackingRule, Cache, Description, DetectZeroes, Discard, DiskSpec, Format, FormatRequest,
    Limits as DiskLimits, SCSI_CD, Secrets, SourceObjects,
};
use crate::error::{Error, Result, errno};
use crate::ids::{DeviceId, IfName, IoThread, MacAddr};
use crate::model::{GanetiEntry, properties};
use crate::net::bandwidth::{Bandwidth, Limits};
use crate::net::netdev::Netdev;
use crate::net::port::PortSettings;
use crate::net::vhost::VhostMode;
use crate::slots::scsi::ControllerSpec;
use crate::sys::descriptor::Descriptor;

/// Most devices in one text, as in one call.
pub const MOST_DEVICES: usize = 256;

/// Longest text in bytes: some 4 KiB for each device.
const MOST_BYTES: usize = 1 << 20;

/// Takes the caller's descriptors of a tap.
pub type TakeFds<'a> = &'a dyn Fn(&[i32]) -> Result<Vec<Descriptor>>;

/// The text as a whole: an object with a list, the list, or one device.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListText {
    devices: Vec<DeviceText>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum DeviceText {
    Nic(Box<NicText>),
    Disk(Box<DiskText>),
    Controller(Box<ControllerText>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NicText {
    id: Option<String>,
    mac: Option<String>,
    bridge: Option<String>,
    ifname: Option<String>,
    model: Option<String>,
    bus: Option<String>,
    tap_fds: Option<Vec<i32>>,
    queues: Option<u16>,
    vhost: Option<VhostText>,
    mtu: Option<u16>,
    slot: Option<u32>,
    boot_index: Option<u32>,
    tap_owner: Option<u32>,
    netns: Option<String>,
    netdev: Option<Netdev>,
    inbound: Option<BandwidthText>,
    outbound: Option<BandwidthText>,
    #[serde(default)]
    port: Map<String, Value>,
    link: Option<LinkText>,
    ganeti: Option<GanetiEntry>,
    #[serde(default)]
    properties: Map<String, Value>,
    #[serde(default)]
    live_only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskText {
    id: Option<String>,
    path: Option<PathBuf>,
    source: Option<Description>,
    #[serde(default)]
    secrets: Map<String, Value>,
    #[serde(default)]
    tls_creds: Map<String, Value>,
    serial: Option<String>,
    model: Option<String>,
    bus: Option<String>,
    format: Option<FormatText>,
    #[serde(default)]
    cache: Cache,
    #[serde(default)]
    aio: Aio,
    #[serde(default)]
    discard: Discard,
    #[serde(default)]
    detect_zeroes: DetectZeroes,
    logical_block_size: Option<u32>,
    physical_block_size: Option<u32>,
    queues: Option<u16>,
    slot: Option<u32>,
    boot_index: Option<u32>,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    share_rw: bool,
    wwn: Option<u64>,
    iothread: Option<IoThread>,
    limits: Option<DiskLimits>,
    target: Option<u32>,
    lun: Option<u32>,
    backing: Option<BackingRule>,
    ganeti: Option<GanetiEntry>,
    #[serde(default)]
    properties: Map<String, Value>,
    #[serde(default)]
    live_only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ControllerText {
    id: Option<String>,
    model: Option<String>,
    bus: Option<String>,
    queues: Option<u16>,
    iothread: Option<IoThread>,
    slot: Option<u32>,
    #[serde(default)]
    properties: Map<String, Value>,
    #[serde(default)]
    live_only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BandwidthText {
    average: u64,
    #[serde(default)]
    burst: u64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum VhostText {
    Auto,
    Off,
    Required,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum LinkText {
    Up,
    Down,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormatText {
    Raw,
    Qcow2,
    Probe,
}

/// The devices of a text: one object, a list of them, or an object with a list named "devices".
pub fn read_devices(text: &str, take_fds: TakeFds<'_>) -> Result<Vec<AddRequest>> {
    if text.len() > MOST_BYTES {
        let text = format!("the JSON text has {} bytes, at most {MOST_BYTES} are read", text.len());
        return Err(Error::invalid(text).with_errno(errno::E2BIG));
    }
    match shape(text)? {
        Shape::List => read_all(parse(text)?, take_fds),
        Shape::Named => read_all(parse::<ListText>(text)?.devices, take_fds),
        Shape::Device => read_all(vec![parse(text)?], take_fds),
    }
}

/// The devices that a guest is to have: a list, or an object with one. A device alone is refused, since it
/// would stand for a guest that is to have no other.
pub fn read_wanted(text: &str, take_fds: TakeFds<'_>) -> Result<Vec<AddRequest>> {
    // What is wrong with the device itself is said first.
    let devices = read_devices(text, take_fds)?;
    match shape(text)? {
        Shape::List | Shape::Named => Ok(devices),
        Shape::Device => Err(Error::invalid(
            "one device is not a list of what the guest is to have; write it between [ and ]",
        )),
    }
}

/// How the text has its devices.
enum Shape {
    List,
    /// The list is a member of an object.
    Named,
    Device,
}

/// Serde takes an array for a struct, so that it is seen here that each device is an object.
fn shape(text: &str) -> Result<Shape> {
    let neither = || Error::invalid("the JSON text is neither a device nor a list of devices");
    match parse(text)? {
        Value::Array(all) => check_objects(&all).map(|()| Shape::List),
        Value::Object(members) => match members.get("devices") {
            Some(Value::Array(all)) => check_objects(all).map(|()| Shape::Named),
            Some(_) => Ok(Shape::Named),
            None if members.is_empty() => Ok(Shape::Named),
            None => Ok(Shape::Device),
        },
        _ => Err(neither()),
    }
}

fn check_objects(all: &[Value]) -> Result<()> {
    match all.iter().position(|one| !one.is_object()) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(format!("the JSON text: devices[{at}] is no object"))),
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::invalid(format!("the JSON text: {error}")))
}

fn read_all(texts: Vec<DeviceText>, take_fds: TakeFds<'_>) -> Result<Vec<AddRequest>> {
    if texts.len() > MOST_DEVICES {
        let text = format!("{} devices in one list, at most {MOST_DEVICES} are allowed", texts.len());
        return Err(Error::invalid(text).with_errno(errno::E2BIG));
    }
    let count = texts.len();
    let one = |(index, text): (usize, DeviceText)| {
        let name = text.name(index, count);
        text.request(take_fds).map_err(|error| match name {
            Some(name) => error.context(name),
            None => error,
        })
    };
    texts.into_iter().enumerate().map(one).collect()
}

impl DeviceText {
    /// What errors call it.
    fn name(&self, index: usize, count: usize) -> Option<String> {
        let id = match self {
            Self::Nic(text) => text.id.as_ref(),
            Self::Disk(text) => text.id.as_ref(),
            Self::Controller(text) => text.id.as_ref(),
        };
        match (id, count) {
            (None, 1) => None,
            (None, _) => Some(format!("devices[{index}]")),
            (Some(id), 1) => Some(id.clone()),
            (Some(id), _) => Some(format!("devices[{index}], {id}")),
        }
    }

    fn request(self, take_fds: TakeFds<'_>) -> Result<AddRequest> {
        Ok(match self {
            Self::Nic(text) => AddRequest::Nic(text.request(take_fds)?),
            Self::Disk(text) => AddRequest::Disk(Box::new(text.request()?)),
            Self::Controller(text) => AddRequest::Controller(text.request()?),
        })
    }
}

impl NicText {
    fn request(self, take_fds: TakeFds<'_>) -> Result<NicRequest> {
        properties::check(&self.properties)?;
        let given = self.tap_fds.as_deref().map(take_fds).transpose()?.unwrap_or_default();
        let default_queues = given.len().max(1);
        let queues = match given_number(self.queues) {
            Some(queues) => queues,
            None => u16::try_from(default_queues)
                .map_err(|_| Error::invalid(format!("tap_fds: {default_queues} are too many")))?,
        };
        let tap = TapSource::new(self.netdev, given, self.ifname, self.tap_owner, self.netns)?;
        let place = place((self.id.as_deref(), self.bus.as_deref(), self.slot), None).on_pci()?;
        let request = NicRequest {
            placement: Placement { live_only: self.live_only, properties: self.properties, ..place },
            mac: self.mac.as_deref().map(MacAddr::parse).transpose()?,
            queues,
            vhost: self.vhost.map_or(VhostMode::default(), VhostText::mode),
            mtu: given_number(self.mtu),
            bridge: self.bridge.as_deref().map(IfName::parse).transpose()?,
            link_down: self.link == Some(LinkText::Down),
            limits: Limits {
                inbound: BandwidthText::limit("inbound", self.inbound)?,
                outbound: BandwidthText::limit("outbound", self.outbound)?,
            },
            port: PortSettings::of(self.port)?,
            tap,
            boot_index: self.boot_index,
            model: self.model.unwrap_or_else(|| "virtio-net-pci".to_owned()),
        };
        match self.ganeti {
            Some(entry) => request.with_ganeti(entry),
            None => Ok(request),
        }
    }
}

impl DiskText {
    fn request(self) -> Result<DiskRequest> {
        let may_be_empty = self.model.as_deref() == Some(SCSI_CD);
        let path = match (self.path, &self.source) {
            (None, None) if !may_be_empty => {
                return Err(Error::invalid("path is missing; a disk has a path or a source"));
            }
            (Some(path), _) if path.as_os_str().is_empty() && !may_be_empty => {
                return Err(Error::invalid("path is empty"));
            }
            (path, _) => path.unwrap_or_default(),
        };
        self.backing.as_ref().map_or(Ok(()), BackingRule::validate)?;
        properties::check(&self.properties)?;
        let mut spec = DiskSpec::new(path, Format::Raw);
        self.source.as_ref().map_or(Ok(()), Description::check)?;
        spec.source = self.source;
        let secrets = Secrets::of_json(self.secrets)?;
        spec.objects = SourceObjects::new(&secrets, self.tls_creds);
        spec.read_only = self.read_only;
        spec.share_rw = self.share_rw;
        spec.serial = self.serial;
        (spec.cache, spec.aio) = (self.cache, self.aio);
        (spec.discard, spec.detect_zeroes) = (self.discard, self.detect_zeroes);
        spec.boot_index = self.boot_index;
        spec.logical_block_size = given_number(self.logical_block_size);
        spec.physical_block_size = given_number(self.physical_block_size);
        spec.queues = given_number(self.queues);
        spec.wwn = self.wwn.and_then(NonZeroU64::new);
        spec.iothread = self.iothread;
        spec.limits = self.limits.filter(|limits| !limits.is_default());
        spec.backing = self.backing;
        if let Some(model) = self.model {
            spec.model = model;
        }
        let has_unit = self.target.is_some() || self.lun.is_some();
        let unit = has_unit.then(|| (self.target.unwrap_or(0), self.lun.unwrap_or(0)));
        let place = place((self.id.as_deref(), self.bus.as_deref(), self.slot), unit);
        let place = if spec.is_scsi() { place.on_scsi()? } else { place.on_pci()? };
        let format = self.format.map_or(FormatRequest::Raw, FormatText::request);
        let placement = Placement { live_only: self.live_only, properties: self.properties, ..place };
        let request = DiskRequest { placement, spec, format, secrets };
        match self.ganeti {
            Some(entry) => request.with_ganeti(entry),
            None => Ok(request),
        }
    }
}

impl ControllerText {
    fn request(self) -> Result<ControllerRequest> {
        properties::check(&self.properties)?;
        let place = place((self.id.as_deref(), self.bus.as_deref(), self.slot), None).on_pci()?;
        let mut spec = ControllerSpec::default();
        if let Some(model) = self.model {
            spec.model = model;
        }
        spec.queues = given_number(self.queues);
        spec.iothread = self.iothread;
        let placement = Placement { live_only: self.live_only, properties: self.properties, ..place };
        Ok(ControllerRequest { placement, spec })
    }
}

impl BandwidthText {
    fn limit(direction: &str, text: Option<Self>) -> Result<Option<Bandwidth>> {
        text.map_or(Ok(None), |Self { average, burst }| Bandwidth::new(direction, average, burst))
    }
}

impl VhostText {
    fn mode(self) -> VhostMode {
        match self {
            Self::Auto => VhostMode::Auto,
            Self::Off => VhostMode::Off,
            Self::Required => VhostMode::Required,
        }
    }
}

impl FormatText {
    fn request(self) -> FormatRequest {
        match self {
            Self::Raw => FormatRequest::Raw,
            Self::Qcow2 => FormatRequest::Qcow2,
            Self::Probe => FormatRequest::Probe,
        }
    }
}

fn place<'a>(
    (id, bus, slot): (Option<&'a str>, Option<&'a str>, Option<u32>),
    unit: Option<(u32, u32)>,
) -> PlaceRequest<'a> {
    PlaceRequest { id, bus, slot: slot.unwrap_or_default(), unit }
}

/// 0 is as good as nothing, as in the C structs.
fn given_number<T: Default + PartialEq>(number: Option<T>) -> Option<T> {
    number.filter(|number| *number != T::default())
}

/// The ids of a wanted list, which tell what is there already from what is not.
pub(super) fn wanted_ids(requests: &[AddRequest]) -> Result<Vec<DeviceId>> {
    let mut ids: Vec<DeviceId> = Vec::with_capacity(requests.len());
    for (index, request) in requests.iter().enumerate() {
        let Some(id) = &request.placement().id else {
            return Err(Error::invalid(format!(
                "devices[{index}] has no id; each device of a wanted list needs one, by which the next call knows it"
            )));
        };
        if ids.contains(id) {
            return Err(Error::invalid(format!("devices[{index}]: {id} is in the list twice")));
        }
        ids.push(id.clone());
    }
    Ok(ids)
}

#[cfg(test)]
mod tests;
