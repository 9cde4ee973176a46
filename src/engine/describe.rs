//! Everything that is known of a device, as JSON.

use serde_json::{Value, json};

use super::device_info::{DeviceInfo, DeviceState};
use super::drives;
use super::guest_state::GuestState;
use super::host_step::TapState;
use super::inventory;
use super::limit::Deadline;
use crate::disk::{DiskSpec, SourceObjects};
use crate::error::Result;
use crate::ids::{Address, IfName};
use crate::model::{BackendNames, Spec};
use crate::net::bandwidth::Bandwidth;
use crate::net::spec::NicSpec;

impl GuestState {
    /// All devices, or the one with this id; `None` if there is no such one.
    pub(super) async fn describe(&mut self, id: Option<&str>, deadline: &Deadline) -> Result<Option<Value>> {
        self.ready(deadline).await?;
        if self.topology.has_unnumbered() {
            // The guest may have numbered its buses since.
            self.resync(deadline).await?;
        }
        let device_info: Vec<DeviceInfo> = super::list::list(self)
            .into_iter()
            .filter(|device_info| id.is_none_or(|id| device_info.device.id.as_str() == id))
            .collect();
        let has_disk = device_info.iter().any(|device_info| matches!(device_info.device.spec, Spec::Disk(_)));
        let nodes = match has_disk {
            true => self.questions([inventory::block_nodes()], deadline).await?,
            false => [Value::Null],
        };
        let drives = self.drives_of_others(deadline).await?;
        let [nodes] = &nodes;
        let (nodes, drives) = (inventory::by_name(nodes), drives::by_name(&drives));
        let mut described: Vec<Value> = Vec::with_capacity(device_info.len());
        for device_info in &device_info {
            let device = &device_info.device;
            let image = match &device.backend {
                Some(BackendNames::Drive(name)) => drives.get(name.as_str()),
                _ => nodes.get(device.backend_name().as_str()),
            };
            let mut text = common(device_info);
            let more = match &device.spec {
                Spec::Nic(spec) => self.describe_nic(spec).await?,
                Spec::Controller(spec) => json!({ "queues": spec.queues, "iothread": spec.iothread }),
                Spec::Disk(spec) => disk(spec, image.copied(), &self.fdsets.behind(device)),
            };
            if let (Value::Object(text), Value::Object(more)) = (&mut text, more) {
                text.extend(more);
                text.insert("in_guest".to_owned(), self.is_in_guest(device_info).into());
            }
            described.push(text);
        }
        Ok(match id {
            None => Some(described.into()),
            Some(_) => described.pop(),
        })
    }

    /// The record, and what the host says of the tap if it is in this network namespace.
    async fn describe_nic(&self, spec: &NicSpec) -> Result<Value> {
        let tap = match &spec.ifname {
            Some(name) => Some(tap(name, &self.tap_state(spec).await?)),
            None => None,
        };
        Ok(nic(spec, tap))
    }

    /// Whether the guest showed the device when it was last asked.
    fn is_in_guest(&self, device_info: &DeviceInfo) -> bool {
        self.phases.of(&device_info.device).is_in_guest()
    }
}

/// Why a device of the record is not in the guest.
pub const MISSING: &str = "it is recorded, but the guest does not have it; mending the record takes it out";

/// The word for a state, as in plans.
fn state_word(state: &DeviceState) -> &'static str {
    match state {
        DeviceState::Live => "live",
        DeviceState::Pending(_) => "pending",
        DeviceState::Missing => "missing",
        DeviceState::AddAfterReboot(_) | DeviceState::RemoveAfterReboot(_) => "after-reboot",
    }
}

fn common(device_info: &DeviceInfo) -> Value {
    let device = &device_info.device;
    let reason = match &device_info.state {
        DeviceState::Pending(why) => why.to_string(),
        DeviceState::RemoveAfterReboot(why) => format!("it goes with the next boot: {why}"),
        DeviceState::AddAfterReboot(why) => format!("it comes with the next boot: {why}"),
        DeviceState::Missing => MISSING.to_owned(),
        DeviceState::Live => String::new(),
    };
    let address = device.address.as_ref();
    let scsi = address.and_then(Address::scsi);
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let view = &device_info.view;
    json!({
        "id": device.id.as_str(),
        "type": device.kind().name(),
        "state": state_word(&device_info.state),
        "reason": reason,
        "generation": device.generation,
        "model": device.model(),
        "properties": device.properties,
        "bus": address.map(|address| address.bus().as_str()),
        "slot": address.and_then(Address::pci).map(|address| address.slot),
        "channel": scsi.map(|address| address.channel),
        "target": scsi.map(|address| address.target),
        "lun": scsi.map(|address| address.lun),
        "pci_path": known(&view.pci_path),
        "guest_address": known(&view.address),
        "guest_name": known(&view.name),
        "guest_slot_name": known(&view.slot_name),
    })
}

fn nic(spec: &NicSpec, tap: Option<Value>) -> Value {
    json!({
        "mac": spec.mac.to_string(),
        "queues": spec.queues,
        "vhost": spec.vhost,
        "mtu": spec.mtu,
        "link": if spec.link_down { "down" } else { "up" },
        "bridge": spec.bridge.as_ref().map(IfName::as_str),
        "boot_index": spec.boot_index,
        "inbound": spec.inbound.map(bandwidth),
        "outbound": spec.outbound.map(bandwidth),
        "port": spec.port,
        "tap_given": spec.is_over_given_tap(),
        "tap_owner": spec.tap_owner,
        "netns": spec.netns,
        "netdev": spec.netdev,
        "tap": tap,
    })
}

fn bandwidth(limit: Bandwidth) -> Value {
    json!({ "average": limit.average, "burst": limit.burst })
}

fn tap(name: &IfName, state: &TapState) -> Value {
    json!({
        "name": name.as_str(),
        "here": state.here,
        "mtu": state.mtu,
        "bridge": state.bridge.as_ref().map(IfName::as_str),
        "inbound": state.limits.and_then(|limits| limits.inbound).map(bandwidth),
        "outbound": state.limits.and_then(|limits| limits.outbound).map(bandwidth),
        "port": state.port.map(|port| json!({
            "isolated": port.isolated, "learning": port.learning, "hairpin": port.hairpin,
        })),
    })
}

fn disk(spec: &DiskSpec, node: Option<&Value>, fdsets: &[u32]) -> Value {
    let objects = spec.objects.as_deref();
    let number = |path: &str| node.and_then(|node| node.pointer(path)).and_then(Value::as_u64);
    json!({
        "path": spec.source.is_none().then(|| spec.path.to_string_lossy()),
        "source": spec.source,
        "secrets": objects.map(SourceObjects::secrets),
        "tls_creds": objects.map(SourceObjects::tls_creds),
        "format": spec.format,
        "read_only": spec.read_only,
        "share_rw": spec.share_rw,
        "serial": spec.serial,
        "cache": spec.cache,
        "aio": spec.aio,
        "discard": spec.discard,
        "detect_zeroes": spec.detect_zeroes,
        "boot_index": spec.boot_index,
        "logical_block_size": spec.logical_block_size,
        "physical_block_size": spec.physical_block_size,
        "queues": spec.queues,
        "iothread": spec.iothread,
        "limits": spec.limits,
        "node_name": node.and_then(|node| node.get("node-name")),
        "size": node.and_then(inventory::virtual_size),
        "allocated": number("/image/actual-size"),
        "fdsets": fdsets,
        "overlay": spec.overlay,
        "tray_open": spec.is_cd().then_some(spec.tray_open),
    })
}
